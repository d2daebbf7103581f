"""Low-rank adapters on one frozen base (Hu et al. 2021, arXiv:2106.09685).

Every linear layer of the base but its output head is wrapped once by `LoraLinear`; after that,
personas come and go as pairs of small matrices, and `Adapters.use` says which pair is in force. The
files are PEFT's, so that an adapter made here loads in PEFT, TRL and vLLM as it is.

The product is written out as one autograd function. The frozen weight needs no gradient, which leaves
for the backward pass, with x the input, y the output, s the scale and h = x A^T:

    dB = s dy^T h        dh = s dy B        dA = dh^T x        dx = dy W + dh A

Nothing but x and h is kept between the passes, and the low-rank term is added into y and dx in place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mien.base.peft import ALPHA, CONFIG, PREFIX, WEIGHTS, inspect, layer_of, unreadable
from mien.errors import AdapterError, BaseError

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "Adapters",
    "LoraConfig",
    "LoraLinear",
    "Pair",
    "Pairs",
    "as_pairs",
    "as_tensors",
    "peft_config",
    "read_folder",
    "side_by_side",
    "write_folder",
]
Pair = tuple[Tensor, Tensor]  # A (r, in) and B (out, r)
Pairs = Mapping[str, Pair]  # by the layer's path in the model


@dataclass(frozen=True)
class LoraConfig:
    """Shape of an adapter: rank `r`, and `alpha`, where alpha / r scales the update."""

    r: int = 16
    alpha: float = 32.0

    @property
    def scale(self) -> float:
        """What the low-rank product is multiplied by."""
        return self.alpha / self.r


class _LoraProduct(torch.autograd.Function):
    """y = x W^T + b + s (x A^T) B^T, for a frozen W and b."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        a16, b16 = a.to(x.dtype), b.to(x.dtype)
        h = rows @ a16.t()
        y = nn.functional.linear(rows, weight, bias)
        y.addmm_(h, b16.t(), alpha=scale)
        ctx.save_for_backward(rows, h, weight, a16, b16)
        ctx.scale = scale
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, h, weight, a, b = ctx.saved_tensors
        dy = grad.reshape(-1, grad.shape[-1])
        dh = (dy @ b).mul_(ctx.scale)
        d_b = (dy.t() @ h).mul_(ctx.scale)
        d_a = dh.t() @ rows
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = (dy @ weight).addmm_(dh, a).view(*grad.shape[:-1], weight.shape[1])
        return d_x, None, None, d_a.float(), d_b.float(), None


class LoraLinear(nn.Module):
    """A frozen linear layer and the low-rank updates that may be added to it.

    Args:
        linear: The layer to wrap; it is frozen.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.lora_A = nn.ParameterDict()
        self.lora_B = nn.ParameterDict()
        self.scales: dict[str, float] = {}
        self.active: str | None = None

    @property
    def weight(self) -> Tensor:
        """The frozen weight, shape (out, in), for code that looks at layers from outside."""
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if self.active is None:
            return torch.as_tensor(self.linear(x))
        a, b = self.pair(self.active)
        product = _LoraProduct.apply(  # type: ignore[no-untyped-call]
            x, self.linear.weight, self.linear.bias, a, b, self.scales[self.active]
        )
        return torch.as_tensor(product)

    def put(self, name: str, a: Tensor, b: Tensor, scale: float) -> None:
        """Keep an update under `name`: `a` (r, in) and `b` (out, r), both float32."""
        self.lora_A[_slot(name)] = nn.Parameter(a)
        self.lora_B[_slot(name)] = nn.Parameter(b)
        self.scales[name] = scale

    def pair(self, name: str) -> tuple[nn.Parameter, nn.Parameter]:
        """The matrices A and B under `name`."""
        return self.lora_A[_slot(name)], self.lora_B[_slot(name)]

    def drop(self, name: str) -> None:
        """Forget the update under `name`."""
        del self.lora_A[_slot(name)], self.lora_B[_slot(name)], self.scales[name]


class Adapters:
    """All adapters on one model. Wraps the model's linear layers on construction.

    Args:
        model: A causal language model; it is frozen.
        head: Its output head, which stays as it is.

    Raises:
        BaseError: The model is not made of linear layers.
    """

    def __init__(self, model: nn.Module, head: nn.Module | None) -> None:
        model.requires_grad_(False)
        found = [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module is not head
        ]
        if not found:
            raise BaseError(
                f"{type(model).__name__} has no torch.nn.Linear layers to put an adapter on.",
                fix="Use a model that has: Llama, Gemma, Qwen and most since 2021, but not GPT-2.",
            )
        self.layers: dict[str, LoraLinear] = {}
        for name in found:
            parent, _, leaf = name.rpartition(".")
            layer = LoraLinear(model.get_submodule(name))  # type: ignore[arg-type]
            setattr(model.get_submodule(parent), leaf, layer)
            self.layers[name] = layer
        self.configs: dict[str, LoraConfig] = {}

    @property
    def active(self) -> str | None:
        """The adapter in force; None is the bare base."""
        return next(iter(self.layers.values())).active

    def create(self, name: str, config: LoraConfig, *, seed: int) -> None:
        """Add a fresh adapter that changes nothing yet: A uniform (Kaiming), B zero.

        The same seed gives the same matrices on every machine, whatever else was drawn before.
        """
        self._check_free(name)
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers.values():
            out_features, in_features = layer.weight.shape
            bound = math.sqrt(1 / in_features)
            a = torch.empty(config.r, in_features).uniform_(-bound, bound, generator=generator)
            b = torch.zeros(out_features, config.r)
            layer.put(name, *self._place(layer, a, b), config.scale)
        self.configs[name] = config

    def load(self, name: str, folder: Path) -> None:
        """Add an adapter from a PEFT folder.

        Raises:
            AdapterError: The files are missing, not plain LoRA, of another shape, or not finite.
        """
        self._check_free(name)
        config, pairs = self.read(folder)
        for path, pair in pairs.items():
            layer = self.layers[path]
            layer.put(name, *self._place(layer, *pair), config.scale)
        self.configs[name] = config

    def read(self, folder: Path) -> tuple[LoraConfig, dict[str, Pair]]:
        """An adapter from a PEFT folder, held against the layers of this model but not put on them.

        Returns:
            Its shape, and float32 matrices by the path of their layer.

        Raises:
            AdapterError: As `load`.
        """
        config, tensors = read_folder(folder)
        pairs = {layer: self._pair(tensors, layer, folder, config) for layer in self.layers}
        if unknown := set(tensors) - {key for layer in self.layers for key in _keys(layer)}:
            raise _foreign(folder, f"it has a tensor {sorted(unknown)[0]!r} and the base no such layer")
        return config, {path: (a.float(), b.float()) for path, (a, b) in pairs.items()}

    def save(self, name: str, folder: Path, *, base: str) -> None:
        """Write an adapter as a PEFT folder; `base` names the model it belongs to."""
        self._check_known(name)
        write_folder(folder, self.configs[name], self.tensors(name), base=base)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The matrices of an adapter under PEFT's names, on the CPU."""
        self._check_known(name)
        return {
            key: tensor.detach().cpu().contiguous()
            for path, layer in self.layers.items()
            for key, tensor in zip(_keys(path), layer.pair(name), strict=True)
        }

    def parameters(self, name: str) -> Iterator[nn.Parameter]:
        """The trainable matrices of an adapter."""
        self._check_known(name)
        for layer in self.layers.values():
            yield from layer.pair(name)

    def copy(self, source: str, name: str) -> None:
        """Add an adapter that does what another does, with matrices of its own."""
        self._check_known(source)
        self._check_free(name)
        for layer in self.layers.values():
            a, b = (each.detach().clone() for each in layer.pair(source))
            layer.put(name, a, b, layer.scales[source])
        self.configs[name] = self.configs[source]

    def average(
        self, sources: Sequence[str], name: str, *, weights: Sequence[float] | None = None
    ) -> None:
        """Add the exact weighted sum of several adapters' updates; without weights, their mean."""
        for source in sources:
            self._check_known(source)
        self._check_free(name)
        shares = weights or [1 / len(sources)] * len(sources)
        for layer in self.layers.values():
            pairs = [(a.detach(), b.detach()) for a, b in map(layer.pair, sources)]
            scales = [layer.scales[source] * each for source, each in zip(sources, shares, strict=True)]
            layer.put(name, *side_by_side(pairs, scales), 1.0)
        rank = sum(self.configs[source].r for source in sources)
        self.configs[name] = LoraConfig(rank, rank)

    def restore(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Put matrices that `tensors` gave earlier back in place."""
        self._check_known(name)
        with torch.no_grad():
            for path, layer in self.layers.items():
                for key, matrix in zip(_keys(path), layer.pair(name), strict=True):
                    matrix.copy_(tensors[key])

    def rescale(self, name: str, dose: float) -> None:
        """Multiply an adapter's update by `dose`, by way of its alpha."""
        self._check_known(name)
        config = self.configs[name]
        self.configs[name] = LoraConfig(config.r, config.alpha * dose)
        for layer in self.layers.values():
            layer.scales[name] = self.configs[name].scale

    @contextmanager
    def scaled(self, name: str | None, factor: float) -> Iterator[None]:
        """Multiply an adapter's update by `factor` for a while; the bare base has none to multiply."""
        if name is None or factor == 1:
            yield
            return
        self._check_known(name)
        before = {path: layer.scales[name] for path, layer in self.layers.items()}
        for layer in self.layers.values():
            layer.scales[name] *= factor
        try:
            yield
        finally:
            for path, layer in self.layers.items():
                layer.scales[name] = before[path]

    def drop(self, name: str) -> None:
        """Forget an adapter that is not in force."""
        self._check_known(name)
        if self.active == name:
            raise AdapterError(f"Adapter {name!r} is in use.", fix="Leave its `use` block first.")
        for layer in self.layers.values():
            layer.drop(name)
        del self.configs[name]

    @contextmanager
    def use(self, name: str | None) -> Iterator[None]:
        """Put an adapter in force, or with None the bare base, and put back what was before."""
        if name is not None:
            self._check_known(name)
        before = self.active
        self._activate(name)
        try:
            yield
        finally:
            self._activate(before)

    def _activate(self, name: str | None) -> None:
        for layer in self.layers.values():
            layer.active = name

    def _place(self, layer: LoraLinear, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        device = layer.weight.device
        return a.to(device), b.to(device)

    def _pair(
        self, tensors: Mapping[str, Tensor], path: str, folder: Path, config: LoraConfig
    ) -> tuple[Tensor, Tensor]:
        out_features, in_features = self.layers[path].weight.shape
        wanted = ((config.r, in_features), (out_features, config.r))
        pair = tuple(tensors.get(key) for key in _keys(path))
        for tensor, shape in zip(pair, wanted, strict=True):
            if tensor is None:
                raise _foreign(folder, f"it has nothing for the base's layer {path}")
            if tuple(tensor.shape) != shape:
                raise _foreign(folder, f"{path} has shape {tuple(tensor.shape)}, the base needs {shape}")
            if not torch.isfinite(tensor).all():
                raise AdapterError(f"{folder}: {path} is not finite.", fix="Train it again.")
        return pair  # type: ignore[return-value]

    def _check_free(self, name: str) -> None:
        if name in self.configs:
            raise AdapterError(f"An adapter {name!r} is loaded already.", fix="Drop it first.")

    def _check_known(self, name: str) -> None:
        if name not in self.configs:
            known = ", ".join(self.configs) or "none"
            raise AdapterError(f"No adapter {name!r} is loaded (loaded: {known}).", fix="Load it first.")


def side_by_side(pairs: Sequence[Pair], scales: Sequence[float]) -> Pair:
    """One pair whose product is the scaled sum of all: their ranks side by side, so no cross terms."""
    a = torch.cat([a for a, _ in pairs])
    b = torch.cat([b * scale for (_, b), scale in zip(pairs, scales, strict=True)], dim=1)
    return a, b


def read_folder(folder: Path) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Config and tensors of a PEFT folder, safetensors only, once it has passed `inspect`.

    Raises:
        AdapterError: A file is missing, broken or suspicious, or the adapter is not plain LoRA.
    """
    found = inspect(folder)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise unreadable(folder, str(error)) from error
    return LoraConfig(found.r, found.alpha), tensors


def write_folder(folder: Path, config: LoraConfig, tensors: Mapping[str, Tensor], *, base: str) -> None:
    """Write tensors under PEFT's names as a PEFT folder; `base` names the model they belong to."""
    folder.mkdir(parents=True, exist_ok=True)
    notes = {"format": "pt", ALPHA: repr(float(config.alpha))}
    (folder / WEIGHTS).write_bytes(_in_order(save(dict(tensors), metadata=notes)))
    layers = sorted(map(layer_of, tensors))
    text = json.dumps(peft_config(config, layers, base), indent=2)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def _in_order(data: bytes) -> bytes:
    """A safetensors file with its header sorted: the library draws the order of its notes anew."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[start:]


def as_pairs(tensors: Mapping[str, Tensor]) -> dict[str, Pair]:
    """Matrices by the path of their layer, from tensors under PEFT's names.

    Raises:
        KeyError: One of a pair is missing.
    """
    found: dict[str, Pair] = {}
    for path in sorted(set(map(layer_of, tensors))):
        a, b = (tensors[key] for key in _keys(path))
        found[path] = a, b
    return found


def as_tensors(pairs: Pairs) -> dict[str, Tensor]:
    """Tensors under PEFT's names, from matrices by the path of their layer."""
    return {
        key: matrix.contiguous()
        for path, pair in pairs.items()
        for key, matrix in zip(_keys(path), pair, strict=True)
    }


def peft_config(config: LoraConfig, layers: list[str], base: str) -> dict[str, Any]:
    """The `adapter_config.json` that PEFT expects."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.r,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({path.rpartition(".")[2] for path in layers}),
        "inference_mode": True,
    }


def _slot(name: str) -> str:
    """A parameter's name may have no dot and not be a module's attribute; an adapter's may."""
    return "@" + name.replace("%", "%25").replace(".", "%2E")


def _keys(path: str) -> tuple[str, str]:
    return f"{PREFIX}{path}.lora_A.weight", f"{PREFIX}{path}.lora_B.weight"


def _foreign(folder: Path, why: str) -> AdapterError:
    return AdapterError(
        f"{folder}: the adapter belongs to another base ({why}).",
        fix="Load the base named in its adapter_config.json; if it is this one, train the adapter"
        " with target_modules='all-linear'.",
    )
