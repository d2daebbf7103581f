"""Intervals for everything that is reported.

Replies to one prompt resemble each other, so the prompt is the unit that is resampled: the
percentile bootstrap over prompts (Efron & Tibshirani 1993, ch. 13), with every reply to a drawn
prompt coming along. Proportions of independent trials get Wilson's interval (1927).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_Z95 = 1.959963984540054
Values = Sequence[float] | NDArray[np.float64]


class Interval(NamedTuple):
    """A value with its 95 % interval and the number of observations behind it."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int) -> Interval:
    """Wilson score interval of a proportion.

    Args:
        successes: Trials that succeeded, 0 to `n`.
        n: Trials.

    Raises:
        ValueError: `n` is below 1 or `successes` is not within 0 to `n`.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"wilson needs 0 <= successes <= n and n >= 1, got {successes} of {n}")
    share, z2 = successes / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * ((share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5)
    low, high = min(share, centre - half), max(share, centre + half)  # but for rounding, always so
    return Interval(share, max(0.0, low), min(1.0, high), n)


def by_prompt(
    values: Values, prompts: Sequence[Hashable], *, draws: int = 2000, seed: int = 0
) -> Interval:
    """Mean of `values` with a bootstrap interval over prompts.

    Args:
        values: One number per reply.
        prompts: The prompt each reply answers, in the same order.
        draws: Bootstrap resamples.
        seed: Of the resampling.

    Raises:
        ValueError: No values, or the two sequences differ in length.
    """
    sums, counts = _group(values, prompts)
    means = _resample(sums, counts, draws, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high), len(values))


def ratio(amounts: Values, per: Values, *, draws: int = 2000, seed: int = 0) -> Interval:
    """Sum of `amounts` over sum of `per`, with a bootstrap interval over the pairs.

    Raises:
        ValueError: No values, the two differ in length, or some of `per` are not above 0.
    """
    if len(amounts) == 0 or len(amounts) != len(per) or min(per) <= 0:
        raise ValueError(
            f"{len(amounts)} amounts per {len(per)}: both must match, not 0, and be per > 0"
        )
    sums, counts = (np.asarray(each, dtype=np.float64) for each in (amounts, per))
    low, high = np.quantile(_resample(sums, counts, draws, seed), [0.025, 0.975])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high), len(sums))


def difference_by_prompt(
    ours: Values,
    our_prompts: Sequence[Hashable],
    theirs: Values,
    their_prompts: Sequence[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of `ours` minus mean of `theirs`, paired by prompt: each draw takes the same prompts of both.

    `level` is how sure the interval is; higher where it is one of several.

    Raises:
        ValueError: The two sides do not answer the same prompts.
    """
    if set(our_prompts) != set(their_prompts):
        raise ValueError("a paired difference needs the same prompts on both sides")
    a, b = _group(ours, our_prompts), _group(theirs, their_prompts)
    gaps = _resample(*a, draws, seed) - _resample(*b, draws, seed)
    low, high = np.quantile(gaps, [(1 - level) / 2, (1 + level) / 2])
    value = a[0].sum() / a[1].sum() - b[0].sum() / b[1].sum()
    return Interval(float(value), float(low), float(high), len(a[0]))


def _group(
    values: Values, prompts: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per prompt, in sorted order: sum of values and number of them."""
    if len(values) == 0 or len(values) != len(prompts):
        raise ValueError(f"{len(values)} values for {len(prompts)} prompts: both must match, not 0")
    order = {prompt: i for i, prompt in enumerate(sorted(set(prompts), key=str))}
    index = np.array([order[prompt] for prompt in prompts])
    weights = np.asarray(values, dtype=np.float64)
    sums = np.bincount(index, weights, len(order)).astype(np.float64)
    counts = np.bincount(index, minlength=len(order)).astype(np.float64)
    return sums, counts


def _resample(
    sums: NDArray[np.float64], counts: NDArray[np.float64], draws: int, seed: int
) -> NDArray[np.float64]:
    """Means of `draws` resamples of the prompts."""
    picks = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    return np.asarray(sums[picks].sum(axis=1) / counts[picks].sum(axis=1))
