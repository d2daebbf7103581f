"""Draws cells from a plan, one level of each dimension apiece, and counts what a set of them covers.

Counts per level are apportioned first, so that each is within one of its exact share. The pairs are then
evened out by columnwise-pairwise exchange, the method by which supersaturated and nearly orthogonal
designs are built (Li & Wu 1997; Xu 2002): two cells swap their levels of one dimension wherever that
brings the counts of pairs nearer to what independent dimensions would have, in the sense of Pearson's
chi-square. A swap leaves the counts per level as they are. Forbidden combinations cost more than any
chi-square does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mien.data.plan import Cell, Plan
from mien.errors import InputError
from mien.schema import Strict

Ints = NDArray[np.intp]

_PARTNERS = 32  # cells that are tried as partners of a swap
_VISITS = 5000  # looks at one level of one cell; more of them empty no fewer pairs, and take seconds
_STARTS = 10  # fresh starts where a forbidden combination could not be swapped away
_FORBIDDEN = 1e6  # what one costs


def draw(plan: Plan, n: int, seed: int = 0) -> tuple[Cell, ...]:
    """`n` cells of a plan, balanced over levels and over pairs of them.

    Args:
        plan: What varies.
        n: How many.
        seed: The same one draws the same cells.

    Raises:
        InputError: The forbidden combinations cannot be kept out of `n` cells.
    """
    return missing(plan, (), n, seed)


def missing(plan: Plan, done: Sequence[Cell], n: int, seed: int = 0) -> tuple[Cell, ...]:
    """The cells that fill `done` up to `n` cells, so that the whole is as balanced as it can be.

    Raises:
        InputError: A done cell is not of this plan, or the forbidden combinations cannot be kept out.
    """
    if n <= len(done):
        return ()
    for start in range(_STARTS):
        design = _Design(plan, done, n, np.random.default_rng([seed, start]))
        design.spread()
        if not design.violations(design.rows[len(done) :]).any():
            return tuple(design.cells()[len(done) :])
    raise InputError(
        f"{n} dialogues cannot be drawn without a forbidden combination.",
        fix="Ask for more of them, or forbid less in the plan.",
    )


class _Design:
    """Cells under construction, as rows of level numbers that run through all dimensions."""

    def __init__(self, plan: Plan, done: Sequence[Cell], n: int, rng: np.random.Generator) -> None:
        self.rng, self.fixed = rng, len(done)
        self.levels = [(name, level) for name, each in plan.dimensions.items() for level in each.levels]
        self.names = list(plan.dimensions)
        self.rules = _rules(plan, self.levels)
        self.ruled = [any(name in rule for rule in plan.forbidden) for name in self.names]
        old, number = _numbered(plan, done, self.levels), {key: i for i, key in enumerate(self.levels)}
        columns = []
        for place, (name, dimension) in enumerate(plan.dimensions.items()):
            ids = np.array([number[name, level] for level in dimension.levels])
            had = (old[:, place, None] == ids).sum(axis=0)
            new = np.repeat(ids, _apportion(dimension.shares * n, had, n - len(done), rng))
            columns.append(rng.permutation(new))
        self.rows = np.vstack([old, np.stack(columns, axis=1)])
        shares = np.concatenate([each.shares for each in plan.dimensions.values()])
        self.unit = 1 / (n * np.outer(shares, shares))  # of chi-square: one over the expected count
        excess = 2 * (_pair_counts(self.rows, len(self.levels)) * self.unit - 1)
        self.more, self.less = self.unit + excess, self.unit - excess  # what one more or less adds

    def cells(self) -> list[Cell]:
        """The rows as cells."""
        return [{self.levels[i][0]: self.levels[i][1] for i in row} for row in self.rows]

    def violations(self, rows: Ints) -> Ints:
        """How many rules each row breaks."""
        return np.asarray(self.rules[:, rows].all(axis=-1).sum(axis=0))

    def spread(self) -> None:
        """Exchange until a whole round brings nothing, or the time is up."""
        visits, better = 0, True
        while better and visits < _VISITS:
            rows = self._round()
            better = False
            for column in range(len(self.names)):
                for row in rows:
                    better |= self._exchange(row, column)
            visits += len(rows) * len(self.names)

    def _round(self) -> Ints:
        """New rows in random order, those with a forbidden combination first; of very many, a part."""
        rows = self.rng.permutation(np.arange(self.fixed, len(self.rows)))
        first = np.argsort(self.violations(self.rows[rows]) == 0, kind="stable")
        return np.asarray(rows[first][:_VISITS])

    def _exchange(self, row: int, column: int) -> bool:
        """Swap a row's level with the partner's that gains most, if any gains."""
        others = self.rng.integers(self.fixed, len(self.rows), _PARTNERS)
        others = others[self.rows[others, column] != self.rows[row, column]]
        if not len(others):
            return False
        costs = self._cost(row, others, column)
        best = int(costs.argmin())
        if costs[best] > -1e-9:
            return False
        self._swap(row, others[best], column)
        return True

    def _cost(self, row: int, others: Ints, column: int) -> NDArray[np.float64]:
        """What swapping with each of `others` adds to the chi-square over pairs."""
        mine, theirs = self.rows[row], self.rows[others]
        a, b = mine[column], theirs[:, column, None]
        change = self.less[a, mine] + self.more[b, mine] + self.less[b, theirs] + self.more[a, theirs]
        change *= theirs != mine  # where both have the same level, nothing moves
        change[:, column] = 0
        cost = change.sum(axis=1)
        if self.ruled[column]:
            cost += _FORBIDDEN * self._breaks(mine, theirs, column)
        return np.asarray(cost)

    def _breaks(self, mine: Ints, theirs: Ints, column: int) -> Ints:
        """How many more rules are broken after the swap than before."""
        here, there = np.repeat(mine[None], len(theirs), axis=0), theirs.copy()
        before = self.violations(here) + self.violations(there)
        here[:, column], there[:, column] = theirs[:, column], mine[column]
        return np.asarray(self.violations(here) + self.violations(there) - before)

    def _swap(self, row: int, other: int, column: int) -> None:
        pair = [row, other]
        for sign in (-1, 1):
            for each in self.rows[pair]:
                block = np.ix_(each, each)
                self.more[block] += 2 * sign * self.unit[block]
                self.less[block] -= 2 * sign * self.unit[block]
            if sign < 0:
                self.rows[pair, column] = self.rows[pair[::-1], column]


def _rules(plan: Plan, levels: Sequence[tuple[str, str]]) -> NDArray[np.bool_]:
    """(rules, levels): whether a row with this level may still break the rule."""
    mask = [[name not in r or level in r[name] for name, level in levels] for r in plan.forbidden]
    return np.array(mask, dtype=bool).reshape(len(plan.forbidden), len(levels))


def _numbered(plan: Plan, cells: Sequence[Cell], levels: Sequence[tuple[str, str]]) -> Ints:
    """(cells, dimensions): the cells as level numbers."""
    number = {key: i for i, key in enumerate(levels)}
    for cell in cells:
        strange = [f"{name}: {level}" for name, level in cell.items() if (name, level) not in number]
        if strange := strange or [name for name in plan.dimensions if name not in cell]:
            raise InputError(
                f"A dialogue that is there already does not fit the plan ({strange[0]}).",
                fix="Use the plan it was made with, or begin in another folder.",
            )
    rows = [[number[name, cell[name]] for name in plan.dimensions] for cell in cells]
    return np.array(rows, dtype=np.intp).reshape(len(cells), len(plan.dimensions))


def _apportion(shares: NDArray[np.float64], had: Ints, n: int, rng: np.random.Generator) -> Ints:
    """How often each level comes up in `n` new cells: one by one to the level that lacks most.

    Where nothing was there before, each count ends within one of its exact share.
    """
    given = np.zeros(len(shares), dtype=np.intp)
    ties = rng.random(len(shares)) * 1e-6
    for _ in range(n):
        given[np.argmax(shares - had - given + ties)] += 1
    return given


def _pair_counts(rows: Ints, levels: int) -> Ints:
    """(levels, levels): in how many rows two levels come together."""
    one_hot = np.zeros((len(rows), levels), dtype=np.intp)
    np.put_along_axis(one_hot, rows, 1, axis=1)
    return np.asarray(one_hot.T @ one_hot)


class PairCounts(Strict):
    """How often the levels of two dimensions come together.

    `counts` has a row per level of `first` and a column per level of `second`; None is forbidden.
    """

    first: str
    second: str
    counts: tuple[tuple[int | None, ...], ...]


class Coverage(Strict):
    """What a set of cells has of a plan: counts beside exact shares, and counts of pairs."""

    cells: int
    counts: dict[str, dict[str, int]]
    shares: dict[str, dict[str, float]]
    pairs: tuple[PairCounts, ...]

    @property
    def empty(self) -> list[tuple[str, str, str, str]]:
        """The allowed pairs that no cell has: dimension, level, dimension, level."""
        return [
            (pair.first, a, pair.second, b)
            for pair in self.pairs
            for a, row in zip(self.counts[pair.first], pair.counts, strict=True)
            for b, count in zip(self.counts[pair.second], row, strict=True)
            if count == 0
        ]

    @property
    def allowed(self) -> int:
        """How many pairs of levels the plan allows."""
        return sum(count is not None for pair in self.pairs for row in pair.counts for count in row)


def coverage(plan: Plan, cells: Sequence[Cell]) -> Coverage:
    """Count levels and pairs of levels.

    Raises:
        InputError: A cell is not of this plan.
    """
    levels = [(name, level) for name, each in plan.dimensions.items() for level in each.levels]
    counts = _pair_counts(_numbered(plan, cells, levels), len(levels))
    ids = {name: [i for i, key in enumerate(levels) if key[0] == name] for name in plan.dimensions}
    return Coverage(
        cells=len(cells),
        counts={name: {levels[i][1]: int(counts[i, i]) for i in own} for name, own in ids.items()},
        shares={
            name: dict(zip(each.levels, map(float, each.shares * len(cells)), strict=True))
            for name, each in plan.dimensions.items()
        },
        pairs=tuple(_pair(plan, a, b, counts[np.ix_(ids[a], ids[b])]) for a, b in combinations(ids, 2)),
    )


def _pair(plan: Plan, first: str, second: str, counts: Ints) -> PairCounts:
    never = {
        (a, b)
        for rule in plan.forbidden
        if set(rule) == {first, second}
        for a in rule[first]
        for b in rule[second]
    }
    columns = plan.dimensions[second].levels
    rows = (
        tuple(None if (a, b) in never else int(n) for b, n in zip(columns, row, strict=True))
        for a, row in zip(plan.dimensions[first].levels, counts, strict=True)
    )
    return PairCounts(first=first, second=second, counts=tuple(rows))
