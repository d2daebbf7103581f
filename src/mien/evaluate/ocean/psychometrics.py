"""How far a scale measures one thing, and not another.

Tables are (respondents, items), or (items, forms) where forms are compared. What is undefined because
nothing varies is NaN, never a number that looks like an answer. Sources: alpha (Cronbach 1951) with
Feldt's interval (1965), omega of one factor (McDonald 1999), ICC(2,1) (Shrout & Fleiss 1979), scaling
success (Hays & Hayashi 1990), the multitrait-multimethod matrix (Campbell & Fiske 1959).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution

from mien.stats import Interval

Table = NDArray[np.float64]
_FLAT = 1e-12  # a variance below this is rounding


def alpha(table: Table) -> float:
    """Cronbach's alpha of a (respondents, items) table."""
    items = table.shape[1]
    total = float(table.sum(axis=1).var(ddof=1))
    if items < 2 or total < _FLAT:
        return float("nan")
    return float(items / (items - 1) * (1 - table.var(axis=0, ddof=1).sum() / total))


def feldt(value: float, respondents: int, items: int) -> tuple[float, float]:
    """The 95 % interval of an alpha (Feldt 1965, exact for normal parallel items)."""
    degrees = respondents - 1, (respondents - 1) * (items - 1)
    upper, lower = (float(f_distribution.ppf(p, *degrees)) for p in (0.975, 0.025))
    return 1 - (1 - value) * upper, 1 - (1 - value) * lower


def omega(table: Table, *, rounds: int = 50) -> float:
    """McDonald's omega total of one factor, by iterated principal axes on the covariances."""
    covariance = np.atleast_2d(np.cov(table, rowvar=False))
    variances = np.diag(covariance).copy()
    if len(variances) < 2 or covariance.sum() < _FLAT:
        return float("nan")
    common = variances / 2
    loadings = np.zeros_like(common)
    for _ in range(rounds):
        reduced = covariance - np.diag(variances - common)
        values, vectors = np.linalg.eigh(reduced)
        loadings = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
        before, common = common, np.minimum(loadings**2, variances)
        if np.abs(common - before).max() < 1e-5 * variances.max():
            break
    shared, own = loadings.sum() ** 2, (variances - common).sum()
    return float(shared / (shared + own)) if shared + own > _FLAT else float("nan")


def split_half(table: Table) -> float:
    """Correlation of every other item with the rest, stepped up to full length (Spearman-Brown)."""
    r = correlation(table[:, ::2].sum(axis=1), table[:, 1::2].sum(axis=1))
    return 2 * r / (1 + r) if r > -1 else float("nan")


class Components(NamedTuple):
    """Shares of the variance of an (items, forms) table; they add up to 1."""

    items: float
    forms: float
    rest: float


def components(table: Table) -> Components:
    """What varies with the item, with the form, and with neither; negative estimates are 0."""
    rows, columns, rest = _mean_squares(table)
    n, k = table.shape
    parts = np.maximum([(rows - rest) / k, (columns - rest) / n, rest], 0.0)
    return Components(*(parts / parts.sum() if parts.sum() > _FLAT else np.full(3, np.nan)).tolist())


def explained(table: Table, groups: Sequence[str]) -> float:
    """Share of the variance of an (items, forms) table that is between groups of its forms."""
    means = {
        group: float(table[:, [each == group for each in groups]].mean())
        for group in dict.fromkeys(groups)
    }
    between = float(np.var([means[group] for group in groups]))
    whole = float(table.var())
    return between / whole if whole > _FLAT else float("nan")


def icc(table: Table) -> float:
    """ICC(2,1): absolute agreement of single forms about items, both drawn at random."""
    rows, columns, rest = _mean_squares(table)
    n, k = table.shape
    whole = rows + (k - 1) * rest + k * (columns - rest) / n
    return float((rows - rest) / whole) if whole > _FLAT else float("nan")


def _mean_squares(table: Table) -> tuple[float, float, float]:
    n, k = table.shape
    by_row, by_column, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    rest = table - by_row[:, None] - by_column[None, :] + mean
    return (
        float(k * ((by_row - mean) ** 2).sum() / (n - 1)),
        float(n * ((by_column - mean) ** 2).sum() / (k - 1)),
        float((rest**2).sum() / ((n - 1) * (k - 1))),
    )


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's r; NaN where one side does not vary."""
    return float(correlations(a[:, None], b[:, None])[0, 0])


def correlations(a: Table, b: Table) -> Table:
    """Pearson's r of every column of one table with every column of the other, (columns, columns)."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norms = np.sqrt(np.outer((a**2).sum(axis=0), (b**2).sum(axis=0)))
    return np.divide(a.T @ b, norms, out=np.full_like(norms, np.nan), where=norms > _FLAT)


def success(*tables: Table, of: int) -> float:
    """How often an item goes with the rest of its own trait more than with another trait, 0 to 1.

    Args:
        tables: One per trait, (respondents, items), of the same respondents.
        of: The trait in question. By chance, half of the comparisons succeed; one that is undefined
            does not.
    """
    own = tables[of]
    rest = own.sum(axis=1, keepdims=True) - own
    others = np.stack([table.sum(axis=1) for place, table in enumerate(tables) if place != of], axis=1)
    mine = np.diag(correlations(own, rest))
    return float((mine[:, None] > correlations(own, others)).mean())


class Convergence(NamedTuple):
    """Correlations between formats, over respondents.

    Attributes:
        same: One trait by two formats, per trait: convergent validity.
        other: Two traits by two formats, in absolute value: what discriminant validity wants low.
    """

    same: tuple[float, ...]
    other: float

    @property
    def gap(self) -> float:
        """How much higher the convergent correlations are than the others."""
        return float(np.mean(self.same)) - self.other


def convergence(formats: Sequence[Table]) -> Convergence:
    """From (respondents, traits) tables, one per format: means over all pairs of formats."""
    blocks = np.array([correlations(a, b) for a, b in combinations(formats, 2)])
    apart = np.abs(blocks).mean(axis=0)[~np.eye(blocks.shape[1], dtype=bool)]
    return Convergence(tuple(np.diag(blocks.mean(axis=0)).tolist()), float(apart.mean()))


def resampled(
    statistic: Callable[..., float], *tables: Table, draws: int = 200, seed: int = 0
) -> Interval | None:
    """A statistic of tables with a percentile bootstrap interval over their rows.

    Args:
        statistic: Of all tables.
        tables: With the same rows, which are drawn together.
        draws: Resamples; those in which the statistic is undefined are left out.
        seed: Of the resampling.

    Returns:
        The interval, with the number of rows; None if the statistic is undefined.
    """
    value, rows = statistic(*tables), len(tables[0])
    if not np.isfinite(value):
        return None
    picks = np.random.default_rng(seed).integers(rows, size=(draws, rows))
    drawn = [statistic(*(table[pick] for table in tables)) for pick in picks]
    finite = [each for each in drawn if np.isfinite(each)] or [value]
    low, high = np.quantile(finite, [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high)), rows)
