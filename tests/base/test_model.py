"""The base: flattened batches, log-probabilities, loading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mien.base.flat import Flat
from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.errors import BaseError, InputError
from mien.schema import Example, conversation
from tests import models

PAIRS = [([3, 4, 5], [6, 7]), ([8], [9, 10, 11]), (list(range(20, 40)), [41])]
EXAMPLES = [
    Example.of("hello", "the wind is fair"),
    Example.of("the ship sails at dawn, and the wind is fair", "hello"),
    Example.of("how are you", "hello there, how are you today, hello there"),
    Example.of("hi", "at dawn", system="the ship sails"),
]


def base_of(name: str, request: pytest.FixtureRequest) -> Base:
    base: Base = request.getfixturevalue(name)
    return base


@torch.no_grad()
def plain_nll(base: Base, prompt: list[int], completion: list[int]) -> list[float]:
    """From the log-softmax of the model's own logits, one sequence at a time."""
    logits = base.model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0].float()
    rows = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return [-float(row[token]) for row, token in zip(rows, completion, strict=True)]


def test_a_flat_batch_may_have_nothing_to_learn(tiny_base: Base) -> None:
    flat = Flat.of([([3, 4], [])])
    assert tiny_base.nll(flat).shape == (0,)


@pytest.mark.parametrize("name", ["tiny_base", "tiny_gemma"])
def test_nll_equals_the_log_softmax_of_the_models_own_logits(
    name: str, request: pytest.FixtureRequest
) -> None:
    base = base_of(name, request)
    expected = [value for pair in PAIRS for value in plain_nll(base, *pair)]
    ours = base.nll(Flat.of(PAIRS)).tolist()
    assert ours == pytest.approx(expected, abs=1e-4)


def test_nll_has_the_gradient_of_plain_autograd_in_every_matrix_of_the_adapter() -> None:
    base = models.tiny_base()
    base.adapters.create("x", shape(), seed=0)
    models.shake(base.adapters, "x")
    matrices = list(base.adapters.parameters("x"))
    with base.adapters.use("x"):
        ours = torch.autograd.grad(base.nll(Flat.of(PAIRS)).sum(), matrices)
        theirs = torch.autograd.grad(whole_nll(base), matrices)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def shape() -> LoraConfig:
    return LoraConfig(r=4, alpha=8.0)


def whole_nll(base: Base) -> torch.Tensor:
    """Sum over all pairs by the model's own loss, sequence by sequence."""
    total = torch.zeros(())
    for prompt, completion in PAIRS:
        ids = torch.tensor([[*prompt, *completion]])
        labels = torch.tensor([[-100] * len(prompt) + completion])
        total = total + base.model(input_ids=ids, labels=labels).loss * len(completion)
    return total


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_perplexity_keeps_the_order_of_the_examples_whatever_the_batch(
    tiny_base: Base, batch: int
) -> None:
    pairs = [tiny_base.renderer.example(example) for example in EXAMPLES]
    each = [plain_nll(tiny_base, *pair) for pair in pairs]
    expected = [sum(values) / len(values) for values in each]
    assert tiny_base.mean_nll(EXAMPLES, batch=batch) == pytest.approx(expected, abs=1e-4)


def test_perplexity_of_nothing_is_nothing(tiny_base: Base) -> None:
    assert tiny_base.mean_nll([]) == []


def test_perplexity_is_under_the_adapter_in_force() -> None:
    base = models.tiny_base()
    base.adapters.create("x", shape(), seed=0)
    models.shake(base.adapters, "x")
    bare = base.mean_nll(EXAMPLES)
    with base.adapters.use("x"):
        assert base.mean_nll(EXAMPLES) != pytest.approx(bare, abs=0.01)
    assert base.mean_nll(EXAMPLES) == bare


def test_a_base_says_what_it_is(tiny_base: Base) -> None:
    assert (tiny_base.dtype, tiny_base.device.type, tiny_base.max_tokens) == ("float32", "cpu", 256)


def test_the_model_is_frozen_and_in_evaluation_mode(tiny_base: Base) -> None:
    assert not tiny_base.model.training
    assert not any(parameter.requires_grad for parameter in models.tiny_base().model.parameters())


def test_a_folder_is_loaded_where_it_is(home: Path, tmp_path: Path) -> None:
    folder = models.save_folder(tmp_path / "tiny")
    base = Base.load(str(folder), dtype="float32")
    assert (base.files.name, base.files.folder) == ("tiny", folder)
    assert base.nll(Flat.of(PAIRS)).tolist() == models.tiny_base().nll(Flat.of(PAIRS)).tolist()


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-400])


def widen(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))


@pytest.mark.parametrize(
    "spoil",
    [
        cut("model.safetensors"),
        cut("config.json"),
        cut("tokenizer.json"),
        widen,
        lambda folder: (folder / "config.json").write_text('{"model_type": "vit"}'),
        lambda folder: [path.unlink() for path in folder.glob("tokenizer*")],
    ],
    ids=["weights", "config", "tokenizer", "shape", "not a language model", "no tokenizer"],
)
def test_a_folder_that_cannot_be_loaded_gives_one_clear_line(
    home: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    folder = models.save_folder(tmp_path / "tiny")
    spoil(folder)
    with pytest.raises(BaseError, match="transformers cannot load it") as caught:
        Base.load(str(folder), dtype="float32")
    assert str(folder) in caught.value.what
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("final_logit_softcapping", 30.0), ("logit_scale", 0.0625), ("logits_scaling", 8.0)],
)
def test_a_model_that_does_something_to_its_logits_is_refused_by_name(key: str, value: float) -> None:
    model = models.llama_model()
    setattr(model.config, key, value)
    with pytest.raises(BaseError, match=key):
        Base(model, models.chatml_tokenizer(), models.tiny_base().files)


@pytest.mark.parametrize("value", [None, 1, 1.0])
def test_a_model_that_could_but_does_not_is_taken(value: float | None) -> None:
    model = models.llama_model()
    model.config.logit_scale = value
    Base(model, models.chatml_tokenizer(), models.tiny_base().files)


def test_a_head_with_a_bias_is_refused_and_so_is_no_head() -> None:
    model = models.llama_model()
    model.lm_head = torch.nn.Linear(32, 300, bias=True)
    with pytest.raises(BaseError, match="a bias in its output head"):
        Base(model, models.chatml_tokenizer(), models.tiny_base().files)
    with pytest.raises(BaseError, match="no output head"):
        Base(models.llama_model().model, models.chatml_tokenizer(), models.tiny_base().files)


def test_an_unknown_dtype_is_refused_with_the_known_ones(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dtype 'float16'") as caught:
        Base.load(str(models.save_folder(tmp_path / "tiny")), dtype="float16")
    assert "bfloat16" in caught.value.fix


@pytest.mark.model
def test_the_default_base_finds_a_true_answer_likelier_than_nonsense(smollm: Base) -> None:
    asked = "What is the capital of France?"
    true, false = smollm.mean_nll(
        [
            Example.of(asked, "The capital of France is Paris."),
            Example.of(asked, "Paris purple of is two."),
        ]
    )
    assert true < false - 1


@pytest.mark.model
def test_nll_equals_the_models_own_logits_on_the_default_base(smollm: Base) -> None:
    pairs = [
        (smollm.renderer.prompt(conversation("Hi")), smollm.renderer.completion("Hello there."))
    ] * 2
    expected = plain_nll(smollm, *pairs[0]) * 2
    assert smollm.nll(Flat.of(pairs)).tolist() == pytest.approx(expected, abs=1e-3)
