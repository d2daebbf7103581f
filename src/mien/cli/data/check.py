"""`mien data check`: the parallel corpus by its own rules, any other data set by those for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mien.cli.output import console, count, echo_json, json_option, number, progress, table
from mien.data.corpus import VOICES, Parallel, read_parallel
from mien.data.formats import iter_rows
from mien.errors import DataError, InputError
from mien.workspace import disk_errors, write_atomic, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mien.data import quality
    from mien.data.check import Fixed, Report

_TEXTS = 64  # embedded between two steps of the progress bar
_STYLES = {"error": "bold red", "warning": "yellow", "note": ""}

files = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--against", type=files, help="A data set to test on; its prompts must not be in FILE.")
@click.option("--recipe", type=files, help="A recipe: rows longer than its max_length are counted.")
@click.option(
    "--report",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write check.html and check.json to this folder.",
)
@click.option("--fix", "out", type=files, help="Write the sound rows to OUT, a new file.", metavar="OUT")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning"]),
    default="error",
    show_default=True,
    help="From what on the exit code is 1.",
)
@click.option("--no-embeddings", is_flag=True, help="Of a parallel corpus: leave out checks of meaning.")
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    /,
    *,
    files: tuple[Path, ...],
    against: Path | None,
    recipe: Path | None,
    folder: Path | None,
    out: Path | None,
    fail_on: Any,
    no_embeddings: bool,
    as_json: bool,
) -> None:
    """Check data sets, or the built-in corpus if none is named.

    FILE is JSONL or JSON: prompt and completion, messages, preferences, ShareGPT or Alpaca. Looked for
    are rows that cannot be read, copies, prompts that belong to a test, lengths or single words that
    give the chosen reply of a pair away, remains of templates, teachers that name themselves, refusals,
    personal data, rudeness, other languages, and more. A file of parallel rows (id, topic, prompt,
    points and replies by voice) is held to the rules of the built-in corpus.

    --fix drops what cannot be used (bad rows, copies, leaks, blank replies, chat marks), strips white
    space and repairs broken letters; what was dropped is listed in OUT's name with .removed.jsonl.
    The exit code is 1 if a check fails.
    """
    if not files or _is_parallel(files[0]):
        ctx.exit(_check_corpora(files, embeddings=not no_embeddings, as_json=as_json))
    if out and len(files) > 1:
        raise InputError("--fix takes one FILE.", fix="Mend one file at a time.")
    most = _max_length(recipe) if recipe else None
    reports = [_check(path, against=against, max_length=most, out=out) for path in files]
    if folder:
        _write(folder, [report for report, _ in reports])
    if as_json:
        shown = [_as_json(report, fixed) for report, fixed in reports]
        echo_json(shown[0] if len(shown) == 1 else shown)
    else:
        for report, fixed in reports:
            _show(console(page=True), report, fixed)
    ctx.exit(1 if any(report.fails(fail_on) for report, _ in reports) else 0)


def _is_parallel(path: Path) -> bool:
    """Whether the first row of a file is one of a parallel corpus. An empty file is taken for one."""
    try:
        first = next(iter_rows(path), None)
    except DataError:
        if not path.is_file():
            raise
        return False
    return first is None or {"prompt", "replies"} <= first[1].keys()


def _max_length(path: Path) -> int:
    from mien.train.recipe import load_recipe

    return load_recipe(path).max_length


def _check(
    path: Path, *, against: Path | None, max_length: int | None, out: Path | None
) -> tuple[Report, Fixed | None]:
    with progress("Loading the checks", path.stat().st_size) as bar:
        from mien.data import check as data

        bar.say(f"Checking {path.name}")
        wanted: dict[str, Any] = {"against": against, "max_length": max_length, "advance": bar.advance}
        if not out:
            return data.check(path, **wanted), None
        with disk_errors(out.absolute().parent, "as much as the data set has"):
            return data.fix(path, out, **wanted)


def _as_json(report: Report, fixed: Fixed | None) -> dict[str, Any]:
    done = {"fixed": fixed.model_dump()} if fixed else {}
    return {"headline": report.headline, **report.model_dump(mode="json"), **done}


def _write(folder: Path, reports: Sequence[Report]) -> None:
    """`check.html` and `check.json`; of several files, each in a folder of its name."""
    from mien.data.check_page import render

    for report in reports:
        place = folder if len(reports) == 1 else folder / Path(report.file).stem
        with disk_errors(folder.absolute(), "a few MB"):
            write_atomic(place / "check.html", render(report))
            write_json(place / "check.json", _as_json(report, None))
        click.echo(f"Wrote {place / 'check.html'}.", err=True)


def _show(out: Console, report: Report, fixed: Fixed | None) -> None:
    grid = table("Check", "", "Found", "First, for example")
    for each in report.results:
        style = _STYLES[each.severity] if each.flagged else "dim"
        weight = each.severity if each.flagged else ""
        first = each.examples[0] if each.examples else None
        shown = f"{first.where.rpartition(':')[2]}: {first.message}" if first else ""
        grid.add_row(
            Text(each.check), Text(weight, style=style), Text(each.told, style=style), Text(shown)
        )
    kinds = ", ".join(count(n, kind) for kind, n in report.kinds.items())
    out.print(Text.assemble((report.file, "bold"), f": {kinds or 'no rows'}"))
    out.print(grid)
    out.print(Text(f"\n{report.headline}", style="bold"))
    if fixed:
        removed = ", ".join(f"{n:,} {name}" for name, n in fixed.removed.items()) or "nothing"
        out.print(
            f"Wrote {count(fixed.written, 'row')}, {fixed.mended:,} of them mended. Left out: {removed}."
        )


def _check_corpora(files: Sequence[Path], *, embeddings: bool, as_json: bool) -> int:
    """The built-in corpus, or parallel corpora one after another; the exit code."""
    reports = [_check_rows(read_parallel(path), embeddings=embeddings) for path in files]
    reports = reports or [_check_built_in(embeddings=embeddings)]
    for report in reports:
        if as_json:
            echo_json({"passed": report.passed, **report.model_dump(mode="json")})
        else:
            _show_corpus(console(), report)
    return 0 if all(report.passed for report in reports) else 1


def _check_built_in(*, embeddings: bool) -> quality.Report:
    from mien.data import quality

    if not embeddings:
        return quality.check_all()
    with _embedding(quality.to_embed()) as embed:
        return quality.check_all(embed)


def _check_rows(rows: Sequence[Parallel], *, embeddings: bool) -> quality.Report:
    from mien.data import quality

    if not embeddings:
        return quality.check(rows)
    with _embedding((len(VOICES) + 1) * len(rows)) as embed:
        return quality.check(rows, embed)


@contextmanager
def _embedding(texts: int) -> Iterator[quality.Embed]:
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


def _show_corpus(out: Console, report: quality.Report) -> None:
    out.print(_figures(report))
    if report.findings:
        out.print("", _findings(report))
    notes = len(report.findings) - len(report.errors)
    kept = sum(figure.passed for figure in report.figures)
    verdict = ("Passed", "bold green") if report.passed else ("Failed", "bold red")
    figures = f"{kept} of {count(len(report.figures), 'figure')} within bounds"
    told = f": {figures}, {count(len(report.errors), 'error')}, {count(notes, 'note')}."
    out.print(Text.assemble("\n", verdict, told))


def _figures(report: quality.Report) -> Table:
    grid = table("Figure", "Value", "Bound", "", "What it is")
    grid.columns[1].justify = "right"
    for each in report.figures:
        mark = "" if not each.bound else "[green]ok[/]" if each.passed else "[bold red]FAILED[/]"
        grid.add_row(each.name, number(each.value), each.bound, mark, Text(each.about))
    return grid


def _findings(report: quality.Report) -> Table:
    grid = table("", "Check", "Where", "What was found")
    for each in sorted(report.findings, key=lambda finding: finding.severity):  # errors come first
        style = "bold red" if each.severity == "error" else "dim"
        grid.add_row(Text(each.severity, style=style), each.check, each.where, Text(each.message))
    return grid
