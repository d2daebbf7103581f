"""One pass through the model: tokens of many requests, end to end, each seeing only its own past.

A request that is being answered brings its newest token; one that is still being read brings a chunk
of its prompt. The linear layers see all of these as one batch. Attention takes the single tokens
together, over the cache as it lies, and each chunk by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mien.decode.slots import Slots
from mien.decode.stacked import Mix, Stack, Version


@dataclass(frozen=True)
class Part:
    """What one request brings to a pass.

    Attributes:
        start: How many of its tokens are in its slot already.
        ids: The next ones.
    """

    slot: int
    version: Version | None
    start: int
    ids: Sequence[int]

    @property
    def end(self) -> int:
        """How many of its tokens will be in its slot."""
        return self.start + len(self.ids)


@dataclass(frozen=True)
class _Chunk:
    first: int
    part: Part

    @property
    def tokens(self) -> slice:
        return slice(self.first, self.first + len(self.part.ids))


class Pass:
    """The parts of one step, laid out.

    Args:
        parts: At most one for each slot.
        slots: The cache; each token's keys and values are put there.
        stack: Of adapters.

    Attributes:
        tokens: (tokens,), sorted by adapter.
        positions: (tokens,).
        last: For each of the given parts, where its last token lies in the pass.
        mix: The adapters, as `Mix.add` wants them.
    """

    def __init__(self, parts: Sequence[Part], slots: Slots, stack: Stack) -> None:
        device = slots.cache.device
        slots.reserve(max(part.end for part in parts))
        self.slots = slots
        order, self.mix = _sorted(parts, stack)
        firsts, at = [0] * len(parts), 0
        for i in order:
            firsts[i] = at
            at += len(parts[i].ids)
        laid = [parts[i] for i in order]
        self.tokens = torch.tensor([t for part in laid for t in part.ids], device=device)
        self.positions = torch.tensor(
            [p for part in laid for p in range(part.start, part.end)], device=device
        )
        self.last = torch.tensor(
            [f + len(p.ids) - 1 for f, p in zip(firsts, parts, strict=True)], device=device
        )
        self._slot = torch.tensor([part.slot for part in laid for _ in part.ids], device=device)
        pairs = [(firsts[i], parts[i]) for i in order]
        self._chunks = [_Chunk(f, part) for f, part in pairs if len(part.ids) > 1]
        self._singles = _Singles([(f, part) for f, part in pairs if len(part.ids) == 1], device)
        self._masks: dict[tuple[int, int | None], Tensor] = {}

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float | None, window: int | None = None
    ) -> Tensor:
        """Store keys and values of the new tokens; attend from each to its own row's past and itself.

        Args:
            layer: Which.
            q: (tokens, heads, size).
            k: (tokens, key heads, size).
            v: As `k`.
            scale: Of the scores; by default 1 / sqrt(size).
            window: A token sees itself and at most this many minus one before it.

        Returns:
            (tokens, heads, size).
        """
        keys, values = self.slots.cache[layer]
        keys[self._slot, :, self.positions] = k
        values[self._slot, :, self.positions] = v
        if not self._chunks:
            return self._singles.attend(q, keys, values, scale, window)
        out = torch.empty_like(q)
        if self._singles.count:
            index = self._singles.index
            out[index] = self._singles.attend(q[index], keys, values, scale, window)
        for chunk in self._chunks:
            out[chunk.tokens] = self._read(chunk, q[chunk.tokens], keys, values, scale, window)
        return out

    def _read(
        self,
        chunk: _Chunk,
        q: Tensor,
        keys: Tensor,
        values: Tensor,
        scale: float | None,
        window: int | None,
    ) -> Tensor:
        tokens, heads, size = q.shape
        slot, end, groups = chunk.part.slot, chunk.part.end, heads // keys.shape[1]
        # Heads that share keys become more queries to them.
        folded = (
            q.view(tokens, -1, groups, size).permute(1, 2, 0, 3).reshape(1, -1, groups * tokens, size)
        )
        k, v = keys[slot, None, :, :end], values[slot, None, :, :end]
        mask = self._mask(chunk, window, groups, q)
        out = scaled_dot_product_attention(folded, k, v, mask, scale=scale)
        return out.view(-1, groups, tokens, size).permute(2, 0, 1, 3).reshape(tokens, heads, size)

    def _mask(self, chunk: _Chunk, window: int | None, groups: int, like: Tensor) -> Tensor:
        key = (chunk.first, window)
        if key not in self._masks:
            place = self.positions[chunk.tokens, None]
            self._masks[key] = _unseen(place, chunk.part.end, window, like).repeat(groups, 1)
        return self._masks[key]


class _Singles:
    """The requests that bring one token: one product over the slots up to the last that is in use."""

    def __init__(self, pairs: Sequence[tuple[int, Part]], device: torch.device) -> None:
        self.count = len(pairs)
        if not pairs:
            return
        self.slots = 1 + max(part.slot for _, part in pairs)
        self.longest = max(part.end for _, part in pairs)
        self.index = torch.tensor([first for first, _ in pairs], device=device)
        # A slot between that is not in use asks what the first token asks; nobody hears its answer.
        asks, place = [0] * self.slots, [0] * self.slots
        for i, (_, part) in enumerate(pairs):
            asks[part.slot], place[part.slot] = i, part.start
        answers = [part.slot for _, part in pairs]
        self._straight = asks == answers == list(range(self.count))
        self._asks, self._answers = (torch.tensor(each, device=device) for each in (asks, answers))
        self._place = torch.tensor(place, device=device)
        self._masks: dict[int | None, Tensor] = {}

    def attend(
        self, q: Tensor, keys: Tensor, values: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        """(singles, heads, size) -> the same."""
        asked = q if self._straight else q.index_select(0, self._asks)
        folded = asked.view(self.slots, keys.shape[1], -1, q.shape[-1])
        k, v = keys[: self.slots, :, : self.longest], values[: self.slots, :, : self.longest]
        mask = self._mask(window, q)
        out = scaled_dot_product_attention(folded, k, v, mask, scale=scale).reshape(asked.shape)
        return out if self._straight else out.index_select(0, self._answers)

    def _mask(self, window: int | None, like: Tensor) -> Tensor:
        if window not in self._masks:
            unseen = _unseen(self._place[:, None], self.longest, window, like)
            self._masks[window] = unseen[:, None, None]
        return self._masks[window]


def _sorted(parts: Sequence[Part], stack: Stack) -> tuple[list[int], Mix]:
    """The parts by adapter, the bare ones last."""
    counts: dict[Version, int] = {}
    for part in parts:
        if part.version:
            counts[part.version] = counts.get(part.version, 0) + len(part.ids)
    versions, mix = stack.mix(counts)
    rank: dict[Version | None, int] = {version: i for i, version in enumerate(versions)}
    rank[None] = len(versions)
    return sorted(range(len(parts)), key=lambda i: rank[parts[i].version]), mix


def _unseen(place: Tensor, keys: int, window: int | None, like: Tensor) -> Tensor:
    """What is added to the score of each key for each place, (places, keys): 0, or minus infinity."""
    back = place - torch.arange(keys, device=place.device)
    hidden = (back < 0) if window is None else (back < 0) | (back >= window)
    return like.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
