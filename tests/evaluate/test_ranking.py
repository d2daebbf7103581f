"""Bradley-Terry and wins at equal length: by hand, against a reference optimiser, and where they end."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from mien.evaluate.ranking import ELO, Game, bradley_terry, equal_length


def games(ours: str, theirs: str, *won: float) -> list[Game]:
    return [Game(place, ours, theirs, each) for place, each in enumerate(won)]


def test_two_players_by_hand() -> None:
    # 3 wins, 1 loss and half a win for each side as prior: odds of 3.5 to 1.5, shared out evenly.
    found = bradley_terry(games("a", "b", 1, 1, 1, 0))
    gap = np.log(3.5 / 1.5)
    assert (found["a"].value, found["b"].value) == pytest.approx((gap / 2, -gap / 2))
    assert found["a"].n == 4


def test_a_tie_is_half_a_win_for_each() -> None:
    # 1 win, 1 loss, 2 ties are 2 wins to 2; 1 win and 2 ties are 2 to 1, with the prior 2.5 to 1.5.
    assert bradley_terry(games("a", "b", 1, 0, 0.5, 0.5))["a"].value == pytest.approx(0, abs=1e-12)
    found = bradley_terry(games("a", "b", 1, 0.5, 0.5))
    assert found["a"].value - found["b"].value == pytest.approx(np.log(2.5 / 1.5))


def test_a_sweep_of_20_to_0_stays_finite() -> None:
    # 20.5 to 0.5: log 41 = 3.71, which is 645 points on Elo's scale and not thousands.
    found = bradley_terry(games("a", "b", *[1] * 20))
    assert ELO * (found["a"].value - found["b"].value) == pytest.approx(400 * np.log10(41))
    assert np.isfinite([found["a"].low, found["a"].high]).all()


def test_five_players_agree_with_a_general_optimiser() -> None:
    rng = np.random.default_rng(5)
    names, truth = "abcde", rng.normal(0, 1, 5)
    played = [
        Game(unit, names[i], names[j], float(rng.random() < expit(truth[i] - truth[j])))
        for unit in range(12)
        for i in range(5)
        for j in range(i)
    ]

    def loss(strengths: np.ndarray) -> float:
        rows = [(names.index(g.ours), names.index(g.theirs), g.won) for g in played]
        rows += [(i, j, 0.5) for i in range(5) for j in range(i)]
        gaps = [(strengths[i] - strengths[j], won) for i, j, won in rows]
        return -sum(won * log_expit(gap) + (1 - won) * log_expit(-gap) for gap, won in gaps)

    expected = minimize(loss, np.zeros(5), tol=1e-12).x
    found = bradley_terry(played, draws=10)
    got = [found[name].value for name in names]
    assert got == pytest.approx(list(expected - expected.mean()), abs=1e-4)
    assert sum(got) == pytest.approx(0, abs=1e-9)


def test_the_interval_resamples_prompts_and_not_games() -> None:
    # Ten games on two prompts, each prompt going all one way, say little more than two games.
    lumped = [Game(place // 5, "a", "b", float(place < 5)) for place in range(10)]
    apart = games("a", "b", *([1] * 5 + [0] * 5))
    wide, narrow = bradley_terry(lumped)["a"], bradley_terry(apart)["a"]
    assert wide.value == pytest.approx(narrow.value, abs=1e-12)
    assert wide.high - wide.low > 1.4 * (narrow.high - narrow.low)


def test_players_who_never_met_are_compared_through_others_or_refused() -> None:
    chain = games("a", "b", 1, 1, 0) + games("b", "c", 1, 1, 0)
    found = bradley_terry(chain)
    assert found["a"].value > found["b"].value > found["c"].value
    for strangers in ([], games("a", "b", 1) + games("c", "d", 1)):
        with pytest.raises(ValueError, match="players who met"):
            bradley_terry(strangers)


def test_a_copy_is_as_strong_as_its_original() -> None:
    against = [1, 1, 0, 1, 0.5, 1]
    same = games("a", "copy", *[0.5] * 6)
    found = bradley_terry(same + games("a", "c", *against) + games("copy", "c", *against))
    assert found["a"][:3] == pytest.approx(found["copy"][:3])
    assert found["a"].value > found["c"].value


def test_wins_that_length_has_made_are_taken_out() -> None:
    rng = np.random.default_rng(0)
    gaps = rng.normal(20, 20, 400)  # ours is mostly longer, and that is all that counts
    won = (rng.random(400) < expit(2.5 * np.tanh(gaps / 20))).astype(float)
    found = equal_length(won, gaps, range(400))
    assert won.mean() > 0.7
    assert found.low < 0.5 < found.high


def test_wins_that_length_has_not_made_stay() -> None:
    rng = np.random.default_rng(1)
    won = (rng.random(400) < 0.7).astype(float)
    found = equal_length(won, rng.normal(0, 20, 400), range(400))
    assert found.value == pytest.approx(won.mean(), abs=0.02)
    assert found.n == 400


def test_equal_lengths_leave_the_share_of_wins_but_for_the_prior() -> None:
    # 3 of 4 won at no difference; the two half ties that nobody played stand at the lengths' ends and
    # pull both ways alike. Of 5 games in all, the log-odds solve 4 (0.75 - p) + (0.5 - mean of the
    # ends) = 0; with no slope both ends are p: 3.5 / 5 = 0.7.
    assert equal_length([1, 1, 1, 0], [0, 0, 0, 0], "abcd").value == pytest.approx(0.7)


def test_a_game_needs_its_length_and_its_prompt() -> None:
    with pytest.raises(ValueError, match="all must match"):
        equal_length([1.0], [2, 3], ["a"])
