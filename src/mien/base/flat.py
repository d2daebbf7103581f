"""A batch without padding: sequences laid end to end, and which of their tokens are learnt.

Two shapes of row go in. A `Chain` is read and learnt in turn, as a dialogue is. A `Tree` is one prompt
with several completions, as preferences and rollouts are: the prompt is computed once, and each
completion sees it and itself, as if it stood alone (arXiv:2410.20305).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Ids = Sequence[int]
Chain = Sequence[Ids]  # stretches of token ids, read and learnt in turn: a prompt, its completion, ...


class Tree(NamedTuple):
    """One prompt and the completions that each follow on it."""

    prompt: Ids
    completions: tuple[Ids, ...]

    @property
    def tokens(self) -> int:
        """All that is computed."""
        return len(self.prompt) + sum(map(len, self.completions))


class Block(NamedTuple):
    """Tokens that attend to each other: a causal trunk, and branches that see it and themselves."""

    trunk: int
    branches: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """All its tokens."""
        return self.trunk + sum(self.branches)


@dataclass(frozen=True)
class Flat:
    """Sequences laid end to end.

    Attributes:
        tokens: (tokens,) all ids.
        positions: (tokens,) place of each token in its own sequence; branches begin where their
            trunk ends.
        blocks: Which tokens attend to which, in the order of the tokens.
        index: (learnt,) flat places *before* each learnt token.
        targets: (learnt,) the learnt tokens.
        owner: (learnt,) the sequence each learnt token belongs to: a chain, or one completion.
        ends: (sequences,) flat place of the last token of each sequence.
    """

    tokens: Tensor
    positions: Tensor
    blocks: tuple[Block, ...]
    index: Tensor
    targets: Tensor
    owner: Tensor
    ends: Tensor

    @classmethod
    def of(cls, rows: Sequence[Chain]) -> Flat:
        """From chains; each is one sequence."""
        laid = _Laying()
        for row in rows:
            start = len(laid.tokens)
            for place, stretch in enumerate(row):
                if place % 2:
                    laid.learn(stretch, len(laid.tokens) - 1)
                laid.read(stretch, len(laid.tokens) - start)
            laid.end()
            laid.blocks.append(Block(len(laid.tokens) - start))
        return laid.flat()

    @classmethod
    def branching(cls, rows: Sequence[Tree]) -> Flat:
        """From trees; each completion is one sequence, numbered through all trees.

        Raises:
            ValueError: A prompt or a completion is empty.
        """
        laid = _Laying()
        for row in rows:
            if not row.prompt or not all(row.completions):
                raise ValueError("a tree needs a prompt, and no completion may be empty")
            laid.read(row.prompt, 0)
            before = len(laid.tokens) - 1
            for completion in row.completions:
                laid.learn(completion, before)
                laid.read(completion, len(row.prompt))
                laid.end()
            laid.blocks.append(Block(len(row.prompt), tuple(map(len, row.completions))))
        return laid.flat()

    @property
    def sequences(self) -> int:
        """How many there are."""
        return len(self.ends)

    def sums(self, values: Tensor) -> Tensor:
        """Values of learnt tokens, (learnt,), summed over each sequence: (sequences,)."""
        totals = torch.zeros(self.sequences, dtype=values.dtype, device=values.device)
        return totals.index_add(0, self.owner.to(values.device), values)

    def table(self, values: Tensor) -> Tensor:
        """Values of learnt tokens as a table, (sequences, longest), 0 where a sequence has ended."""
        rows, counts = self.owner, self.counts()
        first = torch.cumsum(counts, 0) - counts
        columns = torch.arange(len(rows)) - first[rows]
        table = torch.zeros(self.sequences, int(counts.max()), dtype=values.dtype)
        return table.to(values.device).index_put((rows, columns), values)

    def counts(self) -> Tensor:
        """Learnt tokens of each sequence, (sequences,)."""
        return torch.bincount(self.owner, minlength=self.sequences)


def batches(trees: Iterable[Tree], most: int) -> Iterator[list[Tree]]:
    """Trees in batches of at most so many tokens, but at least one tree."""
    batch, tokens = list[Tree](), 0
    for tree in trees:
        if batch and tokens + tree.tokens > most:
            yield batch
            batch, tokens = [], 0
        batch.append(tree)
        tokens += tree.tokens
    if batch:
        yield batch


class _Laying:
    """The lists that a flat batch is made of."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.index: list[int] = []
        self.targets: list[int] = []
        self.owner: list[int] = []
        self.ends: list[int] = []
        self.blocks: list[Block] = []

    def read(self, stretch: Ids, position: int) -> None:
        """Lay down tokens, the first of which stands at `position` of its sequence."""
        self.tokens += stretch
        self.positions += range(position, position + len(stretch))

    def learn(self, stretch: Ids, before: int) -> None:
        """Mark the tokens laid down next as learnt; the first follows on the flat place `before`."""
        start = len(self.tokens)
        self.index += [before, *range(start, start + len(stretch) - 1)][: len(stretch)]
        self.targets += stretch
        self.owner += [len(self.ends)] * len(stretch)

    def end(self) -> None:
        """The sequence in hand ends with the last token laid down."""
        self.ends.append(len(self.tokens) - 1)

    def flat(self) -> Flat:
        def whole(numbers: list[int]) -> Tensor:
            return torch.tensor(numbers, dtype=torch.long)

        return Flat(
            tokens=whole(self.tokens),
            positions=whole(self.positions),
            blocks=tuple(self.blocks),
            index=whole(self.index),
            targets=whole(self.targets),
            owner=whole(self.owner),
            ends=whole(self.ends),
        )
