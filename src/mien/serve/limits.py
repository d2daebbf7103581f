"""How much each key may ask for: token buckets for requests and tokens a minute, and a count.

A bucket holds a minute's worth and fills evenly, so that a quiet minute is not saved up for later. A
request takes from it the most tokens that it can use, and what it did not use is put back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mien.serve.keys import Key
from mien.serve.refusals import RefusedError

_MINUTE = 60.0
Clock = Callable[[], float]


class Bucket:
    """Fills at a rate, up to what a minute brings.

    Args:
        size: A minute's worth.
        clock: Seconds.
    """

    def __init__(self, size: float, clock: Clock) -> None:
        self.size, self._clock = size, clock
        self._level, self._at = size, clock()

    def wait(self, amount: float) -> float:
        """Seconds until there is so much; 0 if there is."""
        now = self._clock()
        self._level = min(self.size, self._level + (now - self._at) * self.size / _MINUTE)
        self._at = now
        return max(0.0, amount - self._level) * _MINUTE / self.size

    def take(self, amount: float) -> None:
        """Take so much out, or put it back where it is negative."""
        self._level = min(self.size, self._level - amount)


class Allowance:
    """What one key has left.

    Args:
        key: With its limits.
        clock: Seconds.
    """

    def __init__(self, key: Key, clock: Clock) -> None:
        self.key, self.running = key, 0
        self._requests = Bucket(key.requests_per_minute, clock) if key.requests_per_minute else None
        self._tokens = Bucket(key.tokens_per_minute, clock) if key.tokens_per_minute else None

    def take(self, tokens: int) -> Lease:
        """Room for one request of at most so many tokens.

        Raises:
            RefusedError: There is none now, or never for so many.
        """
        key = self.key
        if key.concurrency and self.running >= key.concurrency:
            raise _refused(f"{key.concurrency} requests at once", "concurrency_limit", 1)
        if self._requests and (wait := self._requests.wait(1)):
            raise _refused(f"{key.requests_per_minute} requests a minute", "request_limit", wait)
        if self._tokens:
            if tokens > self._tokens.size:
                message = (
                    f"The request may take {tokens} tokens, and the key has {key.tokens_per_minute}"
                )
                raise RefusedError(400, f"{message} a minute: ask for a shorter reply.", "token_limit")
            if wait := self._tokens.wait(tokens):
                raise _refused(f"{key.tokens_per_minute} tokens a minute", "token_limit", wait)
        return Lease(self, tokens, self._requests, self._tokens)


class Lease:
    """Room that one request has; `release` gives back what it did not use."""

    def __init__(
        self, allowance: Allowance, tokens: int, requests: Bucket | None, bucket: Bucket | None
    ) -> None:
        self._allowance, self._reserved, self._bucket = allowance, tokens, bucket
        self.used = 0
        allowance.running += 1
        if requests:
            requests.take(1)
        if bucket:
            bucket.take(tokens)

    def release(self) -> None:
        """The request is over."""
        self._allowance.running -= 1
        if self._bucket:
            self._bucket.take(self.used - self._reserved)


class Limits:
    """The allowances of all keys."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, Allowance] = {}

    def take(self, key: Key | None, tokens: int) -> Lease | None:
        """Room for a request; None for who needs no key.

        Raises:
            RefusedError: There is none.
        """
        if key is None:
            return None
        allowance = self._known.setdefault(key.name, Allowance(key, self._clock))
        return allowance.take(tokens)


def _refused(limit: str, code: str, wait: float) -> RefusedError:
    message = f"The limit of this key is reached: {limit}. Wait, and ask again."
    return RefusedError(429, message, code, wait=wait)
