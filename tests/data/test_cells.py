"""Drawing cells: balanced over levels, even over pairs, nothing forbidden, and topped up."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mien.data.cells import coverage, draw, missing
from mien.data.plan import Cell, Plan
from mien.errors import InputError
from mien.persona import library

DEFAULT = Plan.of(library()["neutral"])


def plan_of(weights: Sequence[Sequence[float]], forbidden: Sequence[dict[str, Any]] = ()) -> Plan:
    """A plan whose first dimension is `turns`; its levels, and those of `d1`, `d2` ..., are numbers."""
    dimensions = {
        f"d{place}" if place else "turns": {
            "about": f"Dimension {place}",
            "told": ["user"],
            "levels": {str(i): {"text": f"level {i}", "weight": w} for i, w in enumerate(each, 1)},
        }
        for place, each in enumerate(weights)
    }
    return Plan.model_validate({"dimensions": dimensions, "forbidden": forbidden, "sparks": ["a", "b"]})


weights = st.lists(st.lists(st.floats(0.2, 9), min_size=1, max_size=5), min_size=1, max_size=5)


def breaks(plan: Plan, cell: Cell) -> bool:
    return any(all(cell[name] in levels for name, levels in rule.items()) for rule in plan.forbidden)


def worst(plan: Plan, cells: Sequence[Cell]) -> float:
    found = coverage(plan, cells)
    return max(
        abs(count - found.shares[name][level])
        for name, counts in found.counts.items()
        for level, count in counts.items()
    )


@settings(max_examples=60, deadline=None)
@given(weights, st.integers(1, 60), st.integers(0, 3))
def test_every_level_is_within_one_of_its_exact_share(
    given_weights: list[list[float]], n: int, seed: int
) -> None:
    plan = plan_of(given_weights)
    cells = draw(plan, n, seed)
    assert len(cells) == n
    assert worst(plan, cells) < 1


@settings(max_examples=40, deadline=None)
@given(weights, st.integers(1, 40), st.data())
def test_a_set_that_lost_dialogues_is_topped_up_to_balance(
    given_weights: list[list[float]], n: int, data: st.DataObject
) -> None:
    plan = plan_of(given_weights)
    cells = draw(plan, n, 0)
    kept = data.draw(st.lists(st.sampled_from(range(n)), unique=True))
    done = [cells[place] for place in kept]
    whole = [*done, *missing(plan, done, n, 1)]
    assert len(whole) == n
    assert worst(plan, whole) < 1


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(2, 4), st.integers(1, 30), st.data())
def test_what_is_forbidden_never_comes_up_and_the_balance_stays(
    first: int, second: int, n: int, data: st.DataObject
) -> None:
    pair = {"turns": [data.draw(st.integers(1, first))], "d1": [data.draw(st.integers(1, second))]}
    plan = plan_of([[1] * first, [1] * second, [1, 2]], [pair])
    try:
        cells = draw(plan, n, 0)
    except InputError:
        assume(False)
    assert not any(breaks(plan, cell) for cell in cells)
    assert worst(plan, cells) < 1


@pytest.mark.parametrize("n", [*range(1, 25), 40, 100])
def test_the_default_plan_can_be_drawn_at_any_size(n: int) -> None:
    cells = draw(DEFAULT, n, n)
    assert not any(breaks(DEFAULT, cell) for cell in cells)
    assert worst(DEFAULT, cells) < 1


def test_pairs_are_spread_far_more_evenly_than_chance_would() -> None:
    dice = random.Random(0)
    by_chance = [
        {
            name: dice.choices(list(each.levels), list(each.shares))[0]
            for name, each in DEFAULT.dimensions.items()
        }
        for _ in range(200)
    ]
    drawn = coverage(DEFAULT, draw(DEFAULT, 200, 0))
    assert len(drawn.empty) <= len(coverage(DEFAULT, by_chance).empty) / 4
    assert all(drawn.shares[a][i] * drawn.shares[b][j] < 200 for a, i, b, j in drawn.empty)


def test_equal_levels_are_a_full_factorial_where_the_number_allows_it() -> None:
    found = coverage(plan := plan_of([[1, 1, 1], [1, 1, 1, 1]]), draw(plan, 36, 0))
    assert {count for pair in found.pairs for row in pair.counts for count in row} == {3}


def test_the_same_seed_draws_the_same_cells_and_another_one_others() -> None:
    assert draw(DEFAULT, 30, 1) == draw(DEFAULT, 30, 1) != draw(DEFAULT, 30, 2)


def test_a_full_set_lacks_nothing() -> None:
    cells = draw(DEFAULT, 12, 0)
    assert missing(DEFAULT, cells, 12) == missing(DEFAULT, cells, 5) == ()


def test_the_one_cell_that_was_lost_is_drawn_again() -> None:
    plan = plan_of([[1, 1, 1], [1, 1, 1]])
    cells = draw(plan, 9, 0)
    assert missing(plan, cells[1:], 9, 5) == cells[:1]


def test_a_plan_that_forbids_too_much_says_so() -> None:
    plan = plan_of([[1, 1], [1]], [{"turns": [1], "d1": [1]}])
    with pytest.raises(InputError, match="without a forbidden combination"):
        draw(plan, 10, 0)


@pytest.mark.parametrize("cell", [{"turns": "1"}, {"turns": "7", "d1": "1"}, {"turns": "1", "d2": "1"}])
def test_cells_of_another_plan_are_refused(cell: dict[str, str]) -> None:
    plan = plan_of([[1, 1], [1, 1]])
    with pytest.raises(InputError, match="does not fit the plan"):
        coverage(plan, [cell])
    with pytest.raises(InputError, match="does not fit the plan"):
        missing(plan, [cell], 5)


def test_coverage_counts_levels_and_pairs_and_knows_empty_from_forbidden() -> None:
    plan = plan_of([[1, 3], [1, 1]], [{"turns": [2], "d1": [2]}])
    found = coverage(plan, [{"turns": "1", "d1": "2"}, {"turns": "2", "d1": "1"}])
    assert found.counts == {"turns": {"1": 1, "2": 1}, "d1": {"1": 1, "2": 1}}
    assert found.shares["turns"] == {"1": 0.5, "2": 1.5}
    assert found.pairs[0].counts == ((0, 1), (1, None))
    assert found.empty == [("turns", "1", "d1", "1")]
    assert found.allowed == 3


def test_no_cells_cover_nothing() -> None:
    found = coverage(plan_of([[1, 1], [1, 1]]), [])
    assert (found.cells, len(found.empty)) == (0, 4)
