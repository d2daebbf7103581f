"""Two adapters side by side: how large their updates are, and how much they point the same way.

Both follow from products of the small matrices; no update is ever written out. With U = s B A,
<U, V> = s t sum((B^T C) * (A D^T)) for V = t C D.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mien.base.lora import Pair
from mien.errors import AdapterError
from mien.registry.versions import Adapter


class Alike(NamedTuple):
    """The updates of one type of layer, such as `q_proj`, all depths together.

    Attributes:
        layer: The type; `all` is all of them.
        norms: Frobenius norm of each adapter's update.
        cosines: Of each adapter's update with the first one's, -1 to 1; 0 where one is nothing.
    """

    layer: str
    norms: tuple[float, ...]
    cosines: tuple[float, ...]


def alike(adapters: Sequence[Adapter]) -> list[Alike]:
    """Norms and cosines by type of layer, in the model's order, and of all layers last.

    Raises:
        AdapterError: They are not on the same layers.
    """
    layers = adapters[0][1].keys()
    if any(pairs.keys() != layers for _, pairs in adapters):
        raise AdapterError("The adapters are not on the same layers.", fix="Compare those of one base.")
    types: dict[str, list[str]] = {}
    for path in layers:
        types.setdefault(path.rpartition(".")[2], []).append(path)
    return [_alike(name, adapters, paths) for name, paths in {**types, "all": [*layers]}.items()]


def _alike(name: str, adapters: Sequence[Adapter], paths: Sequence[str]) -> Alike:
    own = [_inner(each, each, paths) for each in adapters]
    norms = [max(square, 0.0) ** 0.5 for square in own]
    cosines = []
    for adapter, norm in zip(adapters, norms, strict=True):
        both = norm * norms[0]
        cosines.append(_inner(adapters[0], adapter, paths) / both if both else 0.0)
    return Alike(name, tuple(norms), tuple(max(-1.0, min(1.0, each)) for each in cosines))


def _inner(one: Adapter, other: Adapter, paths: Sequence[str]) -> float:
    (config, pairs), (other_config, other_pairs) = one, other
    total = sum(_product(pairs[path], other_pairs[path]) for path in paths)
    return config.scale * other_config.scale * total


def _product(one: Pair, other: Pair) -> float:
    (a, b), (d, c) = (tuple(each.double() for each in pair) for pair in (one, other))
    return float(((b.t() @ c) * (a @ d.t())).sum())
