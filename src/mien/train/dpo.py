"""Direct preference optimisation: the chosen reply rises over the rejected ones, on a leash.

The policy is the adapter in training, the reference one that is frozen; both lie on the same base. A
prompt is computed once for all its replies, and the reference is asked once for all runs. What is
logged tells a healthy rise from displacement, in which both replies fall (2410.08847).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mien.base.model import Base
from mien.train.data import Contest, Ranked
from mien.train.loop import Loss, Objective
from mien.train.losses import LOSSES, Margins
from mien.train.recipe import DpoRecipe


class Referred(NamedTuple):
    """A row, and what the reference says of each of its completions: log p, in nats."""

    row: Ranked
    reference: tuple[float, ...]


class Batch(NamedTuple):
    """Rows laid end to end, and what the reference says of each sequence."""

    contest: Contest
    reference: Tensor


class Dpo(Objective):
    """A loss on pairs, averaged over the pairs of a row and then over rows.

    Its figures: the log-probability of each side by itself, per token (`_logp`), and how far it is from
    the reference (`_moved`); the margin of the implicit reward, and how often it is positive.

    Args:
        base: The base, with both adapters on it.
        adapter: The policy.
        recipe: Which loss, and how strong.
    """

    def __init__(self, base: Base, adapter: str, recipe: DpoRecipe) -> None:
        super().__init__(base, adapter)
        self.recipe = recipe

    def collate(self, rows: Sequence[Referred]) -> Batch:
        """The rows laid end to end, each prompt once."""
        reference = [logp for row in rows for logp in row.reference]
        return Batch(Contest.of([row.row for row in rows]), torch.tensor(reference))

    def forward(self, batch: Batch) -> Loss:
        """The loss of one batch, and what it did to each side."""
        recipe, flat = self.recipe, batch.contest.flat
        logps = -flat.sums(self.nll(flat))
        lengths, reference, chosen, rejected, group = (
            each.to(logps.device) for each in (flat.counts(), batch.reference, *batch.contest[1:])
        )
        moved = (logps - reference) / lengths
        ratios = moved if recipe.length_normalised else logps - reference
        margins = Margins(ratios[chosen], ratios[rejected], group)
        pairs = LOSSES[recipe.loss](margins, recipe.beta, recipe.label_smoothing)
        rows = _by_row(pairs, group)
        loss = rows.mean()
        if recipe.nll:
            wanted = torch.unique(chosen)
            loss = loss - recipe.nll * (logps[wanted] / lengths[wanted]).mean()
        gap = margins.gap.detach()
        figures = {
            "chosen_logp": (logps / lengths)[chosen],
            "rejected_logp": (logps / lengths)[rejected],
            "chosen_moved": moved[chosen],
            "rejected_moved": moved[rejected],
            "margin": recipe.beta * gap,
            "accuracy": (gap > 0).float(),
        }
        means = {name: float(values.detach().mean()) for name, values in figures.items()}
        return Loss(loss, len(rows), means)


def _by_row(values: Tensor, group: Tensor) -> Tensor:
    """Values of pairs as means per row."""
    sums = values.new_zeros(int(group.max()) + 1).index_add(0, group, values)
    return sums / torch.bincount(group)
