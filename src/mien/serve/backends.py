"""What the gateway needs of whoever makes the replies: `local` is the engine in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeGuard

from mien.chat import Sampling
from mien.schema import Message
from mien.serve.catalogue import Served

_SEEDS = 2**63
Prompt = tuple[Message, ...] | str | tuple[int, ...]


def is_chat(prompt: Prompt) -> TypeGuard[tuple[Message, ...]]:
    """Whether it is a conversation, and neither a text nor token ids."""
    return not isinstance(prompt, str) and isinstance(prompt[0], Message)


def fingerprint(base_hash: str, model: Served) -> str:
    """Of the weights that answer: hashes of the base and of the adapter, as `/v1/models` tells it.

    Args:
        base_hash: Empty where only another server knows what its base is; then it is the base's name.
        model: Who answers.
    """
    return f"{base_hash[:12]}-{(model.version or 'none')[:12]}" if base_hash else model.base


@dataclass(frozen=True)
class Wanted:
    """A request that has been checked.

    Attributes:
        prompts: Conversations, texts, or token ids; each is answered `n` times.
        limited: Whether the client named the length; otherwise the reply takes what room there is.
        logprobs: How many of the likeliest tokens to tell at each place; None: no log-probabilities.
        schema: Of the JSON that each reply must be; None: any text.
        strict: Whether a server that may take a schema for a hint is to keep to it.
    """

    model: Served
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    seed: int
    n: int = 1
    limited: bool = True
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool = False

    @property
    def replies(self) -> int:
        """How many are wanted in all."""
        return self.n * len(self.prompts)

    @property
    def seeds(self) -> tuple[int, ...]:
        """One for each reply to a prompt."""
        return tuple((self.seed + i) % _SEEDS for i in range(self.n))


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

    def waits(self) -> Sequence[float]:
        """Of each reply that has not ended, the seconds in the queue until now, as far as known."""
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
