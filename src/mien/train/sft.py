"""Supervised fine-tuning: make the persona's own replies likely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mien.base.flat import Chain, Flat
from mien.base.model import Base
from mien.train.loop import Loss, Objective


class Sft(Objective):
    """Mean -log p per token of the completions, in nats.

    Args:
        base: The base, with the adapter on it.
        adapter: The adapter in training.
        dose: Says what its finished update is multiplied by.
    """

    def __init__(self, base: Base, adapter: str, dose: Callable[[], float] = lambda: 1.0) -> None:
        super().__init__(base, adapter)
        self.dose = dose

    def collate(self, rows: Sequence[Chain]) -> Flat:
        """The rows laid end to end."""
        return Flat.of(rows)

    def forward(self, batch: Flat) -> Loss:
        """The loss of one batch."""
        return Loss(self.nll(batch).mean(), len(batch.targets))

    def finish(self, folder: Path) -> None:
        """Give the update its dose."""
        self.base.adapters.rescale(self.adapter, self.dose())
