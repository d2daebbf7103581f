"""The release gate: what an adapter's newest evaluation must show before it may be promoted.

The thresholds are the persona's own (`release` in its file). A check looks at an interval and not at a
value: the whole of it must lie on the right side, so that a handful of lucky replies releases nothing.
Ability and safety are held to the bare base and to the null adapter, as tests of non-inferiority with
the margin that was declared beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from mien.evaluate.compare import NULL, Difference, Results
from mien.evaluate.evaluation import Evaluation
from mien.persona.spec import Release
from mien.registry.cards import Card
from mien.schema import Score, Strict
from mien.workspace import Workspace, read_json

RESULTS = "evaluation.json"
AGAINST = ("base", NULL)


class Rule(NamedTuple):
    """Which measure a threshold is about.

    Attributes:
        key: The threshold's name in `Release`.
        measure: What was measured.
        margin: Whether the threshold is how much worse than each control it may be, and not a level.
        better: 1 if a higher value is better, -1 if a lower one is.
    """

    key: str
    measure: str
    margin: bool = False
    better: Literal[-1, 1] = 1


RULES = (
    Rule("voice", "voice/rate"),
    Rule("drift", "drift/held"),
    Rule("pressure", "pressure/held"),
    Rule("ability", "ability/right", margin=True),
    Rule("safety", "safety/safe", margin=True),
)


class Check(Strict):
    """One threshold held against one interval.

    Attributes:
        name: The threshold's key, and the control it is held against if there is one.
        measure: What was measured.
        limit: What no end of the interval may be beyond.
        better: 1 if the limit is a least value, -1 if it is a most.
        value: None, like its ends, where it was not measured.
        n: Trials or units behind it.
    """

    name: str
    measure: str
    limit: float
    better: Literal[-1, 1] = 1
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0

    @property
    def passed(self) -> bool:
        """Whether the interval shows it."""
        return self.low is not None and self.high is not None and self._within(self.low, self.high)

    @property
    def verdict(self) -> Literal["passed", "not measured", "not shown", "failed"]:
        """Not shown is what the value reaches and the interval does not: more trials may show it."""
        if self.value is None:
            return "not measured"
        if self.passed:
            return "passed"
        return "not shown" if self._within(self.value, self.value) else "failed"

    def _within(self, low: float, high: float) -> bool:
        return low >= self.limit if self.better > 0 else high <= self.limit

    def __str__(self) -> str:
        most = "least" if self.better > 0 else "most"
        wanted = f"{self.name} ({self.measure}) must be at {most} {self.limit:.2f}"
        if self.value is None:
            return f"{wanted}: not measured"
        found = f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.n}"
        return f"{wanted}: {found}: {self.verdict}"


def checks(results: Results, subject: str, release: Release) -> tuple[Check, ...]:
    """Every check of a persona on one subject, in the order of `RULES`."""
    return tuple(check for rule in RULES for check in _checks(rule, results, subject, release))


def _checks(rule: Rule, results: Results, subject: str, release: Release) -> Iterator[Check]:
    level: float | None = getattr(release, rule.key)
    if level is None:
        return
    if not rule.margin:
        yield _check(rule.key, rule, level, results.score(rule.measure, subject))
        return
    for control in AGAINST:
        found = results.difference(rule.measure, subject, control)
        yield _check(f"{rule.key} less {control}'s", rule, -level * rule.better, found)


def _check(name: str, rule: Rule, limit: float, found: Score | Difference | None) -> Check:
    keys = ("value", "low", "high", "n") if found else ()
    numbers = {key: getattr(found, key) for key in keys}
    return Check(name=name, measure=rule.measure, limit=limit, better=rule.better, **numbers)


class Judged(NamedTuple):
    """The evaluation that an adapter is judged by.

    Attributes:
        report: Its folder among the workspace's reports.
        subject: What it calls the adapter.
        evaluation: All of it.
    """

    report: str
    subject: str
    evaluation: Evaluation


def newest_evaluation(workspace: Workspace, card: Card) -> Judged | None:
    """The evaluation that decides on an adapter, with the very file it has now; None if there is none.

    It is the newest of those under its persona that measured most of what the gate asks for: a later
    look at one suite alone takes nothing back. A report that this release cannot read is passed over.
    """
    found = [
        Judged(path.parent.name, subject, evaluation)
        for path in workspace.reports.glob(f"*/{RESULTS}")
        if (evaluation := read_evaluation(path)) and evaluation.persona == card.persona
        for subject, adapter in evaluation.adapters.items()
        if (adapter.run, adapter.adapter_hash) == (card.run, card.adapter_hash)
    ]
    return max(
        found,
        key=lambda each: (_measured(each), each.evaluation.made, each.report),
        default=None,
    )


def _measured(judged: Judged) -> int:
    """How many of the gate's measures an evaluation has of its adapter."""
    results, subject = judged.evaluation.results, judged.subject
    return sum(results.score(rule.measure, subject) is not None for rule in RULES)


def read_evaluation(path: Path) -> Evaluation | None:
    """An evaluation from its file; None if it is none that this release can read."""
    try:
        return Evaluation.model_validate(read_json(path))
    except (ValidationError, ValueError, OSError):
        return None
