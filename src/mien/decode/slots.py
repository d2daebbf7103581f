"""Keys and values of the requests that are running, and of beginnings that may be asked again.

Every running request has a slot, in which its tokens lie from place 0. What has been read once is also
kept in blocks, each under a hash that chains the adapter's *content*, the tokens before it, and its
own. A conversation's next turn, or another conversation under the same system prompt, finds its
beginning there; another adapter, or another version of the same, cannot.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

_FIRST_ROOM = 256
BLOCK = 16


@dataclass(frozen=True)
class Shape:
    """What one token leaves behind: `layers` times keys and values of `heads` x `size`."""

    layers: int
    heads: int
    size: int


class Slots:
    """The cache, (layers, keys and values, slots, heads, tokens, size); it grows with the longest row.

    Args:
        shape: Of what a token leaves.
        count: How many requests run at once.
        like: A tensor of the cache's type and on its device.
    """

    def __init__(self, shape: Shape, count: int, like: Tensor) -> None:
        self.shape, self.count, self._like = shape, count, like
        self.cache = self._empty(_FIRST_ROOM)

    @property
    def room(self) -> int:
        """Tokens that fit."""
        return self.cache.shape[-2]

    def reserve(self, tokens: int) -> None:
        """See that this many fit."""
        if tokens <= self.room:
            return
        larger = self._empty(max(tokens, 2 * self.room))
        larger[..., : self.room, :] = self.cache
        self.cache = larger

    def clear(self, slot: int, tokens: int) -> None:
        """Wipe a slot: what is not a number would reach even those who give it no weight."""
        self.cache[:, :, slot, :, :tokens] = 0

    def move(self, source: int, target: int, tokens: int) -> None:
        """Give a row of this many tokens another slot."""
        self.cache[:, :, target, :, :tokens] = self.cache[:, :, source, :, :tokens]

    def read(self, slot: int, start: int, end: int) -> Tensor:
        """A copy of some tokens' keys and values."""
        return self.cache[:, :, slot, :, start:end].clone()

    def write(self, slot: int, start: int, block: Tensor) -> None:
        """Put back what `read` gave."""
        self.cache[:, :, slot, :, start : start + block.shape[-2]] = block

    def _empty(self, room: int) -> Tensor:
        # Zeros: memory as it is found may hold what is not a number.
        shape = self.shape
        return self._like.new_zeros(shape.layers, 2, self.count, shape.heads, room, shape.size)


class Prefixes:
    """Blocks of tokens that have been read, the least recently used forgotten first.

    Args:
        slots: Where they are copied from and to.
        limit: Bytes to keep.
    """

    def __init__(self, slots: Slots, limit: int) -> None:
        self.slots, self.limit, self.bytes = slots, limit, 0
        self._blocks: OrderedDict[bytes, Tensor] = OrderedDict()

    def restore(self, digest: str | None, ids: Sequence[int], slot: int) -> int:
        """Fill a slot with what is known of a beginning.

        Args:
            digest: Of the adapter's content; None is the bare base.
            ids: The prompt. Its last token is always left to be read, since it must be answered.
            slot: Where to.

        Returns:
            How many tokens were known.
        """
        known = 0
        for key in _keys(digest, ids[:-1]):
            if key not in self._blocks:
                break
            self._blocks.move_to_end(key)
            self.slots.reserve(known + BLOCK)
            self.slots.write(slot, known, self._blocks[key])
            known += BLOCK
        return known

    def keep(self, digest: str | None, ids: Sequence[int], slot: int) -> None:
        """Remember a row's tokens, whole blocks only; what is known already costs nothing."""
        for i, key in enumerate(_keys(digest, ids)):
            if key not in self._blocks:
                self._blocks[key] = self.slots.read(slot, i * BLOCK, (i + 1) * BLOCK)
                self.bytes += self._blocks[key].nbytes
            self._blocks.move_to_end(key)
        while self.bytes > self.limit:
            _, block = self._blocks.popitem(last=False)
            self.bytes -= block.nbytes


def _keys(digest: str | None, ids: Sequence[int]) -> list[bytes]:
    """One key for each whole block of the beginning."""
    keys, key = [], hashlib.sha256((digest or "base").encode()).digest()
    tokens = np.asarray(ids, dtype=np.int64)
    for start in range(0, len(ids) - BLOCK + 1, BLOCK):
        key = hashlib.sha256(key + tokens[start : start + BLOCK].tobytes()).digest()
        keys.append(key)
    return keys
