"""Adapters: the maths against plain autograd and PEFT, the files, and every way to go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from mien.base.lora import (
    CONFIG,
    WEIGHTS,
    Adapters,
    LoraConfig,
    LoraLinear,
    as_pairs,
    as_tensors,
    read_folder,
)
from mien.base.model import Base
from mien.errors import AdapterError, BaseError
from tests import models

IDS = torch.arange(3, 40)[None]
SHAPE = LoraConfig(r=4, alpha=12.0)


@pytest.fixture
def base() -> Base:
    """A base of its own, since these tests leave adapters on it."""
    return models.tiny_base()


@pytest.fixture
def folder(base: Base, tmp_path: Path) -> Path:
    """A saved adapter with values in it."""
    base.adapters.create("saved", SHAPE, seed=1)
    models.shake(base.adapters, "saved")
    base.adapters.save("saved", tmp_path / "saved", base="tiny")
    base.adapters.drop("saved")
    return tmp_path / "saved"


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    return torch.as_tensor(model(IDS).logits)


def layer_of(*, bias: bool, dtype: torch.dtype = torch.float64) -> LoraLinear:
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(5, 3, bias=bias, dtype=dtype))
    layer.put("x", torch.randn(2, 5, dtype=dtype), torch.randn(3, 2, dtype=dtype), 1.5)
    layer.active = "x"
    return layer


def naive(layer: LoraLinear, x: Tensor) -> Tensor:
    a, b = layer.pair("x")
    return torch.as_tensor(layer.linear(x) + layer.scales["x"] * (x @ a.t()) @ b.t())


@pytest.mark.parametrize("bias", [True, False])
def test_forward_and_every_gradient_equal_plain_autograd(bias: bool) -> None:
    layer = layer_of(bias=bias, dtype=torch.float32)
    x, slope = torch.randn(2, 4, 5, requires_grad=True), torch.randn(2, 4, 3)
    wanted = [x, *layer.pair("x")]
    ours = torch.autograd.grad(layer(x), wanted, slope)
    theirs = torch.autograd.grad(naive(layer, x), wanted, slope)
    torch.testing.assert_close(layer(x), naive(layer, x))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_equal_finite_differences() -> None:
    layer = layer_of(bias=True)
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    a, b = layer.pair("x")

    def product(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.as_tensor(layer(x))  # a and b are the layer's own, which gradcheck moves in place

    assert torch.autograd.gradcheck(product, (x, a, b), atol=1e-5)


def test_the_frozen_layer_gets_no_gradient_and_an_input_that_needs_none_costs_none() -> None:
    layer = layer_of(bias=True)
    layer(torch.randn(4, 5, dtype=torch.float64)).sum().backward()
    assert layer.linear.weight.grad is None
    assert all(matrix.grad is not None for matrix in layer.pair("x"))


def test_an_input_that_is_not_contiguous_is_fine() -> None:
    layer = layer_of(bias=True)
    x = torch.randn(5, 4, 2, dtype=torch.float64).permute(2, 1, 0)
    torch.testing.assert_close(layer(x), naive(layer, x))


def test_every_linear_layer_is_wrapped_except_the_head(tiny_base: Base, tiny_gemma: Base) -> None:
    for base in (tiny_base, tiny_gemma):
        assert len(base.adapters.layers) == 2 * 7
        assert not isinstance(base.head, LoraLinear)
        assert all(path.startswith("model.layers.") for path in base.adapters.layers)


def test_a_fresh_adapter_changes_nothing(base: Base) -> None:
    base.adapters.create("fresh", SHAPE, seed=0)
    with base.adapters.use("fresh"):
        assert torch.equal(logits(base.model), logits(models.llama_model()))


def test_a_trained_adapter_changes_the_model_and_only_while_it_is_used(base: Base, folder: Path) -> None:
    bare = logits(base.model)
    base.adapters.load("a", folder)
    with base.adapters.use("a"):
        assert (logits(base.model) - bare).abs().max() > 0.1
    assert torch.equal(logits(base.model), bare)


def test_the_same_seed_gives_the_same_matrices_whatever_was_drawn_before(base: Base) -> None:
    base.adapters.create("one", SHAPE, seed=5)
    torch.manual_seed(99)
    torch.rand(7)
    base.adapters.create("two", SHAPE, seed=5)
    base.adapters.create("other", SHAPE, seed=6)
    one, two, other = (base.adapters.tensors(name) for name in ("one", "two", "other"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not any(torch.equal(one[key], other[key]) for key in one if "lora_A" in key)


def test_only_the_matrices_of_the_adapter_are_trainable(base: Base) -> None:
    base.adapters.create("x", SHAPE, seed=0)
    trainable = {id(p) for p in base.model.parameters() if p.requires_grad}
    assert trainable == {id(p) for p in base.adapters.parameters("x")}


def test_use_restores_what_was_before_also_after_an_exception(base: Base) -> None:
    for name in ("outer", "inner"):
        base.adapters.create(name, SHAPE, seed=0)
    with base.adapters.use("outer"):
        with pytest.raises(RuntimeError), base.adapters.use("inner"):
            raise RuntimeError
        assert base.adapters.active == "outer"
        with base.adapters.use(None):
            assert base.adapters.active is None
    assert base.adapters.active is None


@pytest.mark.parametrize("name", ["pirate.v2", "keys", "training", "a b/c@3", "50%"])
def test_an_adapter_may_have_any_name(base: Base, folder: Path, name: str) -> None:
    base.adapters.load(name, folder)
    base.model.eval()
    with base.adapters.use(name):
        logits(base.model)
    base.adapters.drop(name)
    assert base.adapters.configs == {}


def test_save_and_load_give_the_same_matrices_and_logits(base: Base, folder: Path) -> None:
    base.adapters.load("again", folder)
    saved = load_file(folder / WEIGHTS)
    again = base.adapters.tensors("again")
    assert base.adapters.configs["again"] == SHAPE
    assert saved.keys() == again.keys()
    assert all(torch.equal(saved[key], again[key]) for key in saved)


def test_peft_loads_our_folder_and_computes_the_same(base: Base, folder: Path) -> None:
    base.adapters.load("a", folder)
    theirs = PeftModel.from_pretrained(models.llama_model(), folder)
    with base.adapters.use("a"):
        torch.testing.assert_close(logits(base.model), logits(theirs), atol=1e-5, rtol=1e-5)


def test_peft_loads_our_gemma_folder_too(tmp_path: Path) -> None:
    base = models.tiny_gemma()
    base.adapters.create("a", SHAPE, seed=1)
    models.shake(base.adapters, "a")
    base.adapters.save("a", tmp_path, base="tiny-gemma")
    theirs = PeftModel.from_pretrained(models.gemma_model(), tmp_path)
    with base.adapters.use("a"):
        torch.testing.assert_close(logits(base.model), logits(theirs), atol=1e-5, rtol=1e-5)


def peft_folder(folder: Path, **options: Any) -> nn.Module:
    """A folder that PEFT itself writes, and the model it belongs to."""
    torch.manual_seed(3)
    settings = {"r": 4, "lora_alpha": 10, "target_modules": "all-linear", "init_lora_weights": False}
    config = PeftConfig(task_type="CAUSAL_LM", **settings | options)
    model = get_peft_model(models.llama_model(), config).eval()
    model.save_pretrained(folder)
    return model


def test_we_load_pefts_own_folder_and_compute_the_same(base: Base, tmp_path: Path) -> None:
    theirs = peft_folder(tmp_path)
    base.adapters.load("peft", tmp_path)
    with base.adapters.use("peft"):
        torch.testing.assert_close(logits(base.model), logits(theirs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True},
        {"bias": "lora_only"},
        {"use_rslora": True},
        {"alpha_pattern": {"q_proj": 32}},
        {"rank_pattern": {"q_proj": 2}},
        {"modules_to_save": ["lm_head"]},
        {"lora_bias": True},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_two_matrices_cannot_say_is_refused(
    base: Base, tmp_path: Path, options: dict[str, Any]
) -> None:
    peft_folder(tmp_path, **options)
    with pytest.raises(AdapterError, match="not a plain LoRA adapter"):
        base.adapters.load("odd", tmp_path)


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    kept = {key: value for key, value in (config | changes).items() if value is not None}
    (folder / CONFIG).write_text(json.dumps(kept))


def edit_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def first_key(tensors: dict[str, Tensor]) -> str:
    return min(tensors)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / CONFIG).unlink(), f"no {CONFIG} there"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), f"no {WEIGHTS} there"),
    "config is not JSON": (lambda f: (f / CONFIG).write_text("{"), "cannot be read"),
    "config is not text": (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "config is a list": (lambda f: (f / CONFIG).write_text("[]"), "cannot be read"),
    "config has no rank": (lambda f: edit_config(f, r=None), "cannot be read"),
    "weights are cut off": (
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9]),
        "cannot be read",
    ),
    "weights are empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "cannot be read"),
    "another method": (lambda f: edit_config(f, peft_type="IA3"), "not a plain LoRA"),
    "rank is not that of the matrices": (lambda f: edit_config(f, r=8), r"has shape \(4, "),
    "a layer is missing": (
        lambda f: edit_tensors(f, lambda t: t.pop(first_key(t))),
        "another base.*nothing for the base's layer model.layers.0",
    ),
    "a layer too many": (
        lambda f: edit_tensors(
            f, lambda t: t.update({"base_model.model.extra.lora_A.weight": torch.ones(4, 1)})
        ),
        "another base.*no such layer",
    ),
    "not a number": (
        lambda f: edit_tensors(f, lambda t: t[first_key(t)].view(-1)[0:1].fill_(float("nan"))),
        "not finite",
    ),
}


@pytest.mark.parametrize(("spoil", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_folder_is_named_and_leaves_no_trace(
    base: Base, folder: Path, spoil: Callable[[Path], object], says: str
) -> None:
    spoil(folder)
    with pytest.raises(AdapterError, match=says) as caught:
        base.adapters.load("broken", folder)
    assert str(folder) in caught.value.what
    assert caught.value.fix
    assert base.adapters.configs == {}
    assert all(not layer.scales for layer in base.adapters.layers.values())


def test_an_adapter_of_another_base_is_refused(folder: Path) -> None:
    with pytest.raises(AdapterError, match="belongs to another base"):
        models.tiny_gemma().adapters.load("foreign", folder)


def test_names_that_are_taken_unknown_or_in_use_are_refused(base: Base, folder: Path) -> None:
    adapters = base.adapters
    adapters.create("a", SHAPE, seed=0)
    for taken in (lambda: adapters.create("a", SHAPE, seed=1), lambda: adapters.load("a", folder)):
        with pytest.raises(AdapterError, match="'a' is loaded already"):
            taken()
    with adapters.use("a"), pytest.raises(AdapterError, match="'a' is in use"):
        adapters.drop("a")
    adapters.drop("a")
    with pytest.raises(AdapterError, match=r"No adapter 'a' is loaded \(loaded: none\)"):
        adapters.drop("a")


@pytest.mark.parametrize("call", ["use", "tensors", "parameters", "save"])
def test_an_unknown_adapter_is_refused_by_every_verb(base: Base, tmp_path: Path, call: str) -> None:
    def ask() -> object:
        if call == "save":
            return base.adapters.save("nobody", tmp_path / "out", base="tiny")
        if call == "use":
            return base.adapters.use("nobody").__enter__()
        asked = getattr(base.adapters, call)("nobody")
        return list(asked) if isinstance(asked, Iterator) else asked

    with pytest.raises(AdapterError, match="No adapter 'nobody'"):
        ask()


def test_a_model_without_linear_layers_is_refused() -> None:
    small = GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    gpt2 = GPT2LMHeadModel(small)
    with pytest.raises(BaseError, match=r"GPT2LMHeadModel has no torch\.nn\.Linear"):
        Adapters(gpt2, gpt2.lm_head)


def filled(base: Base, name: str, config: LoraConfig = SHAPE, seed: int = 0) -> str:
    """An adapter with values in it."""
    base.adapters.create(name, config, seed=seed)
    models.shake(base.adapters, name, seed=seed)
    return name


def test_a_copy_does_what_its_source_does_and_goes_its_own_way(base: Base) -> None:
    filled(base, "source")
    base.adapters.rescale("source", 1.5)
    before = {key: value.clone() for key, value in base.adapters.tensors("source").items()}
    base.adapters.copy("source", "copy")
    assert base.adapters.configs["copy"] == base.adapters.configs["source"]
    with base.adapters.use("source"):
        expected = logits(base.model)
    with base.adapters.use("copy"):
        assert torch.equal(logits(base.model), expected)
    models.shake(base.adapters, "copy", seed=9)
    base.adapters.rescale("copy", 2.0)
    assert all(torch.equal(value, before[key]) for key, value in base.adapters.tensors("source").items())
    base.adapters.drop("copy")
    with base.adapters.use("source"):
        assert torch.equal(logits(base.model), expected)


def test_a_copy_can_be_trained_where_its_source_is_frozen(base: Base) -> None:
    filled(base, "source")
    base.model.requires_grad_(False)
    base.adapters.copy("source", "copy")
    assert all(matrix.requires_grad for matrix in base.adapters.parameters("copy"))
    assert not any(matrix.requires_grad for matrix in base.adapters.parameters("source"))


def test_the_average_adds_the_mean_of_what_each_adds(base: Base) -> None:
    # Of different rank and scale, which a mean of the matrices themselves would get wrong.
    shapes = (LoraConfig(4, 12), LoraConfig(2, 2), LoraConfig(3, 12))
    names = [filled(base, f"member {seed}", shape, seed) for seed, shape in enumerate(shapes)]
    base.adapters.average(names, "mean")
    assert base.adapters.configs["mean"].r == 9
    generator = torch.Generator().manual_seed(0)
    for layer in base.adapters.layers.values():
        x = torch.randn(5, layer.weight.shape[1], generator=generator)
        with torch.no_grad():
            bare = layer(x)
            parts = [output(layer, name, x) - bare for name in names]
            torch.testing.assert_close(output(layer, "mean", x) - bare, sum(parts) / 3)
    assert (parts[0] - parts[1]).abs().max() > 0.1


def test_a_weighted_average_adds_each_update_by_its_weight(base: Base) -> None:
    names = [filled(base, "a", LoraConfig(4, 12), 1), filled(base, "b", LoraConfig(2, 2), 2)]
    base.adapters.average(names, "sum", weights=[0.75, -0.5])
    layer = next(iter(base.adapters.layers.values()))
    x = torch.randn(5, layer.weight.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        bare = layer(x)
        a, b = (output(layer, name, x) - bare for name in names)
        torch.testing.assert_close(output(layer, "sum", x) - bare, 0.75 * a - 0.5 * b)


def test_reading_gives_the_matrices_and_puts_nothing_on_the_model(base: Base, folder: Path) -> None:
    config, pairs = base.adapters.read(folder)
    assert (config, base.adapters.configs) == (SHAPE, {})
    saved = load_file(folder / WEIGHTS)
    assert as_tensors(pairs).keys() == saved.keys()
    assert all(torch.equal(matrix, saved[key]) for key, matrix in as_tensors(pairs).items())
    assert as_pairs(as_tensors(pairs)).keys() == pairs.keys()


def test_the_files_hash_is_of_the_scale_too(base: Base, tmp_path: Path) -> None:
    filled(base, "a")
    hashes = set()
    for dose in (1.0, 2.0):
        base.adapters.rescale("a", dose)
        base.adapters.save("a", tmp_path / str(dose), base="tiny")
        hashes.add((tmp_path / str(dose) / WEIGHTS).read_bytes())
    assert len(hashes) == 2


def output(layer: LoraLinear, name: str, x: Tensor) -> Tensor:
    layer.active = name
    try:
        return torch.as_tensor(layer(x))
    finally:
        layer.active = None


def test_an_average_is_saved_and_comes_back(base: Base, tmp_path: Path) -> None:
    base.adapters.average([filled(base, "a", seed=1), filled(base, "b", seed=2)], "mean")
    base.adapters.save("mean", tmp_path, base="tiny")
    base.adapters.load("again", tmp_path)
    with base.adapters.use("mean"):
        expected = logits(base.model)
    with base.adapters.use("again"):
        assert torch.equal(logits(base.model), expected)


def test_restoring_puts_every_bit_back_into_the_same_parameters(base: Base) -> None:
    filled(base, "x")
    matrices = list(base.adapters.parameters("x"))
    kept = {key: value.clone() for key, value in base.adapters.tensors("x").items()}
    with base.adapters.use("x"):
        expected = logits(base.model)
        models.shake(base.adapters, "x", seed=7)
        assert not torch.equal(logits(base.model), expected)
        base.adapters.restore("x", kept)
        assert torch.equal(logits(base.model), expected)
    assert all(torch.equal(value, kept[key]) for key, value in base.adapters.tensors("x").items())
    after = list(base.adapters.parameters("x"))
    assert all(one is other for one, other in zip(after, matrices, strict=True))
    assert all(matrix.requires_grad for matrix in matrices)


def test_copies_and_averages_are_refused_where_a_name_is_unknown_or_taken(base: Base) -> None:
    adapters = base.adapters
    filled(base, "a")
    for unknown in (
        lambda: adapters.copy("nobody", "b"),
        lambda: adapters.average(["a", "nobody"], "b"),
        lambda: adapters.restore("nobody", {}),
    ):
        with pytest.raises(AdapterError, match="No adapter 'nobody'"):
            unknown()
    for taken in (lambda: adapters.copy("a", "a"), lambda: adapters.average(["a"], "a")):
        with pytest.raises(AdapterError, match="'a' is loaded already"):
            taken()


def test_read_folder_needs_no_model(folder: Path) -> None:
    config, tensors = read_folder(folder)
    assert (config, config.scale, len(tensors)) == (SHAPE, 3.0, 28)
