"""Conversations that go on: what was read once is not read again.

At every turn `generate` would read a whole conversation anew, which after fifty turns is nearly all of
the work. Here the keys and values stay between turns, and of each conversation only the part is read
that is new. The replies are the same, token by token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from mien.base.cache import RoomyLayer, roomy_cache
from mien.base.decode import Asked, Batch, Progress, left_padded
from mien.base.model import Base
from mien.chat import Sampling
from mien.schema import Message

_TOKENS_AT_ONCE = 8192  # read in one piece, all rows together: what decides on the memory it takes
_EXCHANGES = 8  # dropped together when the context is full, so that most turns need not read anew


class Talk:
    """Answers a set of conversations again and again as they grow.

    Each row remembers which tokens it has read. Of what it is asked next, the part that begins as those
    do is kept, and the rest is read; what followed that part is forgotten. So a question may be put to a
    copy of a conversation and thrown away (a fork): the conversation itself goes on as if nothing had
    been asked.

    Args:
        base: The model; each call answers under the adapter in force, which must stay the same.
        sampling: How tokens are chosen.
    """

    def __init__(self, base: Base, sampling: Sampling) -> None:
        self.base, self.sampling = base, sampling
        self._cache = _empty_cache(base)
        self._read: list[list[int]] = []  # by row, the tokens whose keys and values are kept
        self._starts: list[int] = []  # by row, the column of the first of them

    def replies(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int],
        progress: Progress = lambda _tokens, _replies: None,
    ) -> list[list[int]]:
        """Token ids of one reply per conversation, with the token that ends it if it came to an end.

        Args:
            conversations: As many as at the first call and in the same order, each with all that was
                said in it; the oldest exchanges are left out where they outgrow the context (`recent`).
            seeds: One per conversation.
            progress: Called after each step with the tokens it made and the replies it ended.
        """
        prompts = [self._prompt(messages) for messages in conversations]
        batch = self._resumed(list(zip(prompts, seeds, strict=True)))
        replies: list[list[int]] = [[] for _ in prompts]
        for _ in range(self.sampling.max_tokens):
            running = len(batch.running)
            step = batch.step()
            for row, token in step:
                replies[row].append(token)
            progress(len(step), running - len(batch.running))
            if not batch.running:
                break
        progress(0, len(batch.running))
        self._keep(batch, prompts, replies)
        return replies

    def _prompt(self, messages: Sequence[Message]) -> list[int]:
        return self.base.renderer.prompt(recent(self.base, messages, self.sampling.max_tokens))

    def _resumed(self, rows: Sequence[Asked]) -> _Turn:
        """A batch that has read all it was told but the end, which is as long for every row.

        Rows with less to read than others read a little again, so that no row has a hole in its cache.
        """
        lengths = [len(prompt) for prompt, _ in rows]
        known = [_shared(*each) for each in zip([p for p, _ in rows], self._known(rows), strict=True)]
        unread = max(length - each for length, each in zip(lengths, known, strict=True))
        widest = max(lengths) - unread
        starts = [max(lengths) - length for length in lengths]
        batch = _Turn(self.base, rows, self.sampling, self._moved(starts, widest), unread)
        batch.read_most()
        return batch

    def _known(self, rows: Sequence[Asked]) -> list[list[int]]:
        return self._read or [[] for _ in rows]

    def _moved(self, starts: Sequence[int], width: int) -> DynamicCache:
        """What is kept, with each row's first token in another column; `width` columns of it."""
        moved = _empty_cache(self.base)
        if width == 0:
            return moved
        shifts = torch.tensor(self._starts) - torch.tensor(starts)
        source = (torch.arange(width) + shifts[:, None]).clamp_(min=0)
        # A row that is kept to no column reads all of itself anew; its columns here are masked.
        source.clamp_(max=self._cache.get_seq_length() - 1)
        source = source[:, None, :, None].to(self.base.device)
        for old, new in zip(self._cache.layers, moved.layers, strict=True):
            new.update(_columns(old.keys, source), _columns(old.values, source))
        return moved

    def _keep(self, batch: _Turn, prompts: list[list[int]], replies: list[list[int]]) -> None:
        self._cache = batch.cache
        width, longest = self._cache.get_seq_length(), max(map(len, prompts))
        self._starts = [longest - len(prompt) for prompt in prompts]
        self._read = [
            [*prompt, *reply][: width - start]
            for prompt, reply, start in zip(prompts, replies, self._starts, strict=True)
        ]


class _Turn(Batch):
    """A batch whose beginning is in the cache already, and which no row leaves: all come back."""

    def __init__(
        self, base: Base, rows: Sequence[Asked], sampling: Sampling, cache: DynamicCache, unread: int
    ) -> None:
        super().__init__(base, rows, sampling, with_stop=True)
        tokens, self.mask = left_padded([prompt for prompt, _ in rows], base)
        self.tokens, self.cache, self.asks, self.opening = tokens[:, -unread:], cache, None, ()

    @torch.no_grad()
    def read_most(self) -> None:
        """Read until one piece is left, for the first step."""
        piece = max(1, _TOKENS_AT_ONCE // len(self.rows))
        while self.tokens.shape[1] > piece:
            tokens, mask = self.tokens, self.mask
            self.tokens, self.mask = tokens[:, :piece], mask[:, : piece - tokens.shape[1]]
            self._scores()
            self.tokens, self.mask = tokens[:, piece:], mask

    def _compact(self) -> None:
        """Keep everybody."""


def recent(
    base: Base, messages: Sequence[Message], longest: int, *, exchanges: int = _EXCHANGES
) -> list[Message]:
    """The conversation without its oldest exchanges, where it outgrew the model's context.

    Args:
        base: Whose context it is.
        messages: A system message or none, then the two sides in turns, the user's last.
        longest: Room to leave for the reply, in tokens.
        exchanges: How many to drop at a time.
    """
    first = 1 if messages[0].role == "system" else 0
    opening, rest = list(messages[:first]), list(messages[first:])
    while len(base.renderer.prompt([*opening, *rest])) > base.max_tokens - longest and len(rest) > 2:
        del rest[: min(2 * exchanges, len(rest) - 1)]
    return [*opening, *rest]


def _empty_cache(base: Base) -> DynamicCache:
    """Every layer keeps all: one with a sliding window would forget what a fork goes back to."""
    cache = roomy_cache(base.model.config)
    cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache


def _shared(prompt: Sequence[int], read: Sequence[int]) -> int:
    """How many tokens a prompt and what was read begin with alike, less than the whole prompt."""
    most = min(len(prompt) - 1, len(read))
    return next((at for at in range(most) if prompt[at] != read[at]), most)


def _columns(states: Tensor, source: Tensor) -> Tensor:
    rows, heads, _, size = states.shape
    return states.gather(2, source.expand(rows, heads, source.shape[2], size))
