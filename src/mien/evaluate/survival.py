"""How long something lasts, where some of it was still lasting when we stopped to look.

The curve is Kaplan and Meier's (1958), its interval the log-log one on Greenwood's variance (Kalbfleisch
& Prentice 1980), both as scipy computes them. Where all or none are left that interval has no width;
there Wilson's takes its place, over those whose end is known.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf

from mien.stats import wilson


class Step(NamedTuple):
    """A time at which something ended.

    Attributes:
        time: When.
        at_risk: How many had lasted until just before.
        events: How many of them ended.
        share: The share that lasts beyond this time.
        low: Lower end of its pointwise 95 % interval.
        high: Upper end.
    """

    time: float
    at_risk: int
    events: int
    share: float
    low: float
    high: float


class HalfLife(NamedTuple):
    """The time beyond which no more than half last; None where that was not reached."""

    value: float | None
    low: float | None
    high: float | None


class Survival(NamedTuple):
    """A Kaplan-Meier curve.

    Attributes:
        steps: In order of time; before the first of them all last.
        n: How many were watched.
        until: The last time at which any was watched.
    """

    steps: tuple[Step, ...]
    n: int
    until: float

    @property
    def half_life(self) -> HalfLife:
        """The median, with the interval of Brookmeyer and Crowley (1982): where the band crosses 1/2."""
        return HalfLife(
            self._first_below([step.share for step in self.steps]),
            self._first_below([step.low for step in self.steps]),
            self._first_below([step.high for step in self.steps]),
        )

    def _first_below(self, shares: Sequence[float]) -> float | None:
        pairs = zip(self.steps, shares, strict=True)
        return next((step.time for step, share in pairs if share <= 0.5 + 1e-12), None)


def kaplan_meier(times: Sequence[float], ended: Sequence[bool]) -> Survival:
    """The share that lasts beyond each time.

    Args:
        times: When each ended or, where it did not, when it was last watched; above 0.
        ended: Whether it ended then.

    Raises:
        ValueError: Nothing was watched, or the two differ in length.
    """
    if len(times) == 0 or len(times) != len(ended):
        raise ValueError(f"{len(times)} times and {len(ended)} ends: both must match, and not be 0")
    when, end = np.asarray(times, dtype=np.float64), np.asarray(ended, dtype=bool)
    curve = ecdf(CensoredData.right_censored(when, ~end)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of the intervals that Wilson's replace
        band = curve.confidence_interval(0.95, method="log-log")
    ends = zip(band.low.probabilities, band.high.probabilities, strict=True)
    rows = zip(curve.quantiles, curve.probabilities, ends, strict=True)
    steps = (_step(time, share, ends, when, end) for time, share, ends in rows)
    return Survival(tuple(step for step in steps if step.events), len(when), float(when.max()))


def _step(
    time: float,
    share: float,
    ends: tuple[float, float],
    when: NDArray[np.float64],
    end: NDArray[np.bool_],
) -> Step:
    low, high = ends
    if not 0 < share < 1:
        known = len(when) - int((~end & (when < time)).sum())
        _, low, high, _ = wilson(round(share * known), known)
    at_risk, events = int((when >= time).sum()), int((end & (when == time)).sum())
    return Step(float(time), at_risk, events, float(share), float(low), float(high))
