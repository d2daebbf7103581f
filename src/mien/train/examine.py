"""What a reward model is worth, on pairs it has not seen: how often it is right, how sure, and why.

A reward model may be right for the wrong reason. So beside its accuracy stand how well its confidence
fits, how far its reward follows length, and how well it would do if it had not read the prompt, as many
do in 60 % of pairs (2502.00814): a style is judged without the question, help is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from mien.base.flat import Tree
from mien.base.render import Renderer
from mien.schema import Score, conversation
from mien.stats import Interval, by_prompt
from mien.train.data import Ranked
from mien.train.reward import RewardModel

_BINS = 10


def examine(
    model: RewardModel, held: Sequence[Ranked], choices: Sequence[Tree], system: str
) -> list[Score]:
    """Scores of a reward model.

    Args:
        model: The reward model.
        held: Held-out rows.
        choices: Held-out prompts with four replies or so, the wanted one first; may be empty.
        system: What the scores are said to be of.
    """
    trees = [row.tree for row in held]
    read = model.score(trees)
    gaps, prompts = _gaps(read)
    blind, _ = _gaps(model.score([_blanked(tree, model.base.renderer) for tree in trees]))
    found = {
        "pair_accuracy": (by_prompt(_right(gaps), prompts), "share of pairs whose chosen reply wins"),
        "blanked_accuracy": (
            by_prompt(_right(blind), prompts),
            "the same where the model is given an empty question",
        ),
        "calibration_error": (
            _resampled(_calibration_error, gaps),
            f"mean |confidence - accuracy| over {_BINS} bins of confidence (Guo et al. 2017)",
        ),
        "length_correlation": (
            _length_correlation(trees, read),
            "Spearman's correlation of reward with tokens of the reply, over all replies",
        ),
    }
    if choices:
        scores = model.score(choices)
        best = [float(max(row) == row[0] and row.count(row[0]) == 1) for row in scores]
        found["best_of_n"] = (
            by_prompt(best, range(len(best))),
            f"share of prompts whose wanted reply is first of {len(scores[0])}",
        )
    return [
        Score(name=name, system=system, method=method, **interval._asdict())
        for name, (interval, method) in found.items()
    ]


def _gaps(scores: Sequence[Sequence[float]]) -> tuple[NDArray[np.float64], list[int]]:
    """Chosen less rejected of every pair, and the prompt each belongs to."""
    pairs = [(row[0] - other, place) for place, row in enumerate(scores) for other in row[1:]]
    return np.array([gap for gap, _ in pairs]), [place for _, place in pairs]


def _right(gaps: NDArray[np.float64]) -> list[float]:
    """1 for a win, 1/2 for a tie."""
    return [0.5 if gap == 0 else float(gap > 0) for gap in gaps]


def _calibration_error(gaps: NDArray[np.float64]) -> float:
    confidence = 1 / (1 + np.exp(-np.abs(gaps)))
    places = np.minimum((confidence - 0.5) * 2 * _BINS, _BINS - 1).astype(int)
    sums = np.bincount(places, confidence - _right(gaps), _BINS)
    return float(np.abs(sums).sum() / len(gaps))


def _resampled(
    of: Callable[[NDArray[np.float64]], float], values: NDArray[np.float64], draws: int = 1000
) -> Interval:
    draw = np.random.default_rng(0)
    found = [of(values[draw.integers(len(values), size=len(values))]) for _ in range(draws)]
    value = of(values)
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high)), len(values))


def _length_correlation(trees: Sequence[Tree], scores: Sequence[Sequence[float]]) -> Interval:
    lengths = [len(each) for tree in trees for each in tree.completions]
    table = np.array([lengths, [score for row in scores for score in row]], dtype=np.float64).T

    ranks = rankdata(table, axis=0)  # once: resamples are of ranks, which says the same and is quick

    def correlation(rows: NDArray[np.float64]) -> float:
        if not np.ptp(rows, axis=0).all():
            return 0.0  # what does not vary follows nothing
        return float(np.asarray(np.corrcoef(rows.T))[0, 1])

    return _resampled(correlation, ranks)


def _blanked(tree: Tree, renderer: Renderer) -> Tree:
    return Tree(renderer.prompt(conversation(" ")), tree.completions)
