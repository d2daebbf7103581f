from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f as f_distribution

from mien.evaluate.ocean import psychometrics as p

# Shrout & Fleiss (1979), table 2: six targets rated by four judges.
JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)


def test_alpha_worked_by_hand() -> None:
    # Items 1 2 3 and 2 4 6: variances 1 and 4, sums 3 6 9 with variance 9: alpha = 2 (1 - 5/9) = 8/9.
    assert p.alpha(np.array([[1, 2], [2, 4], [3, 6]], float)) == pytest.approx(8 / 9)
    # Items 1 3 2 and 1 1 3: variances 1 and 4/3, sums 2 4 5 with variance 7/3: nothing is shared.
    assert p.alpha(np.array([[1, 1], [3, 1], [2, 3]], float)) == pytest.approx(0.0)


def test_alpha_is_undefined_where_nobody_differs() -> None:
    assert np.isnan(p.alpha(np.ones((5, 4))))


def test_feldt_interval_inverts_the_f_test() -> None:
    # At the lower end, (1 - end) / (1 - alpha) is the 97.5 % point of F(n-1, (n-1)(k-1)).
    low, high = p.feldt(0.8, 11, 5)
    assert (1 - low) / 0.2 == pytest.approx(f_distribution.ppf(0.975, 10, 40))
    assert (1 - high) / 0.2 == pytest.approx(f_distribution.ppf(0.025, 10, 40))
    assert low < 0.8 < high


def test_omega_of_a_known_one_factor_structure() -> None:
    # Loadings .9 .8 .7 .6 on unit variances: (3.0)^2 / (9 + .19 + .36 + .51 + .64) = 9 / 10.7.
    loadings = np.array([0.9, 0.8, 0.7, 0.6])
    wanted = np.outer(loadings, loadings) + np.diag(1 - loadings**2)
    noise = np.random.default_rng(0).normal(size=(50, 4))
    noise -= noise.mean(axis=0)
    white = noise @ np.linalg.inv(np.linalg.cholesky(np.cov(noise, rowvar=False))).T
    table = white @ np.linalg.cholesky(wanted).T  # its covariance is exactly what is wanted
    assert np.cov(table, rowvar=False) == pytest.approx(wanted)
    assert p.omega(table) == pytest.approx(9 / 10.7, abs=1e-4)
    assert p.omega(table) > p.alpha(table)  # alpha is a lower bound unless all loadings are equal


def test_omega_is_undefined_where_nobody_differs() -> None:
    assert np.isnan(p.omega(np.ones((5, 4))))


def test_split_half_steps_up_with_spearman_and_brown() -> None:
    # The halves 1 2 3 and 1 3 2 correlate .5; twice as long: 2 * .5 / 1.5.
    assert p.split_half(np.array([[1, 1], [2, 3], [3, 2]], float)) == pytest.approx(2 / 3)


def test_icc_of_shrout_and_fleiss() -> None:
    assert p.icc(JUDGES) == pytest.approx(0.29, abs=0.005)


def test_components_of_shrout_and_fleiss() -> None:
    # Mean squares 11.24, 32.49, 1.02: (11.24-1.02)/4 = 2.556, (32.49-1.02)/6 = 5.244, 1.019.
    found = p.components(JUDGES)
    assert found == pytest.approx((2.556 / 8.819, 5.244 / 8.819, 1.019 / 8.819), abs=2e-3)
    assert sum(found) == pytest.approx(1)


def test_explained_variance_of_a_bias_that_one_kind_of_form_has() -> None:
    # Forms a say 0 and forms b say 1: all of the variance is theirs, and none is between c and d.
    table = np.tile([0.0, 0.0, 1.0, 1.0], (3, 1))
    assert p.explained(table, ["a", "a", "b", "b"]) == pytest.approx(1)
    assert p.explained(table, ["c", "d", "c", "d"]) == pytest.approx(0)


def test_success_counts_items_that_go_with_their_own_trait() -> None:
    one, other = np.array([1.0, 2, 3, 4]), np.array([1.0, -1, -1, 1])  # uncorrelated
    own, foreign = np.stack([one, one], axis=1), np.stack([other, other], axis=1)
    assert p.success(own, foreign, of=0) == 1
    # An item that belongs to the other trait loses, and so does its neighbour, which has nothing to go
    # with: its own rest is the stray item, and neither correlation is above the other's.
    mixed = np.stack([one, other], axis=1)
    assert p.success(mixed, foreign, of=0) == 0.0


def test_convergence_of_a_two_by_two_matrix() -> None:
    x, y = np.array([1.0, 2, 3, 4]), np.array([1.0, -1, -1, 1])
    found = p.convergence([np.stack([x, y], axis=1), np.stack([2 * x, y + 1], axis=1)])
    assert found.same == pytest.approx((1, 1))
    assert (found.other, found.gap) == pytest.approx((0, 1))


def test_resampling_draws_rows_of_all_tables_together() -> None:
    a = np.arange(10.0)[:, None]
    found = p.resampled(lambda x, y: float((y - x).mean()), a, a + 1)
    assert found is not None
    assert found == (1, 1, 1, 10)


def test_what_is_undefined_has_no_interval() -> None:
    assert p.resampled(p.alpha, np.ones((4, 3))) is None
