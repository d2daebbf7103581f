"""A backend that says what it is told to, or fails as it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from mien.serve.backends import Ended, Piece, Wanted


class Told:
    """Answers everybody alike.

    Attributes:
        says: The pieces of every reply; an error in their place is raised there.
        heard: What was asked.
    """

    alive = True
    resident: Mapping[str, str] = {}

    def __init__(self, *says: str | Exception) -> None:
        self.says = says
        self.heard: list[Wanted] = []

    def figures(self) -> Mapping[str, Any]:
        return {"running": 0, "waiting": 0}

    async def prepare(self, wanted: Wanted) -> ToldStream:
        self.heard.append(wanted)
        return ToldStream(self.says)


class ToldStream:
    prompt_tokens, reserved, fingerprint = 1, 2, "told"

    def __init__(self, says: tuple[str | Exception, ...]) -> None:
        self.says = says

    async def start(self) -> None:
        if self.says and isinstance(self.says[0], Exception):
            raise self.says[0]

    async def __aiter__(self) -> AsyncIterator[Piece]:
        for each in self.says:
            if isinstance(each, Exception):
                raise each
            yield Piece(0, each, tokens=1)
        yield Piece(0, ended=Ended("stop", len(self.says)))

    def cancel(self) -> None:
        pass
