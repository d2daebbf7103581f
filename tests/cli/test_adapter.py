"""`mien adapter`: what there is, what it is worth, and who let it speak."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from mien.persona.spec import library
from mien.registry.cards import PERSONA, Card, newest
from mien.registry.promote import promotions
from mien.workspace import Workspace, write_json
from tests.cli.running import modules_after, run
from tests.evaluate.judged import evaluation, put_evaluation
from tests.registry.test_cards import put


@pytest.fixture(autouse=True)
def _here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_WORKSPACE", str(workspace.root))


def trained(workspace: Workspace, **changes: Any) -> Card:
    card = put(workspace, **changes)
    persona = library()["witty"].model_dump(mode="json")
    write_json(workspace.runs / card.run / PERSONA, persona)
    return card


def test_an_adapter_that_passes_is_promoted_and_speaks(workspace: Workspace) -> None:
    early = trained(workspace, run="early", made="2026-01-01T00:00:00+00:00")
    late = trained(workspace, run="late", made="2026-01-02T00:00:00+00:00")
    put_evaluation(workspace, "r", evaluation(early))
    assert newest(workspace, "witty") == late
    result = run("adapter", "promote", "early")
    assert result.exit_code == 0, result.output
    assert "Promoted early for witty by" in result.stdout
    assert newest(workspace, "witty") == early
    (kept,) = promotions(workspace)
    assert (kept.who, kept.report, kept.forced, kept.failed) == (getpass.getuser(), "r", False, ())


def test_an_adapter_that_fails_is_refused_with_every_failed_check_in_a_line(
    workspace: Workspace,
) -> None:
    card = trained(workspace)
    put_evaluation(workspace, "r", evaluation(card, voice=0.4))
    result = run("adapter", "promote", card.run)
    assert result.exit_code == 1
    line = "voice (voice/rate) must be at least 0.60: 0.40 [0.35, 0.45], n = 40: failed"
    assert line in result.stdout.splitlines()
    assert "1 check not passed in r" in result.stderr and "--suite full" in result.stderr
    assert promotions(workspace) == []


def test_force_needs_a_reason_and_keeps_it_with_what_failed(workspace: Workspace) -> None:
    card = trained(workspace)
    put_evaluation(workspace, "r", evaluation(card, voice=0.4))
    bare = run("adapter", "promote", card.run, "--force")
    assert bare.exit_code == 2 and "--force needs a reason" in bare.stderr
    assert run("adapter", "promote", card.run, "--force", "--why", "a demo").exit_code == 0
    (kept,) = promotions(workspace)
    assert kept.forced and kept.why == "a demo"
    assert [each.split()[0] for each in kept.failed] == ["voice"]


def test_force_where_nothing_fails_is_no_force(workspace: Workspace) -> None:
    card = trained(workspace)
    put_evaluation(workspace, "r", evaluation(card))
    assert run("adapter", "promote", card.run, "--force", "--why", "to be sure").exit_code == 0
    assert promotions(workspace)[0].forced is False


def test_what_was_never_evaluated_is_refused_and_can_be_forced(workspace: Workspace) -> None:
    card = trained(workspace)
    result = run("adapter", "promote", "witty")
    assert result.exit_code == 1 and "it was never evaluated" in result.stderr
    assert "mien eval --persona witty --systems base,prompt,null," in " ".join(result.stderr.split())
    assert run("adapter", "promote", "witty", "--force", "--why", "x").exit_code == 0
    (kept,) = promotions(workspace)
    assert (kept.run, kept.report, kept.failed) == (card.run, "", ("there is no evaluation",))


def test_the_thresholds_are_those_of_training_unless_a_file_is_named(
    workspace: Workspace, tmp_path: Path
) -> None:
    card = trained(workspace)
    put_evaluation(workspace, "r", evaluation(card))
    strict = tmp_path / "strict.yaml"
    value = library()["witty"].model_dump(mode="json") | {"release": {"voice": 0.9}}
    strict.write_text(json.dumps(value), encoding="utf-8")  # JSON is YAML
    result = run("adapter", "promote", card.run, "--persona", str(strict))
    assert result.exit_code == 1 and "must be at least 0.90" in result.stdout
    assert run("adapter", "promote", card.run).exit_code == 0


def test_a_control_is_not_promoted(workspace: Workspace) -> None:
    put(workspace, stage="null", persona="neutral")
    result = run("adapter", "promote", "null")
    assert result.exit_code == 2 and "speaks for nobody" in result.stderr


def test_the_list_says_how_often_each_voice_is_heard_and_who_speaks(workspace: Workspace) -> None:
    early = trained(workspace, run="early", made="2026-01-01T00:00:00+00:00")
    trained(workspace, run="late", made="2026-01-02T00:00:00+00:00")
    put(workspace, run="paid", stage="reward")
    put_evaluation(workspace, "r", evaluation(early))
    run("adapter", "promote", "early")
    rows = json.loads(run("adapter", "list", "--json").stdout)
    assert [(row["run"], row["promoted"]) for row in rows] == [("early", True), ("late", False)]
    assert rows[0]["voice"]["value"] == 0.8 and rows[1]["voice"] is None
    lines = run("adapter", "list", width=160).stdout.splitlines()
    assert [line for line in lines if "0.80 [0.75, 0.85]" in line and line.rstrip().endswith("yes")]


def test_an_empty_list_says_how_to_begin() -> None:
    result = run("adapter", "list")
    assert result.exit_code == 0 and "mien train sft" in result.stdout


def test_show_tells_scores_checks_and_history(workspace: Workspace) -> None:
    card = trained(workspace)
    assert "Not evaluated yet" in run("adapter", "show", card.run).stdout
    put_evaluation(workspace, "r", evaluation(card, voice=0.4))
    run("adapter", "promote", card.run, "--force", "--why", "a demo")
    told = json.loads(run("adapter", "show", "witty", "--json").stdout)
    assert told["card"]["run"] == card.run and told["report"] == "r"
    assert told["checks"][0]["verdict"] == "failed"
    assert [row["why"] for row in told["promotions"]] == ["a demo"]
    page = run("adapter", "show", "witty", width=120).stdout
    assert "voice/rate" in page and "by force by" in page and "0.35 to 0.45" in page


def test_nothing_heavy_is_imported() -> None:
    assert not modules_after("adapter", "list") & {"torch", "transformers"}
