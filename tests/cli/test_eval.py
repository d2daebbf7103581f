"""`mien eval`."""

from __future__ import annotations

import json

import pytest

from mien.evaluate import order
from mien.evaluate.evaluation import Evaluation
from tests.cli.running import run
from tests.cli.test_train import SHORT
from tests.seams import Seams


def test_it_shows_a_table_the_verdict_and_where_the_report_is(story: Seams) -> None:
    assert run(*SHORT).exit_code == 0
    result = run("eval", "--persona", "witty", "--only", "voice", width=140)
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in ("base", "prompt", "sft", "Voice heard"))
    page = result.stdout.rstrip().rpartition("Report: ")[2]
    assert page.endswith("report.html") and str(story.workspace.reports) in page
    assert "voice: base ..." in result.stderr


def test_json_is_the_whole_evaluation_and_alone_on_stdout(story: Seams) -> None:
    run(*SHORT)
    result = run("eval", "--persona", "witty", "--only", "voice", "--json")
    assert result.exit_code == 0
    found = Evaluation.model_validate(json.loads(result.stdout))
    assert found.persona == "witty" and found.size == "quick"
    voice = found.results.finding("voice", "sft")
    assert voice is not None and len(voice.detail["replies"]) == 3


def test_a_run_may_be_named_and_the_second_time_nothing_is_measured(
    story: Seams, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*SHORT)
    (name,) = (path.name for path in story.workspace.runs.iterdir())
    first = run("eval", "--persona", name, "--only", "voice", "--json").stdout
    monkeypatch.setattr(order, "evaluate", None)
    assert run("eval", "--persona", "witty", "--only", "voice", "--json").stdout == first


def test_without_an_adapter_it_says_what_to_do_before_a_base_is_loaded(story: Seams) -> None:
    result = run("eval", "--persona", "witty")
    assert result.exit_code == 1
    assert "Fix: Run `mien train sft --persona witty` first." in result.stderr
    assert story.loaded == []


def test_no_traceback_for_a_broken_manifest(story: Seams) -> None:
    run(*SHORT)
    (folder,) = story.workspace.runs.iterdir()
    (folder / "manifest.json").write_text("{")
    result = run("eval", "--persona", "witty")
    assert result.exit_code == 1
    assert "manifest.json: not a card" in result.stderr and "Traceback" not in result.output
