"""What slow work tells of itself while it happens. Free of any terminal, and of everything else."""

from __future__ import annotations

from collections.abc import Mapping


class Show:
    """A listener; this one keeps quiet."""

    def say(self, line: str) -> None:
        """One finished step."""

    def note(self, line: str) -> None:
        """Something seen while slow work goes on."""

    def begin(self, name: str, total: int) -> None:
        """Something slow begins, of `total` parts."""

    def advance(self, parts: int) -> None:
        """Some parts are done."""

    def training(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """One step of training is done."""
