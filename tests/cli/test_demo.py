"""`mien demo`, and the bars it shows."""

from __future__ import annotations

import pytest

from mien.evaluate import order
from mien.train import run as training
from tests.cli.running import run
from tests.seams import Seams


def test_the_whole_story_and_what_to_do_next(story: Seams) -> None:
    result = run("demo", width=140)
    assert result.exit_code == 0, result.output
    for line in ("base model tiny, float32, frozen", "persona witty: ", "trained witty-sft-"):
        assert line in result.stderr
    assert "Report: " in result.stdout
    assert "Talk to it: mien chat --persona witty\n" in result.stdout
    assert "mien chat --persona witty --compare base,prompt,witty\n" in result.stdout
    assert story.loaded == ["smollm2-135m"]


def test_a_second_run_reuses_what_is_there(story: Seams, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run("demo", "--persona", "calm")
    monkeypatch.setattr(training, "fit", None)
    monkeypatch.setattr(order, "evaluate", None)
    second = run("demo", "--persona", "calm")
    assert second.exit_code == 0
    assert second.stdout == first.stdout


def test_another_base_is_part_of_what_to_do_next(story: Seams) -> None:
    result = run("demo", "--base", "gemma3-270m")
    assert "mien chat --persona witty --base gemma3-270m\n" in result.stdout
    assert story.loaded == ["gemma3-270m"]


def test_an_unknown_persona_is_bad_input(story: Seams) -> None:
    result = run("demo", "--persona", "captain")
    assert result.exit_code == 2
    assert "captain" in result.stderr and "Fix: " in result.stderr
