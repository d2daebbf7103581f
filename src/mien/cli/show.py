"""The story as a terminal shows it: one line per finished step, one bar for what is under way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mien.cli.output import console
from mien.show import Show

_QUIET_SECONDS = 15.0
_FEW = 0.5


class TerminalShow(Show):
    """Bars on a terminal; into a file or a pipe, now and then a plain line."""

    course: str
    validation: float | None

    def __init__(self, out: Console, bars: Progress) -> None:
        self.out, self.bars = out, bars
        self.task: TaskID | None = None
        self.course, self.validation = "", None
        self._last = 0.0

    def say(self, line: str) -> None:
        """Print a finished step."""
        self._end()
        self.out.print(f"[green]\N{CHECK MARK}[/] {escape(line)}", soft_wrap=True)

    def note(self, line: str) -> None:
        """Print what was seen on the way."""
        self.out.print(f"  [dim]{escape(line)}[/]", soft_wrap=True)

    def begin(self, name: str, total: int) -> None:
        """Start a bar."""
        self._end()
        self.course, self.validation = "", None
        self.task = self.bars.add_task(escape(name), total=total, note="")
        if not self.out.is_terminal:
            self.out.print(f"  {name} ...", soft_wrap=True, markup=False)

    def advance(self, parts: int) -> None:
        """Move the bar."""
        if self.task is not None:
            self.bars.advance(self.task, parts)

    def training(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """Move the bar of a training run, with its losses."""
        self.validation = metrics.get("validation_loss", self.validation)
        held = f", validation {self.validation:.3f}" if self.validation is not None else ""
        self.course = _course(metrics) or self.course
        note = self.course + held
        if self.task is not None:
            self.bars.update(self.task, completed=step, total=steps, note=note)
        due = "validation_loss" in metrics or time.monotonic() - self._last > _QUIET_SECONDS
        if not self.out.is_terminal and due:
            self._last = time.monotonic()
            self.out.print(f"  step {step} of {steps}: {note.strip(', ')}", soft_wrap=True)

        if step == 1 and metrics.get("ended", 1.0) < _FEW:
            self.note(
                f"{metrics['ended']:.0%} of the replies come to an end within `max_tokens`; a reward"
                " model has only seen replies that do."
            )

    def _end(self) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None


def _course(metrics: Mapping[str, float]) -> str:
    """How it goes, if that is news: PPO by the rewards of its round, since its losses say nothing."""
    if "reward" in metrics:
        return f"reward {metrics['reward']:.2f}, {metrics['kl']:.1f} nats a reply away"
    told = "loss" in metrics and "policy_loss" not in metrics
    return f"loss {metrics['loss']:.3f}" if told else ""


@contextmanager
def terminal_show() -> Iterator[TerminalShow]:
    """A show on stderr, for the time of one command."""
    out = console(stderr=True)
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bars:
        yield TerminalShow(out, bars)
