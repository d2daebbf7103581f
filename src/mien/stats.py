"""Intervals for everything that is reported.

Replies to one prompt resemble each other, so the prompt is the unit that is resampled: the
percentile bootstrap over prompts (Efron & Tibshirani 1993, ch. 13), with every reply to a drawn
prompt coming along, and as much wider as Student's interval is than a normal one (Hesterberg 2015).
Where everything came out alike a bootstrap is sure of what it cannot know, so shares get Wilson's
interval (1927), by clusters where trials resemble each other, and their paired differences that of
Bonett & Price (2012). Agreement between raters is corrected for chance.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

_Z95 = 1.959963984540054
Values = Sequence[float] | NDArray[np.float64]
_Groups = tuple[NDArray[np.float64], NDArray[np.float64]]  # sums and counts, (prompts,) each


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
    return _wilson(successes / n, n, n)


def _wilson(share: float, counted: float, n: int) -> Interval:
    """Of `n` trials that are worth `counted` independent ones."""
    z2 = _Z95**2
    centre = (share + z2 / (2 * counted)) / (1 + z2 / counted)
    spread = (share * (1 - share) / counted + z2 / (4 * counted * counted)) ** 0.5
    half = _Z95 / (1 + z2 / counted) * spread
    low, high = min(share, centre - half), max(share, centre + half)  # but for rounding, always so
    return Interval(share, max(0.0, low), min(1.0, high), n)


def wilson_by_cluster(successes: Values, trials: Values) -> Interval:
    """Wilson score interval of a proportion whose trials come in clusters, such as those of one user.

    Trials of a cluster resemble each other. So n is divided by the design effect, the variance between
    clusters over that of independent trials, and by what few clusters leave unsure of it, but never
    raised (Korn & Graubard 1998; Dean & Pagano 2015). Where all trials came out alike, there is nothing
    to tell it from; then each cluster counts as one, or less where a few have most of the trials (Kish
    1965). Clusters of one trial each give Wilson's own interval.

    Args:
        successes: Of each cluster.
        trials: Of each cluster.

    Raises:
        ValueError: No clusters, or their successes are not within 0 to their trials.
    """
    hits, sizes = (np.asarray(each, dtype=np.float64) for each in (successes, trials))
    if not len(hits) == len(sizes) > 0 or min(sizes) < 1 or min(hits) < 0 or max(hits - sizes) > 0:
        raise ValueError("each cluster needs 0 <= successes <= trials and trials >= 1")
    n = round(sizes.sum())
    counted = n if max(sizes) == 1 else _worth(hits, sizes)
    return _wilson(float(hits.sum()) / n, counted, n)


def _worth(hits: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """How many independent trials these clusters are worth."""
    n, clusters = sizes.sum(), len(sizes)
    share, even = hits.sum() / n, n**2 / np.square(sizes).sum()
    between = np.square(hits - share * sizes).sum() / n**2 * clusters / max(1, clusters - 1)
    if between == 0:
        return float(even)
    unsure = (stdtrit(max(1.0, even - 1), 0.975) / _Z95) ** 2
    return float(min(n, share * (1 - share) / between / unsure))


def difference(ours: Interval, theirs: Interval) -> Interval:
    """Ours minus theirs, of independent samples, from their intervals.

    Newcombe's hybrid of score intervals (1998, method 10), which holds for other intervals too (MOVER;
    Zou & Donner 2008).
    """
    value = ours.value - theirs.value
    below = np.hypot(ours.value - ours.low, theirs.high - theirs.value)
    above = np.hypot(ours.high - ours.value, theirs.value - theirs.low)
    return Interval(value, value - float(below), value + float(above), ours.n + theirs.n)


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
    low, high = _ends(_resample(sums, counts, draws, seed), len(sums))
    return Interval(float(sums.sum() / counts.sum()), low, high, len(values))


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
    low, high = _ends(_resample(sums, counts, draws, seed), len(sums))
    return Interval(float(sums.sum() / counts.sum()), low, high, len(sums))


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
    a, b = _paired(ours, our_prompts, theirs, their_prompts)
    gaps = _resample(*a, draws, seed) - _resample(*b, draws, seed)
    low, high = _ends(gaps, len(a[0]), level)
    value = a[0].sum() / a[1].sum() - b[0].sum() / b[1].sum()
    return Interval(float(value), low, high, len(a[0]))


def share_difference_by_prompt(
    ours: Values, our_prompts: Sequence[Hashable], theirs: Values, their_prompts: Sequence[Hashable]
) -> Interval:
    """Share of `ours` minus share of `theirs`, paired by prompt, with an adjusted Wald interval.

    Bonett & Price (2012) add one pair that only we get right and one that only they do, so that sides
    which agree on every prompt do not pass for surely equal. A prompt with several replies is the mean
    of its pairs, and so a pair that is added weighs as little as one of them.

    Args:
        ours: 0 or 1 each.
        our_prompts: The prompt each answers, in the same order.
        theirs: As `ours`.
        their_prompts: As `our_prompts`.

    Raises:
        ValueError: The two sides do not answer the same prompts.
    """
    a, b = _paired(ours, our_prompts, theirs, their_prompts)
    value = float(a[0].sum() / a[1].sum() - b[0].sum() / b[1].sum())
    gaps, added = a[0] / a[1] - b[0] / b[1], 4 * len(a[0]) / (len(ours) + len(theirs))
    n = len(gaps) + added
    middle = float(gaps.sum()) / n
    half = _Z95 * ((float(np.square(gaps).sum()) + added) / n - middle**2) ** 0.5 / n**0.5
    low, high = min(value, middle - half), max(value, middle + half)
    return Interval(value, max(-1.0, low), min(1.0, high), len(gaps))


def _paired(
    ours: Values, our_prompts: Sequence[Hashable], theirs: Values, their_prompts: Sequence[Hashable]
) -> tuple[_Groups, _Groups]:
    if set(our_prompts) != set(their_prompts):
        raise ValueError("a paired difference needs the same prompts on both sides")
    return _group(ours, our_prompts), _group(theirs, their_prompts)


def _group(values: Values, prompts: Sequence[Hashable]) -> _Groups:
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


def _ends(means: NDArray[np.float64], units: int, level: float = 0.95) -> tuple[float, float]:
    """Percentiles of resampled means, moved outwards for few units (Hesterberg 2015, "expanded").

    Resamples spread less than samples do, by (n - 1) / n, and few units say little of their own spread.
    """
    if units < 2:
        return float(means.min()), float(means.max())
    tail = float(ndtr(stdtrit(units - 1, (1 - level) / 2) * (units / (units - 1)) ** 0.5))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


Level = Literal["nominal", "linear", "quadratic"]


def kappa(
    ours: Values,
    theirs: Values,
    units: Sequence[Hashable],
    *,
    level: Level = "nominal",
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Cohen's kappa of two raters (1960; weighted 1968), with a bootstrap interval over units.

    Args:
        ours: One rating each.
        theirs: Of the same things.
        units: What each rating belongs to and is resampled with.
        level: How much two ratings differ: not at all or wholly, by their distance, or by its square.
        draws: Bootstrap resamples; those in which both raters give one value throughout are left out.
        seed: Of the resampling.

    Raises:
        ValueError: The three differ in length, are empty, or both raters give one value throughout.
    """
    if not len(ours) == len(theirs) == len(units) > 0:
        raise ValueError(f"{len(ours)}, {len(theirs)} ratings of {len(units)}: all must match, not 0")
    values, places = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
    ones = np.eye(len(values))[places.reshape(2, -1)]
    names = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
    tables = np.zeros((len(names), len(values), len(values)))
    np.add.at(tables, [names[unit] for unit in units], ones[0][:, :, None] * ones[1][:, None, :])
    found = _corrected(tables, _distances(values, level), _by_margins, draws, seed)
    return found._replace(n=len(ours))


def krippendorff(
    ratings: Sequence[Values], *, level: Level = "nominal", draws: int = 2000, seed: int = 0
) -> Interval:
    """Krippendorff's alpha (2011, "Computing Krippendorff's alpha-reliability"), any number of raters.

    Args:
        ratings: For each unit the ratings that it was given, in any order and number; units with fewer
            than two say nothing. `quadratic` is what Krippendorff calls the interval metric.
        level: As in `kappa`.
        draws: Bootstrap resamples of the units.
        seed: Of the resampling.

    Raises:
        ValueError: No unit has two ratings, or all ratings are the same.
    """
    paired = [np.asarray(each, dtype=np.float64) for each in ratings if len(each) > 1]
    if not paired:
        raise ValueError("alpha needs a unit with two ratings")
    values = np.unique(np.concatenate(paired))
    counts = np.array([(each[:, None] == values).sum(axis=0) for each in paired], dtype=np.float64)
    tables = counts[:, :, None] * counts[:, None, :] - np.eye(len(values)) * counts[:, None, :]
    tables /= counts.sum(axis=1)[:, None, None] - 1
    return _corrected(tables, _distances(values, level), _by_pool, draws, seed)


def _distances(values: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    gaps = np.abs(values[:, None] - values[None, :])
    return {"nominal": (gaps > 0).astype(np.float64), "linear": gaps, "quadratic": gaps**2}[level]


def _corrected(
    tables: NDArray[np.float64],
    distances: NDArray[np.float64],
    expected: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    draws: int,
    seed: int,
) -> Interval:
    """1 - observed over expected disagreement, from a table of pairs of ratings per unit."""
    n = len(tables)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    weights = np.concatenate([np.ones((1, n)), drawn])
    sums = (weights @ tables.reshape(n, -1)).reshape(-1, *distances.shape)
    with np.errstate(invalid="ignore"):
        found = 1 - (sums * distances).sum((1, 2)) / (expected(sums) * distances).sum((1, 2))
    value, kept = float(found[0]), found[np.isfinite(found)]
    if not np.isfinite(value):
        raise ValueError("agreement beyond chance is not defined where all ratings are the same")
    low, high = np.quantile(kept, [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high)), n)


def _by_margins(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """What two raters would agree on by chance, each with habits of its own."""
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    return np.asarray(rows[:, :, None] * columns[:, None, :] / rows.sum(axis=1)[:, None, None])


def _by_pool(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """What two ratings drawn without replacement from all of them would agree on."""
    counts = tables.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :] - np.eye(counts.shape[1]) * counts[:, None, :]
    return np.asarray(pairs / (counts.sum(axis=1) - 1)[:, None, None])
