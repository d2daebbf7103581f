"""Losses on preferences: numbers worked by hand, and what each paper says of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.autograd import grad

from mien.train.losses import LOSSES, Margins, apo_zero, hinge, ipo, robust, sigmoid, softmax
from mien.train.recipe import DpoRecipe

EACH = sorted(LOSSES)


def margins(
    chosen: Sequence[float], rejected: Sequence[float], group: Sequence[int] | None = None
) -> Margins:
    return Margins(
        torch.tensor(chosen, dtype=torch.float64, requires_grad=True),
        torch.tensor(rejected, dtype=torch.float64, requires_grad=True),
        torch.tensor(range(len(chosen)) if group is None else group),
    )


def gaps(*values: float, group: Sequence[int] | None = None) -> Margins:
    return margins(values, [0.0] * len(values), group)


def drawn(pairs: int, *, size: float = 10.0) -> Margins:
    draw = torch.Generator().manual_seed(0)
    chosen, rejected = size * torch.randn(2, pairs, generator=draw, dtype=torch.float64)
    return Margins(chosen, rejected, torch.arange(pairs))


def turned(given: Margins) -> Margins:
    return Margins(given.rejected, given.chosen, given.group)


def slopes(name: str, given: Margins, beta: float = 0.5) -> tuple[Tensor, Tensor]:
    chosen, rejected = grad(LOSSES[name](given, beta, 0.0).sum(), (given.chosen, given.rejected))
    return chosen, rejected


# Two pairs at beta = 0.5: the gaps are 2 and -4, and beta times them 1 and -2. Below,
# L(x) = log(1 + exp(-x)), so L(1) = 0.313262 and L(-2) = 2.126928; and L(-x) = L(x) + x.
TWO = margins([2.0, -1.0], [0.0, 3.0])
WORKED: list[tuple[str, float, list[float]]] = [
    ("sigmoid", 0.0, [0.313262, 2.126928]),
    # 0.9 L(x) + 0.1 L(-x) = L(x) + 0.1 x
    ("sigmoid", 0.1, [0.313262 + 0.1, 2.126928 - 0.2]),
    # (0.9 L(x) - 0.1 L(-x)) / 0.8 = L(x) - x / 8
    ("robust", 0.1, [0.313262 - 0.125, 2.126928 + 0.25]),
    # max(0, 1 - 1) and max(0, 1 + 2)
    ("hinge", 0.0, [0.0, 3.0]),
    # 1 / (2 beta) = 1: (2 - 1)^2 and (-4 - 1)^2
    ("ipo", 0.0, [1.0, 25.0]),
    # 1 - s(1) + s(0) = 1 - 0.731059 + 0.5, and 1 - s(-0.5) + s(1.5) = 1 - 0.377541 + 0.817574
    ("apo_zero", 0.0, [0.768941, 1.440033]),
    ("softmax", 0.0, [0.313262, 2.126928]),
]


@pytest.mark.parametrize(("name", "smoothing", "wanted"), WORKED)
def test_the_losses_are_those_worked_by_hand(name: str, smoothing: float, wanted: list[float]) -> None:
    assert LOSSES[name](TWO, 0.5, smoothing).tolist() == pytest.approx(wanted, abs=2e-6)


# Where the policy is the reference: L(0) = log 2; max(0, 1); (0 - 1)^2; 1 - 1/2 + 1/2.
START = {
    "sigmoid": math.log(2),
    "robust": math.log(2),
    "hinge": 1.0,
    "ipo": 1.0,
    "apo_zero": 1.0,
    "softmax": math.log(2),
}


@pytest.mark.parametrize("name", EACH)
def test_where_training_starts_every_loss_has_its_known_value(name: str) -> None:
    assert LOSSES[name](gaps(0.0), 0.5, 0.0).tolist() == pytest.approx([START[name]])


@pytest.mark.parametrize("name", EACH)
def test_at_the_start_every_loss_raises_the_chosen_and_lowers_the_rejected(name: str) -> None:
    chosen, rejected = slopes(name, gaps(0.0))
    assert chosen < 0 < rejected
    assert float(chosen + rejected) == pytest.approx(0)


@pytest.mark.parametrize("name", EACH)
def test_there_is_one_loss_a_pair_however_large_the_margins(name: str) -> None:
    given = margins([1e4, -1e4, 0.0], [-1e4, 1e4, 1e4])
    assert LOSSES[name](given, 0.5, 0.0).shape == (3,)
    for slope in slopes(name, given):
        assert slope.isfinite().all()


def test_a_recipe_may_name_every_loss_and_no_other() -> None:
    assert set(get_args(DpoRecipe.model_fields["loss"].annotation)) == set(LOSSES)


def test_the_sigmoid_loss_is_flat_where_the_smoothed_label_says() -> None:
    # With a tenth of the labels wrong the best is sigma(beta gap) = 0.9, so gap = log(9) / beta.
    best = gaps(math.log(9) / 0.5)
    (slope,) = grad(sigmoid(best, 0.5, 0.1), best.chosen)
    assert float(slope) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["sigmoid", "robust"])
def test_without_wrong_labels_smoothing_changes_nothing(name: str) -> None:
    given = drawn(20)
    torch.testing.assert_close(LOSSES[name](given, 0.5, 0.0), sigmoid(given, 0.5))


@pytest.mark.parametrize("wrong", [0.1, 0.3, 0.49])
def test_robust_is_on_average_the_loss_of_the_true_labels(wrong: float) -> None:
    true = drawn(50)
    seen = (1 - wrong) * robust(true, 0.5, wrong) + wrong * robust(turned(true), 0.5, wrong)
    torch.testing.assert_close(seen, sigmoid(true, 0.5))


def test_hinge_asks_for_no_more_than_a_margin_of_one() -> None:
    # At beta = 0.5 that is a gap of 2.
    chosen, rejected = slopes("hinge", gaps(1.9, 2.1))
    assert chosen.tolist() == [-0.5, 0.0] and rejected.tolist() == [0.5, 0.0]
    assert hinge(gaps(1.9, 2.1), 0.5).tolist() == pytest.approx([0.05, 0.0])


@pytest.mark.parametrize("beta", [0.01, 0.1, 2.0])
def test_ipo_is_least_at_its_margin_and_grows_on_both_sides(beta: float) -> None:
    best = 1 / (2 * beta)
    below, there, above = ipo(gaps(best - 0.1, best, best + 0.1), beta).tolist()
    assert there == 0 and below == pytest.approx(0.01) and above == pytest.approx(0.01)


def test_apo_zero_looks_at_each_side_by_itself() -> None:
    one, other = slopes("apo_zero", margins([1.0, 1.0], [0.0, 5.0]))
    assert one[0] == one[1] and other[0] != other[1]
    # Of two gaps of 8, the one for which the chosen had to fall by 1 costs more.
    fallen, stayed = apo_zero(margins([-1.0, 0.0], [-9.0, -8.0]), 0.5).tolist()
    assert fallen > stayed


def test_softmax_with_one_rejected_is_sigmoid() -> None:
    given = drawn(50)
    torch.testing.assert_close(softmax(given, 0.5), sigmoid(given, 0.5))


def test_softmax_weighs_all_rejected_of_a_group_at_once() -> None:
    # log(1 + exp(-1) + exp(2)) = log 8.756935
    together = softmax(Margins(TWO.chosen, TWO.rejected, torch.tensor([0, 0])), 0.5)
    assert together.tolist() == pytest.approx([2.169846, 2.169846], abs=2e-6)


def test_softmax_where_training_starts_is_the_log_of_all_that_compete() -> None:
    # One chosen and three rejected, and one and one: log 4, log 2.
    first, *_, last = softmax(gaps(0.0, 0.0, 0.0, 0.0, group=[0, 0, 0, 1]), 0.1).tolist()
    assert (first, last) == pytest.approx((math.log(4), math.log(2)))


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_softmax_equals_its_definition_wherever_the_groups_lie(size: float) -> None:
    group = [0, 2, 1, 0, 2, 2, 0, 1]
    free = drawn(8, size=size)
    given = Margins(free.chosen, free.rejected, torch.tensor(group))
    found = softmax(given, 0.5).tolist()
    for place, own in enumerate(group):
        rest = [math.exp(-0.5 * float(gap)) for gap, g in zip(given.gap, group, strict=True) if g == own]
        assert found[place] == pytest.approx(math.log(1 + sum(rest)), rel=1e-12)


def test_softmax_neither_overflows_nor_vanishes() -> None:
    # exp(5000) is no number; the loss is the worst of the group: log(1 + e^5000 + e^-5000) = 5000.
    # Of three equally bad ones it is 5000 + log 3. Of two far enough below it is 0.
    given = gaps(-1e4, 1e4, -1e4, -1e4, -1e4, 1e4, 1e4, group=[0, 0, 1, 1, 1, 2, 2])
    found = softmax(given, 0.5)
    wanted = [5000.0] * 2 + [5000 + math.log(3)] * 3 + [0.0] * 2
    assert found.tolist() == pytest.approx(wanted)
    assert all(slope.isfinite().all() for slope in slopes("softmax", given))


def test_softmax_presses_hardest_on_the_rejected_that_is_nearest() -> None:
    # d loss / d rejected_j = beta exp(-x_j) / (1 + sum exp(-x)); of group [0, 0] both pairs say it.
    given = margins([0.0, 0.0], [0.0, 2.0], [0, 0])
    odds = [1.0, math.e]
    _, rejected = slopes("softmax", given)
    assert rejected.tolist() == pytest.approx([2 * 0.5 * each / (1 + sum(odds)) for each in odds])
