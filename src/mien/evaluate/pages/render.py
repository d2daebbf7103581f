"""The evaluation as a page for people: one file that loads nothing and runs no script.

Model text is untrusted: the template `report.html` escapes everything except the pictures, which escape
their own words. What is said in words comes from the numbers, by the rules in `verdict` and by the
suites' own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from mien import page
from mien.evaluate.compare import CONTROLS, Results
from mien.evaluate.evaluation import Adapter, Evaluation
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Transcript
from mien.evaluate.gate import Check, checks
from mien.evaluate.pages import ear, pictures
from mien.evaluate.pages.verdict import RATE, answers, glossary_of, missing_lines, verdict
from mien.evaluate.pages.words import (
    Block,
    Glossary,
    Row,
    direction,
    ends,
    gap,
    largest,
    outcome,
    show,
)
from mien.evaluate.roster import SUITES, Suite
from mien.page.svg import number
from mien.schema import Message, Score

FIGURES_OPEN = 9  # of a suite; the others are folded away
_TURNS_SHOWN = 12  # of a long conversation; the JSON file has all


class Cell(NamedTuple):
    """A value with the small words below it."""

    value: str = ""
    small: str = ""
    n: int = 0


class Said(NamedTuple):
    """One subject's side of a transcript, without the turns that all share."""

    subject: str
    turns: tuple[Message, ...]
    skipped: int
    note: str


class Scene(NamedTuple):
    """The same situation, played by several subjects."""

    title: str
    opening: tuple[Message, ...]
    said: tuple[Said, ...]


class Chapter(NamedTuple):
    """One suite's part of the page."""

    suite: Suite
    says: list[str]
    blocks: list[Block]
    figures: list[Figure]
    scenes: list[Scene]
    missing: dict[str, list[str]]
    others: list[Score]


def render(evaluation: Evaluation, suites: Mapping[str, Suite] = SUITES) -> str:
    """The report as one HTML page that loads nothing from anywhere.

    Args:
        evaluation: What was measured. What is not there is left out, or said to be missing.
        suites: By name; those that the evaluation ran are told, in its order.
    """
    paint, glossary = pictures.colours(evaluation.results.subjects), glossary_of(suites)
    teller = _Teller(evaluation.results, glossary)
    ran = [suites[name] for name in evaluation.suites if name in suites]
    chapters = [_chapter(evaluation, suite, glossary, paint) for suite in ran]
    hearing = evaluation.hearing
    return page.render(
        "mien.evaluate.pages",
        "report.html",
        e=evaluation,
        subjects=evaluation.results.subjects,
        verdict=verdict(evaluation, suites),
        answers=answers(evaluation, suites),
        chapters=chapters,
        examples=next((chapter.scenes[:2] for chapter in chapters if chapter.scenes), []),
        cell=teller.score,
        change=teller.change,
        effect=teller.effect,
        compared=teller.compared,
        has_effects=teller.has_effects,
        partners=teller.partners,
        glossary=glossary,
        key=RATE,
        direction=direction,
        paint=paint,
        who=subject_words([evaluation]),
        markup=Markup,
        open=FIGURES_OPEN,
        curves={name: Markup(pictures.curves(line)) for name, line in evaluation.training.items()},
        share=lambda value: show(glossary[RATE]._replace(share=True), value),
        accuracy=ends(glossary[RATE]._replace(share=True), hearing.accuracy),
        apart=ear.says(hearing),
        gate=_gate(evaluation),
        confusion=Markup(pictures.confusion(hearing.labels, hearing.confusion)),
        methods=_methods(evaluation.results, glossary),
    )


def _chapter(
    evaluation: Evaluation, suite: Suite, glossary: Glossary, paint: Mapping[str, str]
) -> Chapter:
    results = evaluation.results
    mine = [score for score in results.scores if score.name.split("/")[0] == suite.name]
    told = [score for score in mine if score.system in results.subjects]
    return Chapter(
        suite=suite,
        says=suite.says(results),
        blocks=glossary.blocks(score.name for score in told),
        figures=suite.figures(results, paint),
        scenes=scenes(results, suite.name),
        missing=missing_lines(evaluation, suite),
        others=[score for score in mine if score.system not in results.subjects],
    )


def _gate(evaluation: Evaluation) -> tuple[Check, ...]:
    """What the release gate asks of the judged subject; nothing if it is no adapter."""
    judged = evaluation.judged
    if judged not in evaluation.adapters:
        return ()
    return checks(evaluation.results, judged, evaluation.release, evaluation.controls)


class _Teller(NamedTuple):
    """Cells of tables."""

    results: Results
    glossary: Glossary

    def score(self, name: str, subject: str) -> Cell | None:
        """A score with its interval; None if it was not measured."""
        found = self.results.score(name, subject)
        if found is None:
            return None
        means, most = self.glossary[name], largest(self.results, name)
        return Cell(show(means, found.value, most), ends(means, found, most), found.n)

    def change(self, name: str, ours: str, theirs: str) -> tuple[Cell, str] | None:
        """A paired difference and its outcome."""
        found = self.results.difference(name, ours, theirs)
        if found is None:
            return None
        value, interval = gap(self.results, self.glossary[name], found)
        return Cell(value, interval, found.n), outcome(self.glossary[name], found)

    def effect(self, name: str, subject: str) -> Cell | None:
        """A difference to the null adapter in its standard deviations."""
        found = self.results.effect(name, subject)
        if found is None:
            return None
        return Cell(number(found.value), f"{number(found.low)} to {number(found.high)}", found.n)

    def compared(self, ours: str, rows: Sequence[Row]) -> list[Row]:
        """The lines in which a subject is compared with anybody."""
        names = {each.name for each in self.results.differences if each.ours == ours}
        return [row for row in rows if row.name in names]

    def has_effects(self, subject: str, rows: Sequence[Row]) -> bool:
        """Whether there is an effect in any of some lines."""
        return any(self.results.effect(row.name, subject) for row in rows)

    def partners(self, ours: str, rows: Sequence[Row]) -> list[str]:
        """Whom a subject is compared with in some lines: controls first."""
        names = {row.name for row in rows}
        found = {d.theirs for d in self.results.differences if d.ours == ours and d.name in names}
        order = [*CONTROLS, *(s for s in self.results.subjects if s not in CONTROLS)]
        return [each for each in order if each in found]


def scenes(results: Results, suite: str) -> list[Scene]:
    """A suite's transcripts, those of the same title together."""
    found: dict[str, list[tuple[str, Transcript]]] = {}
    for finding in results.findings:
        for each in finding.transcripts if finding.suite == suite else ():
            found.setdefault(each.title, []).append((finding.subject, each))
    return [_scene(title, group) for title, group in found.items()]


def _scene(title: str, group: Sequence[tuple[str, Transcript]]) -> Scene:
    opening = _shared([each.messages for _, each in group])
    said = tuple(_side(name, each, len(opening)) for name, each in group)
    if [message.content for message in opening] == [title]:
        opening = ()  # the title is the question already
    return Scene(title, opening, said)


def _side(subject: str, transcript: Transcript, shared: int) -> Said:
    turns = transcript.messages[shared:]
    return Said(subject, turns[:_TURNS_SHOWN], len(turns[_TURNS_SHOWN:]), transcript.note)


def _shared(conversations: Sequence[Sequence[Message]]) -> tuple[Message, ...]:
    """The turns that all begin with, as long as it is not the subject who speaks."""
    shared = []
    for turns in zip(*conversations, strict=False):
        if turns[0].role == "assistant" or any(turn != turns[0] for turn in turns):
            break
        shared.append(turns[0])
    return tuple(shared)


def _methods(results: Results, glossary: Glossary) -> dict[str, tuple[str, str]]:
    """How each measure, or its first part, was measured: label, then method, by name."""
    first: dict[str, Score] = {}
    for score in results.scores:
        first.setdefault("/".join(score.name.split("/")[:2]), score)
    return {name: (glossary[score.name].label, score.method) for name, score in first.items()}


_WHO = {
    "base": "the untouched model",
    "prompt": "the same model, told in its system prompt how to speak",
    "null": "the same model with an adapter trained by the same recipe on neutral text: what training"
    " does by itself",
}
_STAGES = {
    "sft": "trained on examples of the voice",
    "dpo": "trained on examples, then on preferences",
    "ppo": "trained on examples, then against a reward model",
}


def subject_words(evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """Who the subjects of some evaluations are, in words."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(name for each in evaluations for name in each.results.subjects):
        fixed = next((_WHO[name] for each in evaluations if name in each.controls), None)
        cards = [card for each in evaluations if (card := each.adapters.get(name))]
        found[name] = _who(fixed, cards)
    return found


def _who(fixed: str | None, cards: Sequence[Adapter]) -> str:
    if not cards:
        return fixed or "a system of its own"
    stage = cards[0].stage
    made = _STAGES.get(stage, f"trained by {stage}")
    return (fixed or f"the same model with an adapter {made}") + _doses(cards)


def _doses(cards: Sequence[Adapter]) -> str:
    doses = sorted({1 if card.dose is None else card.dose for card in cards})
    if doses == [1]:
        return ""
    span = " to ".join(dict.fromkeys(f"{dose:g}" for dose in (doses[0], doses[-1])))
    return f" ({span} times its update is in force)"
