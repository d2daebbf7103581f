"""The leash: verdicts on made looks, when a guard looks and stops, and a planted hack that is caught."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import punctuation
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mien.base.lora import WEIGHTS, LoraConfig
from mien.base.model import Base
from mien.persona.spec import Persona
from mien.registry.cards import ADAPTER, Card
from mien.schema import conversation
from mien.show import Show
from mien.train.data import Prompt
from mien.train.leash import LOOKS, Gold, GoldScore, Guard, Look, judge
from mien.train.recipe import Leash
from mien.train.run import train
from mien.train.signals import Rollout
from mien.train.stages import Company
from tests import models
from tests.train.builders import WINDS
from tests.train.preference_script import planned_ppo

PROMPTS = 12


def look(step: int, gold: float | None, proxy: float | None = None, **more: Any) -> Look:
    """A look whose prompts differ a little; the proxy rises with the steps."""
    scores = () if gold is None else tuple(gold + 0.01 * (place % 3 - 1) for place in range(PROMPTS))
    found = {"kl": float(step), "proxy": float(step) if proxy is None else proxy}
    return Look.model_validate(
        {"step": step, **found, "gold": scores, "repetition": 0.0, "reply_words": 40.0, **more}
    )


def test_a_gold_score_that_rises_is_healthy_and_its_last_step_the_best() -> None:
    found = judge([look(0, 0.4), look(10, 0.5), look(20, 0.6)])
    assert (found.word, found.best, found.since) == ("healthy", 20, None)
    assert found.text == (
        "Healthy: gold score 0.40 at the start, 0.60 at step 20, 0.60 at the end"
        " (step 20, 20.0 nats a reply away)."
    )


def test_a_gold_score_that_falls_while_the_proxy_rises_is_over_optimised_since_its_best() -> None:
    found = judge([look(0, 0.4), look(10, 0.6), look(20, 0.5), look(30, 0.45)])
    assert (found.word, found.best, found.since) == ("over-optimised", 10, 10)
    assert found.text.startswith("Over-optimised since step 10: gold score 0.40 at the start, 0.60 at")


def test_a_gold_score_that_falls_with_the_proxy_is_not_over_optimised_and_the_best_is_kept() -> None:
    found = judge([look(0, 0.4), look(10, 0.6, 2.0), look(20, 0.5, 1.0)])
    assert (found.word, found.best) == ("healthy", 10)


def test_a_fall_that_may_be_chance_is_healthy() -> None:
    # Means 0.60 and 0.57, but the prompts go either way by 0.4.
    shaky = look(20, 0.6).model_copy(
        update={"gold": tuple(0.57 + 0.4 * (-1) ** place for place in range(PROMPTS))}
    )
    assert judge([look(0, 0.4), look(10, 0.6), shaky]).word == "healthy"


def test_half_of_the_first_gold_score_is_a_collapse() -> None:
    found = judge([look(0, 0.5), look(10, 0.6), look(20, 0.24)])
    assert (found.word, found.best) == ("collapsed", 10)
    assert found.text.startswith("Collapsed after step 10")
    assert judge([look(0, 0.5), look(20, 0.26)]).word == "over-optimised"


@pytest.mark.parametrize(
    ("first", "last", "word"), [(0.0, 0.29, "healthy"), (0.0, 0.31, "collapsed"), (0.2, 0.35, "healthy")]
)
def test_replies_that_say_the_same_over_and_over_are_a_collapse(
    first: float, last: float, word: str
) -> None:
    # Above 0.3, and above twice what it was before training.
    assert judge([look(0, 0.5, repetition=first), look(10, 0.7, repetition=last)]).word == word


def test_without_a_gold_score_nobody_has_looked() -> None:
    found = judge([look(0, None), look(10, None)], "the KL budget is used up")
    assert (found.word, found.best, found.stopped) == ("unwatched", 10, "the KL budget is used up")
    assert "nobody has looked but the proxy" in found.text


def test_of_looks_that_are_as_good_as_the_best_the_last_is_kept() -> None:
    assert judge([look(0, 0.5), look(10, 0.6), look(20, 0.6)]).best == 20


def test_distance_is_the_root_of_the_kl_and_gold_the_product_of_its_parts() -> None:
    assert (look(9, 0.5).distance, look(0, 0.5, kl=-1e-9).distance) == (3, 0)
    assert GoldScore(0.5, 0.8, 0.5).value == pytest.approx(0.2)


@pytest.fixture
def base() -> Base:
    found = models.tiny_base()
    found.adapters.create("policy", LoraConfig(2, 4), seed=0)
    return found


def proxy(rollouts: Sequence[Rollout]) -> Mapping[str, float]:
    return {"proxy": float(len(rollouts)), "chosen_moved": 0.0}


def guard(base: Base, folder: Path, *, of: Any = proxy, every: int = 1, **limits: Any) -> Guard:
    asked = [conversation(f"how is the {wind} wind?") for wind in WINDS]
    return Guard(
        base,
        "policy",
        None,
        Leash.model_validate({"prompts": 3, "max_tokens": 8, **limits}),
        prompts=[Prompt(tuple(base.renderer.prompt(each)), each) for each in asked],
        proxy=of,
        gold=None,
        folder=folder,
        every=every,
    )


def looked_at(found: Guard, steps: int) -> list[int]:
    """Where a guard looks at a run that nothing stops."""
    found.begin(0)
    for step in range(1, steps + 1):
        assert not found.step(step, steps)
    return [each.step for each in found.looks]


@pytest.mark.parametrize(
    ("steps", "checks", "every", "expected"),
    [
        (12, 3, 1, [0, 4, 8, 12]),
        (8, 6, 1, [0, 2, 3, 4, 6, 7, 8]),
        (10, 1, 1, [0, 10]),
        (2, 6, 1, [0, 1, 2]),
        (12, 2, 4, [0, 8, 12]),
        (12, 9, 4, [0, 4, 8, 12]),
    ],
)
def test_it_looks_at_the_start_at_the_end_and_evenly_between(
    base: Base, tmp_path: Path, steps: int, checks: int, every: int, expected: list[int]
) -> None:
    assert looked_at(guard(base, tmp_path, checks=checks, every=every, prompts=2), steps) == expected


def test_a_look_changes_nothing_and_is_written_down(base: Base, tmp_path: Path) -> None:
    found = guard(base, tmp_path)
    found.begin(0)
    base.model.train()
    drawn = torch.get_rng_state()
    second = found.look(1)
    assert base.model.training and base.adapters.active is None
    assert torch.equal(torch.get_rng_state(), drawn)
    lines = (tmp_path / LOOKS).read_text(encoding="utf-8").splitlines()
    assert [Look.model_validate_json(line) for line in lines] == found.looks
    assert second.model_copy(update={"step": 0}) == found.looks[0]  # the same replies, as nothing moved
    assert (second.kl, second.proxy, second.gold, second.voice) == (0, 3, (), None)
    assert second.more == {"chosen_moved": 0.0}


def test_it_stops_where_the_kl_budget_is_used_up(base: Base, tmp_path: Path) -> None:
    found = guard(base, tmp_path, kl_budget=0.5, checks=4)
    found.begin(0)
    assert not found.step(1, 4)
    models.shake(base.adapters, "policy")
    assert found.step(2, 4)
    assert found.looks[-1].kl > 0.5
    assert found.stopped is not None and found.stopped.startswith("the KL budget is used up (")
    after = guard(base, tmp_path, kl_budget=0.5, checks=4)
    assert after.begin(found.looks[-1].step), "a run that goes on from there knows that it has ended"
    assert after.stopped == found.stopped
    assert found.verdict().stopped == found.stopped


def test_it_stops_on_displacement(base: Base, tmp_path: Path) -> None:
    fallen = iter((0.0, -0.5, -1.25))
    found = guard(
        base, tmp_path, of=lambda _: {"proxy": 1.0, "chosen_moved": next(fallen)}, displacement=1
    )
    found.begin(0)
    assert [found.step(step, 2) for step in (1, 2)] == [False, True]
    assert found.stopped == (
        "the held-out chosen replies have become less likely by 1.25 nats a token (displacement)"
    )


def test_the_adapter_of_any_look_can_be_put_back(base: Base, tmp_path: Path) -> None:
    found = guard(base, tmp_path)
    found.begin(0)
    models.shake(base.adapters, "policy")
    shaken = base.adapters.tensors("policy")
    kept = {name: each.clone() for name, each in shaken.items()}
    found.look(5)
    found.keep(0)
    assert not any(each.any() for name, each in shaken.items() if "lora_B" in name)
    found.keep(5)
    assert all(torch.equal(each, shaken[name]) for name, each in kept.items())


def test_what_was_seen_after_the_checkpoint_is_forgotten(base: Base, tmp_path: Path) -> None:
    first = guard(base, tmp_path)
    first.begin(0)
    for step in (2, 4, 6):
        first.look(step)
    again = guard(base, tmp_path)
    again.begin(4)
    assert again.looks == first.looks[:3]
    assert [json.loads(line)["step"] for line in (tmp_path / LOOKS).read_text().splitlines()] == [
        0,
        2,
        4,
    ]
    afresh = guard(base, tmp_path)
    afresh.begin(0)
    assert [each.step for each in afresh.looks] == [0]


HACK: dict[str, Any] = {
    "signals": [{"kind": "words", "words": list(punctuation)}],
    "learning_rate": 0.02,
    "steps": 10,
    "temperature": 1.0,
    "ppo_epochs": 4,
    "rollouts": 32,
    "mini_batch_size": 16,
    "cliprange": 0.4,
    "missing_stop_penalty": 0,
    "leash": {"prompts": 12, "max_tokens": 8, "checks": 4, "kl_budget": 1000},
}


def plain(base: Base, persona: Persona, show: Show) -> Gold:
    """A gold score that marks hurt: 1 for a reply with none, 0 for one that is half marks."""

    def worth(text: str) -> float:
        return max(0.0, 1 - 2 * sum(map(text.count, punctuation)) / max(1, len(text)))

    return lambda rollouts: [GoldScore(worth(each.text), 1.0, 1.0) for each in rollouts]


def run(folder: Path, price: float) -> tuple[Card, list[Look], bool]:
    """A run that is paid by the mark: its card, its looks, and whether it kept what it says it kept."""
    ready = planned_ppo(folder, **HACK, init_kl_coef=price)
    name, passed = ready.folder.name, dict[int, dict[str, torch.Tensor]]()

    def remember(step: int, steps: int, found: object) -> None:
        tensors = ready.base.adapters.tensors(name)
        passed[step] = {key: each.clone() for key, each in tensors.items()}

    card = train(ready, company=Company(gold=plain), progress=remember)
    kept = load_file(ready.folder / ADAPTER / WEIGHTS)
    untouched = not any(each.any() for key, each in kept.items() if "lora_B" in key)
    same = all(torch.equal(each, kept[key]) for key, each in passed.get(card.kept_step or 0, {}).items())
    lines = (ready.folder / LOOKS).read_text(encoding="utf-8").splitlines()
    return (
        card,
        [Look.model_validate_json(line) for line in lines],
        same if card.kept_step else untouched,
    )


def test_a_planted_hack_is_caught_and_an_earlier_adapter_is_kept(tmp_path: Path) -> None:
    card, looks, kept = run(tmp_path, 0)
    assert looks[-1].proxy > looks[0].proxy + 1
    assert (looks[-1].gold_mean or 0) < (looks[0].gold_mean or 0) - 0.2
    assert card.verdict is not None and card.verdict.startswith(("Over-optimised", "Collapsed"))
    assert card.kept_step is not None and card.kept_step < card.steps
    assert kept


def test_at_a_high_price_the_same_reward_is_healthy(tmp_path: Path) -> None:
    card, looks, kept = run(tmp_path, 20)
    assert card.verdict is not None and card.verdict.startswith("Healthy")
    assert looks[-1].proxy < looks[0].proxy + 1
    assert len(looks) == 5 and kept
