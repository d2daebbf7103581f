from __future__ import annotations

import pytest

from mien.evaluate.ocean.gate import Verdict, questionnaire, reliability
from mien.stats import Interval


def around(value: float, half: float = 0.05) -> Interval:
    return Interval(value, value - half, value + half, 10)


def reasons(*checks: object) -> list[str]:
    return Verdict(format="statement", trait="openness", checks=checks).reasons  # type: ignore[arg-type]


GOOD = reliability(around(0.8), around(0.85), around(0.9))


def test_a_scale_that_meets_every_condition_may_be_read() -> None:
    assert reasons(*GOOD, *questionnaire(0.9, 0.2, 0.75)) == []


@pytest.mark.parametrize(
    ("mass", "halves", "icc", "reason"),
    [
        (0.74, 0.2, 0.8, "valid mass 0.74 is below 0.75"),
        (0.9, 1.3, 0.8, "gap between keyed halves 1.30 is above 1.00"),
        (0.9, 0.2, 0.1, "agreement of wordings 0.10 is below 0.70"),
        (0.9, 0.2, float("nan"), "agreement of wordings not measured"),
    ],
)
def test_a_questionnaire_that_fails_says_why(
    mass: float, halves: float, icc: float, reason: str
) -> None:
    assert reasons(*GOOD, *questionnaire(mass, halves, icc)) == [reason]


def test_an_alpha_that_may_be_luck_does_not_open_the_gate() -> None:
    lucky = reliability(around(0.8, half=0.9), around(0.85), around(0.9))
    assert reasons(*lucky) == ["lower end of alpha -0.10 is below 0.00"]


def test_what_was_not_measured_does_not_open_the_gate() -> None:
    assert len(reasons(*reliability(None, None, None))) == 4
