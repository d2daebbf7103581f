"""Whatever answers a chat: the local base, an endpoint, or a script that stands in for one in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

from pydantic import Field

from mien.errors import MienError
from mien.schema import Message, Strict


class Sampling(Strict):
    """How the next token is chosen. A temperature of 0 takes the likeliest."""

    max_tokens: int = Field(default=160, ge=1, description="longest reply, in tokens")
    temperature: float = Field(default=0.7, ge=0, le=5)
    top_k: int | None = Field(
        default=50, ge=1, description="draw among this many likeliest tokens; none: among all"
    )
    top_p: float = Field(default=0.9, gt=0, le=1, description="and among those with this much mass")
    repetition_penalty: float = Field(
        default=1.1, ge=1, description="divides the scores of tokens already in the reply (CTRL, 2019)"
    )


class Reply(Strict):
    """A model's turn, with what it cost.

    Attributes:
        text: What it says.
        prompt_tokens: Read, as the model counts them; 0 where it does not say.
        completion_tokens: Written, likewise.
        ended: `stop` where the model came to its end, `length` where it was cut.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ended: Literal["stop", "length"] = "stop"


class ChatModel(Protocol):
    """Answers a conversation."""

    @property
    def name(self) -> str:
        """What it is, for caches and data cards: the same name answers the same way."""
        ...

    @property
    def parallel(self) -> int:
        """How many calls it takes at once."""
        ...

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        """The next turn of the assistant for a person, as pieces of text that join to the whole."""
        ...

    def reply(self, messages: Sequence[Message], sampling: Sampling, *, seed: int) -> Reply:
        """The next turn of the assistant for a program.

        Raises:
            BusyError: Not now; it is worth asking again.
            ModelError: It will not answer this.
        """
        ...


Script = Callable[[Sequence[Message], int], str]


class ScriptedModel:
    """A chat model that says what it was told to: for tests and documentation.

    Args:
        replies: One per turn, in order; or a function of the conversation and the seed.

    Attributes:
        heard: The conversations it was given.
    """

    name = "scripted"
    parallel = 1

    def __init__(self, replies: Sequence[str] | Script) -> None:
        self.heard: list[tuple[Message, ...]] = []
        self._script = replies if callable(replies) else None
        self._replies = [] if callable(replies) else list(replies)

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        """The next scripted reply, word by word."""
        head, *rest = self._next(messages, 0).split(" ")
        yield head
        for word in rest:
            yield f" {word}"

    def reply(self, messages: Sequence[Message], sampling: Sampling, *, seed: int) -> Reply:
        """The next scripted reply; its tokens are its words."""
        text = self._next(messages, seed)
        read = sum(len(message.content.split()) for message in messages)
        return Reply(text=text, prompt_tokens=read, completion_tokens=len(text.split()))

    def _next(self, messages: Sequence[Message], seed: int) -> str:
        self.heard.append(tuple(messages))
        if self._script:
            return self._script(messages, seed)
        if not self._replies:
            raise MienError("The script has no reply left.", fix="Give the model more replies.")
        return self._replies.pop(0)
