"""A request that has a slot: what it has said, what the model has read of it, and when it ends."""

from __future__ import annotations

import time

from mien.base.model import Base
from mien.decode.choose import Hand, Likely
from mien.decode.passes import Part
from mien.decode.request import End, Event, Ticket, Token
from mien.decode.stacked import Version

_SPARE = 4  # tokens looked at beside those that may hold a stop text: marks, and half a character


class Row:
    """One request under way.

    Args:
        ticket: What was asked.
        version: The adapter that its name stood for when it was asked.
        base: The model.

    Attributes:
        slot: Its place in the cache, once it has one.
        held: How many of its tokens are in the cache.
        reused: How many of these had been read before.
        broken: What is in its slot is not to be relied on.
    """

    def __init__(self, ticket: Ticket, version: Version | None, base: Base) -> None:
        request = ticket.request
        self.ticket, self.request, self.version = ticket, request, version
        self.digest = version.digest if version else None
        matcher = request.grammar.start() if request.grammar else None
        self.hand = Hand(request.sampling, request.seed, matcher)
        self.ids = list(request.prompt)
        self.slot = -1
        self.held = self.reused = 0
        self.broken = False
        self._decode = base.tokenizer.decode
        self._ends = base.renderer.stop_ids if request.ends is None else request.ends
        # As many tokens as bytes: a character that no token is made for takes several.
        self._window = max((len(stop.encode()) for stop in request.stop), default=0) + _SPARE
        self._first: float | None = None

    @property
    def unread(self) -> int:
        """Tokens that the model has not read; 1 while it is being answered."""
        return len(self.ids) - self.held

    def place(self, slot: int, reused: int) -> None:
        """Take a slot, in which this many tokens lie already."""
        self.slot, self.held, self.reused = slot, reused, reused
        self.ticket.placed = time.monotonic()

    def part(self, most: int) -> Part:
        """What it brings to the next pass."""
        return Part(self.slot, self.version, self.held, self.ids[self.held : self.held + most])

    def take(self, token: int, likely: Likely | None) -> list[Event]:
        """Go on with a token; the events that this makes."""
        if self._first is None:
            self._first = time.monotonic() - self.ticket.asked
        if token in self._ends:
            return [self.ended(End("stop", len(self.hand.said), token=token))]
        self.ids.append(token)
        self.hand.say(token)
        logprob, top = likely or (None, ())
        events: list[Event] = [Token(token, logprob, top)]
        said = len(self.hand.said)
        if stop := self._stop_text():
            events.append(self.ended(End("stop", said, stop=stop)))
        elif self.hand.finished:
            events.append(self.ended(End("stop", said)))
        elif said == self.request.sampling.max_tokens:
            events.append(self.ended(End("length", said)))
        return events

    def ended(self, end: End) -> End:
        """An end with what is known of the row."""
        return End(
            end.reason,
            len(self.hand.said),
            token=end.token,
            stop=end.stop,
            version=self.digest,
            reused=self.reused,
            waited=None if self.ticket.placed is None else self.ticket.waited,
            first=self._first,
            error=end.error,
        )

    def _stop_text(self) -> str | None:
        """The stop text that the newest token completes."""
        if not self.request.stop:
            return None
        tail = self._decode(self.hand.said[-self._window :], skip_special_tokens=True)
        return next((stop for stop in self.request.stop if stop in tail), None)
