"""`mien experiment`: start, list, show, stop, and what is written for training."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from mien.base.fetch import pull
from mien.data.pairs import Feedback, read_rows
from mien.persona.spec import library
from mien.registry.cards import PERSONA
from mien.schema import conversation
from mien.serve.experiments import called, running
from mien.serve.feedback import Answered, FeedbackRequest, give, keep, note
from mien.workspace import DATABASE, Workspace, write_json
from tests import models
from tests.cli.running import modules_after, run
from tests.registry.test_cards import put

EVEN = "witty:0.5,warm:prompt:0.5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_folder(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(autouse=True)
def _here(workspace: Workspace, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained witty on a small base; users are always drawn alike."""
    monkeypatch.setattr("mien.serve.experiments.secrets.token_hex", lambda octets: "5a" * octets)
    monkeypatch.setenv("MIEN_WORKSPACE", str(workspace.root))
    card = put(workspace, base_hash=pull(str(folder)).sha256)
    persona = library()["witty"].model_dump(mode="json")
    write_json(workspace.runs / card.run / PERSONA, persona)


def begin(folder: Path, *more: str, name: str = "style", arms: str = EVEN) -> Result:
    return run("experiment", "start", name, "--arms", arms, "--base", str(folder), *more, width=120)


def use(workspace: Workspace, users: int, *, text: bool = False) -> None:
    """Users who ask once, of whom those of warm are content."""
    experiment = called(workspace, "style")
    with closing(workspace.database()) as db:
        db.execute("pragma synchronous = off")
        for i in range(users):
            person = experiment.person("", f"{i}")
            arm = experiment.arm(person)
            note(db, Answered(f"r{i}", "style", experiment.epoch, arm, person, "v", 1, "now"))
            if text:
                keep(db, f"r{i}", conversation("hello"), [f"reply {i}"])
            kind = "thumb_down" if arm == "witty" else "thumb_up"
            give(db, "", FeedbackRequest(completion_id=f"r{i}", kind=kind, user=f"{i}"))


def test_an_experiment_from_its_start_to_its_end(workspace: Workspace, folder: Path) -> None:
    begun = begin(folder, "--users", "20")
    assert begun.exit_code == 0, begun.output
    assert begun.stdout == "style, epoch 1: witty 50%, warm:prompt 50%; no texts are kept.\n"
    use(workspace, 60)
    shown = run("experiment", "show", "style", width=160).stdout
    assert "style, epoch 1: witty 50%, warm:prompt 50%; started" in shown and "running" in shown
    assert "warm:prompt - witty" in shown and "1.00 [0.8" in shown
    assert "Decided: thumbs up higher with warm:prompt than witty. All else is undecided." in shown
    stopped = run("experiment", "stop", "style")
    assert stopped.stdout == "style, epoch 1: stopped.\n"
    assert running(workspace) == {}
    listed = run("experiment", "list", width=160).stdout
    assert "witty 50%, warm:prompt 50%" in listed


def test_json_has_everything_but_the_secret(workspace: Workspace, folder: Path) -> None:
    begin(folder)
    use(workspace, 8)
    told = json.loads(run("experiment", "show", "style", "--json").stdout)
    assert told["experiment"]["arms"][1] == {"name": "warm:prompt", "weight": 0.5}
    assert sum(side["users"] for side in told["arms"]) == 8
    assert told["contrasts"][0]["verdict"] == "too few users"
    assert set(told["arms"][0]["scores"]["thumbs_up"]) >= {"value", "low", "high", "n", "method"}
    listed = json.loads(run("experiment", "list", "--json").stdout)
    assert listed == [told["experiment"]]
    assert called(workspace, "style").salt not in json.dumps(told)


def test_what_is_not_decided_is_said_so_with_a_warning_of_looking_often(
    workspace: Workspace, folder: Path
) -> None:
    begin(folder)
    shown = run("experiment", "show", "style", width=160).stdout
    assert "Undecided: nothing has come in yet." in shown
    use(workspace, 10)
    shown = " ".join(run("experiment", "show", "style", width=160).stdout.split())
    assert "Undecided: too few users." in shown
    assert "Beware: It is still running" in shown and "--users N" in shown


def test_other_arms_are_another_epoch_and_both_can_be_read(workspace: Workspace, folder: Path) -> None:
    begin(folder)
    use(workspace, 6)
    assert "epoch 2" in begin(folder, arms="witty:0.9,base:0.1").stdout
    assert "epoch 2" in begin(folder, arms="witty:0.9,base:0.1").stdout
    arms = json.loads(run("experiment", "show", "style", "--epoch", "1", "--json").stdout)["arms"]
    assert sum(side["users"] for side in arms) == 6
    arms = json.loads(run("experiment", "show", "style", "--json").stdout)["arms"]
    assert [(side["arm"], side["users"]) for side in arms] == [("witty", 0), ("base", 0)]
    assert "no epoch 3" in run("experiment", "show", "style", "--epoch", "3").stderr


@pytest.mark.parametrize(
    ("name", "arms", "said"),
    [
        ("style", "wity:0.5,base:0.5", "did you mean 'witty'?"),
        ("style", "witty@nothing:1", "There is no model"),
        ("style", "warm:1", "There is no model 'warm'"),
        ("style", "witty", "'witty' is no arm"),
        ("style", "witty:0.5,witty:0.5", "named twice"),
        ("witty", EVEN, "is a model's name already"),
        ("base", EVEN, "is a model's name already"),
        ("../style", EVEN, "No experiment can be called"),
    ],
)
def test_what_cannot_be_tested_is_refused(
    workspace: Workspace, folder: Path, name: str, arms: str, said: str
) -> None:
    result = begin(folder, name=name, arms=arms)
    assert result.exit_code == 2 and said in " ".join(result.stderr.split())
    assert running(workspace) == {}


def test_a_broken_run_that_nobody_asks_for_is_told_of(workspace: Workspace, folder: Path) -> None:
    put(workspace, run="calm-sft-1", persona="calm", base_hash=pull(str(folder)).sha256)
    result = begin(folder)
    assert result.exit_code == 0 and "style" in running(workspace)
    assert f"calm-sft-1/{PERSONA}: not a persona" in "".join(result.stderr.split("\n"))


def test_the_export_is_what_pairs_are_made_of(
    workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    begin(folder, "--keep-text")
    use(workspace, 6, text=True)
    out = tmp_path / "feedback.jsonl"
    result = run("experiment", "export", "style", "--out", str(out))
    assert result.exit_code == 0 and "Wrote 6 rows" in result.stderr, result.output
    assert len(read_rows(out, Feedback)) == 6
    again = run("experiment", "export", "style", "--out", str(out))
    assert again.exit_code == 2 and "--force" in again.stderr
    witty = run("experiment", "export", "style", "--arm", "witty", "--out", str(out), "--force")
    assert witty.exit_code == 0
    assert {row.kind for row in read_rows(out, Feedback)} == {"thumb_down"}
    run("experiment", "export", "style", "--out", str(out), "--force")
    pairs = run("data", "pairs", "--from", "feedback", str(out), "--out", str(tmp_path / "pairs.jsonl"))
    assert pairs.exit_code == 0, pairs.output
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert {row["source"] for row in rows} == {"feedback/thumbs"}


def test_without_texts_there_is_nothing_to_export(
    workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    begin(folder)
    use(workspace, 3)
    out = tmp_path / "feedback.jsonl"
    result = run("experiment", "export", "style", "--out", str(out), width=120)
    assert result.exit_code == 2 and not out.exists()
    assert "Left out 3 rows: texts were not kept." in result.stderr and "--keep-text" in result.stderr


def test_what_there_is_none_of_is_told_and_nothing_is_made(workspace: Workspace) -> None:
    listed = run("experiment", "list")
    assert listed.exit_code == 0 and "mien experiment start" in listed.stdout
    for command in ("show", "stop"):
        result = run("experiment", command, "style")
        assert result.exit_code == 2 and "no experiment 'style'" in result.stderr
    assert not (workspace.root / DATABASE).exists()


def test_reading_needs_no_torch() -> None:
    assert not modules_after("experiment", "list") & {"torch", "transformers"}
