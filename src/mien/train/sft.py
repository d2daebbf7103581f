"""Supervised fine-tuning: make the persona's own replies likely."""

from __future__ import annotations

from torch import Tensor

from mien.base.model import Base, Flat
from mien.train.loop import Objective


class Sft(Objective):
    """Mean -log p per token of the completions, in nats."""

    def __init__(self, base: Base, adapter: str) -> None:
        super().__init__(base, adapter)

    def forward(self, batch: Flat) -> Tensor:
        """The loss of one batch."""
        return self.nll(batch).mean()
