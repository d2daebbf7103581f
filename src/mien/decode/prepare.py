"""Choosing a way through the model: by its parts, a proof that it is right, a trial of its speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.decode.forward import PACKED_ROWS, Forward, Hooked, Product, Straight
from mien.decode.passes import Part, Pass
from mien.decode.slots import Shape, Slots
from mien.decode.stacked import Bare, Stack, Version
from mien.errors import BaseError, first_line

_WORTH_IT = 1.15  # for twice the memory
_TOLERANCE = {torch.float32: 1e-4}
_ROUGH = 5e-2  # of types with fewer bits
_PROOF = (7, 5, 6)  # tokens of the proof's rows


@dataclass(frozen=True)
class Setup:
    """How a base is run, for reports.

    Attributes:
        forward: `straight` or `transformers`.
        packed_bytes: What packed weights take beside the base; 0 where they do not pay.
        speedup: What packing gained in the trial, on the base's products; None if it was not tried.
        refused: Why the model's own loop was not used, if it was tried.
    """

    forward: str
    packed_bytes: int = 0
    speedup: float | None = None
    refused: str | None = None


def ways(base: Base) -> Iterator[Callable[[Base], Forward]]:
    """The ways that may suit, the fastest first."""
    if Straight.fits(base):
        yield Straight
    yield Hooked


def prepared(base: Base, *, slots: int, pack: bool | None = None) -> tuple[Forward, Shape, Setup]:
    """The fastest way through this model that is right.

    Args:
        base: The model.
        slots: Requests that run at once.
        pack: Keep the weights a second time, laid out for few rows; None: if a trial says so.

    Raises:
        BaseError: Not even transformers' own way gives the model's logits.
    """
    shape, refused = shape_of(base), None
    for way in ways(base):
        forward = way(base)
        try:
            prove(base, forward, shape)
        except (BaseError, RuntimeError, TypeError, AttributeError) as error:
            forward.close()
            refused = f"{forward.name}: {first_line(error)}"
            continue
        speedup = packed(forward, slots, pack) if isinstance(forward, Straight) else None
        taken = sum(p.packed.nbytes for p in getattr(forward, "products", ()) if p.packed is not None)
        return forward, shape, Setup(forward.name, taken, speedup, refused)
    raise BaseError(
        f"{base.files.name} cannot be served: {refused}.",
        fix="Use a decoder with plain attention and one cache of keys and values: Llama, Qwen, Gemma 3.",
    )


def way_through(base: Base) -> tuple[Forward, Shape]:
    """A way for whoever decodes beside training on the base: found once, and without packed weights.

    Raises:
        BaseError: Not even transformers' own way gives the model's logits.
    """
    if base.way is None:
        base.way = prepared(base, slots=1, pack=False)[:2]
    way: tuple[Forward, Shape] = base.way
    return way


class _Probe:
    """Stands in for a pass, and looks at what a token leaves behind."""

    mix = Bare()

    def __init__(self, device: torch.device) -> None:
        self.tokens = torch.tensor([0, 1], device=device)
        self.positions = torch.arange(2, device=device)
        self.seen: dict[int, tuple[torch.Size, torch.Size]] = {}

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float | None, _: int | None = None
    ) -> Tensor:
        self.seen[layer] = (k.shape[1:], v.shape[1:])
        k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
        q, k, v = (each.transpose(0, 1)[None] for each in (q, k, v))
        return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)[0].transpose(0, 1)


@torch.no_grad()
def shape_of(base: Base) -> Shape:
    """What a token leaves in the cache, found by asking.

    Raises:
        BaseError: Its layers differ in that, or attention is not all that they remember with.
    """
    probe: Any = _Probe(base.device)
    forward = Hooked(base)
    try:
        forward.hidden(probe)
    finally:
        forward.close()
    shapes = {shape for pair in probe.seen.values() for shape in pair}
    if len(shapes) != 1 or sorted(probe.seen) != list(
        range(base.model.config.get_text_config().num_hidden_layers)
    ):
        raise BaseError(
            f"{base.files.name}: its layers do not all keep keys and values of one shape.",
            fix="Use a decoder whose layers do: Llama, Qwen, Gemma 3.",
        )
    heads, size = shapes.pop()
    return Shape(len(probe.seen), heads, size)


@torch.no_grad()
def prove(base: Base, forward: Forward, shape: Shape) -> None:
    """Read, then answer, in one batch with two adapters and none; compare with the model by itself.

    Raises:
        BaseError: The logits differ.
    """
    generator = torch.Generator().manual_seed(0)
    vocabulary = base.head.weight.shape[0]
    texts = [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in _PROOF]
    with _two_adapters(base) as names:
        versions = [Version.of(base.adapters, name, forward.groups) for name in names]
        slots, stack = Slots(shape, len(texts), base.head.weight), Stack(len(texts))
        rows = list(enumerate(zip(texts, (versions[0], None, versions[1]), strict=True)))
        read = [Part(slot, version, 0, ids[:-1]) for slot, (ids, version) in rows]
        answer = [Part(slot, version, len(ids) - 1, ids[-1:]) for slot, (ids, version) in rows]
        ours = [_logits(forward, Pass(parts, slots, stack)) for parts in (read, answer)]
        theirs = [
            [
                _own(base, ids[:end], name)
                for ids, name in zip(texts, (names[0], None, names[1]), strict=True)
            ]
            for end in (-1, None)
        ]
    error = max(
        _apart(o, t) for o, t in zip(torch.cat(ours), (t for row in theirs for t in row), strict=True)
    )
    if not error <= _TOLERANCE.get(base.head.weight.dtype, _ROUGH):
        raise BaseError(
            f"its logits differ by {error:.1e} from the model's own.", fix="Another way is tried."
        )


def packed(forward: Straight, rows: int, wanted: bool | None) -> float | None:
    """Pack the weights, and unpack them again unless that is wanted or found worth its memory.

    Returns:
        How many times faster the products became, if it was tried.
    """
    products, rows = forward.products, min(rows, PACKED_ROWS[-1])
    if wanted is False or rows not in PACKED_ROWS or not _packable(products[0].weight):
        return None
    if wanted is None and _free_bytes() < 2 * sum(product.weight.nbytes for product in products):
        return None
    before = _seconds(products, rows)
    for product in products:
        product.pack(rows)
    speedup = before / _seconds(products, rows)
    if wanted is None and speedup < _WORTH_IT:
        for product in products:
            product.packed = None
    return round(speedup, 2)


def _packable(weight: Tensor) -> bool:
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@torch.no_grad()
def _seconds(products: Sequence[Product], rows: int) -> float:
    """Of one pass over all weights: the best of three."""
    inputs = {width: torch.ones(rows, width) for width in {p.weight.shape[1] for p in products}}
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        for product in products:
            product(inputs[product.weight.shape[1]])
        best = min(best, time.perf_counter() - start)
    return best


def _free_bytes() -> float:
    """Memory that can be had without swapping, where the system says."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return float("inf")
    return next((int(each.split()[1]) * 1024 for each in lines if each.startswith("MemAvailable")), 0)


@contextmanager
def _two_adapters(base: Base) -> Iterator[list[str]]:
    """Random ones, of different rank, for a while."""
    adapters, names = base.adapters, [f"a proof of {base.files.name}, {i}" for i in range(2)]
    with ExitStack() as done:
        for i, name in enumerate(names):
            adapters.create(name, LoraConfig(r=2 + 2 * i, alpha=8), seed=i)
            done.callback(adapters.drop, name)
            draw = torch.Generator().manual_seed(i)
            for layer in adapters.layers.values():
                b = layer.pair(name)[1]
                b.copy_(torch.randn(b.shape, generator=draw) * 0.05)
        yield names


def _logits(forward: Forward, run: Pass) -> Tensor:
    return forward.logits(forward.hidden(run)[run.last]).float()


def _own(base: Base, ids: Sequence[int], adapter: str | None) -> Tensor:
    with base.adapters.use(adapter):
        out = base.model(input_ids=torch.tensor([ids], device=base.device), use_cache=False)
    return torch.as_tensor(out.logits[0, -1].float())


def _apart(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())
