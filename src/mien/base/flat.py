"""A batch without padding: sequences laid end to end, and which of their tokens are learnt.

Three shapes of row go in. A `Chain` is read and learnt in turn, as a dialogue is. A `Tree` is one prompt
with several completions, as preferences and rollouts are: the prompt is computed once, and each
completion sees it and itself, as if it stood alone (arXiv:2410.20305). A `Grove` is trees whose prompts
begin alike, as questions under one system prompt do: that opening is computed once as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

_WORTH_SHARING = 8  # tokens, from which on an opening is read once for several prompts

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


class Grove(NamedTuple):
    """Trees that go on from one opening, which is no part of their prompts."""

    opening: Ids
    trees: tuple[Tree, ...]

    @property
    def tokens(self) -> int:
        """All that is computed."""
        return len(self.opening) + sum(tree.tokens for tree in self.trees)


Row = TypeVar("Row", Tree, Grove)


class Span(NamedTuple):
    """Neighbours in a flat batch: the place of the first, and how many there are."""

    start: int
    length: int


NOTHING = Span(0, 0)


class Block(NamedTuple):
    """Tokens that attend to each other: a causal trunk, and branches that see it and themselves.

    All of them also see what the trunk goes on from, which lies earlier in the batch, if there is any.
    """

    trunk: int
    branches: tuple[int, ...] = ()
    after: Span = NOTHING

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
        return cls.grown([Grove((), tuple(rows))])

    @classmethod
    def grown(cls, rows: Sequence[Grove]) -> Flat:
        """From groves; each completion is one sequence, numbered through all trees of all groves.

        Raises:
            ValueError: A prompt or a completion is empty.
        """
        laid = _Laying()
        for row in rows:
            after = laid.opening(row.opening)
            for tree in row.trees:
                laid.tree(tree, after)
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


def batches(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """Trees or groves in batches of at most so many tokens, but at least one of them."""
    batch, tokens = list[Row](), 0
    for row in rows:
        if batch and tokens + row.tokens > most:
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += row.tokens
    if batch:
        yield batch


def groves(trees: Iterable[Tree], most: int) -> Iterator[Grove]:
    """Neighbours whose prompts begin alike, together: in the order of their tokens, most is found.

    A tree joins those before it where more is then read once than without it.

    Args:
        trees: With their whole prompts.
        most: Tokens of a grove, unless one tree alone has more.
    """
    some, opening = list[Tree](), 0
    for tree in trees:
        same = _alike(some[0].prompt[: opening + 1], tree.prompt) if some else 0
        more = len(some) * same > (len(some) - 1) * opening and same >= _WORTH_SHARING
        if some and not (more and _grove([*some, tree], same).tokens <= most):
            yield _grove(some, opening)
            some = []
        opening = same if some else len(tree.prompt) - 1
        some.append(tree)
    if some:
        yield _grove(some, opening)


def _alike(one: Ids, other: Ids) -> int:
    """How many tokens two prompts begin with alike, less than the whole of either."""
    most = min(len(one), len(other)) - 1
    return next((at for at in range(most) if one[at] != other[at]), most)


def _grove(some: Sequence[Tree], opening: int) -> Grove:
    shared = opening if len(some) > 1 else 0
    return Grove(
        some[0].prompt[:shared],
        tuple(Tree(tree.prompt[shared:], tree.completions) for tree in some),
    )


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

    def opening(self, stretch: Ids) -> Span:
        """Lay down what several trees go on from."""
        if not stretch:
            return NOTHING
        after = Span(len(self.tokens), len(stretch))
        self.read(stretch, 0)
        self.blocks.append(Block(len(stretch)))
        return after

    def tree(self, row: Tree, after: Span) -> None:
        """Lay down a prompt that goes on from an opening, and its completions."""
        if not row.prompt or not all(row.completions):
            raise ValueError("a tree needs a prompt, and no completion may be empty")
        self.read(row.prompt, after.length)
        before = len(self.tokens) - 1
        for completion in row.completions:
            self.learn(completion, before)
            self.read(completion, after.length + len(row.prompt))
            self.end()
        self.blocks.append(Block(len(row.prompt), tuple(map(len, row.completions)), after))

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
