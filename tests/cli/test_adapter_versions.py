"""`mien adapter` beyond promotion: blends, moves, checks and removals, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mien.base.model import Base
from mien.registry.cards import cards, newest
from mien.serve.experiments import arms, start, stop
from mien.workspace import Workspace
from tests import models
from tests.cli.running import modules_after, run
from tests.cli.test_adapter import trained as untrained
from tests.registry.builders import trained
from tests.registry.test_retire import day, promoted


@pytest.fixture(autouse=True)
def _here(workspace: Workspace, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_WORKSPACE", str(workspace.root))
    monkeypatch.setattr(Base, "load", lambda *_, **__: models.tiny_base())


@pytest.fixture
def voices(workspace: Workspace) -> None:
    base = models.tiny_base()
    trained(workspace, base, "witty-sft-1", seed=1)
    trained(workspace, base, "warm-sft-1", persona="warm", seed=2)


def test_a_blend_is_made_and_measured(workspace: Workspace, voices: None) -> None:
    result = run("adapter", "blend", "witty:0.7", "warm:0.3", "--rank", "3", width=200)
    assert result.exit_code == 0, result.output
    assert "0.7 x witty-sft-1 + 0.3 x warm-sft-1, for witty" in result.stdout
    assert "Cut to rank 3" in result.stdout and "Residual of additivity: 0." in result.stdout
    told = json.loads(run("adapter", "blend", "witty:0.7", "warm:0.3", "--no-measure", "--json").stdout)
    assert told["card"]["derived"]["rank"] == 4 and told["additivity"] is None
    assert len(cards(workspace)) == 4


def test_a_mixture_of_nothing_is_one_line_with_a_fix() -> None:
    result = run("adapter", "blend", "witty:lots")
    assert result.exit_code == 2 and "no part of a mixture" in result.stderr and "Fix:" in result.stderr


def test_scale_compare_verify_and_rm(workspace: Workspace, voices: None) -> None:
    made = json.loads(run("adapter", "scale", "witty", "--json", "--", "-1").stdout)["run"]
    told = json.loads(run("adapter", "compare", "witty", made, "--json").stdout)
    assert told["layers"][-1]["cosines"] == pytest.approx([1.0, -1.0])
    page = run("adapter", "compare", "witty", made, width=200)
    assert page.exit_code == 0 and "q_proj" in page.stdout and "-1.00" in page.stdout
    assert run("adapter", "verify").exit_code == 0
    assert f"{made}: whole" in run("adapter", "verify", made, width=200).stdout
    refused = run("adapter", "rm", "witty-sft-1", "--yes")
    assert refused.exit_code == 1 and "was made of it" in " ".join(refused.stderr.split())
    assert run("adapter", "rm", made, stdin="n\n").exit_code == 1
    assert run("adapter", "rm", made, "witty-sft-1", "--yes").exit_code == 0
    assert [card.run for card in cards(workspace)] == ["warm-sft-1"]


def test_verify_fails_where_something_is_broken(workspace: Workspace, voices: None) -> None:
    (workspace.runs / "warm-sft-1" / "adapter" / "adapter_config.json").unlink()
    result = run("adapter", "verify", width=200)
    assert result.exit_code == 1 and "1 adapter of 2" in result.stderr
    assert "no adapter_config.json there" in result.stdout


def test_out_and_in_again(workspace: Workspace, voices: None, tmp_path: Path) -> None:
    assert run("adapter", "export", "witty", str(tmp_path / "out")).exit_code == 0
    result = run("adapter", "import", str(tmp_path / "out"), "--name", "guest", width=200)
    assert result.exit_code == 0, result.output
    assert "is now guest-import-" in result.stdout
    assert newest(workspace, "witty").run == "witty-sft-1"
    bad = run("adapter", "import", str(tmp_path / "nowhere"))
    assert bad.exit_code == 1 and "no adapter_config.json there" in bad.stderr


def test_a_rollback_says_who_speaks_now(workspace: Workspace) -> None:
    early = untrained(workspace, run="early", made=day(1))
    late = untrained(workspace, run="late", made=day(2))
    promoted(workspace, early)
    assert run("adapter", "rollback", "witty").exit_code == 1
    promoted(workspace, late)
    result = run("adapter", "rollback", "witty", "--why", "too much", width=200)
    assert result.exit_code == 0 and "Promoted early for witty" in result.stdout
    assert newest(workspace, "witty") == early


@pytest.mark.parametrize("arm", ["witty@old", "witty@0ab100", "witty@0AB100", "old"])
@pytest.mark.parametrize("more", ["", ":0.5+witty:0.5", ":0.5"])
def test_what_a_running_experiment_asks_for_stays(workspace: Workspace, arm: str, more: str) -> None:
    untrained(workspace, run="old", made=day(1), adapter_hash="0ab1" + "0" * 60)
    untrained(workspace, run="new", made=day(2))
    start(workspace, "tone", arms(f"warm:1,{arm}{more}:1"))
    refused = run("adapter", "rm", "old", "--yes")
    assert refused.exit_code != 0 and "the experiment 'tone' asks for it" in refused.stderr
    assert json.loads(run("adapter", "gc", "--json").stdout)["runs"] == []
    stop(workspace, "tone")
    assert json.loads(run("adapter", "gc", "--json").stdout)["runs"] == ["old"]
    assert run("adapter", "rm", "old", "--yes").exit_code == 0


def test_gc_lists_first_and_removes_when_told_to(workspace: Workspace) -> None:
    untrained(workspace, run="early", made=day(1))
    untrained(workspace, run="late", made=day(2))
    listed = run("adapter", "gc")
    assert "early: " in listed.stdout and len(cards(workspace)) == 2
    assert run("adapter", "gc", "--yes").exit_code == 0
    assert [card.run for card in cards(workspace)] == ["late"]


def test_what_needs_no_matrices_imports_no_torch() -> None:
    assert not modules_after("adapter", "verify") & {"torch", "transformers"}
