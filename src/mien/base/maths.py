"""The two kernels of training on text, free of any model's names.

`block_attention`: many sequences laid end to end, each attending to itself only. No padding is
computed, so a batch of mixed lengths costs what its tokens cost. Sequences that begin alike may share
that beginning: a block is a trunk and its branches, and several blocks may go on from one before them.

`token_nll`: negative log-likelihood at the positions that are learnt, and only there. The output head
is applied in chunks; since it is frozen, the gradient of a chunk is known as soon as its
probabilities are, and is taken on the spot, so the logits of one chunk are all that ever exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from mien.base.flat import Block, Span

BLOCKS = "mien_blocks"
_CHUNK_BYTES = 64 * 2**20


def block_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    blocks: Sequence[Block],
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each block of a flattened batch; a transformers attention function.

    Args:
        module: The attention layer; only its ratio of query to key heads is looked at.
        query: (1, heads, tokens, head_dim).
        key: As `query`; it may have fewer heads.
        value: As `key`.
        attention_mask: Unused; the blocks say everything.
        blocks: Which tokens attend to which; their lengths add up to `tokens`.
        scaling: Of the scores; by default 1 / sqrt(head_dim).
        sliding_window: A token sees itself and at most this many minus one before it.

    Returns:
        (1, tokens, heads, head_dim), and None in place of the weights.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    lengths = [block.length for block in blocks]
    parts = zip(*(torch.split(each, lengths, dim=2) for each in (query, key, value)), strict=True)
    out = []
    for block, (q, k, v) in zip(blocks, parts, strict=True):
        k, v = _after(block.after, key, k), _after(block.after, value, v)
        shape = block._replace(after=Span(0, block.after.length))  # where it lies makes no other mask
        mask = _mask(shape, sliding_window, q.device)
        out.append(scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, scale=scaling))
    return torch.cat(out, dim=2).transpose(1, 2), None


def _after(seen: Span, states: Tensor, own: Tensor) -> Tensor:
    """The states of a block, with those before them that it goes on from."""
    return torch.cat([states.narrow(2, *seen), own], dim=2) if seen.length else own


@lru_cache(maxsize=64)  # the layers of one pass ask for the same few
def _mask(block: Block, window: int | None, device: torch.device) -> Tensor | None:
    """Which token of a block (row) sees which of what it goes on from and of the block (column).

    None where plain causality says the same.
    """
    seen = block.after.length
    if not seen and not block.branches and (window is None or block.length <= window):
        return None
    whole = Block(seen + block.trunk, block.branches)
    member = torch.tensor([0] * whole.trunk + _numbered(whole.branches), device=device)
    place = torch.tensor(_places(whole), device=device)
    back = place[:, None] - place
    mine = (member == 0) | (member[:, None] == member)
    return (mine & (back >= 0) & (back < (window or whole.length)))[seen:]


def _numbered(branches: Sequence[int]) -> list[int]:
    return [number for number, length in enumerate(branches, 1) for _ in range(length)]


def _places(block: Block) -> list[int]:
    after = [block.trunk + place for length in block.branches for place in range(length)]
    return [*range(block.trunk), *after]


AttentionInterface.register(BLOCKS, block_attention)


class _TokenNll(torch.autograd.Function):
    """(nll, entropy) per position; the entropy, and its gradient, only where it is wanted."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, with_entropy: bool
    ) -> tuple[Tensor, Tensor]:
        learn = ctx.needs_input_grad[0]
        rows = max(1, _CHUNK_BYTES // (4 * weight.shape[0]))
        nll = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        entropy = torch.zeros_like(nll)
        grad = torch.empty_like(hidden) if learn else None
        entropy_grad = torch.empty_like(hidden) if learn and with_entropy else None
        for start in range(0, len(targets), rows):
            part = slice(start, start + rows)
            wanted = targets[part, None]
            logp = torch.log_softmax(hidden[part] @ weight.t(), dim=-1, dtype=torch.float32)
            nll[part] = -logp.gather(1, wanted)[:, 0]
            if with_entropy:
                entropy[part], fall = _entropy(logp)
                if entropy_grad is not None:
                    entropy_grad[part] = fall.to(weight.dtype) @ weight
            if grad is not None:
                slope = logp.exp_()
                slope.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=slope.dtype))
                grad[part] = slope.to(weight.dtype) @ weight
        ctx.save_for_backward(grad, entropy_grad)
        return nll, entropy

    @staticmethod
    def backward(ctx: Any, of_nll: Tensor, of_entropy: Tensor) -> tuple[Tensor | None, ...]:
        grad, entropy_grad = ctx.saved_tensors
        total = grad * of_nll[:, None].to(grad.dtype)
        if entropy_grad is not None:
            total += entropy_grad * of_entropy[:, None].to(grad.dtype)
        return total, None, None, None


def _entropy(logp: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row, in nats, and its gradient in the logits: -p (log p + H)."""
    p = logp.exp()
    entropy = -(p * logp).sum(-1)
    return entropy, -p * (logp + entropy[:, None])


def token_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """-log p(target) at each position, under a frozen output head.

    Args:
        hidden: (n, d) last hidden states at the positions before the targets.
        weight: (vocabulary, d) output head.
        targets: (n,) token ids.

    Returns:
        (n,) float32; differentiable in `hidden`.
    """
    return token_nll_entropy(hidden, weight, targets, with_entropy=False)[0]


def token_nll_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, with_entropy: bool = True
) -> tuple[Tensor, Tensor]:
    """As `token_nll`, and the entropy of each position's distribution, both differentiable.

    Returns:
        (n,) and (n,) float32; without `with_entropy` the second is 0.
    """
    found: tuple[Tensor, Tensor] = _TokenNll.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, with_entropy
    )
    return found


@torch.no_grad()
def token_kl(hidden: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """KL(p || q) of the next-token distributions at each position, in nats, exactly.

    Args:
        hidden: (n, d) last hidden states that p is made of.
        other: (n, d) those of q.
        weight: (vocabulary, d) output head of both.

    Returns:
        (n,) float32.
    """
    rows = max(1, _CHUNK_BYTES // (4 * weight.shape[0]))
    found = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        p, q = (
            torch.log_softmax(each[part] @ weight.t(), dim=-1, dtype=torch.float32)
            for each in (hidden, other)
        )
        found[part] = (p.exp() * (p - q)).sum(-1)
    return found
