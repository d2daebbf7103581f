"""What a terminal, or a file, shows of a story while it goes on."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress

from mien.cli.show import TerminalShow


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
        "  step 2 of 4: loss 2.000, validation 1.500",
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


def test_a_round_of_ppo_is_told_by_its_reward_until_the_next() -> None:
    show, _ = shown(terminal=True)
    show.begin("training", 4)
    show.training(1, 4, {"loss": 0.1, "policy_loss": 0.1, "reward": -0.25, "kl": 1.5, "ended": 0.9})
    show.training(2, 4, {"loss": -0.3, "policy_loss": -0.3})
    assert show.bars.tasks[0].fields["note"] == "reward -0.25, 1.5 nats a reply away"
    show.begin("another", 4)
    show.training(1, 4, {"loss": 1.0})
    assert show.bars.tasks[0].fields["note"] == "loss 1.000"


def test_replies_that_are_all_cut_off_are_noted_at_once() -> None:
    show, out = shown(terminal=False)
    for ended in (0.4, 0.6):
        show.training(1, 4, {"loss": 0.1, "reward": 1.0, "kl": 0.0, "ended": ended})
    assert out.getvalue().count("come to an end within `max_tokens`") == 1
    assert "40% of the replies" in out.getvalue()
