"""The objective: the mean over completion tokens, with a gradient in the adapter and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from mien.base.flat import Chain, Flat
from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.train.sft import Sft
from tests import models

PAIRS = [([3, 4, 5], [6, 7]), ([8], [9, 10, 11]), ([12, 13], [14])]


def objective(base: Base) -> Sft:
    base.adapters.create("x", LoraConfig(r=4, alpha=8.0), seed=0)
    models.shake(base.adapters, "x")
    return Sft(base, "x")


def value(sft: Sft, rows: Sequence[Chain]) -> float:
    return float(sft(sft.collate(rows)).value.detach())


@torch.no_grad()
def by_hand(base: Base) -> float:
    """Summed over completion tokens one sequence at a time, over their number, from plain logits."""
    total, count = 0.0, 0
    with base.adapters.use("x"):
        for prompt, completion in PAIRS:
            logits = base.model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
            for place, token in enumerate(completion, len(prompt) - 1):
                total -= float(logits[place].log_softmax(-1)[token])
                count += 1
    return total / count


@pytest.mark.parametrize("make", [models.tiny_base, models.tiny_gemma])
def test_the_loss_is_the_mean_over_completion_tokens(make: Callable[[], Base]) -> None:
    base = make()
    sft = objective(base)
    assert value(sft, PAIRS) == pytest.approx(by_hand(base), abs=1e-4)


def test_a_long_reply_counts_by_its_tokens_and_not_as_one_of_two() -> None:
    sft = objective(models.tiny_base())
    short, long = ([3], [4]), ([3], [4, 5, 6, 7, 8, 9, 10])
    both, one, other = (value(sft, rows) for rows in ([short, long], [short], [long]))
    assert both == pytest.approx((1 * one + 7 * other) / 8, abs=1e-4)


def test_a_batch_weighs_what_it_learns_and_keeps_no_other_figures() -> None:
    # 2 + 3 + 1 completion tokens: so a validation loss is the mean over tokens, not over batches.
    loss = objective(models.tiny_base())(Flat.of(PAIRS))
    assert (loss.weight, loss.figures) == (6, {})


def test_the_finished_update_gets_its_dose(tmp_path: Path) -> None:
    base = models.tiny_base()
    objective(base)
    layer = next(iter(base.adapters.layers.values()))
    before = layer.scales["x"]
    Sft(base, "x", dose=lambda: 1.3).finish(tmp_path)
    assert layer.scales["x"] == pytest.approx(1.3 * before)


def test_the_prompt_carries_no_loss() -> None:
    base = models.tiny_base()
    sft = objective(base)
    sft(Flat.of([([3, 4, 5, 6, 7], [])])).value.nan_to_num().backward()
    assert not any(p.grad is not None and p.grad.any() for p in base.adapters.parameters("x"))


def test_gradient_flows_to_the_adapter_and_to_nothing_else() -> None:
    base = models.tiny_base()
    base.adapters.create("other", LoraConfig(r=4, alpha=8.0), seed=1)
    sft = objective(base)
    sft(Flat.of(PAIRS)).value.backward()
    mine = set(map(id, base.adapters.parameters("x")))
    for parameter in base.model.parameters():
        if id(parameter) in mine:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0
        else:
            assert parameter.grad is None and not parameter.requires_grad
    assert len(mine) == 2 * len(base.adapters.layers)


def test_the_state_is_the_adapters_matrices_and_comes_back() -> None:
    base = models.tiny_base()
    sft = objective(base)
    state = {key: value.clone() for key, value in sft.state_dict().items()}
    assert len(state) == 2 * len(base.adapters.layers)
    models.shake(base.adapters, "x", seed=5)
    changed = value(sft, PAIRS)
    result = sft.load_state_dict(state)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert value(sft, PAIRS) != changed
    assert value(sft, PAIRS) == pytest.approx(by_hand(base), abs=1e-4)


def test_a_state_with_a_matrix_too_few_says_which() -> None:
    sft = objective(models.tiny_base())
    state = dict(sft.state_dict())
    gone = sorted(state)[0]
    del state[gone]
    assert sft.load_state_dict(state).missing_keys == [gone]
