"""A key-value cache that grows by room, not by a token.

transformers' own cache is made anew at every step: a token more costs a copy of everything before it,
which at 88 rows is more than the model's own products. Here the tensors have room at their end, a step
writes its token into it, and attention is given a view.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # tokens added whenever the room is used up


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, (rows, heads, tokens, head_dim), as views of larger tensors."""

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append, and return all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._room is None or end > self._room[0].shape[-2]:
            self._room = (
                _with_room(self.keys, key_states, start, end),
                _with_room(self.values, value_states, start, end),
            )
        keys, values = self._room
        keys[..., start:end, :] = key_states
        values[..., start:end, :] = value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows only."""
        super().batch_select_indices(indices)
        self._room = None

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._room = None


def roomy_cache(config: Any) -> DynamicCache:
    """An empty cache for a model; layers of a sliding window stay transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _with_room(kept: Tensor, new: Tensor, start: int, end: int) -> Tensor:
    rows, heads, _, size = new.shape
    larger = torch.empty(rows, heads, end + _ROOM, size, dtype=new.dtype, device=new.device)
    if start:
        larger[..., :start, :] = kept
    return larger
