"""Reward models: a score that is higher for the chosen reply of a pair.

A reward model is an adapter and a head of one row, on the same base as everything else. The head reads
the last token of a reply, which is the mark that ends it. Several are an ensemble; what they say is
made one number by what is left when their disagreement is taken off (2310.02743), or they are made one
model by averaging their updates exactly (2401.12187).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from mien.base.flat import Flat, Tree, batches
from mien.base.model import Base
from mien.errors import AdapterError
from mien.train.data import Contest, Ranked
from mien.train.loop import Loss, Objective
from mien.train.recipe import RewardRecipe

HEAD = "reward_head.safetensors"
_BATCH_TOKENS = 4096


class Batch(NamedTuple):
    """Rows laid end to end, and by how much the chosen reply of each pair should win."""

    contest: Contest
    margins: Tensor


class Reward(Objective):
    """-log sigma(chosen - rejected - margin), and a weak pull of their sum to 0.

    Args:
        base: The base, with the adapter on it.
        adapter: The adapter in training; the head is trained with it.
        recipe: Margins or none, and how strong the pull is.
    """

    def __init__(self, base: Base, adapter: str, recipe: RewardRecipe) -> None:
        super().__init__(base, adapter)
        self.recipe = recipe
        self.head = new_head(base, recipe.seed)

    def collate(self, rows: Sequence[Ranked]) -> Batch:
        """The rows laid end to end, each prompt once."""
        margins = [margin for row in rows for margin in row.margins]
        return Batch(Contest.of(rows), torch.tensor(margins))

    def forward(self, batch: Batch) -> Loss:
        """The loss of one batch."""
        contest = batch.contest
        with self.base.adapters.use(self.adapter):
            scores = read(self.base, self.head, contest.flat)
        chosen, rejected = scores[contest.chosen], scores[contest.rejected]
        gap = chosen - rejected
        wanted = batch.margins.to(gap.device) if self.recipe.margin else 0.0
        loss = -logsigmoid(gap - wanted).mean() + self.recipe.centre * (chosen + rejected).pow(2).mean()
        figures = {
            "accuracy": float((gap.detach() > 0).float().mean()),
            "margin": float(gap.detach().mean()),
            "chosen_score": float(chosen.detach().mean()),
        }
        return Loss(loss, len(gap), figures)

    def finish(self, folder: Path) -> None:
        """Save the head beside the adapter."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: each.cpu().contiguous() for name, each in self.head.state_dict().items()}
        state["seed"] = torch.tensor(self.recipe.seed)
        save_file(state, folder / HEAD, metadata={"format": "pt"})


def new_head(base: Base, seed: int) -> nn.Linear:
    """A head of one row on the base's hidden states, small and the same for the same seed."""
    size = base.head.weight.shape[1]
    head = nn.Linear(size, 1, device=base.device, dtype=torch.float32)
    with torch.no_grad():
        draw = torch.Generator().manual_seed(seed)
        head.weight.copy_(torch.randn(1, size, generator=draw) / math.sqrt(size + 1))
        head.bias.zero_()
    return head


def read(base: Base, head: nn.Linear, batch: Flat) -> Tensor:
    """What a head says of the last token of each sequence, (sequences,), under the adapter in force."""
    last = base.hidden(batch).index_select(0, batch.ends.to(base.device))
    return torch.as_tensor(head(last.float())[:, 0])


class RewardModel:
    """A finished reward model on its base.

    Args:
        base: The base, with the adapter on it.
        adapter: The adapter's name.
        head: As `load_head` gives it.
    """

    def __init__(self, base: Base, adapter: str, head: nn.Linear) -> None:
        self.base, self.adapter, self.head = base, adapter, head

    @torch.no_grad()
    def score(self, trees: Sequence[Tree]) -> list[tuple[float, ...]]:
        """The reward of each completion of each tree."""
        found: list[tuple[float, ...]] = []
        with self.base.adapters.use(self.adapter):
            for batch in batches(trees, _BATCH_TOKENS):
                scores = iter(read(self.base, self.head, Flat.branching(batch)).tolist())
                found += [tuple(next(scores) for _ in tree.completions) for tree in batch]
        return found


def load_head(base: Base, folder: Path) -> nn.Linear:
    """The head that lies beside an adapter.

    Raises:
        AdapterError: There is none, it is of another base, not finite, or as it was before training.
    """
    path = folder / HEAD
    try:
        state = load_file(path)
    except FileNotFoundError as error:
        raise AdapterError(
            f"{folder}: no {HEAD}, so this adapter is no reward model.",
            fix="Give a run of `mien train reward`.",
        ) from error
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{path}: cannot be read ({error}).", fix="Train it again.") from error
    head = new_head(base, int(state.pop("seed", torch.tensor(0))))
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    if shapes != wanted:
        raise AdapterError(
            f"{path}: of another base (it has {shapes}, this base needs {wanted}).",
            fix="Load the base it was trained on.",
        )
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise AdapterError(f"{path}: not finite.", fix="Train it again with a lower rate.")
    if torch.equal(state["weight"], head.weight.cpu()) or not state["weight"].any():
        raise AdapterError(
            f"{path}: the head was never trained (its weights are those that training starts from).",
            fix="Train it again with `mien train reward`.",
        )
    head.load_state_dict(state)
    return head.requires_grad_(False)
