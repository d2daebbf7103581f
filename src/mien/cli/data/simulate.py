"""`mien data plan`, `simulate` and `prompts`: dialogues from a persona's specification and a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from mien.cli.output import console, count, echo_json, json_option, progress, table
from mien.cli.teacher import teacher_of, teacher_options
from mien.data import prompts as prompt_files
from mien.data.cells import coverage
from mien.data.plan import LONGEST, Plan, text
from mien.errors import InputError
from mien.persona.spec import Persona, find
from mien.workspace import disk_errors

if TYPE_CHECKING:
    from mien.data.plan import Cell
    from mien.data.simulate import Bound
    from mien.data.simulated import Order, Report

_TURNS = re.compile(r"([1-9])(?:-([1-9]))?")


@click.command()
@click.option("--persona", "name", help="Put this persona's boundaries among the pressures.")
def plan(name: str | None) -> None:
    """Print the plan of a simulation, to be edited.

    It is YAML with every key explained: topics, moods, forms and so on, how often each comes up, and the
    words in which the model is told of it.

        mien data plan --persona witty > plan.yaml
    """
    click.echo(text(find(name) if name else None), nl=False)


@click.command()
@click.option(
    "--persona", "name", required=True, help="Who replies: a built-in persona or a .yaml file."
)
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="What varies: a YAML file.")
@click.option(
    "-n", "wanted", type=click.IntRange(min=1), default=200, show_default=True, help="Dialogues."
)
@click.option(
    "--turns", metavar="A-B", help="Only dialogues of so many messages of the user: 4, or 1-4."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another one, other dialogues.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write; PERSONA-dialogues.",
)
@click.option("--top-up", is_flag=True, help="Keep what is in the folder, and fill up to -n.")
@click.option("--force", is_flag=True, help="Replace dialogues of another job in the folder.")
@click.option("--dry-run", is_flag=True, help="Say what it would take, and ask nothing.")
@json_option
@teacher_options
def simulate(
    *,
    name: str,
    plan_file: Path | None,
    wanted: int,
    turns: str | None,
    seed: int,
    out: Path | None,
    top_up: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **asking: Any,
) -> None:
    """Make whole dialogues between a simulated user and a persona.

    One model plays both sides, dialogue by dialogue from a plan that `mien data plan` prints. OUT gets
    the dialogues as JSONL with their card, those that were set aside with the reason, a report, and a
    page that shows what is covered. Every answer is kept as it comes: a job that was stopped in any way
    goes on where it was when the same command is given again, and pays for nothing twice.
    """
    persona = find(name)
    folder = out or Path(f"{persona.name}-dialogues")
    chosen = _plan(persona, plan_file, folder if top_up else None, turns)
    order = _draw(folder, chosen, wanted, seed, top_up)
    if dry_run:
        _show_bound(chosen, persona, order, asking, as_json=as_json)
        return
    report, stopped = _simulate(order, persona, chosen, seed, force, asking)
    if as_json:
        echo_json(report.model_dump(mode="json"))
    else:
        _show_report(report, order)
    if stopped:
        raise stopped
    if not report.finished:
        raise click.exceptions.Exit(1)


def _plan(persona: Persona, file: Path | None, folder: Path | None, turns: str | None) -> Plan:
    """The plan of the file; or of the folder that is topped up; or the default one."""
    kept = folder / "plan.yaml" if folder else None
    if file is None and kept and kept.is_file():
        file = kept
    chosen = Plan.load(file) if file else Plan.of(persona)
    if not turns:
        return chosen
    found = _TURNS.fullmatch(turns)
    if not found:
        raise InputError(f"--turns {turns}: not a number of turns.", fix=f"Use 4, or 1-{LONGEST}.")
    return chosen.within(int(found[1]), int(found[2] or found[1]))


def _draw(folder: Path, chosen: Plan, wanted: int, seed: int, top_up: bool) -> Order:
    from mien.data.simulated import Order

    return Order.draw(folder, chosen, wanted, seed=seed, top_up=top_up)


def _simulate(
    order: Order, persona: Persona, chosen: Plan, seed: int, force: bool, asking: dict[str, Any]
) -> tuple[Report, BaseException | None]:
    from mien.data.simulate import Simulator

    teacher = teacher_of(**asking)
    simulator = Simulator(teacher, persona, chosen, seed=seed)
    if not force:
        order.spare(simulator)
    with (
        disk_errors(order.folder.absolute().parent, "a few MB"),
        progress("Simulating", len(order.cells)) as bar,
    ):
        report = order.fill(simulator, bar.advance)
    return report, teacher.stopped


def _show_report(report: Report, order: Order) -> None:
    out = console()
    grid = table("What", "How often", "Why")
    grid.columns[1].justify = "right"
    for label, reasons in (
        ("call failed", report.calls.retried),
        ("message asked for again", report.asked_again),
        ("dialogue set aside", report.set_aside),
        ("dialogue unfinished", report.unfinished),
    ):
        for reason, times in sorted(reasons.items(), key=lambda each: -each[1]):
            grid.add_row(label, str(times), Text(reason))
    if grid.row_count:
        out.print(grid, "")
    calls, gaps = report.calls, len(report.empty_pairs)
    money = f", {calls.money:.2f} in money" if calls.money else ""
    out.print(
        f"{count(calls.paid, 'call')} paid, {calls.cached} answered from the store;"
        f" {calls.prompt_tokens:,} tokens read, {calls.completion_tokens:,} written{money}."
    )
    out.print(f"{report.pairs - gaps:,} of {report.pairs:,} pairs of levels are covered.")
    told = f"{report.dialogues} of {count(report.wanted, 'dialogue')} in {order.folder}."
    out.print(told, style="bold", soft_wrap=True, markup=False)
    if report.finished and report.dialogues < report.wanted:
        out.print("The same command with --top-up makes others for those set aside.", style="dim")
    elif not report.finished:
        out.print(
            "The same command goes on from here; what was answered is not paid again.", style="dim"
        )


def _show_bound(
    chosen: Plan, persona: Persona, order: Order, asking: dict[str, Any], *, as_json: bool
) -> None:
    from mien.data.simulate import Parts, bound

    cells = [cell for _, cell in order.cells]
    whole = [*(row.extra["cell"] for row in order.kept), *cells]
    most = bound(Parts(persona, chosen), cells)
    money = _money(most, asking)
    if as_json:
        covered = coverage(chosen, whole).model_dump(mode="json", exclude={"pairs"})
        echo_json({"dialogues": len(cells), **most.model_dump(), "money": money, **covered})
        return
    _show_plan(chosen, whole)
    out = console()
    out.print(
        f"\n{count(len(cells), 'dialogue')} to make with {most.calls:,} calls. At most, where nothing"
        f" has to be asked again: {most.prompt_tokens:,} tokens read, {most.completion_tokens:,} written"
        + (f", {money:.2f} in money." if money else ".")
    )
    out.print("Nothing was asked. Counted are 3 bytes of text a token, and no calls kept.", style="dim")


def _money(most: Bound, asking: dict[str, Any]) -> float:
    read, written = asking["price_in"] or 0, asking["price_out"] or 0
    return float(most.prompt_tokens * read + most.completion_tokens * written) / 1e6


def _show_plan(chosen: Plan, cells: Sequence[Cell]) -> None:
    found = coverage(chosen, cells)
    grid = table("Dimension", "Dialogues per level")
    for name, counts in found.counts.items():
        grid.add_row(Text(name, style="cyan"), Text(", ".join(f"{k} {n}" for k, n in counts.items())))
    out = console()
    out.print(grid)
    filled = found.allowed - len(found.empty)
    out.print(f"\n{filled:,} of {found.allowed:,} pairs of levels come up at least once.")


@click.command()
@click.argument("name", required=False)
@json_option
def prompts(name: str | None, as_json: bool) -> None:
    """List the prompts for models, or show one.

    Each is a text file with named fields. To change one, copy it to a folder, edit it there, and set
    MIEN_PROMPTS to that folder. The hash of every prompt goes into the data that it made.
    """
    if name:
        _show_prompt(prompt_files.prompt(name), as_json=as_json)
        return
    known = [prompt_files.prompt(each) for each in prompt_files.names()]
    if as_json:
        echo_json([_json(each) for each in known])
        return
    grid = table("Name", "Hash", "Fields")
    for each in known:
        grid.add_row(each.name, each.digest[:12], Text(", ".join(each.fields)))
    out = console()
    out.print(grid)
    out.print("\n`mien data prompts NAME` shows one.", style="dim")


def _show_prompt(prompt: prompt_files.Prompt, *, as_json: bool) -> None:
    if as_json:
        echo_json({**_json(prompt), "text": prompt.text})
    else:
        click.echo(prompt.text)
        click.echo(f"\n{prompt.name}, {prompt.digest[:12]}, {prompt.source}", err=True)


def _json(prompt: prompt_files.Prompt) -> dict[str, Any]:
    return {
        "name": prompt.name,
        "hash": prompt.digest,
        "fields": prompt.fields,
        "source": str(prompt.source),
    }
