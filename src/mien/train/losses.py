"""Losses on preferences, as pure functions of log-probabilities.

All take the same `Margins`: for each pair, how much more likely than under the reference the policy
makes the chosen reply, and the rejected one, in nats. Each returns one loss per pair. What they share
is the implicit reward of Rafailov et al. (2305.18290): beta times that log-ratio.

| name | paper | what it asks for |
|---|---|---|
| `sigmoid` | 2305.18290 (with label smoothing: cDPO) | a Bradley-Terry win |
| `robust` | 2403.00409 | the same, unbiased under labels that are wrong at a known rate |
| `hinge` | 2305.10425 | a win by a margin of one, and no more |
| `ipo` | 2310.12036 | a margin of 1 / (2 beta), and no more |
| `apo_zero` | 2408.06266 | chosen more likely than before, rejected less; each for itself |
| `softmax` | 2406.09215 | one chosen over several rejected at once; with one it is `sigmoid` |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu


@dataclass(frozen=True)
class Margins:
    """Log-ratios of policy to reference, of whole replies or per token.

    Attributes:
        chosen: (pairs,)
        rejected: (pairs,)
        group: (pairs,) the chosen reply each pair is about; pairs of one group share it.
    """

    chosen: Tensor
    rejected: Tensor
    group: Tensor

    @property
    def gap(self) -> Tensor:
        """(pairs,) how much further the chosen reply has risen than the rejected."""
        return self.chosen - self.rejected


def sigmoid(margins: Margins, beta: float, smoothing: float = 0.0) -> Tensor:
    """-log sigma(beta gap), of which the share `smoothing` is for the other way round."""
    logits = beta * margins.gap
    return -(1 - smoothing) * logsigmoid(logits) - smoothing * logsigmoid(-logits)


def robust(margins: Margins, beta: float, smoothing: float = 0.0) -> Tensor:
    """The sigmoid loss corrected for labels of which the share `smoothing`, below 1/2, is flipped."""
    logits = beta * margins.gap
    clean = -(1 - smoothing) * logsigmoid(logits) + smoothing * logsigmoid(-logits)
    return clean / (1 - 2 * smoothing)


def hinge(margins: Margins, beta: float, smoothing: float = 0.0) -> Tensor:
    """max(0, 1 - beta gap)."""
    return relu(1 - beta * margins.gap)


def ipo(margins: Margins, beta: float, smoothing: float = 0.0) -> Tensor:
    """(gap - 1 / (2 beta))^2."""
    return (margins.gap - 1 / (2 * beta)) ** 2


def apo_zero(margins: Margins, beta: float, smoothing: float = 0.0) -> Tensor:
    """1 - sigma(beta chosen) + sigma(beta rejected)."""
    return 1 - torch.sigmoid(beta * margins.chosen) + torch.sigmoid(beta * margins.rejected)


def softmax(margins: Margins, beta: float, smoothing: float = 0.0) -> Tensor:
    """log(1 + sum over the group of exp(-beta gap)), the same for every pair of the group."""
    logits, group = -beta * margins.gap, margins.group
    nothing = logits.new_zeros(int(group.max()) + 1)
    top = nothing.scatter_reduce(0, group, logits.detach(), "amax")  # at least 0, for the 1
    odds = nothing.index_add(0, group, (logits - top[group]).exp())
    return (top + (odds + (-top).exp()).log())[group]


PairLoss = Callable[[Margins, float, float], Tensor]
LOSSES: dict[str, PairLoss] = {
    "sigmoid": sigmoid,
    "robust": robust,
    "hinge": hinge,
    "ipo": ipo,
    "apo_zero": apo_zero,
    "softmax": softmax,
}
