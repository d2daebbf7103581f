"""Kaplan-Meier: by hand, against the figures of a well-known trial, and at its ends."""

from __future__ import annotations

import math

import pytest

from mien.evaluate.survival import HalfLife, kaplan_meier
from mien.stats import wilson


def test_the_curve_and_its_band_are_those_worked_by_hand() -> None:
    # Five are watched: one ends at 2, one is lost at 3, two end at 4, one is watched to the end, 6.
    #   S(2) = 4/5 = .8;  S(4) = .8 * (1 - 2/3) = .2667
    #   Greenwood: 1/(5*4) = .05 at 2;  .05 + 2/(3*1) = .71667 at 4
    curve = kaplan_meier([2, 3, 4, 4, 6], [True, False, True, True, False])
    assert [(step.time, step.at_risk, step.events) for step in curve.steps] == [(2, 5, 1), (4, 3, 2)]
    assert [step.share for step in curve.steps] == pytest.approx([0.8, 4 / 15])
    for step, greenwood in zip(curve.steps, (0.05, 0.05 + 2 / 3), strict=True):
        theta = 1.959964 * math.sqrt(greenwood) / abs(math.log(step.share))
        ends = [step.share ** math.exp(theta), step.share ** math.exp(-theta)]
        assert [step.low, step.high] == pytest.approx(ends, abs=1e-6)
    assert (curve.n, curve.until) == (5, 6)


def test_it_agrees_with_the_leukaemia_trial() -> None:
    # Freireich et al. 1963, 21 patients on 6-MP; figures as in Kalbfleisch & Prentice and R's survfit
    # with conf.type = "log-log".
    ends = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    lost = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    curve = kaplan_meier([*ends, *lost], [True] * len(ends) + [False] * len(lost))
    assert [step.time for step in curve.steps] == [6, 7, 10, 13, 16, 22, 23]
    assert [step.at_risk for step in curve.steps] == [21, 17, 15, 12, 11, 7, 6]
    shares = [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert [step.share for step in curve.steps] == pytest.approx(shares, abs=5e-4)
    assert curve.steps[0][4:] == pytest.approx((0.620, 0.952), abs=5e-4)
    assert curve.half_life == HalfLife(23, 13, None)


def test_where_half_of_them_never_end_there_is_no_half_life() -> None:
    curve = kaplan_meier([3, 8, 8, 8], [True, False, False, False])
    assert curve.steps[0].share == 0.75
    assert curve.half_life.value is None and curve.half_life.high is None


def test_exactly_half_is_half() -> None:
    assert kaplan_meier([3, 5, 9, 9], [True, True, False, False]).half_life.value == 5


def test_where_all_end_at_once_the_interval_is_wilsons() -> None:
    (step,) = kaplan_meier([1] * 8, [True] * 8).steps
    assert (step.share, step.low) == (0, 0)
    assert step.high == pytest.approx(wilson(0, 8).high)


def test_where_none_ends_there_is_no_step() -> None:
    curve = kaplan_meier([8] * 4, [False] * 4)
    assert curve.steps == () and curve.half_life == HalfLife(None, None, None)


def test_nothing_to_watch_is_refused() -> None:
    with pytest.raises(ValueError, match="0 times"):
        kaplan_meier([], [])
    with pytest.raises(ValueError, match="2 times and 1 ends"):
        kaplan_meier([1, 2], [True])
