"""The cache with room: the same keys and values as transformers' own, whatever is done to it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from mien.base.cache import RoomyLayer, roomy_cache
from mien.base.model import Base

ROWS, HEADS, SIZE = 3, 2, 4


def some(tokens: int, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    keys, values = torch.randn(2, rows, HEADS, tokens, SIZE)
    return keys, values


def test_it_holds_what_transformers_own_holds_over_appends_and_choices_of_rows() -> None:
    ours, theirs = RoomyLayer(), DynamicCache()
    for tokens in (5, 1, 1, 70, 1):
        keys, values = some(tokens)
        for a, b in zip(ours.update(keys, values), theirs.update(keys, values, 0), strict=True):
            assert torch.equal(a, b)
    for chosen in (torch.tensor([2, 0]), torch.tensor([1, 1, 0, 0])):
        ours.batch_select_indices(chosen)
        theirs.batch_select_indices(chosen)
        keys, values = some(1, len(chosen))
        for a, b in zip(ours.update(keys, values), theirs.update(keys, values, 0), strict=True):
            assert torch.equal(a, b)
    assert ours.get_seq_length() == theirs.get_seq_length() == 80


def test_a_step_writes_into_the_room_and_copies_nothing() -> None:
    layer = RoomyLayer()
    first, _ = layer.update(*some(5))
    second, _ = layer.update(*some(1))
    assert second.data_ptr() == first.data_ptr()
    assert second.shape[-2] == 6


def test_it_forgets(tiny_base: Base) -> None:
    layer = RoomyLayer()
    layer.update(*some(5))
    layer.reset()
    assert layer.get_seq_length() == 0
    keys, values = some(2)
    assert torch.equal(layer.update(keys, values)[0], keys)


@pytest.mark.parametrize("name", ["tiny_base", "tiny_gemma"])
def test_layers_of_a_sliding_window_stay_as_they_are(name: str, request: pytest.FixtureRequest) -> None:
    config = request.getfixturevalue(name).model.config
    ours, theirs = roomy_cache(config).layers, DynamicCache(config=config).layers
    assert [layer.is_sliding for layer in ours] == [layer.is_sliding for layer in theirs]
    assert all(isinstance(layer, RoomyLayer) != layer.is_sliding for layer in ours)
