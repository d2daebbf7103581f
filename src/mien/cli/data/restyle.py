"""`mien data restyle`: one conversation in many voices, with the same content."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from mien.cli.output import console, count, echo_json, json_option, progress, stages, table
from mien.cli.teacher import teacher_of, teacher_options
from mien.errors import InputError
from mien.persona.spec import Persona, find, library
from mien.workspace import disk_errors

if TYPE_CHECKING:
    from mien.data.preserve import Cosine
    from mien.data.restyle import Checks, Heard
    from mien.data.restyled import Order, Report


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--into", required=True, metavar="NAME,...", help="Personas: built-in names or .yaml files."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write; SOURCE-restyled.",
)
@click.option("-n", "limit", type=click.IntRange(min=1), help="Only the first so many conversations.")
@click.option(
    "--tries", type=click.IntRange(min=1), default=3, show_default=True, help="Attempts at a turn."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another one, other attempts.")
@click.option(
    "--no-embeddings", is_flag=True, help="Leave out the check of meaning, which needs a model."
)
@click.option(
    "--no-classifier", is_flag=True, help="Do not have the built-in voices heard by a classifier."
)
@click.option("--force", is_flag=True, help="Replace another job in the folder.")
@json_option
@teacher_options
def restyle(
    *,
    source: Path,
    into: str,
    out: Path | None,
    limit: int | None,
    tries: int,
    seed: int,
    no_embeddings: bool,
    no_classifier: bool,
    force: bool,
    as_json: bool,
    **asking: Any,
) -> None:
    """Rewrite replies in other voices, with the same content.

    SOURCE holds examples or dialogues in any form that mien reads. Each rewritten turn is checked:
    numbers, names, links, quotations, code, JSON, lists, length and meaning are kept, and the style has
    changed. What fails is asked for again with the reasons, and then set aside with them. OUT gets one
    JSONL file per persona, whose rows have the ids of their source, with its card; what was set aside;
    and a report. A job that was stopped goes on where it was when the same command is given again, and
    pays for nothing twice.
    """
    from mien.data.restyle import Restyler
    from mien.data.restyled import Order

    personas = [find(name.strip()) for name in into.split(",") if name.strip()]
    if not personas:
        raise InputError("--into names no persona.", fix=f"There are {', '.join(library())}.")
    order = Order.read(source, personas, out or Path(f"{source.stem}-restyled"), limit=limit)
    teacher = teacher_of(**asking)
    checks = _checks(personas, meaning=not no_embeddings, voices=not no_classifier)
    restyler = Restyler(teacher, checks, seed=seed, tries=tries)
    if not force:
        order.spare(restyler)
    jobs = len(order.conversations) * len(personas)
    with disk_errors(order.folder.absolute().parent, "a few MB"), progress("Restyling", jobs) as bar:
        report = order.fill(restyler, bar.advance)
    if as_json:
        echo_json(report.model_dump(mode="json"))
    else:
        _show(report, order)
    if teacher.stopped:
        raise teacher.stopped
    if not report.finished:
        raise click.exceptions.Exit(1)


def _checks(personas: Sequence[Persona], *, meaning: bool, voices: bool) -> Checks:
    from mien.data.restyle import Checks

    built_in = library()
    known = any(persona == built_in.get(persona.name) for persona in personas)
    return Checks(cosine=_cosine() if meaning else None, heard=_heard() if voices and known else None)


def _cosine() -> Cosine:
    """Nearness in meaning; the embedder is asked by one thread at a time."""
    with stages("Loading the sentence embedder ...") as report:
        from mien.base.embed import Embedder

        embedder, lock = Embedder.load(report=report), threading.Lock()

    def cosine(one: str, other: str) -> float:
        with lock:
            first, second = embedder.embed([one, other])
        return float(first @ second)

    return cosine


def _heard() -> Heard:
    """The voices that the classifier of the built-in corpus hears."""
    with stages("Training the voice classifier ..."):
        from mien.evaluate.classifier import VoiceClassifier

        classifier = VoiceClassifier()

    @lru_cache(maxsize=1024)
    def heard(text: str) -> Mapping[str, float]:
        return dict(zip(classifier.labels, map(float, classifier.judge([text])[0]), strict=True))

    return heard


def _show(report: Report, order: Order) -> None:
    out = console()
    grid = table("Persona", "Kept", "Set aside", "Asked again", "What was wrong")
    for column in grid.columns[1:4]:
        column.justify = "right"
    for name, each in report.personas.items():
        reasons = sorted(each.faults.items(), key=lambda fault: -fault[1])
        told = ", ".join(f"{check} {times}" for check, times in reasons)
        grid.add_row(name, str(each.kept), str(each.set_aside), str(each.asked_again), Text(told))
    out.print(grid)
    for reason, times in report.unfinished.items():
        out.print(Text(f"{count(times, 'variant')} unfinished: {reason}"))
    calls = report.calls
    spent = f"{calls.paid} paid, {calls.cached} from the store"
    out.print(
        Text(f"\n{count(report.conversations, 'conversation')} in {order.folder}; calls: {spent}.")
    )
