"""Batched decoding with a key-value cache, the same for every system that is compared.

Each row draws from a generator of its own seed, so a reply does not depend on which other rows happen
to share its batch. Rows that ask the same are read once, and so is a long beginning that all rows have,
such as a system prompt. Rows that have ended leave the batch, and the others go on without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from mien.base.cache import RoomyLayer, roomy_cache
from mien.base.model import Base
from mien.chat import Sampling
from mien.schema import Message

_WORTH_SHARING = 16  # tokens that all prompts begin with, from which on they are read once
_COMPACT_AT = 0.75  # leave ended rows in place until at most this share of the batch is running


Asked = tuple[Sequence[int], int]  # the ids of a prompt, and the seed of its reply
Step = list[tuple[int, int]]
Progress = Callable[[int, int], None]


def steps(
    base: Base, rows: Sequence[Asked], sampling: Sampling, *, with_stop: bool = False
) -> Iterator[Step]:
    """Decode all rows together, one token at a time, under the adapter in force.

    Args:
        base: The model.
        rows: What is asked.
        sampling: The same for all rows.
        with_stop: Report the token that ends a reply as well.

    Yields:
        (row, token) for each row still running.
    """
    batch = Batch(base, rows, sampling, with_stop)
    for _ in range(sampling.max_tokens):
        step = batch.step()
        if step:
            yield step
        if not batch.running:
            return


def stream(base: Base, messages: Sequence[Message], sampling: Sampling, *, seed: int) -> Iterator[str]:
    """One reply, as pieces of text that join to the whole."""
    renderer, ids, shown = base.renderer, list[int](), ""
    for step in steps(base, [(renderer.prompt(messages), seed)], sampling):
        ids.append(step[0][1])
        text = renderer.decode(ids)
        # A character may span tokens; hold its first half back until the rest has come.
        if not text.endswith("\N{REPLACEMENT CHARACTER}") and text.startswith(shown):
            yield text[len(shown) :]
            shown = text
    if rest := renderer.decode(ids)[len(shown) :]:
        yield rest


def generate(
    base: Base,
    conversations: Sequence[Sequence[Message]],
    sampling: Sampling,
    *,
    seeds: Sequence[int],
    batch: int = 96,
    progress: Progress = lambda _tokens, _replies: None,
) -> list[list[int]]:
    """Token ids of one reply per conversation, in order, without the token that ends it.

    Args:
        base: The model, under the adapter in force.
        conversations: What is asked.
        sampling: How tokens are chosen.
        seeds: One per conversation.
        batch: Rows decoded together; those of like length share a batch.
        progress: Called after each step with the tokens it made and the replies it ended.
    """
    prompts = [base.renderer.prompt(messages) for messages in conversations]
    return continued(base, prompts, sampling, seeds=seeds, batch=batch, progress=progress)


def continued(
    base: Base,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    seeds: Sequence[int],
    batch: int = 96,
    with_stop: bool = False,
    progress: Progress = lambda _tokens, _replies: None,
) -> list[list[int]]:
    """As `generate`, for prompts that are rendered; with the tokens that end replies where asked."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    replies: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        running = len(rows)
        asked = [(prompts[row], seeds[row]) for row in rows]
        for step in steps(base, asked, sampling, with_stop=with_stop):
            for place, token in step:
                replies[rows[place]].append(token)
            progress(len(step), running - len(step))
            running = len(step)
        progress(0, running)
    return replies


class Batch:
    """Rows in flight: their cache, their generators, and what they have said."""

    def __init__(self, base: Base, rows: Sequence[Asked], sampling: Sampling, with_stop: bool) -> None:
        self.base, self.sampling, self.with_stop = base, sampling, with_stop
        self.generators = [torch.Generator().manual_seed(seed) for _, seed in rows]
        self.rows = list(range(len(rows)))  # batch place -> the caller's row
        self.running = set(self.rows)
        self.cache = roomy_cache(base.model.config)
        prompts = [tuple(prompt) for prompt, _ in rows]
        distinct = list(dict.fromkeys(prompts))
        self.opening = distinct[0][: _shared(distinct)] if _sees_all(self.cache) else ()
        self.tokens, self.mask = left_padded([each[len(self.opening) :] for each in distinct], base)
        self.said = torch.empty(len(rows), 0, dtype=torch.long)
        # Which of the distinct prompts each row asks; None once they have been read.
        self.asks: Tensor | None = torch.tensor([distinct.index(prompt) for prompt in prompts])

    @torch.no_grad()
    def step(self) -> Step:
        """Take one token for every row; report those of rows that still run."""
        if self.opening:
            self._read_opening()
        scores = self._scores()
        if self.asks is not None:
            scores, self.asks = self._spread(scores, self.asks), None
        chosen = self._choose(scores)
        self.said = torch.cat([self.said, chosen[:, None]], dim=1)
        stop = self.base.renderer.stop_ids
        step: Step = []
        for row, token in zip(self.rows, chosen.tolist(), strict=True):
            if row not in self.running:
                continue
            if token in stop:
                self.running.discard(row)
            if token not in stop or self.with_stop:
                step.append((row, token))
        self.tokens = chosen[:, None]
        self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], dim=1)
        self._compact()
        return step

    def _read_opening(self) -> None:
        """Read what all prompts begin with, once, and put it before each of them."""
        rows, (tokens, mask) = len(self.tokens), (self.tokens, self.mask)
        self.tokens = torch.tensor([self.opening])
        self.mask, self.opening = torch.ones_like(self.tokens), ()
        self._scores()
        self.cache.batch_select_indices(torch.zeros(rows, dtype=torch.long, device=self.base.device))
        self.mask = torch.cat([self.mask.expand(rows, -1), mask], dim=1)
        self.tokens = tokens

    def _spread(self, scores: Tensor, asks: Tensor) -> Tensor:
        """From a row per distinct prompt to the caller's rows."""
        self.mask = self.mask[asks]
        self.cache.batch_select_indices(asks.to(self.base.device))
        return scores[asks]

    def _scores(self) -> Tensor:
        """Logits of the next token, (rows, vocabulary)."""
        positions = (self.mask.cumsum(1) - 1).clamp_(min=0)[:, -self.tokens.shape[1] :]
        device = self.base.device
        out = self.base.model(
            input_ids=self.tokens.to(device),
            attention_mask=self.mask.to(device),
            position_ids=positions.to(device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return torch.as_tensor(out.logits[:, -1].float().cpu())

    def _choose(self, scores: Tensor) -> Tensor:
        """One token id per row."""
        sampling = self.sampling
        if sampling.repetition_penalty != 1:
            said = scores.gather(1, self.said)
            divided, times = said / sampling.repetition_penalty, said * sampling.repetition_penalty
            scores.scatter_(1, self.said, torch.where(said > 0, divided, times))
        if sampling.temperature == 0:
            return scores.argmax(-1)
        if sampling.top_k is None and sampling.top_p == 1:  # no need to sort them
            return self._drawn(torch.softmax(scores / sampling.temperature, dim=-1))[:, 0]
        most = scores.shape[-1] if sampling.top_k is None else min(sampling.top_k, scores.shape[-1])
        top, ids = scores.topk(most, dim=-1)
        mass = torch.softmax(top / sampling.temperature, dim=-1)
        kept = mass.cumsum(-1) - mass < sampling.top_p
        return ids.gather(1, self._drawn(mass * kept))[:, 0]

    def _drawn(self, mass: Tensor) -> Tensor:
        """One place per row, (rows, 1), with a chance that is its share of the row's mass."""
        sums = mass.cumsum(-1)
        draws = torch.stack([torch.rand(1, generator=self.generators[row]) for row in self.rows])
        return torch.searchsorted(sums, draws * sums[:, -1:]).clamp_(max=mass.shape[-1] - 1)

    def _compact(self) -> None:
        """Drop ended rows once they are many."""
        if not self.running or len(self.running) > _COMPACT_AT * len(self.rows):
            return
        keep = torch.tensor([i for i, row in enumerate(self.rows) if row in self.running])
        self.rows = [self.rows[i] for i in keep.tolist()]
        self.tokens, self.mask, self.said = self.tokens[keep], self.mask[keep], self.said[keep]
        self.cache.batch_select_indices(keep.to(self.base.device))


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, less than any of them; 0 where it is not worth it."""
    most = min(map(len, prompts)) - 1
    same = next((at for at in range(most) if len({each[at] for each in prompts}) > 1), most)
    return same if len(prompts) > 1 and same >= _WORTH_SHARING else 0


def _sees_all(cache: DynamicCache) -> bool:
    """Whether every layer sees all that was read: a sliding window would count the gap after it."""
    return all(isinstance(layer, RoomyLayer) for layer in cache.layers)


def left_padded(prompts: Sequence[Sequence[int]], base: Base) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, (rows, longest)."""
    longest = max(len(prompt) for prompt in prompts)
    pad = base.tokenizer.pad_token_id or 0
    ids = torch.full((len(prompts), longest), pad)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids, mask
