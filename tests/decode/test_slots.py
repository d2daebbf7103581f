"""The cache of running requests, and what is remembered of beginnings."""

from __future__ import annotations

import torch

from mien.decode.slots import BLOCK, Prefixes, Shape, Slots

SHAPE = Shape(layers=2, heads=1, size=4)
BLOCK_BYTES = 2 * 2 * BLOCK * 4 * 4  # layers, keys and values, tokens, size, bytes of a float


def slots() -> Slots:
    made = Slots(SHAPE, 3, torch.zeros(()))
    made.cache.normal_(generator=torch.Generator().manual_seed(0))
    return made


def test_the_cache_grows_and_keeps_what_it_has() -> None:
    cache = slots()
    before = cache.cache.clone()
    cache.reserve(cache.room + 1)
    assert cache.room == 2 * before.shape[-2]
    assert torch.equal(cache.cache[..., : before.shape[-2], :], before)
    assert not cache.cache[..., before.shape[-2] :, :].any()


def test_a_row_moves_with_all_it_has() -> None:
    cache = slots()
    row = cache.read(2, 0, 50)
    cache.move(2, 0, 50)
    assert torch.equal(cache.read(0, 0, 50), row)


def test_a_known_beginning_comes_back_whole_blocks_at_a_time() -> None:
    cache = slots()
    prefixes, ids = Prefixes(cache, 10**6), list(range(2 * BLOCK + 5))
    prefixes.keep("a", ids, 0)
    assert prefixes.bytes == 2 * BLOCK_BYTES
    assert prefixes.restore("a", [*ids, 7], 1) == 2 * BLOCK
    assert torch.equal(cache.read(1, 0, 2 * BLOCK), cache.read(0, 0, 2 * BLOCK))
    assert prefixes.restore("a", [*ids[:BLOCK], 99, *ids[BLOCK + 1 :]], 2) == BLOCK


def test_the_last_token_of_a_prompt_is_always_read() -> None:
    prefixes, ids = Prefixes(slots(), 10**6), list(range(BLOCK))
    prefixes.keep("a", ids, 0)
    assert prefixes.restore("a", ids, 1) == 0


def test_other_content_never_finds_it() -> None:
    prefixes, ids = Prefixes(slots(), 10**6), list(range(40))
    prefixes.keep("a", ids, 0)
    assert prefixes.restore("b", ids, 1) == 0
    assert prefixes.restore(None, ids, 1) == 0


def test_the_same_tokens_after_another_beginning_are_another_block() -> None:
    prefixes, shared = Prefixes(slots(), 10**6), list(range(BLOCK))
    prefixes.keep("a", [1] * BLOCK + shared, 0)
    assert prefixes.restore("a", [2] * BLOCK + shared + [0], 1) == 0


def test_the_least_recently_used_is_forgotten_and_the_limit_holds() -> None:
    prefixes = Prefixes(slots(), 2 * BLOCK_BYTES)
    first, second, third = ([n] * BLOCK for n in (1, 2, 3))
    prefixes.keep("a", first, 0)
    prefixes.keep("a", second, 0)
    assert prefixes.restore("a", [*first, 0], 1) == BLOCK
    prefixes.keep("a", third, 0)
    assert prefixes.bytes == 2 * BLOCK_BYTES
    found = [prefixes.restore("a", [*ids, 0], 1) for ids in (first, second, third)]
    assert found == [BLOCK, 0, BLOCK]
