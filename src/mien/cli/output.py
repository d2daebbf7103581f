"""How commands speak: a console as wide as the terminal, JSON on stdout, sizes in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mien.errors import MienError

PAGE = 100  # columns
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")


def console(*, stderr: bool = False, page: bool = False) -> Console:
    """A console on the stream as it is now.

    Args:
        stderr: Write there, as all that is not the answer should.
        page: For reading: lines no longer than the eye follows.
    """
    out = Console(stderr=stderr, highlight=False)
    out.width = min(out.width, PAGE) if page else out.width
    return out


def echo_json(value: Any) -> None:
    """Readable JSON on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_error(error: MienError) -> None:
    """Two lines on stderr: what is wrong and what to do. A pipe gets each of them unbroken."""
    out = console(stderr=True)
    parts = [("Error: ", "bold red", error.what), ("Fix: ", "bold green", error.fix)]
    for label, style, text in parts:
        if text:
            out.print(Text.assemble((label, style), text.rstrip()), soft_wrap=not out.is_terminal)


def table(*columns: str, **settings: Any) -> Table:
    """An empty table in the one style that all commands share."""
    look: dict[str, Any] = {"box": SIMPLE_HEAD, "show_edge": False, "header_style": "bold"}
    return Table(*columns, **look, pad_edge=False, padding=(0, 1, 0, 0), **settings)


@contextmanager
def stages(waiting: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr while something slow runs, and a function that prints one line per stage."""
    out = console(stderr=True)
    with out.status(waiting):
        yield lambda line: out.print(Text(line, style="dim"), soft_wrap=not out.is_terminal)


class Bar:
    """A progress bar under way."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self.bars = bars
        self.task = task

    def say(self, line: str) -> None:
        """What is being done now."""
        self.bars.update(self.task, description=escape(line))

    def advance(self, steps: int = 1) -> None:
        """So much more is done."""
        self.bars.advance(self.task, steps)


@contextmanager
def progress(line: str, total: int) -> Iterator[Bar]:
    """A progress bar on stderr, with the time that is left; it goes when the work is done."""
    out = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bars:
        yield Bar(bars, bars.add_task(line, total=total))


def size(octets: float) -> str:
    """Bytes for people, in decimal units as package registries count them."""
    if octets < 1e6:
        return f"{octets / 1e3:.0f} kB"
    return f"{octets / 1e6:.0f} MB" if octets < 1e9 else f"{octets / 1e9:.1f} GB"


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def count(items: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{items} {noun}{'' if items == 1 else 's'}"


def number(value: float) -> str:
    """Three digits that count, and never an exponent above one, which YAML would read as text."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
