"""The maths of policy gradients, as pure functions of padded tables, (replies, tokens).

Rewards, values and log-probabilities are 0 where `mask` is False. Nothing here knows of a model.

Sources: PPO 1707.06347, GAE 1506.02438, the adaptive price of KL 1909.08593, RLOO 2402.14740, and for
the estimators k1, k2, k3 Schulman's note "Approximating KL Divergence" (2020).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Penalty = Literal["kl", "abs", "mse"]


def kl_estimates(policy: Tensor, reference: Tensor) -> dict[str, Tensor]:
    """Per-token estimates of KL(policy || reference), for tokens drawn from the policy.

    Returns:
        `kl` (k1: unbiased, may be negative), `abs`, `mse` (k2: biased, low variance) and `k3` (unbiased,
        never negative), each of the shape of the log-probabilities.
    """
    ratio = policy - reference
    return {
        "kl": ratio,
        "abs": ratio.abs(),
        "mse": ratio.square() / 2,
        "k3": (-ratio).exp() - 1 + ratio,
    }


def token_rewards(scores: Tensor, penalties: Tensor, mask: Tensor, price: float) -> Tensor:
    """What each token is paid: the price of its KL taken off, and the reply's score at its last token.

    Args:
        scores: (replies,)
        penalties: (replies, tokens) KL estimates.
        mask: (replies, tokens)
        price: Per nat.
    """
    rewards = -price * penalties * mask
    last = mask.sum(1) - 1
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and the returns that values are trained on.

    A reply is an episode: after its last token comes nothing.
    """
    last = torch.zeros_like(values[:, 0])
    advantages = torch.zeros_like(values)
    steps = values.shape[1]
    for t in reversed(range(steps)):
        following = values[:, t + 1] * mask[:, t + 1] if t + 1 < steps else torch.zeros_like(last)
        delta = rewards[:, t] + gamma * following - values[:, t]
        last = (delta + gamma * lam * last) * mask[:, t]
        advantages[:, t] = last
    return advantages, (advantages + values) * mask


def leave_one_out(scores: Tensor, samples: int) -> Tensor:
    """Each score less the mean of the others of its prompt (RLOO).

    Args:
        scores: (replies,) those of one prompt next to each other.
        samples: Replies per prompt, at least 2.
    """
    rows = scores.view(-1, samples)
    others = (rows.sum(1, keepdim=True) - rows) / (samples - 1)
    return (rows - others).view(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean where `mask` is True; a scalar."""
    return (values * mask).sum() / mask.sum()


def whiten(values: Tensor, mask: Tensor, *, shift: bool = True) -> Tensor:
    """Values with mean 0 (or, without `shift`, their own) and variance 1 where `mask` is True."""
    mean = masked_mean(values, mask)
    n = mask.sum()
    variance = ((values - mean).square() * mask).sum() / (n - 1).clamp(min=1)
    white = (values - mean) * (variance + 1e-8).rsqrt()
    return (white if shift else white + mean) * mask


class PolicyLoss(NamedTuple):
    """The clipped loss of the policy, how often it was clipped, and the mean ratio."""

    loss: Tensor
    clipped: Tensor
    ratio: Tensor


def policy_loss(
    logps: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, cliprange: float
) -> PolicyLoss:
    """max(-A r, -A clip(r, 1 - eps, 1 + eps)), a mean over tokens."""
    ratio = (logps - old).exp()
    free = -advantages * ratio
    held = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    clipped = masked_mean((held > free).float(), mask)
    return PolicyLoss(masked_mean(torch.max(free, held), mask), clipped, masked_mean(ratio, mask))


def value_loss(values: Tensor, old: Tensor, returns: Tensor, mask: Tensor, cliprange: float) -> Tensor:
    """Half the squared error, the larger of that of the values and of the values near the old ones."""
    near = old + (values - old).clamp(-cliprange, cliprange)
    worse = torch.max((values - returns).square(), (near - returns).square())
    return 0.5 * masked_mean(worse, mask)


class Price:
    """What a nat from the reference costs: fixed, or steered to a target.

    Args:
        start: `init_kl_coef`.
        target: Nats a reply; None leaves the price as it is.
        horizon: Replies in which a constant error of a fifth changes the price by a fifth, which is
            also the most that one update does.
    """

    def __init__(self, start: float, target: float | None = None, horizon: float = 1000) -> None:
        self.value, self.target, self.horizon = start, target, horizon

    def update(self, kl: float, replies: int) -> None:
        """See the KL of so many replies, in nats a reply."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.value *= 1 + error * min(replies / self.horizon, 1)
