"""`mien demo`, and the bars it shows."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from mien.cli.show import TerminalShow
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


def shown(terminal: bool) -> tuple[TerminalShow, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    return TerminalShow(console, Progress(console=console, disable=not terminal)), out


def test_into_a_pipe_go_plain_lines_and_no_markup_is_read_from_names() -> None:
    show, out = shown(terminal=False)
    show.say("base [bold]x[/]")
    show.begin("training [red]y[/]", 4)
    show.training(1, 4, {"loss": 2.0})
    show.training(2, 4, {"validation_loss": 1.5})
    show.training(3, 4, {"loss": 1.0})
    assert out.getvalue().splitlines() == [
        "\N{CHECK MARK} base [bold]x[/]",
        "  training [red]y[/] ...",
        "  step 1 of 4: loss 2.000",
        "  step 2 of 4: validation 1.500",
    ]


def test_on_a_terminal_there_is_one_bar_at_a_time_with_the_losses() -> None:
    show, _ = shown(terminal=True)
    show.begin("training", 4)
    show.training(1, 4, {"validation_loss": 1.5})
    show.training(2, 4, {"loss": 1.25})
    (task,) = show.bars.tasks
    assert (task.completed, task.total) == (2, 4)
    assert task.fields["note"] == "loss 1.250, validation 1.500"
    show.begin("base", 9)
    show.advance(3)
    (task,) = show.bars.tasks
    assert (task.description, task.completed) == ("base", 3)
    show.say("done")
    assert show.bars.tasks == []
