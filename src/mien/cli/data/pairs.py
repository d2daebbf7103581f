"""`mien data pairs`: preferences, from wherever a preference can be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from mien.cli.data.sources import EACH, FIND, Models, Wanted, calls
from mien.cli.output import console, count, echo_json, json_option, number, table
from mien.cli.teacher import teacher_options
from mien.data.card import card_of, write_card
from mien.data.corpus import SPLITS
from mien.data.formats import write_records
from mien.data.selection import PairsReport, finish, marks
from mien.errors import DataError, InputError
from mien.workspace import disk_errors

if TYPE_CHECKING:
    from mien.schema import Preference

_SCORERS = ("given", "voice", "judge")
_OPTIONS = (
    click.argument("inputs", metavar="[INPUT]...", nargs=-1),
    click.option("--persona", help="Whose replies are chosen: a built-in persona or a .yaml file."),
    click.option(
        "--against",
        metavar="VOICE",
        multiple=True,
        default=(EACH,),
        show_default=True,
        help="voices: whose replies are rejected; may be given more than once.",
    ),
    click.option(
        "--samples",
        type=click.IntRange(min=2),
        default=4,
        show_default=True,
        help="samples: of one prompt.",
    ),
    click.option(
        "--scorer",
        type=click.Choice(_SCORERS),
        help="samples: the rows' own scores, the measured voice, or the model as a judge; by default"
        " `given` where the rows have scores, else `voice`.",
    ),
    click.option(
        "--least-margin", type=click.FloatRange(min=0), default=0.0, help="samples: less is a tie."
    ),
    click.option(
        "--keep",
        type=click.Choice(("tie", "split")),
        multiple=True,
        help="labels: items without a winner.",
    ),
    click.option(
        "--least-agreement",
        type=click.FloatRange(0, 1),
        default=0.0,
        help="labels: share of the raters.",
    ),
    click.option(
        "--bare",
        type=click.Choice(("base", "same")),
        default="base",
        show_default=True,
        help="distill: who replies without a character: the local base, or the model that is asked.",
    ),
    click.option("--max-tokens", type=click.IntRange(min=1), default=400, help="Longest reply; 400."),
    click.option("--temperature", type=click.FloatRange(0, 5), default=0.8, help="Of the replies; 0.8."),
    click.option("--split", type=click.Choice(SPLITS), help="Only prompts of this split."),
    click.option(
        "--length-matched/--any-length",
        default=None,
        help="Whether lengths may tell which reply is chosen; matched by default between voices of the"
        " built-in corpus.",
    ),
    click.option(
        "--max-ratio",
        type=click.FloatRange(min=1),
        default=1.5,
        show_default=True,
        help="With --length-matched: how many times longer one reply may be.",
    ),
    click.option("--one-rejected", is_flag=True, help="One rejected reply for each chosen one."),
    click.option(
        "--near",
        type=click.FloatRange(0, 1),
        default=0.1,
        show_default=True,
        help="Share of words below which two replies are near-identical.",
    ),
    click.option(
        "--drop-near", is_flag=True, help="Leave near-identical pairs out, not only mark them."
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Most pairs."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of samples and of choices."),
    click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSONL to write."),
    click.option("--force", is_flag=True, help="Replace OUT if it is there already."),
    click.option("--dry-run", is_flag=True, help="Report what there would be; ask and write nothing."),
)


def _pairs_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.option(
    "--from",
    "source",
    type=click.Choice(("voices", "samples", "labels", "distill", "feedback")),
    required=True,
    help="Where preferences come from; see above.",
)
@_pairs_options
@json_option
@teacher_options
def pairs(as_json: bool, **given: Any) -> None:
    """Make preferences: prompt, chosen and rejected.

    \b
    voices    one content in two voices: the built-in corpus, another parallel
              corpus, or VOICE=FILE for each voice, as `mien data restyle` writes
    samples   the best against the worst of several replies; INPUT has prompts,
              or prompts with samples
    labels    what people chose; INPUT has their labels
    distill   a model in character against the bare model; INPUT has prompts
    feedback  edits, regenerations and thumbs; INPUT has what a server wrote down

    Without INPUT, prompts are those of the built-in corpus. OUT gets TRL's conversational form, with
    margin, agreement and source where there are any, and a card beside it. No test prompt of the
    corpus is let in but by `--split test`.
    """  # noqa: D301
    names = [each.name for each in fields(Wanted)]
    wanted = Wanted(**{name: given.pop(name) for name in names})
    models = Models(given)
    _check_out(wanted)
    if wanted.dry_run and (asks := calls(wanted)):
        click.echo(f"Would ask for up to {count(asks, 'answer')}.")
        return
    rows, report = finish(FIND[wanted.source](wanted, models), wanted.options())
    if as_json:
        echo_json(report.model_dump(mode="json"))
    else:
        _show(console(), report)
    if rows and not wanted.dry_run:
        _write(wanted, models, rows, report)
    if models.stopped:
        raise models.stopped
    if not rows:
        raise DataError("No pair is left.", fix="The reasons are counted above.")


def _check_out(wanted: Wanted) -> None:
    if wanted.dry_run:
        return
    if wanted.out is None:
        raise InputError("No file to write is named.", fix="Add `--out pairs.jsonl`, or --dry-run.")
    if wanted.out.suffix != ".jsonl":
        fix = f"Name it {wanted.out.with_suffix('.jsonl').name}."
        raise InputError(f"{wanted.out}: what is written is JSON Lines.", fix=fix)
    if wanted.out.exists() and not wanted.force:
        raise InputError(f"{wanted.out}: there already.", fix="Choose another name, or pass --force.")
    card_of(wanted.out)


def _show(out: Console, report: PairsReport) -> None:
    out.print(_counts(report))
    if report.log_ratio and report.edit_distance:
        out.print("", _spreads(report))
    longer = (
        ""
        if report.chosen_longer is None
        else f"; the chosen reply is longer in {report.chosen_longer:.0%}"
    )
    near = f", {report.near_identical} near-identical" if report.near_identical else ""
    out.print(f"\n{count(report.pairs, 'pair')}{near}{longer}.", markup=False)


def _counts(report: PairsReport) -> Table:
    grid = table("Pairs", "Source or reason")
    grid.columns[0].justify = "right"
    for source, pairs_ in report.sources.items():
        grid.add_row(str(pairs_), source)
    for reason, pairs_ in report.dropped.items():
        grid.add_row(f"[dim]{pairs_}[/]", f"[dim]dropped: {reason}[/]")
    return grid


def _spreads(report: PairsReport) -> Table:
    grid = table("", "5 %", "25 %", "50 %", "75 %", "95 %")
    for name, spread in (
        ("log length ratio", report.log_ratio),
        ("edit distance", report.edit_distance),
    ):
        if spread:
            grid.add_row(name, *map(number, spread.model_dump().values()))
    return grid


def _write(wanted: Wanted, models: Models, rows: Sequence[Preference], report: PairsReport) -> None:
    out = wanted.out or Path()  # `_check_out` has seen to it
    with disk_errors(out.absolute().parent, "a few MB"):
        write_records(out, rows, (marks(row, wanted.near) for row in rows))
        card = _write_card(out, wanted, models, report)
    click.echo(f"Wrote {count(len(rows), 'pair')} to {out}, and its card to {card}.", err=True)


def _write_card(out: Path, wanted: Wanted, models: Models, report: PairsReport) -> Path:
    asked = {role: each.model.name for role, each in models.used.items()}
    inputs = {f"input {n}": Path(each).name for n, each in enumerate(wanted.inputs, 1)}
    return write_card(
        out,
        title=out.stem,
        how=f"Made by `mien data pairs --from {wanted.source}`.\n\n{_told(wanted, report)}",
        licence="cc-by-4.0" if wanted.built_in and wanted.source == "voices" else None,
        sources={"persona": wanted.persona or "none", "seed": str(wanted.seed), **inputs, **asked},
        counts={"source": report.sources, "dropped because": report.dropped},
        limits=_limits(wanted, report),
    )


def _told(wanted: Wanted, report: PairsReport) -> str:
    matched = f"matched, at most 1 to {wanted.max_ratio:g}" if wanted.matched else "not matched"
    return (
        f"Lengths are {matched}: the chosen reply is longer in {report.chosen_longer or 0:.1%} of the"
        f" pairs, and the mean log length ratio in words is {report.mean_log_ratio or 0:+.4f}."
    )


def _limits(wanted: Wanted, report: PairsReport) -> list[str]:
    limits = []
    if not wanted.matched:
        limits.append("Lengths are as they came: a model may learn length from them.")
    if report.near_identical:
        near = count(report.near_identical, "pair")
        limits.append(f"{near} with `near_identical`: such pairs displace likelihood.")
    if wanted.split == "test":
        limits.append("Its prompts are those that `mien eval` measures on: never train on them.")
    return limits
