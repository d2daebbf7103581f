"""Intervals: hand-worked values, coverage on data whose truth is known, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from mien.stats import (
    Interval,
    Level,
    by_prompt,
    difference,
    difference_by_prompt,
    kappa,
    krippendorff,
    ratio,
    share_difference_by_prompt,
    wilson,
    wilson_by_cluster,
)


def test_wilson_of_8_in_10_worked_by_hand() -> None:
    # z = 1.96, z^2 = 3.8415, n = 10, p = 0.8:
    # centre = (0.8 + 3.8415 / 20) / (1 + 0.38415) = 0.99207 / 1.38415 = 0.71674
    # half   = 1.96 / 1.38415 * sqrt(0.8 * 0.2 / 10 + 3.8415 / 400)
    #        = 1.41600 * sqrt(0.016 + 0.0096037) = 1.41600 * 0.160012 = 0.22658
    found = wilson(8, 10)
    assert found == pytest.approx((0.8, 0.49016, 0.94332, 10), abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # At none of n the bounds are 0 and z^2 / (n + z^2); at all of n they are mirrored.
        (0, 10, 0.0, 3.8414588 / 13.8414588),
        (10, 10, 10 / 13.8414588, 1.0),
        (0, 1, 0.0, 3.8414588 / 4.8414588),
        (50, 100, 0.5 - 0.0961682, 0.5 + 0.0961682),
    ],
)
def test_wilson_at_the_ends_and_in_the_middle(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_stays_within_0_and_1(pair: tuple[int, int]) -> None:
    found = wilson(*pair)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        wilson(successes, n)


def clustered(rng: np.random.Generator, prompts: int, replies: int) -> tuple[np.ndarray, list[int]]:
    """Replies with mean 0 that differ more between prompts than within one."""
    centre = np.repeat(rng.normal(0, 1, prompts), replies)
    return centre + rng.normal(0, 0.5, prompts * replies), list(np.repeat(range(prompts), replies))


def coverage(grouped: bool, rounds: int = 300, size: int = 40) -> float:
    """Share of simulated studies whose interval holds the true mean of 0."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(rounds):
        values, prompts = clustered(rng, size, 5)
        found = by_prompt(values, prompts if grouped else range(len(values)), draws=400)
        held += found.low <= 0 <= found.high
    return held / rounds


def test_the_interval_over_prompts_covers_as_it_says_and_one_over_replies_does_not() -> None:
    # 300 studies: a true 95 % shows within about 0.95 +- 0.04; the bootstrap runs slightly short.
    assert 0.90 <= coverage(grouped=True) <= 0.985
    # Taking replies for independent shrinks the interval by sqrt(1 + 4 * 0.8) = 2: 67 % at best.
    assert coverage(grouped=False) < 0.80


def test_few_prompts_make_an_interval_that_is_wider_and_not_surer() -> None:
    # Of eight prompts, plain percentiles hold the mean in 87 % of studies.
    assert coverage(grouped=True, size=8) >= 0.91


def test_the_value_is_the_mean_over_replies_and_n_counts_them() -> None:
    found = by_prompt([1, 2, 3, 10], ["a", "a", "a", "b"])
    assert (found.value, found.n) == (4.0, 4)
    assert found.low == pytest.approx(2.0)
    assert found.high == pytest.approx(10.0)


def test_one_prompt_gives_an_interval_of_no_width() -> None:
    assert by_prompt([1, 3], ["a", "a"]) == Interval(2.0, 2.0, 2.0, 2)


def test_the_width_for_independent_values_is_that_of_the_normal() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = by_prompt(values, range(400))
    expected = 1.96 * values.std() / math.sqrt(400)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.06)


def test_the_same_seed_gives_the_same_interval_whatever_the_order() -> None:
    values, prompts = clustered(np.random.default_rng(1), 10, 3)
    turned = by_prompt(values[::-1], prompts[::-1])
    assert by_prompt(values, prompts) == pytest.approx(turned)
    assert by_prompt(values, prompts) != by_prompt(values, prompts, seed=1)


def test_a_paired_difference_is_the_same_difference_in_every_draw() -> None:
    theirs, prompts = clustered(np.random.default_rng(2), 20, 3)
    found = difference_by_prompt(theirs + 0.7, prompts, theirs, prompts)
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.7, 0.7))
    assert found.n == 20


def test_pairing_is_narrower_than_two_intervals_when_prompts_differ_more_than_systems() -> None:
    rng = np.random.default_rng(3)
    theirs, prompts = clustered(rng, 30, 2)
    ours = theirs + 0.3 + rng.normal(0, 0.1, len(theirs))
    found = difference_by_prompt(ours, prompts, theirs, prompts)
    alone = by_prompt(ours, prompts)
    assert 0 < found.low < 0.3 < found.high
    assert found.high - found.low < (alone.high - alone.low) / 4


def test_the_sides_of_a_difference_may_be_in_any_order_and_number() -> None:
    found = difference_by_prompt([1, 5, 3], ["a", "b", "a"], [4, 2], ["b", "a"])
    assert found.value == pytest.approx(3 - 3)
    # Drawn twice, prompt a gives 2 - 2 = 0 and prompt b gives 5 - 4 = 1.
    assert (found.low, found.high) == pytest.approx((0, 1))


def shares(gains: int, losses: int, ties: int) -> Interval:
    """Of pairs in which only we are right, only they are, and both or neither is."""
    ours = [1] * gains + [0] * losses + [1] * ties
    theirs = [0] * gains + [1] * losses + [1] * ties
    return share_difference_by_prompt(ours, range(len(ours)), theirs, range(len(ours)))


def test_a_paired_difference_of_shares_worked_by_hand() -> None:
    # 3 gains and 1 loss of 10; with one more of each (4 - 2) / 12 = 1/6, and a variance of
    # 6/12 - 1/36 = 17/36: 1/6 -+ 1.96 sqrt(17/36 / 12) = 1/6 -+ 0.3888.
    found = shares(3, 1, 6)
    assert (found.value, found.n) == (pytest.approx(0.2), 10)
    assert (found.low, found.high) == pytest.approx((-0.2221, 0.5555), abs=1e-4)


def test_sides_that_agree_on_few_prompts_are_not_surely_equal() -> None:
    # No gain, no loss: 0 -+ 1.96 sqrt(2 / (n + 2) / (n + 2)).
    assert shares(0, 0, 6)[:3] == pytest.approx((0, -0.3465, 0.3465), abs=1e-4)
    assert shares(0, 0, 44)[:3] == pytest.approx((0, -0.0603, 0.0603), abs=1e-4)
    assert shares(1, 0, 0)[:3] == pytest.approx((1, -0.7335, 1), abs=1e-4)  # 1/3 -+ 1.96 sqrt(8/27)


def test_a_paired_difference_of_shares_covers_as_it_says() -> None:
    rng, held = np.random.default_rng(5), 0
    for _ in range(400):
        ours, theirs = rng.random(24) < 0.85, rng.random(24) < 0.6
        found = share_difference_by_prompt(ours * 1.0, range(24), theirs * 1.0, range(24))
        held += found.low <= 0.25 <= found.high
    assert 0.92 <= held / 400 <= 0.985


def test_several_replies_to_a_prompt_count_with_their_mean() -> None:
    # Gaps of 0 and -1 of two replies each, so that the two pairs that are added are worth one prompt:
    # -1/3 -+ 1.96 sqrt((1 + 1) / 3 - 1/9) / sqrt(3).
    found = share_difference_by_prompt([1, 1, 0, 0], list("aabb"), [1, 1, 1, 1], list("aabb"))
    assert found == pytest.approx((-0.5, -1, 0.5101, 2), abs=1e-4)


@pytest.mark.parametrize(("values", "prompts"), [([], []), ([1.0], []), ([1.0, 2.0], ["a"])])
def test_values_and_prompts_must_match(values: list[float], prompts: list[str]) -> None:
    with pytest.raises(ValueError, match="both must match"):
        by_prompt(values, prompts)


def test_a_difference_needs_the_same_prompts_on_both_sides() -> None:
    with pytest.raises(ValueError, match="same prompts on both sides"):
        difference_by_prompt([1], ["a"], [1], ["b"])


def test_a_ratio_is_of_the_sums_and_not_a_mean_of_ratios() -> None:
    found = ratio([10, 90], [1, 3])
    assert (found.value, found.n) == (25.0, 2)
    assert (found.low, found.high) == (10.0, 30.0)  # one of the two drawn twice


@pytest.mark.parametrize(("amounts", "per"), [([], []), ([1.0], [1.0, 2.0]), ([1.0], [0.0])])
def test_a_ratio_refuses_what_cannot_be_divided(amounts: list[float], per: list[float]) -> None:
    with pytest.raises(ValueError, match="both must match"):
        ratio(amounts, per)


def test_kappa_of_a_table_worked_by_hand() -> None:
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 35 / 50 = 0.7; by chance 25/50 * 30/50 for yes
    # and 25/50 * 20/50 for no, 0.5 in all; (0.7 - 0.5) / (1 - 0.5) = 0.4.
    ours = [1] * 25 + [0] * 25
    theirs = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    found = kappa(ours, theirs, range(50))
    assert found.value == pytest.approx(0.4)
    assert found.n == 50
    # The standard error of Fleiss, Cohen & Everitt (1969) is 0.127 for this table: 0.15 to 0.65.
    assert (found.low, found.high) == pytest.approx((0.15, 0.65), abs=0.04)


@pytest.mark.parametrize(
    ("level", "weights"), [("nominal", None), ("linear", "linear"), ("quadratic", "quadratic")]
)
def test_kappa_is_that_of_scikit_learn(level: Level, weights: str | None) -> None:
    rng = np.random.default_rng(0)
    ours = rng.integers(1, 6, 80)
    theirs = np.clip(ours + rng.integers(-1, 2, 80), 1, 5)
    expected = cohen_kappa_score(ours, theirs, weights=weights)
    assert kappa(ours, theirs, range(80), level=level, draws=10).value == pytest.approx(expected)


def test_kappa_resamples_units_and_not_ratings() -> None:
    ours, theirs = [1, 1, 0, 0, 1, 0] * 5, [1, 0, 0, 0, 1, 1] * 5
    apart = kappa(ours, theirs, range(30))
    lumped = kappa(ours, theirs, [place // 5 for place in range(30)])
    assert lumped.value == apart.value
    assert lumped != apart


def test_raters_who_agree_in_all_have_a_kappa_of_one_and_an_alpha_of_one() -> None:
    assert kappa([1, 2, 3], [1, 2, 3], "abc")[:3] == (1, 1, 1)
    assert krippendorff([[1, 1], [2, 2], [3, 3, 3]])[:3] == (1, 1, 1)


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("quadratic", 0.849)])
def test_alpha_of_the_example_that_krippendorff_works_by_hand(level: Level, alpha: float) -> None:
    # Krippendorff (2011), part C: four observers, twelve units, some of them not seen by all.
    blank = None
    a = [1, 2, 3, 3, 2, 1, 4, 1, 2, blank, blank, blank]
    b = [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, blank, 3]
    c = [blank, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, blank]
    d = [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, blank]
    units = [[each for each in unit if each is not None] for unit in zip(a, b, c, d, strict=True)]
    found = krippendorff(units, level=level)
    assert found.value == pytest.approx(alpha, abs=5e-4)
    assert found.n == 11  # the last unit was seen by one observer alone
    assert found.low < found.value <= found.high


def test_agreement_is_not_defined_without_differences_or_without_pairs() -> None:
    with pytest.raises(ValueError, match="all ratings are the same"):
        kappa([1, 1], [1, 1], "ab")
    with pytest.raises(ValueError, match="two ratings"):
        krippendorff([[1], [2]])
    with pytest.raises(ValueError, match="all must match"):
        kappa([1], [1, 2], "a")


def test_clusters_of_one_trial_give_wilsons_own_interval() -> None:
    assert wilson_by_cluster([1] * 8 + [0] * 2, [1] * 10) == wilson(8, 10)


def test_a_design_effect_worked_by_hand() -> None:
    # Four users, two thumbs each: 2, 2, 0, 2 up. p = 6 / 8; residuals 0.5, 0.5, -1.5, 0.5, squares 3.
    # Variance between users: 3 / 64 * 4 / 3 = 1 / 16; of independent trials 3 / 16 / n, so n = 3.
    # Four even clusters leave 3 degrees of freedom: t = 3.18245, 3 / (t / z)^2 = 1.13791.
    # centre = (0.75 + 1.92073 / 1.13791) / (1 + 3.84146 / 1.13791) = 2.43796 / 4.37589 = 0.55713
    # half = 1.95996 / 4.37589 * sqrt(0.1875 / 1.13791 + 3.84146 / 4 / 1.13791^2) = 0.42644
    found = wilson_by_cluster([2, 2, 0, 2], [2, 2, 2, 2])
    assert found == pytest.approx((0.75, 0.13069, 0.98357, 8), abs=2e-5)


def test_thumbs_of_one_user_count_for_less_than_those_of_many() -> None:
    one_each = wilson_by_cluster([1] * 60 + [0] * 40, [1] * 100)
    ten_each = wilson_by_cluster([10] * 6 + [0] * 4, [10] * 10)
    assert ten_each.value == one_each.value and ten_each.n == one_each.n
    assert ten_each.low < one_each.low - 0.1 and ten_each.high > one_each.high + 0.1


def test_trials_that_all_came_out_alike_are_as_many_as_their_clusters() -> None:
    low, high = wilson(5, 5)[1:3]
    assert wilson_by_cluster([7] * 5, [7] * 5) == pytest.approx((1, low, high, 35))
    assert wilson_by_cluster([30], [30])[1:3] == pytest.approx(wilson(1, 1)[1:3])


_COUNTS = st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(max_examples=40)
@given(st.lists(_COUNTS, min_size=1, max_size=6))
def test_a_clustered_interval_holds_its_share_and_is_no_narrower_than_wilsons(
    users: list[tuple[int, int]],
) -> None:
    hits, sizes = [up for up, _ in users], [n for _, n in users]
    found, plain = wilson_by_cluster(hits, sizes), wilson(sum(hits), sum(sizes))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value == plain.value and found.n == plain.n
    assert found.high - found.low >= plain.high - plain.low - 1e-9


@pytest.mark.parametrize(
    ("hits", "sizes"), [([], []), ([1], [1, 1]), ([2], [1]), ([-1], [1]), ([0], [0])]
)
def test_clusters_that_cannot_be_are_refused(hits: list[int], sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="each cluster needs"):
        wilson_by_cluster(hits, sizes)


def test_a_difference_of_independent_shares_is_newcombes() -> None:
    # Newcombe 1998, table II, method 10: 56/70 - 48/80 is 0.2 [0.0524, 0.3339].
    found = difference(wilson(56, 70), wilson(48, 80))
    assert found == pytest.approx((0.2, 0.0524, 0.3339, 150), abs=5e-5)


def test_two_arms_of_one_kind_are_rarely_told_apart_though_users_differ() -> None:
    # 400 experiments without a difference: a true 5 % shows within about 0.05 +- 0.035.
    rng = np.random.default_rng(3)

    def arm(users: int = 40) -> Interval:
        sizes = rng.integers(1, 9, users)
        return wilson_by_cluster(rng.binomial(sizes, rng.beta(2.4, 0.6, users)), sizes)

    gaps = [difference(arm(), arm()) for _ in range(400)]
    assert np.mean([gap.low > 0 or gap.high < 0 for gap in gaps]) <= 0.085
