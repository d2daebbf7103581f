"""`mien persona`: who speaks, as a file that can be read, written, checked and measured."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mien.cli.groups import Group
from mien.cli.output import console, count, echo_json, json_option, number, show_error, table
from mien.cli.texts import read_texts
from mien.errors import InputError, MienError
from mien.persona import voice
from mien.persona.spec import Persona, find, library, template
from mien.persona.voice import DIMENSIONS, MEASURES, measure, measures_of
from mien.workspace import disk_errors, write_atomic

PERCENTILES = (10, 50, 90)
SCHEMA = "persona.schema.json"
_ENOUGH = 20  # texts; with fewer, the 10th and the 90th percentile are next to the extremes


@click.group(cls=Group)
def persona() -> None:
    """Read, write, check and measure personas.

    A persona is a YAML file: a description, a system prompt, bands in which the measures of its voice
    lie, boundaries that it keeps, and examples. PERSONA is the name of a built-in one or the path of a
    .yaml file.
    """


@persona.command("list")
@json_option
def list_personas(as_json: bool) -> None:
    """List the built-in personas."""
    known = library()
    if as_json:
        echo_json([_json(each) for each in known.values()])
        return
    grid = table("Name", "Title", "Who speaks")
    for each in known.values():
        grid.add_row(each.name, each.title, voice.Text(each.description).sentences[0])
    out = console()
    out.print(grid)
    out.print("\n`mien persona show NAME` shows the whole of one.", style="dim")


@persona.command()
@click.argument("persona")
@json_option
def show(persona: str, as_json: bool) -> None:
    """Show everything that PERSONA says of itself."""
    found = find(persona)
    if as_json:
        echo_json(_json(found))
        return
    out = console(page=True)
    for part in _page(found):
        out.print(part)


def _json(persona: Persona) -> dict[str, Any]:
    return {**persona.model_dump(mode="json", exclude_none=True), "hash": persona.digest()}


def _page(persona: Persona) -> Iterator[RenderableType]:
    yield Text.assemble((persona.title, "bold"), (f" ({persona.name}, {persona.digest()[:12]})", "dim"))
    yield Text(persona.description.strip())
    yield _section("System prompt", Text(persona.system_prompt.strip()))
    if persona.voice.bands():
        yield _section("Voice: where the measures of most replies lie", _bands(persona))
    if traits := _traits(persona):
        yield _section("Big Five, from -1 (low) to 1 (high)", traits)
    if persona.boundaries:
        yield _section("Boundaries", _bullets(persona.boundaries))
    if persona.examples:
        yield _section("Examples", *_exchanges(persona))


def _section(title: str, *parts: RenderableType) -> RenderableType:
    return Stack("", Text(title, style="bold cyan"), *(Padding(part, (0, 0, 0, 2)) for part in parts))


def _bands(persona: Persona) -> RenderableType:
    bands = persona.voice.bands()
    cells = {name: [f"{low:g} to {high:g}"] for name, (low, high) in bands.items()}
    return _by_dimension(table("Measure", "Band", "What it is"), cells)


def _by_dimension(grid: Table, cells: Mapping[str, Sequence[str]]) -> Table:
    """One row per measure, under the name of its dimension: the name, its cells, what it is."""
    for dimension, names in _grouped(cells):
        grid.add_row(Text(dimension.replace("_", " "), style="cyan"))
        for name in names:
            grid.add_row(f"  {name}", *cells[name], MEASURES[name].about)
    return grid


def _grouped(wanted: Container[str]) -> Iterator[tuple[voice.Dimension, list[str]]]:
    """The dimensions that have a wanted measure, with those measures."""
    for dimension in DIMENSIONS:
        if names := [name for name in measures_of(dimension) if name in wanted]:
            yield dimension, names


def _bullets(lines: Sequence[str]) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        grid.add_row("-", Text(line))
    return grid


def _traits(persona: Persona) -> Text:
    stated = {trait: value for trait, value in persona.big_five.model_dump().items() if value}
    return Text(", ".join(f"{trait} {value:+g}" for trait, value in stated.items()))


def _exchanges(persona: Persona) -> Iterator[Text]:
    for place, each in enumerate(persona.examples):
        yield Text.assemble("\n" if place else "", ("> ", "dim"), (each.prompt.strip(), "italic"))
        yield Text(each.reply.strip())


@persona.command()
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to write to; the current one by default.",
)
def new(name: str, out: Path) -> None:
    """Write NAME.yaml, a persona to start from.

    The JSON schema is written beside it, so that an editor completes and checks the keys. A file that
    is there already is left as it is.
    """
    target, text = out / f"{name}.yaml", template(name)
    if target.exists():
        raise InputError(f"{target}: there already.", fix="Choose another name, or remove it first.")
    with disk_errors(out, "a few kB"):
        write_atomic(target, text)
        if not (out / SCHEMA).exists():
            write_atomic(out / SCHEMA, _schema())
    click.echo(f"Wrote {target} and, for editors, {out / SCHEMA}.")
    click.echo(f"Edit it, then run `mien persona check {target}`.")


def _schema() -> str:
    return json.dumps(Persona.model_json_schema(), indent=2) + "\n"


@persona.command()
def schema() -> None:
    """Print the JSON schema of a persona file."""
    click.echo(_schema(), nl=False)


@persona.command()
@click.argument("files", nargs=-1, required=True, metavar="PERSONA...")
@click.pass_context
def check(ctx: click.Context, files: tuple[str, ...]) -> None:
    """Check persona files and measure their examples.

    Every mistake is listed, not only the first. Examples whose measures lie outside the persona's own
    bands are pointed out as notes: bands hold most replies and not all, so one outside is no mistake.
    The exit code is 2 if a file has a mistake.
    """
    code = 0
    for file in files:
        try:
            _check_one(find(file), file)
        except MienError as error:
            show_error(error)
            code = max(code, error.exit_code)
    ctx.exit(code)


def _check_one(persona: Persona, source: str) -> None:
    out, bands = console(), persona.voice.bands()
    notes = list(_outside(persona))
    measured = len(bands) * len(persona.examples)
    out.print(
        Text.assemble(
            (source, "bold"),
            ": ",
            ("ok", "green"),
            f", {count(len(bands), 'band')},"
            f" {count(len(persona.examples), 'example')};"
            f" {measured - len(notes)} of {count(measured, 'measure')} inside the bands",
        )
    )
    for note in notes:
        out.print(Padding(Text(note), (0, 0, 0, 2)))


def _outside(persona: Persona) -> Iterator[str]:
    for place, example in enumerate(persona.examples, 1):
        values = measure(example.reply)
        for name, (low, high) in persona.voice.bands().items():
            if not low <= values[name] <= high:
                value = number(values[name])
                yield f"note: example {place}: {name} {value}, outside {low:g} to {high:g}"


@persona.command("measure")
@click.argument("file", metavar="FILE")
@click.option("--bands", is_flag=True, help="Print them as the `voice` of a persona file.")
@json_option
def measure_texts(file: str, bands: bool, as_json: bool) -> None:
    """Measure the voice of texts, to find bands for a persona.

    FILE has one text a line; or it is JSONL, each row with its text under "reply", "completion" or
    "text", or with "messages", of which the assistant's turns are taken; `-` reads from stdin. For each
    measure, the 10th, 50th and 90th percentile are printed: the band from the 10th to the 90th is where
    most of these texts lie.
    """
    texts = read_texts(file)
    rows = _percentiles(texts)
    if as_json:
        echo_json({"texts": len(texts), "percentiles": PERCENTILES, "measures": rows})
    elif bands:
        click.echo(_voice(rows), nl=False)
    else:
        _show_percentiles(console(), rows, len(texts))


def _percentiles(texts: Sequence[str]) -> dict[str, list[float]]:
    import numpy as np

    measured = [measure(text) for text in texts]
    values = {name: [row[name] for row in measured] for name in MEASURES}
    return {name: np.percentile(row, PERCENTILES).round(4).tolist() for name, row in values.items()}


def _show_percentiles(out: Console, rows: dict[str, list[float]], texts: int) -> None:
    grid = table("Measure", *(f"{each} %" for each in PERCENTILES), "What it is")
    for column in grid.columns[1:-1]:
        column.justify, column.no_wrap = "right", True
    out.print(_by_dimension(grid, {name: [number(v) for v in row] for name, row in rows.items()}))
    few = "" if texts >= _ENOUGH else f"; with at least {_ENOUGH}, the outer percentiles mean more"
    out.print(f"\n{count(texts, 'text')}{few}. `--bands` prints this for a persona file.", style="dim")


def _voice(rows: dict[str, list[float]]) -> str:
    lines = ["voice:"]
    for dimension, names in _grouped(rows):
        lines.append(f"  {dimension}:")
        for name in names:
            low, _, high = rows[name]
            lines.append(f"    {name}: [{number(low)}, {number(high)}]  # {MEASURES[name].about}")
    return "\n".join(lines) + "\n"
