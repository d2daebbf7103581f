"""From answers to the trials that are reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Literal

import numpy as np

from mien.evaluate.finding import Measure
from mien.evaluate.ocean.administer import LEAST_MASS, Answer, Sheet
from mien.evaluate.ocean.items import TRAITS, Contrast, Question, Trait
from mien.schema import Score
from mien.stats import Interval

Trial = tuple[float, str]  # a value and its unit
_LEVEL = "expected level of the trait, 1 to 5, from likelihoods of options, prior divided out"
_GAP = "log-probability per token of the high pole's continuation minus the low one's, nats"


def measured(
    name: str, values: Sequence[Trial], method: str, scale: Literal["mean", "share"] = "mean"
) -> list[Measure]:
    """The measure, unless there are no trials."""
    if not values:
        return []
    numbers, units = zip(*values, strict=True)
    return [Measure(name=f"ocean/{name}", values=numbers, units=units, method=method, scale=scale)]


def scored(name: str, subject: str, found: Interval | None, method: str) -> list[Score]:
    """The score, unless it is undefined."""
    return (
        [Score(name=f"ocean/{name}", system=subject, method=method, **found._asdict())] if found else []
    )


def of_contrasts(
    items: Sequence[Contrast], gaps: Sequence[float], poles: Mapping[str, float]
) -> list[Measure]:
    """Gaps per trait, and all of them turned the way that the persona claims.

    `poles` say where the persona claims to stand, -1 to 1; a gap weighs as much as its trait's pole.
    """
    both = list(zip(items, gaps, strict=True))
    kept = chain.from_iterable(
        measured(f"contrast/{trait}", [(gap, i.id) for i, gap in both if i.trait == trait], _GAP)
        for trait in TRAITS
    )
    size = np.mean([abs(poles[i.trait]) for i in items if poles[i.trait]] or [1.0])
    turned = [(float(gap * poles[i.trait] / size), i.id) for i, gap in both if poles[i.trait]]
    return [*kept, *measured("claimed", turned, f"{_GAP}; turned by the persona's pole")]


def of_questions(kind: str, sheets: Sequence[Sheet], found: Sequence[Answer]) -> list[Measure]:
    """A questionnaire's measures; answers of too little valid mass make no level, and are counted."""
    both = [(sheet.question, answer) for sheet, answer in zip(sheets, found, strict=True)]
    valid = [(question, answer) for question, answer in both if answer.mass >= LEAST_MASS]
    mass = [(answer.mass, question.id) for question, answer in both]
    few = [(float(each < LEAST_MASS), unit) for each, unit in mass]
    return [
        *chain.from_iterable(
            _levels(f"{kind}/{t}", [v for v in valid if v[0].trait == t]) for t in TRAITS
        ),
        *measured(f"{kind}/mass", mass, "summed probability of all options"),
        *measured(f"{kind}/excluded", few, f"valid mass below {LEAST_MASS}", "share"),
        *acquiescence(kind, [(question, answer.agreement) for question, answer in both]),
    ]


def _levels(name: str, own: Sequence[tuple[Question, Answer]]) -> list[Measure]:
    halves = {"": (1, -1), "/positive": (1,), "/reverse": (-1,)}
    return [
        measure
        for half, keys in halves.items()
        for measure in measured(
            f"{name}{half}", [(a.level, q.id) for q, a in own if q.key in keys], _LEVEL
        )
    ]


def acquiescence(kind: str, given: Sequence[tuple[Question, float]]) -> list[Measure]:
    """Agreement (-1 to 1) with pairs of items of one trait and opposite keys.

    It is taken as given, before any prior: who has an opinion agrees with one of a pair and is at 0.
    """
    by_item: dict[str, list[float]] = {}
    for question, agreement in given:
        by_item.setdefault(question.id, []).append(agreement)
    asked = list({question.id: question for question, _ in given}.values())
    pairs = [
        (float(np.mean([*by_item[up.id], *by_item[down.id]])), f"{up.id} and {down.id}")
        for trait in TRAITS
        for up, down in zip(_keyed(asked, trait, 1), _keyed(asked, trait, -1), strict=False)
    ]
    return measured(f"{kind}/acquiescence", pairs, "mean agreement, -1 to 1, with pairs of opposite key")


def _keyed(asked: Sequence[Question], trait: Trait, key: int) -> list[Question]:
    return [question for question in asked if (question.trait, question.key) == (trait, key)]
