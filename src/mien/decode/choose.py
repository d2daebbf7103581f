"""Which token comes next, for rows that each have their own settings and their own generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mien.chat import Sampling
from mien.decode.request import Matcher

Likely = tuple[float, tuple[tuple[int, float], ...]]


class Hand:
    """What one row draws with.

    Args:
        sampling: How.
        seed: Of its own generator.
        matcher: Of its grammar, at the beginning; None: it may say anything.

    Attributes:
        said: The tokens of its reply so far.
    """

    def __init__(self, sampling: Sampling, seed: int, matcher: Matcher | None = None) -> None:
        self.sampling, self.matcher = sampling, matcher
        self.generator = torch.Generator().manual_seed(seed)
        self.said: list[int] = []

    @property
    def manner(self) -> tuple[float, int | None, float]:
        """Hands of one manner can draw together."""
        return self.sampling.temperature, self.sampling.top_k, self.sampling.top_p

    @property
    def finished(self) -> bool:
        """Whether its grammar lets nothing follow."""
        return self.matcher is not None and self.matcher.finished

    def say(self, token: int) -> None:
        """Go on with a token."""
        self.said.append(token)
        if self.matcher:
            self.matcher.take(token)

    def restrict(self, scores: Tensor) -> None:
        """Rule out what its grammar does not allow, (vocabulary,), in place."""
        if self.matcher:
            scores.masked_fill_(~self.matcher.mask(), -torch.inf)

    def penalise(self, scores: Tensor) -> None:
        """Divide the scores of what was said, (vocabulary,), in place."""
        penalty = self.sampling.repetition_penalty
        if penalty == 1 or not self.said:
            return
        said = torch.tensor(sorted(set(self.said)))
        held = scores[said]
        scores[said] = torch.where(held > 0, held / penalty, held * penalty)


def choose(scores: Tensor, hands: Sequence[Hand]) -> list[int]:
    """One token for each hand; `scores`, (hands, vocabulary) in float32, are changed."""
    for row, hand in zip(scores, hands, strict=True):
        hand.penalise(row)
        hand.restrict(row)
    chosen = [0] * len(hands)
    for manner in dict.fromkeys(hand.manner for hand in hands):
        rows = [i for i, hand in enumerate(hands) if hand.manner == manner]
        theirs = scores if len(rows) == len(hands) else scores[rows]
        picks = _pick(theirs, *manner, [hands[i].generator for i in rows])
        for row, pick in zip(rows, picks.tolist(), strict=True):
            chosen[row] = pick
    return chosen


def likely(scores: Tensor, token: int, most: int) -> Likely:
    """Log-probability of a token and of the likeliest, from one row of scores as the model gave it."""
    logps = torch.log_softmax(scores, dim=-1)
    best, ids = logps.topk(most)
    return float(logps[token]), tuple(zip(ids.tolist(), best.tolist(), strict=True))


def _pick(
    scores: Tensor,
    temperature: float,
    top_k: int | None,
    top_p: float,
    generators: Sequence[torch.Generator],
) -> Tensor:
    if temperature == 0:
        return scores.argmax(-1)
    if top_k is None and top_p == 1:  # no need to sort them
        return _drawn(torch.softmax(scores / temperature, dim=-1), generators)[:, 0]
    most = scores.shape[-1] if top_k is None else min(top_k, scores.shape[-1])
    top, ids = scores.topk(most, dim=-1)
    mass = torch.softmax(top / temperature, dim=-1)
    kept = mass.cumsum(-1) - mass < top_p
    return ids.gather(1, _drawn(mass * kept, generators))[:, 0]


def _drawn(mass: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """One place per row, (rows, 1), with a chance that is its share of the row's mass."""
    sums = mass.cumsum(-1)
    draws = torch.stack([torch.rand(1, generator=generator) for generator in generators])
    return torch.searchsorted(sums, draws * sums[:, -1:], right=True).clamp_(max=mass.shape[-1] - 1)
