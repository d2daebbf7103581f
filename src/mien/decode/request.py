"""What is asked of the engine, and what comes back while it is being answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal, Protocol, runtime_checkable

from pydantic import Field, InstanceOf
from torch import Tensor

from mien.chat import Sampling
from mien.schema import Strict


class Matcher(Protocol):
    """How far one reply has come in its grammar."""

    @property
    def finished(self) -> bool:
        """Whether the reply is whole and nothing can follow."""
        ...

    def mask(self) -> Tensor:
        """Which tokens may come next, (vocabulary,), bool, on the CPU; at least one may.

        Where the reply may end, the tokens that end it are among them.

        Raises:
            MienError: That takes too much work to find out.
        """
        ...

    def take(self, token: int) -> None:
        """Go on with one of them.

        Raises:
            MienError: It is none of them.
        """
        ...


@runtime_checkable
class Grammar(Protocol):
    """What a reply may look like. It never changes, and many replies may share it."""

    def start(self) -> Matcher:
        """One reply's way through it, from the beginning."""
        ...


class Request(Strict):
    """One reply that is wanted.

    The length, temperature and the rest are in `sampling`; its defaults are those of every other
    decoder here, so that the same seed gives the same reply.
    """

    prompt: tuple[int, ...] = Field(min_length=1, description="token ids, as the renderer makes them")
    adapter: str | None = Field(default=None, description="a loaded persona; none: the bare base")
    sampling: Sampling = Sampling()
    seed: int = 0
    stop: tuple[str, ...] = Field(default=(), description="the reply ends once it contains one of these")
    ends: frozenset[int] | None = Field(
        default=None, description="tokens that end the reply; none: those of the renderer"
    )
    logprobs: int | None = Field(
        default=None, ge=0, le=20, description="report this many likeliest tokens at each place"
    )
    grammar: InstanceOf[Grammar] | None = Field(
        default=None, description="what the reply may look like; none: anything"
    )


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a reply.

    Attributes:
        logprob: In nats, as the model has it, before temperature and penalty; None if not asked for.
        top: The likeliest (id, logprob), best first.
    """

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """How a reply ended.

    Attributes:
        token: The token that ended it and is no part of it, if one did.
        stop: The stop text that it contains, if that ended it.
        version: Content hash of the adapter that answered; None is the bare base.
        reused: Tokens of the prompt that had been read before.
        waited: Seconds from being asked to a free slot.
        first: Seconds from being asked to the first token.
        error: What went wrong, where `reason` is `error`.
    """

    reason: Literal["stop", "length", "cancelled", "error"]
    tokens: int
    token: int | None = None
    stop: str | None = None
    version: str | None = None
    reused: int = 0
    waited: float | None = None
    first: float | None = None
    error: Exception | None = None


Event = Token | End
Listener = Callable[[Event], None]


class Ticket:
    """A reply under way. Iterate over its tokens as they come; `end` then says how it ended.

    Args:
        request: What was asked.
        on_cancel: Told when the caller wants no more.
        listener: Called with every event on the engine's thread, which it must not hold up; without
            one, events are kept for the iterator.

    Attributes:
        asked: When, by `time.monotonic`.
        placed: When it got a slot; None until then.
        end: None until then.
        cancelled: Nobody wants it any more.
    """

    def __init__(
        self, request: Request, on_cancel: Callable[[], None], listener: Listener | None = None
    ) -> None:
        self.request = request
        self.asked = time.monotonic()
        self.placed: float | None = None
        self.end: End | None = None
        self.cancelled = False
        self._on_cancel = on_cancel
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._listener = listener or self._events.put
        self._read = False

    def __iter__(self) -> Iterator[Token]:
        """The tokens, without the one that ends the reply.

        Raises:
            Exception: What went wrong with this request, if anything did.
        """
        while not self._read:
            event = self._events.get()
            if isinstance(event, Token):
                yield event
            else:
                self._read = True
        if self.end is not None and self.end.error is not None:
            raise self.end.error

    @property
    def waited(self) -> float:
        """Seconds from being asked to a free slot, or until now."""
        return (time.monotonic() if self.placed is None else self.placed) - self.asked

    def ids(self) -> list[int]:
        """The whole reply, once it is there."""
        return [token.id for token in self]

    def cancel(self) -> None:
        """Want no more; the slot is free by the next step."""
        self.cancelled = True
        self._on_cancel()

    def tell(self, event: Event) -> None:
        """Pass an event on. The engine calls this."""
        if isinstance(event, End):
            self.end = event
        self._listener(event)
