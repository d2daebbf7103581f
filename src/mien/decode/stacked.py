"""Low-rank updates of many adapters in one batch: each row gets its own, and only its own.

A batch is sorted by adapter, so that each adapter's tokens lie side by side. With as many tokens each
(eight rows, eight personas) the whole update is two batched products over stacked matrices, without a
copy of anything. Otherwise the rows are padded to that shape, or, where that would be mostly padding,
the adapters take turns. In no case is a row multiplied with another's matrices, not even by zero: an
adapter that overflows spoils its own rows and no others.

Layers that read the same input form a group (query, key and value; gate and up). Their first matrices
lie side by side, and one product serves the group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from mien.base.lora import Adapters

Group = tuple[str, ...]  # paths of layers that read the same input; their outputs lie side by side
_MOSTLY_PADDING = 1.5


@dataclass(frozen=True, eq=False)
class Version:
    """What an adapter's name stood for when it was loaded. It never changes.

    Attributes:
        digest: Of the matrices and their scales.
        down: The matrices A of each group, (layers of the group x rank, in).
        up: The matrices B of each layer of each group, (rank, out), scaled.
    """

    digest: str
    rank: int
    down: list[Tensor] = field(repr=False)
    up: list[list[Tensor]] = field(repr=False)

    @classmethod
    def of(cls, adapters: Adapters, name: str, groups: Sequence[Group]) -> Version:
        """A copy of an adapter as it is now, in the type of the base's weights."""
        sha, pairs = hashlib.sha256(), dict[str, tuple[Tensor, Tensor]]()
        for path, layer in adapters.layers.items():
            a, b = (each.detach() for each in layer.pair(name))
            pairs[path] = (a, (b * layer.scales[name]).t())
            for matrix in pairs[path]:
                sha.update(matrix.contiguous().cpu().numpy().data)
        dtype = next(iter(adapters.layers.values())).weight.dtype
        down = [torch.cat([pairs[path][0] for path in group]).to(dtype) for group in groups]
        up = [[pairs[path][1].to(dtype).contiguous() for path in group] for group in groups]
        return cls(sha.hexdigest(), adapters.configs[name].r, down, up)

    @property
    def bytes(self) -> int:
        """Memory it takes."""
        return sum(each.nbytes for each in (*self.down, *(b for group in self.up for b in group)))


class Mix(Protocol):
    """How the tokens of one pass share the adapters."""

    def add(self, group: int, x: Tensor, y: Tensor) -> None:
        """Add the group's updates to `y`, (tokens, out), given its input `x`, (tokens, in)."""
        ...


class Bare:
    """No row has an adapter."""

    def add(self, group: int, x: Tensor, y: Tensor) -> None:
        """Nothing to add."""


@dataclass(frozen=True)
class InTurn:
    """The adapters take turns: one adapter alone, or a prompt's many tokens beside single ones."""

    spans: Sequence[tuple[int, int, Version]]

    def add(self, group: int, x: Tensor, y: Tensor) -> None:
        """As `Mix.add`."""
        for start, end, version in self.spans:
            ups, rank = version.up[group], version.rank
            h = x[start:end] @ version.down[group].t()
            at = 0
            for i, up in enumerate(ups):
                columns = y[start:end, at : at + up.shape[1]]
                columns.addmm_(h[:, i * rank : (i + 1) * rank], up)
                at += up.shape[1]


@dataclass(frozen=True)
class Evenly:
    """As many tokens each: two batched products on the stacks as they are.

    Attributes:
        versions: How many; they hold the first places of the stack.
        tokens: Of each.
    """

    stack: Stack
    versions: int
    tokens: int

    def add(self, group: int, x: Tensor, y: Tensor) -> None:
        """As `Mix.add`."""
        shape, n = (self.versions, self.tokens), self.versions * self.tokens
        ups, rank = self.stack.up[group], self.stack.rank
        h = torch.bmm(x[:n].view(*shape, -1), self.stack.down[group][: self.versions].mT)
        at = 0
        for i, up in enumerate(ups):
            # Not baddbmm_: into columns of a wider tensor, torch does that one matrix at a time.
            part = torch.bmm(h[..., i * rank : (i + 1) * rank], up[: self.versions])
            y[:n, at : at + up.shape[2]] += part.view(n, -1)
            at += up.shape[2]


@dataclass(frozen=True)
class Unevenly:
    """Rows padded to as many tokens each.

    Attributes:
        gather: The token at each padded place, (versions x tokens,).
        back: The padded place of each token that has an adapter.
    """

    stack: Stack
    versions: int
    tokens: int
    gather: Tensor
    back: Tensor

    def add(self, group: int, x: Tensor, y: Tensor) -> None:
        """As `Mix.add`."""
        ups, rank, n = self.stack.up[group], self.stack.rank, len(self.back)
        padded = x.index_select(0, self.gather).view(self.versions, self.tokens, -1)
        h = torch.bmm(padded, self.stack.down[group][: self.versions].mT)
        at = 0
        for i, up in enumerate(ups):
            part = torch.bmm(h[..., i * rank : (i + 1) * rank], up[: self.versions])
            width = up.shape[2]
            y[:n, at : at + width] += part.view(-1, width).index_select(0, self.back)
            at += width


class Stack:
    """Copies of the adapters that share the current batch, side by side.

    Args:
        places: The most that can share one.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.rank = 0
        self.down: list[Tensor] = []  # per group, (places, layers of the group x rank, in)
        self.up: list[list[Tensor]] = []  # per group and layer, (places, rank, out)
        self.held: list[Version | None] = [None] * places

    def mix(self, counts: Mapping[Version, int]) -> tuple[list[Version], Mix]:
        """In which order the adapters' tokens must lie, and how they are then computed.

        Args:
            counts: Tokens of each adapter.
        """
        if not counts:
            return [], Bare()
        most, total = max(counts.values()), sum(counts.values())
        if len(counts) == 1 or len(counts) * most > _MOSTLY_PADDING * total + self.places:
            return list(counts), InTurn(_spans(counts))
        order = self.arrange(list(counts))
        if len(counts) * most == total:
            return order, Evenly(self, len(order), most)
        device = self.down[0].device
        gather, back = _padding([counts[version] for version in order], most)
        return order, Unevenly(self, len(order), most, gather.to(device), back.to(device))

    def arrange(self, versions: Sequence[Version]) -> list[Version]:
        """See that these hold the first places, and copy as few as need be.

        Returns:
            The same, by place.
        """
        self._fit(versions[0], max(version.rank for version in versions))
        first = self.held[: len(versions)]
        missing = [version for version in versions if version not in first]
        for place, version in enumerate(first):
            if version not in versions:
                self._copy(place, missing.pop())
        return [version for version in self.held[: len(versions)] if version]

    def forget(self, version: Version) -> None:
        """Let an unloaded adapter's memory go."""
        self.held = [None if held is version else held for held in self.held]

    def _copy(self, place: int, version: Version) -> None:
        r = version.rank
        for group, (down, ups) in enumerate(zip(version.down, version.up, strict=True)):
            stacked = self.down[group][place].view(len(ups), self.rank, -1)
            stacked[:, :r] = down.view(len(ups), r, -1)
            stacked[:, r:] = 0
            for into, up in zip(self.up[group], ups, strict=True):
                into[place, :r] = up
                into[place, r:] = 0
        self.held[place] = version

    def _fit(self, like: Version, rank: int) -> None:
        """Make room for matrices of this rank."""
        if rank <= self.rank:
            return
        self.rank, self.held = rank, [None] * self.places
        self.down = [
            down.new_zeros(self.places, len(ups) * rank, down.shape[1])
            for down, ups in zip(like.down, like.up, strict=True)
        ]
        self.up = [[up.new_zeros(self.places, rank, up.shape[1]) for up in ups] for ups in like.up]


def _spans(counts: Mapping[Version, int]) -> list[tuple[int, int, Version]]:
    spans, at = [], 0
    for version, count in counts.items():
        spans.append((at, at + count, version))
        at += count
    return spans


def _padding(counts: Sequence[int], most: int) -> tuple[Tensor, Tensor]:
    """The token at each padded place, and the padded place of each token."""
    gather, back, at = [], [], 0
    for place, count in enumerate(counts):
        gather += [at + min(i, count - 1) for i in range(most)]
        back += [place * most + i for i in range(count)]
        at += count
    return torch.tensor(gather), torch.tensor(back)
