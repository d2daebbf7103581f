"""The two kernels of training on text, free of any model's names.

`block_attention`: many sequences laid end to end, each attending to itself only. No padding is
computed and no mask is built, so a batch of mixed lengths costs what its tokens cost.

`token_nll`: negative log-likelihood at the positions that are learnt, and only there. The output head
is applied in chunks; since it is frozen, the gradient of a chunk is known as soon as its
probabilities are, and is taken on the spot, so the logits of one chunk are all that ever exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

BLOCKS = "mien_blocks"
_CHUNK_BYTES = 64 * 2**20


def block_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    blocks: Sequence[int],
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
        blocks: Tokens in each sequence; their sum is `tokens`.
        scaling: Of the scores; by default 1 / sqrt(head_dim).
        sliding_window: A token sees itself and at most this many minus one before it.

    Returns:
        (1, tokens, heads, head_dim), and None in place of the weights.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    parts = zip(*(torch.split(each, list(blocks), dim=2) for each in (query, key, value)), strict=True)
    out = []
    for q, k, v in parts:
        mask = _window(q.shape[2], sliding_window, q.device)
        out.append(scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, scale=scaling))
    return torch.cat(out, dim=2).transpose(1, 2), None


def _window(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """The mask of a sliding window, or None where plain causality says the same."""
    if window is None or length <= window:
        return None
    back = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (back >= 0) & (back < window)


AttentionInterface.register(BLOCKS, block_attention)


class _TokenNll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        learn = ctx.needs_input_grad[0]
        rows = max(1, _CHUNK_BYTES // (4 * weight.shape[0]))
        nll = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        grad = torch.empty_like(hidden) if learn else None
        for start in range(0, len(targets), rows):
            part = slice(start, start + rows)
            wanted = targets[part, None]
            logp = torch.log_softmax(hidden[part] @ weight.t(), dim=-1, dtype=torch.float32)
            nll[part] = -logp.gather(1, wanted)[:, 0]
            if grad is not None:
                slope = logp.exp_()
                slope.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=slope.dtype))
                grad[part] = slope.to(weight.dtype) @ weight
        ctx.save_for_backward(grad)
        return nll

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, None]:
        (grad,) = ctx.saved_tensors
        return (grad * upstream[:, None].to(grad.dtype), None, None)


def token_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """-log p(target) at each position, under a frozen output head.

    Args:
        hidden: (n, d) last hidden states at the positions before the targets.
        weight: (vocabulary, d) output head.
        targets: (n,) token ids.

    Returns:
        (n,) float32; differentiable in `hidden`.
    """
    return torch.as_tensor(_TokenNll.apply(hidden, weight, targets))  # type: ignore[no-untyped-call]
