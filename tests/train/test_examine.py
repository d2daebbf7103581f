"""What is said of a reward model, by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp
from typing import Any

import pytest

from mien.base.flat import Tree
from mien.base.model import Base
from mien.schema import Score, conversation
from mien.train.data import Ranked
from mien.train.examine import examine

Says = Callable[[Sequence[int], Sequence[int]], float]


class Fake:
    """A reward model that is a function of prompt and reply."""

    def __init__(self, base: Base, says: Says) -> None:
        self.base, self.says = base, says

    def score(self, trees: Sequence[Tree]) -> list[tuple[float, ...]]:
        return [tuple(self.says(tree.prompt, each) for each in tree.completions) for tree in trees]


def row(*replies: tuple[int, ...]) -> Ranked:
    return Ranked(Tree((1, 5), replies), (0.0,) * (len(replies) - 1))


def examined(
    base: Base, says: Says, held: Sequence[Ranked], choices: Sequence[Tree] = ()
) -> dict[str, Score]:
    model: Any = Fake(base, says)
    return {score.name: score for score in examine(model, held, choices, "it")}


def first(_: Sequence[int], reply: Sequence[int]) -> float:
    return float(reply[0])


def test_a_tie_is_half_right(tiny_base: Base) -> None:
    held = [row((3, 2), (1, 2)), row((4, 2), (4, 3)), row((1, 2), (2, 2), (5, 2))]
    found = examined(tiny_base, first, held)["pair_accuracy"]
    assert found.value == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert (found.n, found.system) == (4, "it")
    assert found.low <= found.value <= found.high


def test_calibration_error_by_hand(tiny_base: Base) -> None:
    # Gaps 1, -1 and 3 are confidences of 0.731, 0.731 and 0.953; bins are 0.05 wide from 0.5. The
    # first two share a bin in which one of two is right, the third is right by itself.
    held = [row((2, 9), (1, 9)), row((1, 9), (2, 9)), row((4, 9), (1, 9))]
    one, three = 1 / (1 + exp(-1)), 1 / (1 + exp(-3))
    expected = (abs(2 * one - 1) + abs(three - 1)) / 3
    assert examined(tiny_base, first, held)["calibration_error"].value == pytest.approx(expected)


def test_who_cannot_tell_and_says_so_is_well_calibrated(tiny_base: Base) -> None:
    found = examined(tiny_base, lambda *_: 0.0, [row((1, 2), (3, 2)), row((4, 2), (5, 2))])
    assert found["pair_accuracy"].value == 0.5
    assert found["calibration_error"].value == 0
    assert found["length_correlation"].value == 0  # what does not vary follows nothing


@pytest.mark.parametrize("sign", [1, -1])
def test_a_reward_that_is_the_length_follows_it(tiny_base: Base, sign: int) -> None:
    held = [row((1,) * n, (1,) * (n + 1)) for n in range(1, 6)]
    found = examined(tiny_base, lambda _, reply: sign * float(len(reply)), held)["length_correlation"]
    assert found.value == pytest.approx(sign)
    assert found.n == 10


def test_blanked_is_how_well_it_does_without_the_question(tiny_base: Base) -> None:
    blank = tiny_base.renderer.prompt(conversation(" "))

    def says(prompt: Sequence[int], reply: Sequence[int]) -> float:
        return float(reply[0]) if list(prompt) != list(blank) else -float(reply[0])

    found = examined(tiny_base, says, [row((3, 2), (1, 2)), row((4, 2), (2, 2))])
    assert (found["pair_accuracy"].value, found["blanked_accuracy"].value) == (1, 0)


def test_best_of_n_is_first_place_alone(tiny_base: Base) -> None:
    choices = [
        Tree((1,), ((9,), (1,), (2,), (3,))),
        Tree((1,), ((9,), (9,), (2,), (3,))),  # shared first place is no win
        Tree((1,), ((2,), (1,), (9,), (3,))),
        Tree((1,), ((7,), (1,), (2,), (3,))),
    ]
    found = examined(tiny_base, first, [row((2, 1), (1, 1))], choices)["best_of_n"]
    assert found.value == 0.5
    assert "of 4" in found.method
    assert "best_of_n" not in examined(tiny_base, first, [row((2, 1), (1, 1))])
