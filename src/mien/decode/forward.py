"""Two ways through the model, and the proof that the one in use is right.

`Hooked` asks transformers, whatever the architecture: attention goes through `Pass.attend`, and a hook
on each linear layer adds the update of each row. `Straight` is the same decoder written out over the
model's weights, for those that are built as Llama is: query, key and value are one product, gate and
up are one, and nothing is looked up on the way. Which models those are is seen from their parts and not
from their names, and before either is used it must give the same logits as the model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu
from transformers import AttentionInterface
from transformers.activations import ACT2FN

from mien.base.lora import LoraLinear
from mien.base.model import Base
from mien.decode.passes import Pass
from mien.decode.stacked import Group

SLOTTED = "mien_slots"
PACKED_ROWS = range(3, 17)  # with fewer or more, the plain product is faster
_SILU = (nn.SiLU, type(ACT2FN["silu"]))


class Forward(Protocol):
    """A way through the model."""

    name: str
    groups: Sequence[Group]

    def hidden(self, run: Pass) -> Tensor:
        """Last hidden states of a pass, (tokens, d)."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, d) -> (rows, vocabulary)."""
        ...

    def close(self) -> None:
        """Leave the model as it was found."""
        ...


class Product:
    """x W^T + b, with the weight laid out for a few rows where that was asked for."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self.packed: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) -> (rows, out)."""
        if self.packed is None or x.shape[0] not in PACKED_ROWS:
            return linear(x, self.weight, self.bias)
        product = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return torch.as_tensor(product)

    def pack(self, rows: int) -> None:
        """Keep a second copy in oneDNN's own layout, which plain products make anew at each call."""
        self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), rows)


class Hooked:
    """By way of transformers.

    Args:
        base: Its model is borrowed until `close`.
    """

    name = "transformers"

    def __init__(self, base: Base) -> None:
        self.base = base
        self.run: Pass | None = None
        self.groups: Sequence[Group] = [(path,) for path in base.adapters.layers]
        layers = base.adapters.layers.values()
        self._hooks = [layer.register_forward_hook(self._adding(i)) for i, layer in enumerate(layers)]

    def hidden(self, run: Pass) -> Tensor:
        """As `Forward.hidden`."""
        config = self.base.model.config
        before, config._attn_implementation = config._attn_implementation, SLOTTED
        self.run = run
        try:
            out = self.base.model.base_model(
                input_ids=run.tokens[None],
                position_ids=run.positions[None],
                use_cache=False,
                run=run,
            )
        finally:
            config._attn_implementation, self.run = before, None
        return torch.as_tensor(out.last_hidden_state[0])

    def logits(self, hidden: Tensor) -> Tensor:
        """As `Forward.logits`."""
        return linear(hidden, self.base.head.weight)

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def _adding(self, group: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def add(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if self.run is not None:
                x = given[0].reshape(-1, given[0].shape[-1])
                self.run.mix.add(group, x, output.view(x.shape[0], -1))
            return output

        return add


def slotted_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    run: Pass,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """`Pass.attend` as an attention function of transformers: all are (1, heads, tokens, size).

    Returns:
        (1, tokens, heads, size), and None in place of the weights.
    """
    q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
    layer: Any = module.layer_idx
    return run.attend(layer, q, k, v, scaling, sliding_window)[None], None


AttentionInterface.register(SLOTTED, slotted_attention)


class Straight:
    """A decoder built as Llama's, written out.

    The fused weights take the place of the model's own, which become views of them: nothing is held
    twice.

    Args:
        base: Its model; `fits` says whether it will do.
    """

    name = "straight"

    def __init__(self, base: Base) -> None:
        model: Any = base.model.base_model
        self.embed, self.rotary, self.norm = model.embed_tokens, model.rotary_emb, model.norm
        paths = {id(layer): path for path, layer in base.adapters.layers.items()}
        self.layers = [_Layer(i, layer) for i, layer in enumerate(model.layers)]
        self.groups: Sequence[Group] = [
            tuple(paths[id(each)] for each in fused) for layer in model.layers for fused in _fused(layer)
        ]
        self.head = Product(base.head.weight, None)

    @staticmethod
    def fits(base: Base) -> bool:
        """Whether the model has the parts, and no others."""
        model: Any = base.model.base_model
        if {name for name, _ in model.named_children()} != _MODEL:
            return False
        return all(_parts(layer) == _PARTS and _plain(layer) for layer in model.layers)

    @property
    def products(self) -> list[Product]:
        """Every product with a weight of the base."""
        return [self.head, *(product for layer in self.layers for product in layer.products)]

    def hidden(self, run: Pass) -> Tensor:
        """As `Forward.hidden`."""
        x = self.embed(run.tokens)
        cos, sin = self.rotary(x, run.positions[None])
        cos, sin = cos[0, :, None], _signed(sin[0, :, None])
        for layer in self.layers:
            layer(x, cos, sin, run)
        return _normed(self.norm, x)

    def logits(self, hidden: Tensor) -> Tensor:
        """As `Forward.logits`."""
        return self.head(hidden)

    def close(self) -> None:
        """Let the packed weights go; the views may stay."""
        for product in self.products:
            product.packed = None


class _Layer:
    """One layer; `x` is changed in place."""

    def __init__(self, index: int, layer: Any) -> None:
        attention = layer.self_attn
        self.index, self.scale = index, attention.scaling
        self.window = getattr(attention, "sliding_window", None)
        self.size = attention.head_dim
        self.before, self.between = layer.input_layernorm, layer.post_attention_layernorm
        self.qkv, self.out, self.up, self.down = self.products = [
            _fuse([each.linear for each in fused]) for fused in _fused(layer)
        ]
        self.turned = sum(each.weight.shape[0] for each in (attention.q_proj, attention.k_proj))
        self.heads = attention.q_proj.weight.shape[0] // self.size

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor, run: Pass) -> None:
        tokens, group, mix = x.shape[0], 4 * self.index, run.mix
        h = _normed(self.before, x)
        qkv = self.qkv(h)
        mix.add(group, h, qkv)
        qk = qkv[:, : self.turned].view(tokens, -1, self.size)
        qk = torch.addcmul(qk * cos, _swapped(qk), sin)
        q, k = qk[:, : self.heads], qk[:, self.heads :]
        v = qkv[:, self.turned :].view(tokens, -1, self.size)
        h = run.attend(self.index, q, k, v, self.scale, self.window).reshape(tokens, -1)
        y = self.out(h)
        mix.add(group + 1, h, y)
        x += y
        h = _normed(self.between, x)
        gate_up = self.up(h)
        mix.add(group + 2, h, gate_up)
        gate, up = gate_up.chunk(2, dim=1)
        h = silu(gate) * up
        y = self.down(h)
        mix.add(group + 3, h, y)
        x += y


_MODEL = {"embed_tokens", "layers", "norm", "rotary_emb"}
_PARTS = {
    "self_attn": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "mlp": {"gate_proj", "up_proj", "down_proj", "act_fn"},
    "input_layernorm": set(),
    "post_attention_layernorm": set(),
}


def _parts(layer: nn.Module) -> dict[str, set[str]]:
    return {
        name: {inner for inner, _ in child.named_children()} for name, child in layer.named_children()
    }


def _plain(layer: Any) -> bool:
    """Whether what the names do not say is as `Straight` takes it to be."""
    linears = [each for fused in _fused(layer) for each in fused]
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    return (
        all(isinstance(each, LoraLinear) for each in linears)
        and isinstance(layer.mlp.act_fn, _SILU)
        and all(hasattr(norm, "variance_epsilon") for norm in norms)
        and all(hasattr(layer.self_attn, name) for name in ("head_dim", "scaling"))
    )


def _fused(layer: Any) -> tuple[tuple[LoraLinear, ...], ...]:
    """The layers that read the same input, in the order in which a pass meets them."""
    a, m = layer.self_attn, layer.mlp
    return (a.q_proj, a.k_proj, a.v_proj), (a.o_proj,), (m.gate_proj, m.up_proj), (m.down_proj,)


@torch.no_grad()
def _fuse(layers: Sequence[nn.Linear]) -> Product:
    """One product for several layers; their own weights become views of its weight."""
    if len(layers) == 1:
        return Product(layers[0].weight, layers[0].bias)
    weights: list[Tensor] = [layer.weight for layer in layers]
    weight = _side_by_side(weights)
    if weight is None:
        weight = torch.cat(weights)
        parts = torch.split(weight, [each.shape[0] for each in weights])
        for layer, part in zip(layers, parts, strict=True):
            layer.weight.data = part
    biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    return Product(weight, torch.cat(biases) if biases else None)


def _side_by_side(weights: Sequence[Tensor]) -> Tensor | None:
    """All as one, if that is how they lie already, as when they have been fused before."""
    first, rows = weights[0], sum(each.shape[0] for each in weights)
    place = first.data_ptr()
    for each in weights:
        shares = each.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not shares or not each.is_contiguous() or each.data_ptr() != place:
            return None
        place += each.nbytes
    return first.as_strided((rows, first.shape[1]), first.stride(), first.storage_offset())


def _normed(norm: Any, x: Tensor) -> Tensor:
    return torch.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _swapped(x: Tensor) -> Tensor:
    """The halves of each head, exchanged."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((second, first), dim=-1)


def _signed(sin: Tensor) -> Tensor:
    """So that x cos + swapped(x) sin turns each head."""
    first, second = sin.chunk(2, dim=-1)
    return torch.cat((-first, second), dim=-1)
