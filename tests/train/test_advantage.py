"""The maths of policy gradients: numbers worked by hand, and plain loops of the definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from mien.train.advantage import (
    Price,
    gae,
    kl_estimates,
    leave_one_out,
    masked_mean,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)

# The second of two replies of three tokens ends after two.
MASK = torch.tensor([[True, True, True], [True, True, False]])


def table(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lasting(*lengths: int) -> Tensor:
    """The mask of replies that last so long."""
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_advantages_and_returns_are_those_worked_by_hand() -> None:
    # gamma = lambda = 1/2, so an advantage is its delta and a quarter of the next one.
    # Reply 1, from its end: 2 - 4 = -2;  0 + 4/2 - 2 = 0, and -2/4;  1 + 2/2 - 1 = 1, and -0.5/4.
    # Reply 2, from its end: 1 - 2 = -1;  0 + 2/2 - 2 = -1, and -1/4.
    rewards = table([1, 0, 2], [0, 1, 0])
    values = table([1, 2, 4], [2, 2, 0])
    advantages, returns = gae(rewards, values, MASK, gamma=0.5, lam=0.5)
    assert advantages.tolist() == [[0.875, -0.5, -2.0], [-1.25, -1.0, 0.0]]
    assert returns.tolist() == [[1.875, 1.5, 2.0], [0.75, 1.0, 0.0]]


@pytest.mark.parametrize(("gamma", "lam"), [(0.9, 0.7), (1.0, 0.95), (0.5, 0.0), (0.9, 1.0)])
def test_advantages_are_the_discounted_sum_of_what_surprised(gamma: float, lam: float) -> None:
    lengths = (7, 1, 4, 6)
    mask = lasting(*lengths)
    # What lies behind a reply's end is noise here, and must not be looked at.
    rewards, values = drawn(4, 7), drawn(4, 7, seed=1)
    advantages, returns = gae(rewards, values, mask, gamma=gamma, lam=lam)
    for reply, length in enumerate(lengths):
        r, v = rewards[reply].tolist(), [*values[reply, :length].tolist(), 0.0]
        deltas = [r[t] + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            wanted = sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, length))
            assert float(advantages[reply, t]) == pytest.approx(wanted)
            assert float(returns[reply, t]) == pytest.approx(wanted + v[t])
    assert not advantages[~mask].any() and not returns[~mask].any()


def test_with_lambda_one_the_returns_are_what_is_still_to_come() -> None:
    rewards = table([1, 2, 4], [8, 16, 0])
    _, returns = gae(rewards, drawn(2, 3), MASK, gamma=1.0, lam=1.0)
    torch.testing.assert_close(returns, table([7, 6, 4], [24, 16, 0]))


def test_the_score_is_paid_at_the_last_token_and_kl_at_each() -> None:
    # Each nat costs a half.
    found = token_rewards(torch.tensor([3.0, -1.0]), table([1, 0, 2], [4, 2, 0]), MASK, 0.5)
    assert found.tolist() == [[-0.5, 0.0, 2.0], [-2.0, -2.0, 0.0]]


def test_what_a_reply_is_paid_adds_up_to_its_score_less_its_kl() -> None:
    mask, scores = lasting(5, 2, 3), drawn(3)
    penalties = drawn(3, 5, seed=1) * mask
    paid = token_rewards(scores, penalties, mask, 0.1)
    torch.testing.assert_close(paid.sum(1), scores - 0.1 * penalties.sum(1))
    assert not paid[~mask].any()


def test_the_estimates_of_kl_are_those_of_their_definitions() -> None:
    # p = 1/2 where the reference says 1/4: log p/q = log 2, and q/p - 1 + log p/q = log 2 - 1/2.
    policy, reference = torch.tensor([0.5, 0.25]).log(), torch.tensor([0.25, 0.5]).log()
    found = kl_estimates(policy, reference)
    two = math.log(2)
    assert found["kl"].tolist() == pytest.approx([two, -two])
    assert found["abs"].tolist() == pytest.approx([two, two])
    assert found["mse"].tolist() == pytest.approx([two**2 / 2, two**2 / 2])
    assert found["k3"].tolist() == pytest.approx([two - 0.5, 1 - two], abs=1e-6)


def test_k1_and_k3_are_right_on_average_and_k3_is_never_negative() -> None:
    policy, reference = drawn(40).log_softmax(0), drawn(40, seed=1).log_softmax(0)
    found = kl_estimates(policy, reference)
    kl = float((policy.exp() * (policy - reference)).sum())
    for name in ("kl", "k3"):
        assert float((policy.exp() * found[name]).sum()) == pytest.approx(kl)
    assert (found["kl"] < 0).any() and (found["k3"] >= 0).all()


def test_each_score_is_held_against_the_others_of_its_prompt() -> None:
    # 1 - (2 + 6)/2, 2 - (1 + 6)/2, 6 - (1 + 2)/2; and three that do not differ.
    found = leave_one_out(torch.tensor([1.0, 2.0, 6.0, 4.0, 4.0, 4.0]), 3)
    assert found.tolist() == [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]


def test_a_masked_mean_counts_the_tokens_that_are_there() -> None:
    assert float(masked_mean(table([1, 2, 3], [4, 5, 100]), MASK)) == 3.0


def test_whitened_values_have_mean_zero_and_variance_one() -> None:
    mask = lasting(6, 2, 4)
    values = 5 + 3 * drawn(3, 6)
    white = whiten(values, mask)
    assert float(white[mask].mean()) == pytest.approx(0)
    assert float(white[mask].var()) == pytest.approx(1)
    assert not white[~mask].any()


def test_without_the_shift_whitened_values_keep_their_mean() -> None:
    mask = lasting(6, 2, 4)
    values = 5 + 3 * drawn(3, 6)
    white = whiten(values, mask, shift=False)
    assert float(white[mask].mean()) == pytest.approx(float(values[mask].mean()))
    assert float(white[mask].var()) == pytest.approx(1)
    assert not white[~mask].any()


@pytest.mark.parametrize("mask", [MASK, lasting(1, 0)])
def test_values_that_do_not_differ_are_whitened_to_zero(mask: Tensor) -> None:
    assert not whiten(torch.full(mask.shape, 4.0), mask).any()


# Ratios 3/2, 1/2, 3/2, 1/2, 2 under advantages 1, 1, -1, -1, 1, with room for a fifth either way:
#   free  -3/2  -1/2   3/2   1/2   -2
#   held  -6/5  -4/5   6/5   4/5   -6/5
#   max   -6/5  -1/2   3/2   4/5   -6/5    which add up to -0.6; the first and the last two are held
RATIOS = table([1.5, 0.5, 1.5, 0.5, 2.0, 7.0])
ADVANTAGES = table([1, 1, -1, -1, 1, 7])
FIVE = lasting(5, 6)[:1]


def test_the_policy_gains_no_more_than_the_clip_allows() -> None:
    old = drawn(1, 6)
    found = policy_loss(old + RATIOS.log(), old, ADVANTAGES, FIVE, 0.2)
    assert float(found.loss) == pytest.approx(-0.6 / 5)
    assert float(found.clipped) == pytest.approx(3 / 5)
    assert float(found.ratio) == pytest.approx(6 / 5)


def test_a_clipped_token_teaches_nothing_and_the_others_by_their_ratio() -> None:
    logps = RATIOS.log().requires_grad_()
    found = policy_loss(logps, torch.zeros_like(logps), ADVANTAGES, FIVE, 0.2)
    (slope,) = torch.autograd.grad(found.loss, logps)
    # d(-A r)/d log p = -A r, over five tokens.
    assert slope[0].tolist() == pytest.approx([0.0, -0.5 / 5, 1.5 / 5, 0.0, 0.0, 0.0])


def test_on_its_own_rollouts_the_policy_s_loss_is_the_mean_advantage() -> None:
    mask, advantages, old = lasting(3, 5), drawn(2, 5), drawn(2, 5, seed=1)
    found = policy_loss(old, old, advantages, mask, 0.2)
    assert float(found.loss) == pytest.approx(-float(advantages[mask].mean()))
    assert (float(found.clipped), float(found.ratio)) == (0.0, 1.0)


def test_the_value_s_error_is_the_larger_of_the_free_and_the_held() -> None:
    # Old values 1, room for a fifth. 2 is held at 1.2: against 3 errs 1.8, more than 1.
    # 1.1 is free: against 0 errs 1.1. -1 is held at 0.8: against 1 errs 0.2, less than 2.
    found = value_loss(
        table([2, 1.1, -1, 50]), table([1, 1, 1, 0]), table([3, 0, 1, 0]), lasting(3, 4)[:1], 0.2
    )
    assert float(found) == pytest.approx(0.5 * (1.8**2 + 1.1**2 + 2.0**2) / 3)


def test_a_fixed_price_stays_what_it_is() -> None:
    price = Price(0.05)
    price.update(1000.0, 500)
    assert price.value == 0.05


def test_a_price_rises_while_kl_is_over_its_target_and_falls_below_it() -> None:
    # 6.6 is a tenth over 6: a hundred replies of a thousand take a tenth of that, a hundredth.
    over, under, there = (Price(0.2, target=6.0, horizon=1000) for _ in range(3))
    over.update(6.6, 100)
    under.update(5.4, 100)
    there.update(6.0, 100)
    assert over.value == pytest.approx(0.202)
    assert under.value == pytest.approx(0.198)
    assert there.value == 0.2


@pytest.mark.parametrize(("kl", "wanted"), [(1e6, 1.2), (-50.0, 0.8)])
def test_a_price_changes_by_a_fifth_at_most_however_far_the_kl(kl: float, wanted: float) -> None:
    price = Price(1.0, target=6.0, horizon=1000)
    price.update(kl, 1000)
    assert price.value == pytest.approx(wanted)


def test_a_price_never_turns_into_a_premium_however_short_the_horizon() -> None:
    price = Price(1.0, target=6.0, horizon=1)
    for _ in range(20):
        price.update(0.0, 64)
    assert 0 < price.value < 0.8
