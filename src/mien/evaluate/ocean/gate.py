"""The interpretability gate: whether a format may be read as a trait of this subject at all.

A questionnaire always yields a number. Whether the number is a trait is decided here, per format and
trait, by thresholds set beforehand: reliability of .70 (Nunnally 1978), valid mass of .75, three of four
comparisons won by the trait's own items, and halves of opposite key that agree within one point.
"""

from __future__ import annotations

import math

from pydantic import field_validator

from mien.evaluate.ocean.administer import LEAST_MASS
from mien.schema import Strict
from mien.stats import Interval

RELIABLE = 0.70
DISTINCT = 0.75
HALVES = 1.0


class Check(Strict):
    """One condition.

    Attributes:
        value: None where it was not, or could not be, measured.
        bound: The least value that passes; the largest if `below`.
    """

    name: str
    value: float | None
    bound: float
    below: bool = False

    @field_validator("value")
    @classmethod
    def _undefined(cls, value: float | None) -> float | None:
        return None if value is None or math.isnan(value) else value

    @property
    def passed(self) -> bool:
        """Whether it holds; what was not measured does not."""
        if self.value is None:
            return False
        return self.value <= self.bound if self.below else self.value >= self.bound

    @property
    def reason(self) -> str:
        """Why it does not hold."""
        if self.value is None:
            return f"{self.name} not measured"
        return f"{self.name} {self.value:.2f} is {'above' if self.below else 'below'} {self.bound:.2f}"


class Verdict(Strict):
    """All conditions of one format and trait."""

    format: str
    trait: str
    checks: tuple[Check, ...]

    @property
    def interpretable(self) -> bool:
        """Whether all conditions hold."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """What does not hold."""
        return [check.reason for check in self.checks if not check.passed]


def reliability(alpha: Interval | None, omega: Interval | None, success: Interval | None) -> list[Check]:
    """The conditions that every format has to meet; None is what is undefined or was not measured.

    Args:
        alpha: Cronbach's, over described respondents. Its interval has to lie above 0 besides: a few
            respondents give a high alpha by luck.
        omega: McDonald's.
        success: Share of comparisons won by the trait's own items.
    """
    return [
        Check(name="alpha", value=alpha and alpha.value, bound=RELIABLE),
        Check(name="lower end of alpha", value=alpha and alpha.low, bound=0.0),
        Check(name="omega", value=omega and omega.value, bound=RELIABLE),
        Check(name="discrimination", value=success and success.value, bound=DISTINCT),
    ]


def questionnaire(mass: float, halves: float, icc: float | None) -> list[Check]:
    """The conditions that formats with options have to meet besides.

    Args:
        mass: Mean valid mass.
        halves: Distance of the positively from the reversely keyed half, in points of 1 to 5.
        icc: ICC(2,1) over forms; None if it was not measured.
    """
    return [
        Check(name="valid mass", value=mass, bound=LEAST_MASS),
        Check(name="gap between keyed halves", value=halves, bound=HALVES, below=True),
        Check(name="agreement of wordings", value=icc, bound=RELIABLE),
    ]
