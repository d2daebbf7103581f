"""`mien adapter interpolate`: how the voice moves on the way from one adapter to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mien.cli.output import console, echo_json, json_option, table
from mien.cli.show import terminal_show
from mien.errors import AdapterError
from mien.registry.cards import Card, adapter_folder, newest
from mien.workspace import Workspace, disk_errors, write_atomic

if TYPE_CHECKING:
    from mien.evaluate.interpolation import Interpolation


@click.command("interpolate")
@click.argument("start", metavar="FROM")
@click.argument("end", metavar="TO")
@click.option(
    "--points",
    default=5,
    show_default=True,
    type=click.IntRange(3, 21),
    metavar="N",
    help="Mixtures to listen to, both ends among them.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what is heard against the weights as an SVG file, too.",
)
@click.option("--base", "base_ref", help="Where their base is, if its name does not say.")
@json_option
def interpolate(
    start: str, end: str, points: int, picture: Path | None, base_ref: str | None, as_json: bool
) -> None:
    """Measure how the voice moves as weight goes from FROM to TO.

    Each is a run's name, or a persona's for the adapter that speaks for it. Held-out prompts are
    answered by mixtures from FROM alone to TO alone; a classifier hears how much of either voice is in
    the replies, and how near they are to plain ones tells what became of the content. Nothing is kept.
    """
    from mien.data.corpus import VOICES
    from mien.evaluate.interpolation import check_voices
    from mien.evaluate.pages.interpolation import says

    workspace = Workspace.open()
    cards = newest(workspace, start), newest(workspace, end)
    check_voices((cards[0].persona, cards[1].persona), VOICES)  # said before the base is loaded
    _check_together(cards)
    found = _measured(workspace, cards, points, base_ref)
    if picture:
        with disk_errors(picture.absolute().parent, "1 MB"):
            write_atomic(picture, _sheet(found))
    if as_json:
        echo_json(found.model_dump(mode="json") | {"monotonic": found.monotonic})
        return
    console().print(_table(found))
    console().print(f"\n{says(found)}", markup=False, soft_wrap=True)


def _check_together(cards: tuple[Card, Card]) -> None:
    from mien.registry.blend import check_alike

    check_alike(cards)
    if cards[0].under_prompt:
        raise AdapterError(
            f"{cards[0].run} and {cards[1].run} were trained under their personas' prompts, and between"
            " two prompts there is nothing.",
            fix="Name adapters that were trained without one.",
        )


def _measured(
    workspace: Workspace, cards: tuple[Card, Card], points: int, base_ref: str | None
) -> Interpolation:
    from mien.base.embed import Embedder
    from mien.base.model import Base
    from mien.evaluate.bare import ear_of
    from mien.evaluate.interpolation import Side, interpolated
    from mien.evaluate.setting import SAMPLING
    from mien.registry.attach import attach

    with terminal_show() as show:
        base = Base.load(base_ref or cards[0].base, report=show.say)
        for card in cards:
            attach(base, card, adapter_folder(workspace, card))
        sides = Side(cards[0].run, cards[0].persona), Side(cards[1].run, cards[1].persona)
        embedder = Embedder.load(report=show.say)
        ear = ear_of(base, SAMPLING, show)
        return interpolated(base, sides, ear, embedder, points=points, show=show)


def _sheet(found: Interpolation) -> str:
    from mien.evaluate.figure import Figure
    from mien.evaluate.pages.interpolation import drawn
    from mien.evaluate.pages.sheet import sheet

    # The title is in the picture, where it grows with it and can be read on a phone.
    return sheet(f"From {found.voices[0]} to {found.voices[1]}", [Figure("", drawn(found), wide=True)])


def _table(found: Interpolation) -> Table:
    heads = (*(f"Heard as {voice} [95 %]" for voice in found.voices), "Content kept [95 %]")
    grid = table(" : ".join(found.voices), *map(escape, heads))
    for point in found.points:
        cells = (point.ratio, *point.heard, point.content)
        grid.add_row(*(Text(str(cell)) for cell in cells))
    return grid
