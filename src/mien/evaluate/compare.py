"""From trials to scores, differences and effects: done once, and alike for every suite.

A score is a mean over trials with a 95 % interval that resamples the units. Two subjects are compared
over the units that both have, paired. An effect is the difference to the null adapter in standard
deviations of the null's units: what post-training alone does is not the persona's (Glass 1976).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import Field

from mien.evaluate.finding import Finding, Measure
from mien.schema import Score, Strict
from mien.stats import (
    Interval,
    by_prompt,
    difference_by_prompt,
    share_difference_by_prompt,
    wilson_by_cluster,
)

NULL = "null"
CONTROLS = ("base", "prompt", NULL)
FEWEST = 6  # units for a side: that all five go one way is chance in 1 of 16 cases, all six in 1 of 32


class Difference(Strict):
    """One measure of one subject minus that of another, paired by unit.

    Attributes:
        n: Units that both have.
    """

    name: str
    ours: str
    theirs: str
    value: float
    low: float
    high: float
    n: int
    method: str

    @property
    def side(self) -> int:
        """On which side of 0 the interval lies; 0 if it holds 0, or comes of too few units."""
        return side(self)


def side(found: Score | Difference) -> int:
    """On which side of 0 an interval lies; 0 if it holds 0, or comes of fewer than `FEWEST`."""
    return (found.low > 0) - (found.high < 0) if found.n >= FEWEST else 0


class Results(Strict):
    """Everything that was found about some subjects under one persona.

    Attributes:
        persona: Whose personality was meant.
        subjects: In the order of the report: controls first, the judged one last.
        findings: One per suite and subject.
        scores: Of all measures, and those that the suites made themselves.
        differences: Of each subject to each control, and of each to the one before it.
        effects: As `Score`, in standard deviations over the null adapter.
    """

    persona: str
    subjects: tuple[str, ...]
    findings: tuple[Finding, ...]
    scores: tuple[Score, ...] = ()
    differences: tuple[Difference, ...] = ()
    effects: tuple[Score, ...] = Field(default=())

    def finding(self, suite: str, subject: str) -> Finding | None:
        """What one suite found out about one subject, if it was run."""
        return next((f for f in self.findings if (f.suite, f.subject) == (suite, subject)), None)

    def score(self, name: str, subject: str) -> Score | None:
        """One score, if it was measured."""
        return next((s for s in self.scores if (s.name, s.system) == (name, subject)), None)

    def difference(self, name: str, ours: str, theirs: str) -> Difference | None:
        """One paired difference, if both were measured on the same units."""
        wanted = (name, ours, theirs)
        return next((d for d in self.differences if (d.name, d.ours, d.theirs) == wanted), None)

    def effect(self, name: str, subject: str) -> Score | None:
        """One effect over the null adapter, if there is one."""
        return next((s for s in self.effects if (s.name, s.system) == (name, subject)), None)


def compared(persona: str, subjects: Sequence[str], findings: Sequence[Finding]) -> Results:
    """Scores, differences and effects of all findings."""
    measures = {(f.subject, m.name): m for f in findings for m in f.measures}
    names = list(dict.fromkeys(name for _, name in measures))
    return Results(
        persona=persona,
        subjects=tuple(subjects),
        findings=tuple(findings),
        scores=(
            *(score(measure, subject) for (subject, _), measure in measures.items()),
            *(each for finding in findings for each in finding.scores),
        ),
        differences=tuple(
            found
            for ours, theirs in pairs(subjects)
            for name in names
            if (
                found := difference(
                    name, ours, theirs, measures.get((ours, name)), measures.get((theirs, name))
                )
            )
        ),
        effects=tuple(
            seen
            for subject in subjects
            if subject != NULL
            for name in names
            if (seen := effect(subject, measures.get((subject, name)), measures.get((NULL, name))))
        ),
    )


def pairs(subjects: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Who is compared with whom: each with every control before it, and with the one just before it."""
    for place, ours in enumerate(subjects):
        before = subjects[:place]
        yield from ((ours, each) for each in before if each in CONTROLS or each == before[-1])


def score(measure: Measure, subject: str) -> Score:
    """The mean of a measure with its 95 % interval over units.

    For shares that is Wilson's: where all trials are alike, or all but one, a bootstrap would be sure of
    what it cannot know.
    """
    found, how = _interval(measure)
    return Score(
        name=measure.name, system=subject, method=f"{measure.method}; 95 % {how}", **found._asdict()
    )


def difference(
    name: str, ours: str, theirs: str, mine: Measure | None, other: Measure | None
) -> Difference | None:
    """Our mean minus theirs over the units that both have; None where there are none.

    Perplexities are compared by the ratio's logarithm, in nats.
    """
    both = set(mine.units) & set(other.units) if mine and other else set()
    if not both or mine is None or other is None:
        return None
    a, b = (_among(each, both) for each in (mine, other))
    share = mine.scale == "share"
    found = share_difference_by_prompt(*a, *b) if share else difference_by_prompt(*a, *b)
    how = "adjusted Wald interval" if share else "bootstrap"
    method = f"{mine.method}; difference paired by unit; 95 % {how} over units"
    return Difference(name=name, ours=ours, theirs=theirs, method=method, **found._asdict())


def effect(subject: str, mine: Measure | None, null: Measure | None) -> Score | None:
    """The difference to the null adapter over the standard deviation of the null's units.

    None where the null's units do not vary, or fewer than three are shared.
    """
    if mine is None or null is None:
        return None
    found = difference(mine.name, subject, NULL, mine, null)
    spread = float(np.std(_unit_means(null), ddof=1)) if len(set(null.units)) > 2 else 0.0
    if found is None or found.n < 3 or spread == 0:
        return None
    value, low, high = (each / spread for each in (found.value, found.low, found.high))
    method = f"{mine.method}; over the null adapter, in standard deviations of its units"
    return Score(
        name=mine.name, system=subject, value=value, low=low, high=high, n=found.n, method=method
    )


def _interval(measure: Measure) -> tuple[Interval, str]:
    if measure.scale == "share":
        groups = _by_unit(measure).values()
        hits, trials = ([float(each(group)) for group in groups] for each in (sum, len))
        return wilson_by_cluster(hits, trials), "Wilson interval over units"
    found = by_prompt(measure.values, measure.units)
    if measure.scale == "exp":
        value, low, high = (float(np.exp(each)) for each in found[:3])
        found = Interval(value, low, high, found.n)
    return found, "bootstrap over units"


def _among(measure: Measure, units: set[str]) -> tuple[list[float], list[str]]:
    kept = [each for each in zip(measure.values, measure.units, strict=True) if each[1] in units]
    return [value for value, _ in kept], [unit for _, unit in kept]


def _unit_means(measure: Measure) -> list[float]:
    return [float(np.mean(group)) for group in _by_unit(measure).values()]


def _by_unit(measure: Measure) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = {}
    for value, unit in zip(measure.values, measure.units, strict=True):
        groups.setdefault(unit, []).append(value)
    return groups
