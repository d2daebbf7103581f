"""`mien data`: the parallel corpus, to be read, checked and exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mien.cli.groups import Group
from mien.cli.output import console, count, echo_json, json_option, number, progress, table
from mien.data.corpus import SPLITS, VOICES, Parallel, Split, corpus, examples, read_parallel
from mien.data.formats import write_examples
from mien.errors import InputError
from mien.workspace import disk_errors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mien.data.quality import Embed, Report

_COLUMN = 38  # characters of a reply beside another
_TEXTS = 64  # embedded between two steps of the progress bar

voices = click.Choice(VOICES)
splits = click.Choice(SPLITS)


@click.group(cls=Group)
def data() -> None:
    """Read, check and export the parallel corpus.

    The built-in corpus answers every prompt in a neutral voice and in five others, with the same
    content: what differs between two replies is the voice and nothing else. A prompt belongs to the
    training, the validation or the test split by its hash, in every voice.
    """


@data.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--no-embeddings", is_flag=True, help="Leave out what needs a model: checks of meaning.")
@json_option
@click.pass_context
def check(ctx: click.Context, file: Path | None, no_embeddings: bool, as_json: bool) -> None:
    """Check a parallel corpus, by default the built-in one.

    FILE is JSONL, each row with id, topic, prompt, points and replies by voice. Looked for is whatever
    would let a model score well for the wrong reason: copies, prompts that leak between splits, voices
    that differ in length or in one telling word, content that was lost in one voice. The exit code is 1
    if a check fails.
    """
    rows = read_parallel(file) if file else corpus()
    report = _check(rows, embeddings=not no_embeddings)
    if as_json:
        echo_json({"passed": report.passed, **report.model_dump(mode="json")})
    else:
        _show_report(console(), report)
    ctx.exit(0 if report.passed else 1)


def _check(rows: Sequence[Parallel], *, embeddings: bool) -> Report:
    from mien.data import quality

    if not embeddings:
        return quality.check(rows)
    with _embedding((len(VOICES) + 1) * len(rows)) as embed:
        return quality.check(rows, embed)


@contextmanager
def _embedding(texts: int) -> Iterator[Embed]:
    """The sentence embedder, with a progress bar over the given number of texts."""
    import numpy as np

    with progress("Loading the sentence embedder", texts) as bar:
        from mien.base.embed import Embedder

        embedder = Embedder.load(report=bar.say)

        def embed(batch: Sequence[str]) -> NDArray[np.float32]:
            bar.say("Comparing meaning")
            parts = [np.empty((0, embedder.size), dtype=np.float32)]
            for start in range(0, len(batch), _TEXTS):
                parts.append(embedder.embed(batch[start : start + _TEXTS]))
                bar.advance(len(parts[-1]))
            return np.concatenate(parts)

        yield embed


def _show_report(out: Console, report: Report) -> None:
    out.print(_figures(report))
    if report.findings:
        out.print("", _findings(report))
    notes = len(report.findings) - len(report.errors)
    kept = sum(figure.passed for figure in report.figures)
    verdict = ("Passed", "bold green") if report.passed else ("Failed", "bold red")
    figures = f"{kept} of {count(len(report.figures), 'figure')} within bounds"
    told = f": {figures}, {count(len(report.errors), 'error')}, {count(notes, 'note')}."
    out.print(Text.assemble("\n", verdict, told))


def _figures(report: Report) -> Table:
    grid = table("Figure", "Value", "Bound", "", "What it is")
    grid.columns[1].justify = "right"
    for each in report.figures:
        mark = "" if not each.bound else "[green]ok[/]" if each.passed else "[bold red]FAILED[/]"
        grid.add_row(each.name, number(each.value), each.bound, mark, Text(each.about))
    return grid


def _findings(report: Report) -> Table:
    grid = table("", "Check", "Where", "What was found")
    for each in sorted(report.findings, key=lambda finding: finding.severity):  # errors come first
        style = "bold red" if each.severity == "error" else "dim"
        grid.add_row(Text(each.severity, style=style), each.check, each.where, Text(each.message))
    return grid


@data.command()
@click.option("--voice", type=voices, help="Only this voice; without it, all of them side by side.")
@click.option("--split", type=splits, help="Only prompts of this split.")
@click.option("--topic", help="Only prompts of this topic.")
@click.option("-n", "wanted", type=click.IntRange(min=1), default=3, help="How many; 3 by default.")
def show(voice: str | None, split: Split | None, topic: str | None, wanted: int) -> None:
    """Show prompts and their replies, to be read.

    The prompts are taken at even distances from the corpus, and the same ones each time.
    """
    rows = [row for row in corpus() if split in (None, row.split) and topic in (None, row.topic)]
    if not rows:
        topics = ", ".join(sorted({row.topic for row in corpus()}))
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


@data.command()
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
