"""The stages: what each is given, by the cards that a recipe names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.errors import AdapterError, InputError
from mien.registry.cards import ADAPTER, Card
from mien.train.plan import Plan
from mien.train.recipe import Recipe, Signal
from mien.train.reward import HEAD
from mien.train.run import train
from mien.train.stages import Company, named, prepare, reference_of, reward_models
from tests import models
from tests.train.builders import metrics
from tests.train.builders import planned as planned_sft
from tests.train.pairs import planned_pairs
from tests.train.preference_script import EXCLAIM, planned_ppo

SHORT: dict[str, Any] = {"steps": 1, "leash": {"prompts": 2, "max_tokens": 8, "checks": 1}}


@pytest.fixture(autouse=True)
def _at_home(home: Path) -> None:
    """The reference's log-probabilities are kept there."""


@pytest.fixture(scope="module")
def rewarded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Base, tuple[Card, Card]]:
    """A folder with two reward models of different seeds, and the base they are on."""
    folder, base = tmp_path_factory.mktemp("rewarded"), models.tiny_base()
    first, second = (train(planned_pairs(folder, "reward", base, seed=seed)) for seed in (0, 1))
    return folder, base, (first, second)


def paid_by(rewarded: tuple[Path, Base, tuple[Card, Card]], **how: Any) -> Plan:
    folder, base, cards = rewarded
    learned = {"kind": "learned", "runs": [card.run for card in cards], **how}
    return planned_ppo(folder, base, signals=[learned], **SHORT)


def update(base: Base, name: str) -> list[torch.Tensor]:
    """What an adapter adds to each layer's weight."""
    pairs = [(layer.pair(name), layer.scales[name]) for layer in base.adapters.layers.values()]
    return [scale * b.detach() @ a.detach() for (a, b), scale in pairs]


def test_signals_are_named_by_their_kind_and_numbered_where_one_occurs_again() -> None:
    words, length = Signal.model_validate(EXCLAIM), Signal(kind="length")
    assert named([words, length, words, words]) == {
        "words": words,
        "length": length,
        "words-2": words,
        "words-3": words,
    }


@pytest.mark.parametrize("combine", ["mean", "conservative", "worst"])
def test_an_ensemble_is_asked_one_by_one(rewarded: Any, combine: str) -> None:
    ready = paid_by(rewarded, combine=combine)
    found = reward_models(ready, ready.recipe.signals[0])  # type: ignore[attr-defined]
    assert [each.adapter for each in found] == [card.run for card in rewarded[2]]
    for card, each in zip(rewarded[2], found, strict=True):
        saved = load_file(ready.workspace.runs / card.run / ADAPTER / HEAD)
        assert torch.equal(each.head.weight, saved["weight"])
        assert not each.head.weight.requires_grad


def test_an_ensemble_of_weights_is_one_model_with_the_mean_of_updates_and_heads(rewarded: Any) -> None:
    ready = paid_by(rewarded, combine="weights")
    (found,) = reward_models(ready, ready.recipe.signals[0])  # type: ignore[attr-defined]
    runs = [card.run for card in rewarded[2]]
    first, second = (update(ready.base, run) for run in runs)
    for mean, a, b in zip(update(ready.base, found.adapter), first, second, strict=True):
        torch.testing.assert_close(mean, (a + b) / 2, atol=1e-6, rtol=1e-5)
    heads = [load_file(ready.workspace.runs / run / ADAPTER / HEAD) for run in runs]
    torch.testing.assert_close(found.head.weight, (heads[0]["weight"] + heads[1]["weight"]) / 2)
    assert len(reward_models(ready, ready.recipe.signals[0])) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("combine", ["conservative", "weights"])
def test_ppo_is_paid_by_reward_models_and_names_them_as_parents(rewarded: Any, combine: str) -> None:
    ready = paid_by(rewarded, combine=combine)
    card = train(ready)
    assert card.parents == tuple(each.run for each in rewarded[2])
    assert "reward_learned" in metrics(ready.folder)[0]
    assert card.kept_step == card.steps
    assert card.verdict is not None and card.verdict.startswith("There is no gold score")


def test_a_reward_model_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no reward model of 'nobody'") as caught:
        planned_ppo(tmp_path, signals=[{"kind": "learned", "runs": ["nobody"]}])
    assert caught.value.fix == "Run `mien train reward --persona nobody` first."


def test_a_run_that_is_no_reward_model_cannot_pay(tmp_path: Path) -> None:
    sft = train(planned_sft(tmp_path, epochs=1))
    with pytest.raises(AdapterError, match=f"no reward model of '{sft.run}'"):
        planned_ppo(tmp_path, signals=[{"kind": "learned", "runs": [sft.run]}])


def test_a_head_that_was_never_trained_stops_a_run_before_it_starts(tmp_path: Path) -> None:
    base = models.tiny_base()
    ready = planned_pairs(tmp_path, "reward", base)
    card = train(ready)
    staged = prepare(planned_pairs(tmp_path, "reward", base), Company())
    staged.objective.finish(ready.folder / ADAPTER)  # the head as it is before the first step
    ppo = planned_ppo(tmp_path, base, signals=[{"kind": "learned", "runs": [card.run]}], **SHORT)
    with pytest.raises(AdapterError, match="the head was never trained"):
        train(ppo)
    assert ppo.folder.name not in base.adapters.configs


def test_the_reference_is_what_a_run_starts_from_or_the_bare_base(tmp_path: Path) -> None:
    base = models.tiny_base()
    sft = train(planned_sft(tmp_path, base, epochs=1)).run
    plans: list[Callable[..., Plan]] = [
        partial(planned_ppo, tmp_path, base),
        partial(planned_pairs, tmp_path, "dpo", base),
    ]
    for plan in plans:
        assert reference_of(plan(start=sft)) == sft
        assert reference_of(plan(start=None)) == sft  # this persona's newest
        assert reference_of(plan(start=sft, anchor="base")) is None
        assert reference_of(plan(start="fresh")) is None


@pytest.mark.parametrize("anchor", ["start", "base"])
def test_a_run_from_an_adapter_begins_at_its_reference(tmp_path: Path, anchor: str) -> None:
    base = models.tiny_base()
    sft = train(planned_sft(tmp_path, base)).run
    before = update(base, sft)
    ready = planned_ppo(tmp_path, base, start=sft, anchor=anchor, **SHORT)
    card = train(ready)
    kl = metrics(ready.folder)[0]["k3"]
    assert kl == pytest.approx(0, abs=1e-4) if anchor == "start" else kl > 0.1
    assert card.parents == (sft,)
    assert all(torch.equal(a, b) for a, b in zip(before, update(base, sft), strict=True))


def test_looks_are_taken_at_the_corpus_prompts_where_one_s_own_are_few(tmp_path: Path) -> None:
    ready = planned_ppo(tmp_path)
    base = ready.base
    base.adapters.create(ready.folder.name, LoraConfig(2, 4), seed=0)
    guard = prepare(ready, Company()).guard
    assert guard is not None
    own = {prompt.messages for prompt in ready.encoded.validation}
    assert len(guard.prompts) == 2
    assert not own & {prompt.messages for prompt in guard.prompts}
    assert all(list(each.ids) == base.renderer.prompt(each.messages) for each in guard.prompts)


def test_a_judge_s_signal_asks_the_company(tmp_path: Path) -> None:
    asked: list[str] = []

    def judge(prompt: Any, reply: str) -> float:
        asked.append(prompt[-1].content)
        return 3.0

    ready = planned_ppo(tmp_path, signals=[{"kind": "judge", "model": "m"}], **SHORT)
    train(ready, company=Company(judge=judge))
    assert metrics(ready.folder)[0]["reward_judge"] == 3
    assert any(each.endswith("wind?") for each in asked)


def test_a_persona_without_bands_cannot_be_paid_by_them(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    keys = ("name", "title", "description", "system_prompt")
    path.write_text("".join(f"{key}: plain\n" for key in keys), encoding="utf-8")
    ready = planned_ppo(tmp_path, persona=str(path), signals=[{"kind": "bands"}], **SHORT)
    with pytest.raises(InputError, match="states no bands"):
        train(ready)


def test_a_recipe_without_a_stage_of_its_own_is_a_mistake_in_code(tmp_path: Path) -> None:
    ready = planned_ppo(tmp_path)
    object.__setattr__(ready, "recipe", Recipe(stage="other", persona="witty"))
    with pytest.raises(TypeError, match="no stage for Recipe"):
        prepare(ready, Company())
