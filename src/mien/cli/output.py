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
from rich.table import Table
from rich.text import Text

from mien.errors import MienError

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")


def console(*, stderr: bool = False) -> Console:
    """A console on the stream as it is now; numbers are not coloured by guess."""
    return Console(stderr=stderr, highlight=False)


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
    return Table(*columns, box=SIMPLE_HEAD, pad_edge=False, header_style="bold", **settings)


@contextmanager
def stages(waiting: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr while something slow runs, and a function that prints one line per stage."""
    out = console(stderr=True)
    with out.status(waiting):
        yield lambda line: out.print(Text(line, style="dim"), soft_wrap=not out.is_terminal)


def size(count: float) -> str:
    """Bytes for people, in decimal units as package registries count them."""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def count(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
