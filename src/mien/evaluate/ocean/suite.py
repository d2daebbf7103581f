"""What is its Big Five signature, and may it be read as one?

Contrasted continuations are the primary measure, since small models can be compared there that cannot
answer a questionnaire. Scenes and the IPIP-NEO-120 stand beside them, behind the gate. Reliability needs
respondents that differ, and a model is one: it answers as each of some described people as well
(Serapio-Garcia et al. 2023, arXiv:2307.00184). That says whether the scale measures on this model what
it says it measures; it does not make the model's own answers a character.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mien.errors import UnableError
from mien.evaluate.finding import Finding, Measure, Transcript
from mien.evaluate.ocean.administer import Sheet, Spoken, answers, chosen, spoken
from mien.evaluate.ocean.dose import dosed
from mien.evaluate.ocean.items import TRAITS, forms, halved, statements
from mien.evaluate.ocean.meanings import MEANINGS
from mien.evaluate.ocean.pictures import figures
from mien.evaluate.ocean.profile import Part, by_contrast, by_questions
from mien.evaluate.ocean.reliability import between
from mien.evaluate.ocean.trials import acquiescence, measured
from mien.evaluate.ocean.words import says, unshown
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Likely, LocalSubject, Subject
from mien.schema import Message

__all__ = ["MEANINGS", "NAME", "TITLE", "figures", "run", "says", "unshown"]

NAME = "ocean"
TITLE = "What is its Big Five signature?"
_WRITTEN = 8  # statements of each trait that are answered in writing where there is nothing else


def run(subject: Subject, setting: Setting) -> Finding:
    """All formats that the subject and the size allow."""
    parts, missing = _read(subject, setting)
    measures = [measure for part in parts for measure in part.measures]
    scores = [score for part in parts for score in part.scores]
    scores += between([part.levels() for part in parts if part.described], subject.name)
    curves: dict[str, list[float]] = {}
    if parts and setting.amounts.ocean.doses and isinstance(subject, LocalSubject) and subject.adapter:
        dose, curves = dosed(setting, subject)
        scores += dose
    detail: dict[str, Any] = {
        "verdicts": [verdict.model_dump() for part in parts for verdict in part.verdicts()],
        "doses": curves,
        "undosed": "prompt" if getattr(subject, "system_prompt", None) else "base",
    }
    written, transcripts, lacking = _write(subject, setting)
    return Finding(
        suite=NAME,
        subject=subject.name,
        measures=(*measures, *written),
        scores=tuple(scores),
        detail=detail,
        transcripts=transcripts,
        missing=(*missing, *lacking),
    )


def _read(subject: Subject, setting: Setting) -> tuple[list[Part], list[str]]:
    """Everything that likelihoods are needed for."""
    try:
        parts = [
            by_contrast(setting, subject),
            by_questions(setting, subject, "scene"),
            by_questions(setting, subject, "statement"),
        ]
    except UnableError as error:
        return [], [f"Contrasts, scenes and the gate need likelihoods: {error}"]
    short = (
        "Reliability, T scores and doses are left to the full suite, and so nothing is read as a trait."
    )
    return parts, [] if setting.amounts.ocean.respondents else [short]


def _write(
    subject: Subject, setting: Setting
) -> tuple[list[Measure], tuple[Transcript, ...], list[str]]:
    """Statements answered in writing: a check on likelihoods, or all there is without them."""
    likely = isinstance(subject, Likely)
    items = halved(statements(), setting.amounts.ocean.written if likely else _WRITTEN)
    if not items:
        return [], (), []
    ways = forms("statements", 6)
    sheets = [Sheet(item, ways[i % len(ways)]) for i, item in enumerate(items)]
    try:
        said = spoken(setting, subject, sheets)
        likeliest = [each.likeliest for each in answers(setting, subject, sheets)] if likely else None
    except UnableError as error:
        return [], (), [f"Written answers: {error}"]
    return _written(sheets, said, likeliest), (_shown(sheets[0], said[0]),), []


def _written(
    sheets: Sequence[Sheet], said: Sequence[Spoken], likeliest: Sequence[int] | None
) -> list[Measure]:
    both = list(zip(sheets, said, strict=True))
    parsed = [(float(each.choice is not None), s.question.id) for s, each in both]
    kept = measured("said/parsed", parsed, "greedy reply names an option", "share")
    if likeliest is None:
        return [*kept, *_levels(both)]
    same = [
        (float(each.choice == best), s.question.id)
        for (s, each), best in zip(both, likeliest, strict=True)
        if each.choice is not None
    ]
    return [*kept, *measured("said/agrees", same, "greedy reply names the likeliest option", "share")]


def _levels(both: Sequence[tuple[Sheet, Spoken]]) -> list[Measure]:
    """The questionnaire as written: all there is where likelihoods cannot be read."""
    given = [(s.question, chosen(s.question, c)) for s, (_, c) in both if c is not None]
    kept = acquiescence("said", [(question, answer.agreement) for question, answer in given])
    for trait in TRAITS:
        levels = [(answer.level, question.id) for question, answer in given if question.trait == trait]
        kept += measured(f"said/{trait}", levels, "level of the trait, 1 to 5, from written answers")
    return kept


def _shown(sheet: Sheet, said: Spoken) -> Transcript:
    reply = Message(role="assistant", content=said.text or "(nothing)")
    read = "no option" if said.choice is None else f'"{sheet.question.choices[said.choice]}"'
    return Transcript(
        title="A statement of the questionnaire, answered in writing",
        messages=(*sheet.messages, reply),
        note=f"read as {read}",
    )
