"""What the gateway needs of whoever makes the replies: `local` is the engine in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mien.chat import Sampling
from mien.schema import Message
from mien.serve.catalogue import Served


@dataclass(frozen=True)
class Wanted:
    """A request that has been checked.

    Attributes:
        prompts: Conversations, texts, or token ids; each is answered `n` times.
        limited: Whether the client named the length; otherwise the reply takes what room there is.
        logprobs: How many of the likeliest tokens to tell at each place; None: no log-probabilities.
        schema: Of the JSON that each reply must be; None: any text.
    """

    model: Served
    prompts: tuple[tuple[Message, ...] | str | tuple[int, ...], ...]
    sampling: Sampling
    seed: int
    n: int = 1
    limited: bool = True
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Said:
    """One token, as text, with its log-probability and the likeliest in its place."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Ended:
    """How a reply ended.

    Attributes:
        tokens: Of the reply.
        reused: Tokens of the prompt that had been read before.
        waited: Seconds in the queue.
    """

    reason: Literal["stop", "length"]
    tokens: int
    reused: int = 0
    waited: float | None = None


@dataclass(frozen=True)
class Piece:
    """Some text of one of the replies; the last piece of each tells how it ended."""

    index: int
    text: str = ""
    said: tuple[Said, ...] = ()
    ended: Ended | None = None
    tokens: int = 0


class Stream(Protocol):
    """The replies to one request.

    Attributes:
        prompt_tokens: Of all its prompts.
        reserved: The most tokens that prompts and replies can take.
        fingerprint: Of the weights that answer, once it has started.
    """

    prompt_tokens: int
    reserved: int
    fingerprint: str

    async def start(self) -> None:
        """Have it answered.

        Raises:
            MienError: It cannot be.
        """
        ...

    def __aiter__(self) -> AsyncIterator[Piece]:
        """Pieces as they come, until each reply has ended.

        Raises:
            MienError: Something went wrong on the way.
        """
        ...

    def cancel(self) -> None:
        """Want no more. Harmless before the start, and once all is said."""
        ...


class Backend(Protocol):
    """Makes replies."""

    @property
    def alive(self) -> bool:
        """Whether it can."""
        ...

    @property
    def resident(self) -> Mapping[str, str]:
        """The adapters in memory, with the hash of each."""
        ...

    def figures(self) -> Mapping[str, Any]:
        """How many requests are `running` and `waiting`."""
        ...

    async def prepare(self, wanted: Wanted) -> Stream:
        """Turn a request into tokens, without starting on it.

        Raises:
            MienError: It cannot be answered.
        """
        ...
