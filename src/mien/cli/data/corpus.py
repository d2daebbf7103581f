"""`mien data show` and `export`: the built-in parallel corpus, to be read and to be learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mien.cli.output import console, count
from mien.data.corpus import SPLITS, VOICES, Parallel, Split, corpus, examples, forms
from mien.data.formats import write_examples
from mien.errors import InputError
from mien.workspace import disk_errors

_COLUMN = 38  # characters of a reply beside another

voices = click.Choice(VOICES)
splits = click.Choice(SPLITS)


@click.command()
@click.option("--voice", type=voices, help="Only this voice; without it, all of them side by side.")
@click.option("--split", type=splits, help="Only prompts of this split.")
@click.option("--topic", help="Only prompts of this topic.")
@click.option("-n", "wanted", type=click.IntRange(min=1), default=3, help="How many; 3 by default.")
def show(voice: str | None, split: Split | None, topic: str | None, wanted: int) -> None:
    """Show prompts and their replies, to be read.

    The prompts are taken at even distances from the corpus, and the same ones each time.
    """
    every = (*corpus(), *forms())
    rows = [row for row in every if split in (None, row.split) and topic in (None, row.topic)]
    if not rows:
        topics = ", ".join(sorted({row.topic for row in every}))
        where = f"the {split} split" if split else "the corpus"
        raise InputError(f"There is no prompt of topic {topic!r} in {where}.", fix=f"Topics: {topics}.")
    out = console(page=voice is not None)
    chosen = _spread(rows, wanted)
    for row in chosen:
        out.print(_page(row, voice, out.width), "")
    out.print(f"{len(chosen)} of {count(len(rows), 'prompt')}.", style="dim")


def _spread(rows: Sequence[Parallel], wanted: int) -> list[Parallel]:
    wanted = min(wanted, len(rows))
    return [rows[place * len(rows) // wanted] for place in range(wanted)]


def _page(row: Parallel, voice: str | None, width: int) -> RenderableType:
    prompt = Text.assemble(("> ", "dim"), (row.prompt, "bold"), (f"  {row.id}, {row.split}", "dim"))
    if voice:
        return Stack(prompt, Padding(Text(row.replies[voice]), (0, 0, 0, 2)))
    return Stack(prompt, _side_by_side(row, max(1, width // _COLUMN)))


def _side_by_side(row: Parallel, columns: int) -> Table:
    grid = Table.grid(padding=(0, 0, 0, 2), expand=True, pad_edge=True)
    for _ in range(columns):
        grid.add_column(ratio=1)
    cells = [Stack(Text(voice, style="cyan"), Text(reply)) for voice, reply in row.replies.items()]
    for start in range(0, len(cells), columns):
        grid.add_row(*[""] * columns)
        grid.add_row(*cells[start : start + columns])
    return grid


@click.command()
@click.option("--voice", type=voices, required=True, help="The voice of the replies.")
@click.option("--split", type=splits, required=True, help="The split of the prompts.")
@click.option("--force", is_flag=True, help="Replace OUT if it is there already.")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def export(voice: str, split: Split, force: bool, out: Path) -> None:
    """Write one voice of one split to OUT, for training.

    The rows are prompt and completion as lists of messages: TRL's conversational form, which recipes of
    mien read as well.
    """
    if out.exists() and not force:
        raise InputError(f"{out}: there already.", fix="Choose another name, or pass --force.")
    rows = examples(voice, split)
    with disk_errors(out.absolute().parent, "a few MB"):
        write_examples(out, rows)
    click.echo(f"Wrote {count(len(rows), 'example')} to {out}.")
