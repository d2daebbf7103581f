"""The local base as a chat model: one base in memory, and whichever manner is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mien.base.decode import Sampling, stream
from mien.base.model import Base
from mien.schema import Message


@dataclass
class LocalChat:
    """Answers with the base under an adapter, a system prompt, both, or neither.

    Attributes:
        adapter: The name of an attached adapter; None is the bare base.
        system_prompt: Put before the conversation, if given.
        seed: Of the next reply; it moves on with every turn.
    """

    base: Base
    adapter: str | None = None
    system_prompt: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        """The next turn of the assistant, piece by piece."""
        self.seed += 1
        opening = (Message(role="system", content=self.system_prompt),) if self.system_prompt else ()
        recent = self._recent([*opening, *messages])
        with self.base.adapters.use(self.adapter):
            yield from stream(self.base, recent, self.sampling, seed=self.seed)

    def _recent(self, messages: list[Message]) -> list[Message]:
        """The conversation without its oldest exchanges, where it outgrew the model's context."""
        room = self.base.max_tokens - self.sampling.max_tokens
        first = 1 if messages[0].role == "system" else 0
        while len(self.base.renderer.prompt(messages)) > room and len(messages) > first + 2:
            del messages[first : first + 2]
        return messages
