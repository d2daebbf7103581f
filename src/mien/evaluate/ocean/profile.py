"""What each format says of a subject: bare, in several forms, and as every described respondent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mien.evaluate.finding import Measure
from mien.evaluate.ocean import gate
from mien.evaluate.ocean.administer import Answer, Sheet, answers, preferences
from mien.evaluate.ocean.gate import Check, Verdict
from mien.evaluate.ocean.items import (
    TRAITS,
    Contrast,
    Form,
    Question,
    Respondent,
    Trait,
    contrasts,
    forms,
    halved,
    respondents,
    scenes,
    statements,
    t_score,
)
from mien.evaluate.ocean.psychometrics import Table, icc
from mien.evaluate.ocean.reliability import of_forms, of_scales
from mien.evaluate.ocean.trials import of_contrasts, of_questions, scored
from mien.evaluate.setting import Setting, spread
from mien.evaluate.subject import Subject
from mien.schema import Score
from mien.stats import Interval, by_prompt


@dataclass(frozen=True)
class Part:
    """What one format yields.

    Attributes:
        described: The described respondents' (respondents, items of the trait), a table per trait; none
            in the quick suite.
        checks: The gate's conditions, per trait.
    """

    format: str
    measures: list[Measure]
    scores: list[Score]
    checks: dict[Trait, list[Check]]
    described: list[Table] = field(default_factory=list)

    def verdicts(self) -> list[Verdict]:
        """One per trait."""
        return [Verdict(format=self.format, trait=t, checks=tuple(self.checks[t])) for t in TRAITS]

    def levels(self) -> Table:
        """Each described respondent's mean per trait, (respondents, traits)."""
        return np.stack([table.mean(axis=1) for table in self.described], axis=1)


def by_contrast(setting: Setting, subject: Subject) -> Part:
    """The contrasted continuations; in the full suite also as every described respondent.

    Raises:
        UnableError: The subject's likelihoods cannot be read.
    """
    items = contrasts()
    gaps = preferences(setting, subject, items)[0]
    measures = of_contrasts(items, gaps.tolist(), setting.persona.big_five.model_dump())
    described = _contrasted(setting, subject, items[::2]) if setting.amounts.ocean.respondents else []
    scores, checks = of_scales("contrast", described, subject.name)
    return Part("contrast", measures, scores, checks, described)


def _contrasted(setting: Setting, subject: Subject, items: Sequence[Contrast]) -> list[Table]:
    table = preferences(setting, subject, items, _respondents(setting))
    return [table[:, [item.trait == trait for item in items]] for trait in TRAITS]


def by_questions(setting: Setting, subject: Subject, kind: Literal["scene", "statement"]) -> Part:
    """A questionnaire in forms that take turns, some of it in all of them, and as described respondents.

    Raises:
        UnableError: The subject's likelihoods cannot be read.
    """
    amount = setting.amounts.ocean
    pool, ways, per_trait = (
        (scenes(), forms("scenes", 4), amount.scenes)
        if kind == "scene"
        else (statements(), forms("statements", 6), amount.statements)
    )
    sheets = [Sheet(item, ways[i % len(ways)]) for i, item in enumerate(halved(pool, per_trait))]
    found = answers(setting, subject, sheets)
    measures = of_questions(kind, sheets, found)
    described = _described(setting, subject, halved(pool, 4), ways) if amount.respondents else []
    scores, checks = of_scales(kind, described, subject.name)
    table = _crossed(setting, subject, halved(pool, amount.crossed), ways)
    scores += of_forms(kind, table, ways, subject.name) if table is not None else []
    for trait in TRAITS:
        agreed = None if table is None else icc(table)
        checks[trait] += gate.questionnaire(*_mass_and_halves(trait, sheets, found), agreed)
    if kind == "statement" and amount.statements is None:
        scores += _t_scores(measures, subject.name)
    return Part(kind, measures, scores, checks, described)


def _described(
    setting: Setting, subject: Subject, items: list[Question], ways: list[Form]
) -> list[Table]:
    """Levels as every described respondent, each of whom is asked in the next form."""
    who = _respondents(setting)
    sheets = [
        Sheet(item, ways[i % len(ways)], each.history()) for i, each in enumerate(who) for item in items
    ]
    levels = np.array([each.level for each in answers(setting, subject, sheets)])
    table = levels.reshape(len(who), len(items))
    return [table[:, [item.trait == trait for item in items]] for trait in TRAITS]


def _respondents(setting: Setting) -> list[Respondent]:
    return spread(respondents(), setting.amounts.ocean.respondents)


def _crossed(
    setting: Setting, subject: Subject, items: list[Question], ways: list[Form]
) -> Table | None:
    """Agreement with each item in each form, the prior divided out, -1 to 1: (items, forms)."""
    if not items:
        return None
    found = answers(setting, subject, [Sheet(item, way) for item in items for way in ways])
    levels = np.array([each.level for each in found]).reshape(len(items), -1)
    return np.asarray((levels - 3) / 2 * np.array([[item.key] for item in items]))


def _mass_and_halves(trait: Trait, sheets: list[Sheet], found: list[Answer]) -> tuple[float, float]:
    """Mean valid mass, and the distance of the positively from the reversely keyed half."""
    own = [(s.question.key, a) for s, a in zip(sheets, found, strict=True) if s.question.trait == trait]
    positive, reverse = (np.mean([a.level for key, a in own if key == sign]) for sign in (1, -1))
    return float(np.mean([a.mass for _, a in own])), float(abs(positive - reverse))


def _t_scores(measures: list[Measure], subject: str) -> list[Score]:
    scores, by_name = list[Score](), {measure.name: measure for measure in measures}
    for trait in TRAITS:
        if measure := by_name.get(f"ocean/statement/{trait}"):
            found = by_prompt(measure.values, measure.units)
            value, low, high = (t_score(trait, level) for level in found[:3])
            norm = "T = 50 + 10 z over adults of 21 to 40 (Johnson 2014); 95 % bootstrap over items"
            scores += scored(f"t/{trait}", subject, Interval(value, low, high, found.n), norm)
    return scores
