"""`mien eval`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mien.evaluate import order
from mien.evaluate.evaluation import Evaluation
from tests.cli.running import run
from tests.cli.test_train import SHORT
from tests.evaluate.suites.hearing import Ear
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


def test_several_personas_are_held_against_each_other_in_the_document(
    story: Seams, tmp_path: Path
) -> None:
    run(*SHORT)
    run(*(each.replace("witty", "warm") for each in SHORT))
    file = tmp_path / "results.md"
    result = run("eval", "--persona", "witty,warm", "--only", "diversity", "--markdown", str(file))
    assert result.exit_code == 0, result.output
    text = file.read_text().split("## Is it still varied, coherent and right?")[1]
    assert "apart by the system prompt alone" in text and "apart by sft" in text
    assert text.count("more between them than within") == 2
    stored = story.workspace.scores("personas-witty-warm")
    assert len(stored) == 6 and {each.system for each in stored} == {"prompt", "sft"}


def test_questions_are_written_and_nothing_is_evaluated(
    story: Seams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "VoiceClassifier", Ear)
    file = tmp_path / "questions.jsonl"
    asked = ("eval", "--persona", "witty", "--only", "safety,latency", "--questions", str(file))
    result = run(*asked)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) > 50 and all(row["reply"] is None for row in rows)
    assert f"safety: {len(rows)} questions" in result.stdout and "latency: none" in result.stdout
    assert story.loaded == [] and not story.workspace.reports.exists()
    several = run("eval", "--persona", "witty,warm", "--questions", str(file))
    assert several.exit_code and "A recording is of one persona." in several.stderr
