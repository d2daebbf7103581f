"""The local base as a chat model: one base in memory, and whichever manner is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mien.base.model import Base
from mien.chat import Reply, Sampling
from mien.decode.generate import generate, stream
from mien.decode.talk import recent
from mien.schema import Message, digest


@dataclass
class LocalChat:
    """Answers with the base under an adapter, a system prompt, both, or neither.

    Attributes:
        adapter: The name of an attached adapter; None is the bare base.
        system_prompt: Put before the conversation, if given.
        sampling: Of what is streamed.
        seed: Of the next streamed reply; it moves on with every turn.
    """

    base: Base
    adapter: str | None = None
    system_prompt: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    parallel: int = 1

    @property
    def name(self) -> str:
        """The base, the adapter and the system prompt, by name and by hash."""
        said = f"system {digest(self.system_prompt)[:8]}" if self.system_prompt else ""
        base = f"{self.base.files.name} {self.base.files.sha256[:8]} {self.base.dtype}"
        return ", ".join(part for part in (base, self.adapter, said) if part)

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        """The next turn of the assistant, piece by piece."""
        self.seed += 1
        kept = self._recent(messages, self.sampling.max_tokens)
        with self.base.adapters.use(self.adapter):
            yield from stream(self.base, kept, self.sampling, seed=self.seed)

    def reply(self, messages: Sequence[Message], sampling: Sampling, *, seed: int) -> Reply:
        """The next turn of the assistant."""
        kept = self._recent(messages, sampling.max_tokens)
        with self.base.adapters.use(self.adapter):
            (ids,) = generate(self.base, [kept], sampling, seeds=[seed])
        return Reply(
            text=self.base.renderer.decode(ids),
            prompt_tokens=len(self.base.renderer.prompt(kept)),
            completion_tokens=len(ids),
            ended="length" if len(ids) == sampling.max_tokens else "stop",
        )

    def _recent(self, messages: Sequence[Message], longest: int) -> list[Message]:
        """The conversation without its oldest exchanges, where it outgrew the model's context."""
        opening = (Message(role="system", content=self.system_prompt),) if self.system_prompt else ()
        return recent(self.base, [*opening, *messages], longest, exchanges=1)
