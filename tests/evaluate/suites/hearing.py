"""An ear that hears `witty` where a text says so, or everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WITTY = "Kettles have seen worse."


@dataclass(frozen=True)
class Ear:
    """Hears witty in texts with `mark`; the rest is neutral."""

    mark: str = WITTY
    labels: tuple[str, ...] = ("neutral", "witty")

    def verdicts(self, texts: Sequence[str]) -> list[str]:
        return ["witty" if self.mark in text else "neutral" for text in texts]
