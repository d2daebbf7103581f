"""The kernels against what they stand for, in value and gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mien.base import maths
from mien.base.flat import Block, Flat, Span
from mien.base.maths import block_attention, token_kl, token_nll, token_nll_entropy
from mien.base.model import Base

SEQUENCES = ([5, 6, 7], list(range(10, 33)), [40], [50, 51, 52, 53, 54, 55, 56])


def base_of(name: str, request: pytest.FixtureRequest) -> Base:
    base: Base = request.getfixturevalue(name)
    return base


@torch.no_grad()
def flat_hidden(base: Base, sequences: tuple[list[int], ...]) -> tuple[Tensor, ...]:
    """Last hidden states of sequences laid end to end, cut apart again."""
    flat = Flat.of([(ids, []) for ids in sequences])
    with base.blockwise():
        out = base.model.base_model(
            input_ids=flat.tokens[None],
            position_ids=flat.positions[None],
            use_cache=False,
            blocks=flat.blocks,
        )
    return out.last_hidden_state[0].split([block.length for block in flat.blocks])


@pytest.mark.parametrize("name", ["tiny_base", "tiny_gemma"])
@torch.no_grad()
def test_sequences_end_to_end_equal_each_sequence_alone(
    name: str, request: pytest.FixtureRequest
) -> None:
    base = base_of(name, request)
    for ids, hidden in zip(SEQUENCES, flat_hidden(base, SEQUENCES), strict=True):
        alone = base.model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(hidden, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["tiny_base", "tiny_gemma"])
def test_a_neighbour_in_the_batch_changes_nothing(name: str, request: pytest.FixtureRequest) -> None:
    base = base_of(name, request)
    ours = flat_hidden(base, (SEQUENCES[1], [9, 9, 9]))[0]
    torch.testing.assert_close(ours, flat_hidden(base, (SEQUENCES[1], [200]))[0])


def test_the_window_of_the_tiny_gemma_is_shorter_than_what_is_tested(tiny_gemma: Base) -> None:
    assert tiny_gemma.model.config.sliding_window < len(SEQUENCES[1])


def plain_attention(q: Tensor, k: Tensor, v: Tensor, window: int | None, scale: float | None) -> Tensor:
    """Softmax written out for one sequence: (heads, tokens, head_dim)."""
    length = q.shape[1]
    back = torch.arange(length)[:, None] - torch.arange(length)
    hidden = (back < 0) | (back >= (window or length))
    scores = q @ k.transpose(1, 2) * (scale or 1 / math.sqrt(q.shape[2]))
    return torch.as_tensor(scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v)


@pytest.mark.parametrize("window", [None, 1, 3, 50])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_block_attention_equals_softmax_written_out(window: int | None, scale: float | None) -> None:
    torch.manual_seed(0)
    lengths = [4, 1, 7]
    blocks = [Block(length) for length in lengths]
    q, k, v = torch.randn(1, 6, 12, 8), torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    ours, weights = block_attention(
        nn.Identity(), q, k, v, None, blocks=blocks, scaling=scale, sliding_window=window
    )
    wide = [each[0].repeat_interleave(3, dim=0) for each in (k, v)]
    parts = zip(*(each.split(lengths, dim=1) for each in (q[0], *wide)), strict=True)
    expected = torch.cat([plain_attention(*part, window, scale) for part in parts], dim=1)
    torch.testing.assert_close(ours[0].transpose(0, 1), expected)
    assert weights is None


@pytest.mark.parametrize("window", [None, 1, 3, 50])
def test_a_branch_attends_to_its_trunk_and_to_itself_as_if_it_stood_alone(window: int | None) -> None:
    torch.manual_seed(0)
    block, branches = Block(4, (3, 1, 5)), ([4, 5, 6], [7], [8, 9, 10, 11, 12])
    q, k, v = (torch.randn(1, 2, block.length, 8) for _ in range(3))
    ours, _ = block_attention(nn.Identity(), q, k, v, None, blocks=[block], sliding_window=window)
    ours = ours[0].transpose(0, 1)
    for branch in branches:
        alone = [each[0][:, [0, 1, 2, 3, *branch]] for each in (q, k, v)]
        expected = plain_attention(*alone, window, None)
        torch.testing.assert_close(ours[:, :4], expected[:, :4])
        torch.testing.assert_close(ours[:, branch], expected[:, 4:])


@pytest.mark.parametrize("window", [None, 1, 3, 6, 50])
def test_a_block_goes_on_from_what_lies_before_it_as_if_it_stood_alone(window: int | None) -> None:
    torch.manual_seed(0)
    seen = Span(3, 4)  # after a block of its own, and before one that is nobody's beginning
    blocks = [Block(3), Block(4), Block(2), Block(2, (3, 1), seen), Block(3, after=seen)]
    q, k, v = (torch.randn(1, 2, sum(block.length for block in blocks), 8) for _ in range(3))
    ours, _ = block_attention(nn.Identity(), q, k, v, None, blocks=blocks, sliding_window=window)
    ours = ours[0].transpose(0, 1)
    for own in ([9, 10, 11, 12, 13], [9, 10, 14], [15, 16, 17]):
        alone = [each[0][:, [3, 4, 5, 6, *own]] for each in (q, k, v)]
        torch.testing.assert_close(ours[:, own], plain_attention(*alone, window, None)[:, 4:])


def test_the_models_own_attention_is_back_after_a_blockwise_pass(tiny_base: Base) -> None:
    before = tiny_base.model.config._attn_implementation
    with pytest.raises(RuntimeError), tiny_base.blockwise():
        raise RuntimeError
    assert tiny_base.model.config._attn_implementation == before


def test_a_vocabulary_of_three_words_worked_by_hand() -> None:
    # logits = W h with h = (1, 2) and rows (0, 0), (ln 2, 0), (0, ln 5 / 2): 0, ln 2, ln 5.
    # Their exponentials are 1, 2 and 5, which add up to 8, so p = 1/8, 2/8, 5/8, and
    # -log p of the middle word is ln 8 - ln 2 = ln 4.
    # d(-log p)/d logits = p - (0, 1, 0) = (1/8, -6/8, 5/8); times W:
    # d/dh = (-6/8 ln 2, 5/8 * ln 5 / 2).
    hidden = torch.tensor([[1.0, 2.0]], requires_grad=True)
    weight = torch.tensor([[0.0, 0.0], [math.log(2), 0.0], [0.0, math.log(5) / 2]])
    nll = token_nll(hidden, weight, torch.tensor([1]))
    nll.sum().backward()
    assert nll.item() == pytest.approx(math.log(4), abs=1e-6)
    expected = torch.tensor([[-0.75 * math.log(2), 5 / 16 * math.log(5)]])
    torch.testing.assert_close(hidden.grad, expected)


def nll_and_slope(hidden: Tensor, weight: Tensor, targets: Tensor, upstream: Tensor) -> list[Tensor]:
    hidden = hidden.clone().requires_grad_()
    nll = token_nll(hidden, weight, targets)
    return [nll.detach(), *torch.autograd.grad(nll, hidden, upstream)]


def sample(n: int, d: int, vocabulary: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, d, generator=g),
        torch.randn(vocabulary, d, generator=g),
        torch.randint(vocabulary, (n,), generator=g),
        torch.randn(n, generator=g),
    )


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 9), d=st.integers(1, 6), vocabulary=st.integers(1, 40), seed=st.integers(0, 99))
def test_token_nll_equals_cross_entropy_in_value_and_gradient(
    n: int, d: int, vocabulary: int, seed: int
) -> None:
    hidden, weight, targets, upstream = sample(n, d, vocabulary, seed)
    ours = nll_and_slope(hidden, weight, targets, upstream)
    hidden.requires_grad_()
    theirs = cross_entropy(hidden @ weight.t(), targets, reduction="none")
    (slope,) = torch.autograd.grad(theirs, hidden, upstream)
    torch.testing.assert_close(ours[0], theirs.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours[1], slope, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 3, 6, 7, 100])
def test_where_the_chunks_end_changes_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = sample(7, 5, 30)
    whole = nll_and_slope(*parts)
    monkeypatch.setattr(maths, "_CHUNK_BYTES", rows * 4 * 30)
    for ours, expected in zip(nll_and_slope(*parts), whole, strict=True):
        torch.testing.assert_close(ours, expected)


def test_a_vocabulary_larger_than_a_chunk_is_taken_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maths, "_CHUNK_BYTES", 1)
    assert token_nll(*sample(3, 2, 50)[:3]).shape == (3,)


def test_huge_logits_stay_finite() -> None:
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    nll = token_nll(hidden, torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 0]))
    nll.sum().backward()
    assert nll.tolist() == [0.0, 2e4]
    assert torch.isfinite(hidden.grad).all()


def test_without_gradients_nothing_is_kept() -> None:
    nll = token_nll(*sample(3, 2, 9)[:3])
    assert not nll.requires_grad


def test_nothing_to_learn_gives_an_empty_answer() -> None:
    hidden = torch.empty(0, 4, requires_grad=True)
    nll = token_nll(hidden, torch.randn(9, 4), torch.empty(0, dtype=torch.long))
    nll.sum().backward()
    assert nll.shape == (0,)


def both_and_slope(
    hidden: Tensor, weight: Tensor, targets: Tensor, of_nll: Tensor, of_entropy: Tensor
) -> list[Tensor]:
    """Value of both, and the gradient where both are wanted."""
    hidden = hidden.clone().requires_grad_()
    nll, entropy = token_nll_entropy(hidden, weight, targets)
    (slope,) = torch.autograd.grad([nll, entropy], hidden, [of_nll, of_entropy])
    return [nll.detach(), entropy.detach(), slope]


def by_autograd(
    hidden: Tensor, weight: Tensor, targets: Tensor, of_nll: Tensor, of_entropy: Tensor
) -> list[Tensor]:
    hidden = hidden.clone().requires_grad_()
    logp = (hidden @ weight.t()).log_softmax(-1)
    nll, entropy = -logp.gather(1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1)
    (slope,) = torch.autograd.grad([nll, entropy], hidden, [of_nll, of_entropy])
    return [nll.detach(), entropy.detach(), slope]


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 9), d=st.integers(1, 6), vocabulary=st.integers(1, 40), seed=st.integers(0, 99))
def test_entropy_equals_its_definition_in_value_and_gradient(
    n: int, d: int, vocabulary: int, seed: int
) -> None:
    *parts, upstream = sample(n, d, vocabulary, seed)
    for of_nll, of_entropy in ((upstream, upstream.flip(0)), (0 * upstream, upstream)):
        ours = both_and_slope(*parts, of_nll, of_entropy)
        for found, expected in zip(ours, by_autograd(*parts, of_nll, of_entropy), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_entropy_of_three_words_worked_by_hand() -> None:
    # p = 1/8, 2/8, 5/8: H = (ln 8 + 2 (ln 8 - ln 2) + 5 (ln 8 - ln 5)) / 8.
    weight = torch.tensor([[0.0], [math.log(2)], [math.log(5)]])
    _, entropy = token_nll_entropy(torch.ones(1, 1), weight, torch.tensor([0]))
    expected = (math.log(8) + 2 * math.log(4) + 5 * math.log(8 / 5)) / 8
    assert entropy.item() == pytest.approx(expected, abs=1e-6)


def test_without_entropy_it_is_nought_and_the_rest_is_the_same() -> None:
    hidden, weight, targets, upstream = sample(7, 5, 30)
    nll, entropy = token_nll_entropy(hidden, weight, targets, with_entropy=False)
    assert not entropy.any()
    assert torch.equal(nll, token_nll_entropy(hidden, weight, targets)[0])
    zero = torch.zeros(7)
    expected = nll_and_slope(hidden, weight, targets, upstream)[1]
    assert torch.equal(both_and_slope(hidden, weight, targets, upstream, zero)[2], expected)


@pytest.mark.parametrize("rows", [1, 2, 6, 7, 100])
def test_where_the_chunks_end_changes_neither_entropy_nor_divergence(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    *parts, upstream = sample(7, 5, 30)
    other = sample(7, 5, 30, seed=1)[0]
    whole, apart = both_and_slope(*parts, upstream, upstream), token_kl(parts[0], other, parts[1])
    monkeypatch.setattr(maths, "_CHUNK_BYTES", rows * 4 * 30)
    for ours, expected in zip(both_and_slope(*parts, upstream, upstream), whole, strict=True):
        torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(token_kl(parts[0], other, parts[1]), apart)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(0, 9), d=st.integers(1, 6), vocabulary=st.integers(1, 40), seed=st.integers(0, 99))
def test_divergence_equals_its_definition_and_is_never_negative(
    n: int, d: int, vocabulary: int, seed: int
) -> None:
    hidden, weight, *_ = sample(n, d, vocabulary, seed)
    other = sample(n, d, vocabulary, seed + 1)[0]
    p, q = ((each.double() @ weight.double().t()).softmax(-1) for each in (hidden, other))
    found = token_kl(hidden, other, weight)
    torch.testing.assert_close(found, (p * (p / q).log()).sum(-1).float(), atol=1e-5, rtol=1e-5)
    assert (found >= -1e-6).all()


def test_the_divergence_of_two_coins_worked_by_hand() -> None:
    # p = 3/4, 1/4 and q = 1/2, 1/2: KL(p || q) = 3/4 ln 3/2 + 1/4 ln 1/2,
    # and the other way round KL(q || p) = 1/2 ln 2/3 + 1/2 ln 2.
    weight = torch.tensor([[math.log(3)], [0.0]])
    p, q = torch.ones(1, 1), torch.zeros(1, 1)
    there, back = (float(token_kl(*each, weight)) for each in ((p, q), (q, p)))
    assert there == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-6)
    assert back == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2), abs=1e-6)


def test_what_is_the_same_does_not_diverge() -> None:
    hidden, weight, *_ = sample(6, 4, 30)
    assert not token_kl(hidden, hidden, weight).any()
    # A shift of all logits alike changes no distribution.
    shift = torch.cat([weight, torch.ones(30, 1)], dim=1)
    apart = token_kl(*(torch.cat([hidden, torch.full((6, 1), c)], dim=1) for c in (0.0, 5.0)), shift)
    assert apart.abs().max() < 1e-5
