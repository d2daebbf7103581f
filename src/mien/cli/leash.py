"""`mien leash`: what became of runs on preferences, as a page and in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mien.cli.output import console, echo_json, json_option, table
from mien.registry.cards import newest
from mien.schema import digest
from mien.workspace import Workspace, disk_errors, write_atomic

if TYPE_CHECKING:
    from mien.train.leash import Look
    from mien.train.leash_page import Run

_STYLES = {"good": "green", "partial": "yellow", "failed": "bold red", "unknown": ""}


@click.command("leash")
@click.argument("names", metavar="RUN [RUN ...]", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page; by default in the run's folder, or for several in the workspace's reports.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write gold score and proxy against the distance as an SVG file, too.",
)
@json_option
def leash(names: tuple[str, ...], out: Path | None, picture: Path | None, as_json: bool) -> None:
    """Show how far runs on preferences went, and what it was worth.

    RUN is the name of a run of dpo or ppo, finished or under way, or a persona's for its newest. The
    page has the verdicts, the gold score and the proxy against the distance from the reference, what
    each look has found, the course of training, and some replies. Several runs are drawn together, each
    called by what its recipe has that the others have not.
    """
    from mien.train.leash_page import Run, labels, render

    workspace = Workspace.open()
    folders = list(dict.fromkeys(_folder(workspace, name) for name in names))
    runs = [Run.read(folder) for folder in folders]
    page = out or _page(workspace, folders)
    with disk_errors(page.absolute().parent, "a few MB"):
        write_atomic(page, render(runs))
    if picture:
        with disk_errors(picture.absolute().parent, "a few MB"):
            write_atomic(picture, _sheet(runs))
    called = labels(runs)
    if as_json:
        shown = [_as_json(run, label) for run, label in zip(runs, called, strict=True)]
        echo_json({"page": str(page.resolve()), "runs": shown})
        return
    for run, label in zip(runs, called, strict=True):
        _show(console(), run, label)
    console().print(f"Page: {page.resolve()}", soft_wrap=True, markup=False)


def _folder(workspace: Workspace, name: str) -> Path:
    """A run's folder by its own name, which it has before it is finished, or by its persona's."""
    folder = workspace.runs / name
    if folder.is_dir():
        return folder
    return workspace.runs / newest(workspace, name, stages=("dpo", "ppo", "null-dpo")).run


def _page(workspace: Workspace, folders: list[Path]) -> Path:
    from mien.train.leash_page import PAGE

    if len(folders) == 1:
        return folders[0] / PAGE
    return workspace.reports / f"leash-{digest([each.name for each in folders])[:8]}" / PAGE


def _sheet(runs: Sequence[Run]) -> str:
    from mien.evaluate.figure import Figure
    from mien.evaluate.pages.sheet import sheet
    from mien.train.leash_page import curves, together
    from mien.train.leash_pictures import key

    shown = together(runs)
    figures = [Figure(each.label, each.picture, each.note) for each in curves(shown)]
    marks = [(each.mark, each.colour) for each in shown]
    whose = [Figure("", key(marks), wide=True)] if len(runs) > 1 else []
    return sheet("How far, and what it was worth", [*whose, *figures])


def _as_json(run: Run, label: str) -> dict[str, Any]:
    from mien.train.leash_page import gold

    looks = []
    for look in run.looks:
        worth = gold(look)
        row = look.model_dump(mode="json") | {"gold": worth and worth._asdict()}
        looks.append(row | {"kept": run.kept(look)})
    verdict = run.verdict and run.verdict.model_dump(mode="json")
    return {"run": run.name, "label": label, "verdict": verdict, "looks": looks}


def _show(out: Console, run: Run, label: str) -> None:
    name = Text(run.name, style="bold")
    out.print(name if label == run.name else Text.assemble(name, f" ({label})"), soft_wrap=True)
    out.print(Text(run.headline, style=_STYLES[run.grade]))
    for sentence in run.sentences:
        out.print(sentence, markup=False)
    out.print("", _looks(run), "")


def _looks(run: Run) -> Table:
    watched = any(look.gold for look in run.looks)
    heads = ("Gold [95 %]", "Voice", "Content") if watched else ()
    grid = table("Step", "KL", "Proxy", *map(escape, heads), "Repetition", "Words", "")
    for column in grid.columns:
        column.justify, column.no_wrap = "right", True
    for look in run.looks:
        worth = _worth(look) if watched else ()
        cells = [*map(_figure, (look.kl, look.proxy)), *worth, _figure(look.repetition)]
        last = (f"{look.reply_words:.0f}", "kept" if run.kept(look) else "")
        grid.add_row(str(look.step), *map(Text, cells), *last)
    return grid


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _worth(look: Look) -> tuple[str, str, str]:
    from mien.train.leash_page import gold

    worth = gold(look)
    told = f"{worth.value:.2f} [{worth.low:.2f}, {worth.high:.2f}]" if worth else ""
    return told, _figure(look.voice), _figure(look.content)
