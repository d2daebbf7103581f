"""Which way through a model is taken, and that a wrong one is found out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from mien.base.model import Base
from mien.decode.forward import Forward, Hooked, Straight
from mien.decode.passes import Part, Pass
from mien.decode.prepare import packed, prepared, prove, shape_of
from mien.decode.slots import Shape, Slots
from mien.decode.stacked import Stack
from mien.errors import BaseError
from tests import models


def base_of(model: Any) -> Base:
    return Base(model.eval(), models.chatml_tokenizer(), models.tiny_base().files)


def qwen() -> Base:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        initializer_range=0.3,
    )
    return base_of(Qwen3ForCausalLM(config))


def test_the_way_is_chosen_by_the_parts() -> None:
    chosen = [
        prepared(base, slots=2, pack=False)[2].forward
        for base in (models.tiny_base(), models.tiny_gemma(), qwen())
    ]
    assert chosen == ["straight", "transformers", "transformers"]


def test_what_a_token_leaves_is_found_by_asking() -> None:
    assert shape_of(models.tiny_base()) == Shape(layers=2, heads=2, size=8)
    assert shape_of(models.tiny_gemma()) == Shape(layers=2, heads=1, size=16)


def test_both_ways_are_right_for_a_llama_with_biases_and_scaled_positions() -> None:
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    base = base_of(models.llama_model(attention_bias=True, mlp_bias=True, rope_parameters=rope))
    for way in (Straight, Hooked):
        forward = way(base)
        prove(base, forward, shape_of(base))
        forward.close()


def test_a_model_that_looks_the_same_and_computes_otherwise_is_left_to_transformers() -> None:
    class Louder(LlamaForCausalLM):
        def __init__(self, config: LlamaConfig) -> None:
            super().__init__(config)
            mlp = self.model.layers[0].mlp
            plain = mlp.forward
            mlp.forward = lambda x: 2 * plain(x)

    torch.manual_seed(0)
    _, _, setup = prepared(base_of(Louder(models.llama_model().config)), slots=2)
    assert setup.forward == "transformers"
    assert setup.refused is not None
    assert setup.refused.startswith("straight: its logits differ by")


def test_a_model_that_attends_in_its_own_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    base = models.tiny_gemma()
    theirs = base.model.forward
    monkeypatch.setattr(base.model, "forward", lambda *a, **k: _shifted(theirs(*a, **k)))
    with pytest.raises(BaseError, match="tiny-gemma cannot be served: transformers: its logits differ"):
        prepared(base, slots=2)


def _shifted(out: Any) -> Any:
    out.logits = out.logits + torch.arange(out.logits.shape[-1])
    return out


def test_the_base_is_left_as_it_was() -> None:
    base = models.tiny_base()
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    ids = torch.tensor([[5, 6, 7]])
    logits = base.model(ids).logits
    forward, _, _ = prepared(base, slots=4, pack=True)
    forward.close()
    after = base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    torch.testing.assert_close(base.model(ids).logits, logits)
    assert base.adapters.configs == {}


def test_packed_weights_say_the_same_and_what_they_cost() -> None:
    base = models.tiny_base()
    plain, shape, without = prepared(base, slots=4, pack=False)
    before = answered(plain, shape, base)
    forward, _, setup = prepared(base, slots=4, pack=True)
    if setup.speedup is None:
        pytest.skip("this torch has no packed products")
    weights = sum(product.weight.nbytes for product in forward.products)  # type: ignore[attr-defined]
    assert without.packed_bytes == 0
    assert setup.packed_bytes >= weights
    torch.testing.assert_close(answered(forward, shape, base), before)


def test_packing_that_gains_nothing_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Straight(models.tiny_base())
    seconds = iter((1.0, 1.0, 2.0, 1.0))
    monkeypatch.setattr("mien.decode.prepare._seconds", lambda *_: next(seconds))
    if packed(forward, 4, None) is None:
        pytest.skip("this torch has no packed products")
    assert not any(product.packed is not None for product in forward.products)
    assert packed(forward, 4, None) == 2
    assert all(product.packed is not None for product in forward.products)


@torch.no_grad()
def answered(forward: Forward, shape: Shape, base: Base) -> torch.Tensor:
    parts = [Part(slot, None, 0, [5 + slot]) for slot in range(4)]
    run = Pass(parts, Slots(shape, 4, base.head.weight), Stack(4))
    return forward.logits(forward.hidden(run)[run.last])
