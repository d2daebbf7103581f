"""From tokens to text that can be shown while it grows.

A character may span tokens, a stop text may be half said, and white space around a reply is no part of
it: what is not certain yet is held back, so that the pieces of a stream join to what is sent at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

_HALF = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """Token ids to text, a few tokens at a time.

    Each token is decoded together with those before it, since a vocabulary may write a word in another
    way where it stands first.

    Args:
        decode: Ids to text, without marks.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._start = self._read = 0

    def add(self, token: int) -> str:
        """The text that a token completes."""
        self._ids.append(token)
        new = self._new()
        if not new or new.endswith(_HALF):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return new

    def rest(self) -> str:
        """What was never completed."""
        new, self._read = self._new(), len(self._ids)
        return new

    def _new(self) -> str:
        before = self._decode(self._ids[self._start : self._read])
        return self._decode(self._ids[self._start :])[len(before) :]


class Shown:
    """The part of a text that is certain to be shown.

    Args:
        stops: Texts that end it and are no part of it.
        strip: Whether white space around it is none either.
    """

    def __init__(self, stops: Sequence[str], *, strip: bool) -> None:
        self._stops, self._strip = stops, strip
        self._begun = not strip
        self._held = ""

    def add(self, piece: str) -> str:
        """Go on; the text that is certain now."""
        self._take(piece)
        certain = len(self._held) - self._doubtful()
        shown, self._held = self._held[:certain], self._held[certain:]
        return shown

    def end(self, piece: str = "") -> str:
        """The last text, up to the stop text if one has been said."""
        self._take(piece)
        places = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        last, self._held = self._held[: min(places, default=len(self._held))], ""
        return last.rstrip() if self._strip else last

    def _take(self, piece: str) -> None:
        self._held += piece
        if not self._begun:
            self._held = self._held.lstrip()
            self._begun = bool(self._held)

    def _doubtful(self) -> int:
        """Characters at the end that may yet be part of a stop text, or of the white space there."""
        certain = self._held[: len(self._held) - max(map(self._from, self._stops), default=0)]
        return len(self._held) - len(certain.rstrip() if self._strip else certain)

    def _from(self, stop: str) -> int:
        """Characters from where a stop text, whole or begun, may stand."""
        if (at := self._held.find(stop)) >= 0:
            return len(self._held) - at
        longest = min(len(stop), len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
