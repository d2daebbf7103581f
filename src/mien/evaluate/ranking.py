"""Who is better, from games between two: Bradley-Terry strengths, and wins that length has not made.

Both are logistic regressions. A tie is half a win for each side. Every two players that met are also
given one tie that nobody played, half a win for each: without it a sweep has no finite strength.
Intervals resample the prompts, with all games on a drawn prompt coming along.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from mien.stats import Interval, Values

RANKED = (
    "Bradley-Terry, a tie as half a win for each, half a win for each side as prior; 95 % bootstrap over"
    " prompts"
)
EQUAL_LENGTH = (
    "logistic model of the difference in length (Dubois et al. 2024), read at no difference; 95 %"
    " bootstrap over prompts"
)
ELO = 400 / float(np.log(10))  # points per unit of log-odds
_STEPS = 100
_LEAP = 2.0  # longest step of Newton's method, in log-odds; whole ones may overshoot

Matrix = NDArray[np.float64]


class Game(NamedTuple):
    """Two players meet.

    Attributes:
        unit: What the game is resampled with: the prompt.
        won: By ours: 1, 0, or what lies between; a tie is 0.5.
    """

    unit: Hashable
    ours: str
    theirs: str
    won: float


def bradley_terry(games: Sequence[Game], *, draws: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Strengths in log-odds (Bradley & Terry 1952): their difference is that of winning. Their sum is 0.

    Args:
        games: In any order; wins between 0 and 1 are taken as shares of a win.
        draws: Bootstrap resamples of the units.
        seed: Of the resampling.

    Returns:
        By player, in the order of their first game; `n` counts a player's games.

    Raises:
        ValueError: There are no games, or two groups of players never met.
    """
    players = list(dict.fromkeys(name for game in games for name in (game.ours, game.theirs)))
    sides = np.array([[players.index(game.ours), players.index(game.theirs)] for game in games])
    met = np.unique(np.sort(sides.reshape(-1, 2), axis=1), axis=0)
    _refuse_strangers(met, len(players))
    ones = np.eye(len(players))
    ends = np.concatenate([sides, met])
    outcomes = np.array([game.won for game in games] + [0.5] * len(met))
    weights = _drawn([game.unit for game in games], draws, seed, prior=np.ones(len(met)))
    free = _logistic((ones[ends[:, 0]] - ones[ends[:, 1]])[:, 1:], outcomes, weights)
    found = np.pad(free, ((0, 0), (1, 0)))
    found -= found.mean(axis=1, keepdims=True)
    return {
        name: _interval(found[:, place], int((sides == place).sum()))
        for place, name in enumerate(players)
    }


def _refuse_strangers(met: NDArray[np.int64], players: int) -> None:
    graph = coo_array((np.ones(len(met)), tuple(met.T)), shape=(players, players)) if players else None
    if graph is None or connected_components(graph, directed=False)[0] > 1:
        raise ValueError("Bradley-Terry needs players who met, if only through others")


def equal_length(
    won: Values, gaps: Values, units: Sequence[Hashable], *, draws: int = 1000, seed: int = 0
) -> Interval:
    """How often we would win if both replies were equally long.

    The log-odds of a win are a constant and a multiple of tanh(gap / standard deviation of the gaps), as
    in length-controlled AlpacaEval (Dubois et al. 2024, arXiv:2404.04475, without its difficulty of
    prompts); the constant alone is read. Two half ties that nobody played, one where we are longer and
    one where they are, keep it finite.

    Args:
        won: By us, per game: 1, 0, or what lies between.
        gaps: Our length minus theirs, in any unit.
        units: As in `Game`.
        draws: Bootstrap resamples.
        seed: Of the resampling.

    Raises:
        ValueError: There are no games, or the three differ in length.
    """
    if not len(won) == len(gaps) == len(units) > 0:
        raise ValueError(
            f"{len(won)} games, {len(gaps)} gaps, {len(units)} units: all must match, not 0"
        )
    scaled = np.tanh(np.asarray(gaps, dtype=np.float64) / (np.std(gaps) or 1.0))
    slopes = np.concatenate([scaled, [1.0, -1.0]])
    design = np.stack([np.ones_like(slopes), slopes], axis=1)
    weights = _drawn(units, draws, seed, prior=np.array([0.5, 0.5]))
    found = _logistic(design, np.concatenate([won, [0.5, 0.5]]), weights)
    return _interval(expit(found[:, 0]), len(won))


def _drawn(units: Sequence[Hashable], draws: int, seed: int, *, prior: Matrix) -> Matrix:
    """How often each game counts, (1 + draws, games + prior): once each at first, then as drawn."""
    names = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
    n = len(names)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    games = np.concatenate([np.ones((1, n)), times])[:, [names[unit] for unit in units]]
    return np.concatenate([games, np.broadcast_to(prior, (draws + 1, len(prior)))], axis=1)


def _logistic(design: Matrix, outcomes: Matrix, weights: Matrix) -> Matrix:
    """Coefficients of one logistic regression per row of weights, by Newton's method.

    Args:
        design: (games, features).
        outcomes: (games,), 0 to 1.
        weights: (fits, games).

    Returns:
        (fits, features).
    """
    size = design.shape[1]
    squares = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    found = np.zeros((len(weights), size))
    for _ in range(_STEPS):
        mean = expit(found @ design.T)
        slope = (weights * (outcomes - mean)) @ design
        bend = ((weights * mean * (1 - mean)) @ squares).reshape(-1, size, size)
        step = np.clip(np.linalg.solve(bend, slope[..., None])[..., 0], -_LEAP, _LEAP)
        found += step
        if np.abs(step).max(initial=0.0) < 1e-9:
            break
    return found


def _interval(found: Matrix, n: int) -> Interval:
    """The first is the value; the others are bootstrap draws."""
    value = float(found[0])
    low, high = (float(each) for each in np.quantile(found[1:], [0.025, 0.975]))
    return Interval(value, min(value, low), max(value, high), n)
