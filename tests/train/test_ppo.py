"""PPO and RLOO: what a round is, and that being paid for something makes it more frequent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from torch.nn.functional import layer_norm

from mien.base.flat import Flat
from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.schema import conversation
from mien.train.advantage import gae, kl_estimates, leave_one_out, token_rewards, whiten
from mien.train.data import Prompt
from mien.train.ppo import SAMPLES, Ppo
from mien.train.recipe import PpoRecipe
from mien.train.signals import Rollout
from tests import models
from tests.train.builders import WINDS
from tests.train.preference_script import EXCLAIM

SETTINGS = {
    "persona": "witty",
    "signals": [EXCLAIM],
    "rollouts": 8,
    "mini_batch_size": 8,
    "max_tokens": 8,
    "missing_stop_penalty": 0.5,
    "temperature": 1.0,
    "init_kl_coef": 0.05,
    "learning_rate": 5e-5,
}
RLOO = {"method": "rloo", "samples": 2}


def vowels(rollouts: Sequence[Rollout]) -> list[float]:
    """A reward that differs from reply to reply."""
    return [float(sum(token % 5 for token in each.ids)) for each in rollouts]


def made(folder: Path, **changes: Any) -> Ppo:
    """An objective on a base of its own, its policy a little away from its reference."""
    base = models.tiny_base()
    for seed, name in enumerate(("policy", "reference")):
        base.adapters.create(name, LoraConfig(2, 4), seed=seed)
        models.shake(base.adapters, name, seed, 0.05)
    recipe = PpoRecipe.model_validate({**SETTINGS, **changes})
    asked = [conversation(f"how is the {wind} wind?") for wind in WINDS]
    prompts = [Prompt(tuple(base.renderer.prompt(each)), each) for each in asked]
    signals = {"vowels": (0.1, vowels)}
    return Ppo(base, "policy", "reference", recipe, prompts, signals, folder)


def seen_alone(
    base: Base, adapter: str, prompt: Sequence[int], reply: Sequence[int], temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of a reply's tokens, and the hidden states before them, in a pass of its own."""
    flat = Flat.of([(prompt, reply)])
    with torch.no_grad(), base.adapters.use(adapter):
        before = base.hidden(flat)[flat.index]
    logp = torch.log_softmax(before @ base.head.weight.t() / temperature, -1)
    return logp.gather(1, torch.tensor(reply)[:, None])[:, 0], before


@pytest.mark.parametrize("changes", [{}, {"samples": 2}, {"temperature": 0.7, "whiten_rewards": True}])
def test_at_the_first_update_the_policy_is_the_one_that_spoke(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    # So the ratio is 1 at every token, nothing is clipped, and whitened advantages add up to 0.
    found = made(tmp_path, **changes)(0)
    assert found.figures["ratio"] == pytest.approx(1, abs=1e-5)
    assert found.figures["clipped"] == 0
    assert found.figures["policy_loss"] == pytest.approx(0, abs=1e-5)
    assert float(found.value.detach()) == pytest.approx(0.1 * found.figures["value_loss"], abs=1e-5)


@pytest.mark.parametrize("kl_penalty", ["kl", "abs", "mse"])
def test_a_round_s_table_and_returns_are_those_of_the_pure_functions(
    tmp_path: Path, kl_penalty: str
) -> None:
    ppo = made(tmp_path, temperature=0.7, init_kl_coef=0.3, kl_penalty=kl_penalty, gamma=0.9, lam=0.8)
    torch.nn.init.normal_(ppo.value_head.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    rollouts, found = ppo.answers(0), ppo.roll(0)
    width = max(len(each.ids) for each in rollouts)
    logps, reference, values = (torch.zeros(8, width) for _ in range(3))
    mask = torch.zeros(8, width, dtype=torch.bool)
    for row, each in enumerate(rollouts):
        size = len(each.ids)
        logps[row, :size], before = seen_alone(ppo.base, "policy", each.prompt.ids, each.ids, 0.7)
        reference[row, :size], _ = seen_alone(ppo.base, "reference", each.prompt.ids, each.ids, 0.7)
        with torch.no_grad():
            values[row, :size] = ppo.value_head(layer_norm(before, (32,)))[:, 0]
        mask[row, :size] = True
    for ours, theirs in zip(found.table, (mask, logps, reference, values), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    endless = torch.tensor([not each.ended for each in rollouts])
    scores = 0.1 * torch.tensor(vowels(rollouts)) - 0.5 * endless
    rewards = token_rewards(scores, kl_estimates(logps, reference)[kl_penalty], mask, 0.3)
    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=0.8)
    torch.testing.assert_close(found.returns, returns, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.advantages, whiten(advantages, mask), atol=1e-3, rtol=1e-3)


def test_without_a_critic_a_reply_is_held_against_the_others_to_its_prompt(tmp_path: Path) -> None:
    ppo = made(tmp_path, **RLOO, init_kl_coef=0.3, missing_stop_penalty=0)
    rollouts, found = ppo.answers(0), ppo.roll(0)
    assert all(a.prompt == b.prompt for a, b in zip(rollouts[::2], rollouts[1::2], strict=True))
    table = found.table
    whole = 0.1 * torch.tensor(vowels(rollouts)) - 0.3 * (table.logps - table.reference).sum(1)
    expected = leave_one_out(whole, 2)[:, None] * table.mask
    torch.testing.assert_close(found.advantages, expected, atol=1e-4, rtol=1e-4)
    assert not hasattr(ppo, "value_head")
    assert "value_loss" not in ppo(0).figures


def test_figures_say_what_a_round_was(tmp_path: Path) -> None:
    ppo = made(tmp_path)
    rollouts, found = ppo.answers(0), ppo.roll(0)
    figures, table = found.figures, found.table
    assert figures["reward_vowels"] == pytest.approx(fmean(vowels(rollouts)))
    ended = fmean(each.ended for each in rollouts)
    assert figures["ended"] == ended < 1
    assert figures["reward"] == pytest.approx(0.1 * figures["reward_vowels"] - 0.5 * (1 - ended))
    assert figures["reply_tokens"] == pytest.approx(fmean(len(each.ids) for each in rollouts))
    gaps = table.logps - table.reference
    assert figures["kl"] == pytest.approx(float(gaps.sum() / 8), abs=1e-4)
    assert figures["k3"] == pytest.approx(float(((-gaps).exp() - 1 + gaps).sum() / 8), abs=1e-4)
    assert figures["k3"] > 0


def test_a_large_reward_is_clipped_before_the_penalty_for_not_ending(tmp_path: Path) -> None:
    ppo = made(tmp_path, reward_clip=0.2, missing_stop_penalty=3)
    figures = ppo.roll(0).figures
    assert figures["reward_vowels"] > 2  # all are over the clip
    assert figures["reward"] == pytest.approx(0.2 - 3 * (1 - figures["ended"]))


def test_replies_of_a_round_do_not_depend_on_what_was_drawn_before(tmp_path: Path) -> None:
    ppo = made(tmp_path)
    once = ppo.answers(3)
    torch.manual_seed(99)
    torch.rand(7)
    ppo.answers(0)
    assert ppo.answers(3) == once
    assert ppo.answers(4) != once
    assert made(tmp_path, seed=1).answers(3) != once


def test_every_prompt_is_asked_before_one_is_asked_again(tmp_path: Path) -> None:
    ppo = made(tmp_path, **RLOO)  # four prompts a round, ten in all
    asked = [each.prompt.ids for number in range(5) for each in ppo.answers(number)[::2]]
    turns = [asked[:10], asked[10:]]
    assert all(len(set(turn)) == 10 for turn in turns)
    assert turns[0] != turns[1]


def test_each_pass_takes_every_reply_once_in_an_order_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ppo = made(tmp_path, mini_batch_size=4, **RLOO, ppo_epochs=3)
    whole = Flat.branching(ppo.roll(0).trees)
    ppo(0)
    seen, real = list[Flat](), ppo.base.hidden

    def hidden(flat: Flat) -> torch.Tensor:
        seen.append(flat)
        return real(flat)

    monkeypatch.setattr(ppo.base, "hidden", hidden)
    for step in range(ppo.updates):
        ppo(step)
    assert ppo.updates == 6 == len(seen)
    passes = [torch.cat([each.targets for each in seen[at : at + 2]]) for at in (0, 2, 4)]
    assert all(torch.equal(each.sort()[0], whole.targets.sort()[0]) for each in passes)
    assert not torch.equal(passes[0], passes[1])


def test_a_round_is_made_where_a_step_begins_one_and_told_of_once(tmp_path: Path) -> None:
    ppo = made(tmp_path, mini_batch_size=4)
    figures = [ppo(step).figures for step in range(2 * ppo.updates)]
    assert [step for step, each in enumerate(figures) if "reward" in each] == [0, 4]
    assert len((tmp_path / SAMPLES).read_text(encoding="utf-8").splitlines()) == 4


def test_samples_are_there_to_be_read(tmp_path: Path) -> None:
    ppo = made(tmp_path)
    rollouts = ppo.answers(2)
    ppo.roll(2)
    rows = [json.loads(line) for line in (tmp_path / SAMPLES).read_text(encoding="utf-8").splitlines()]
    assert [row["reply"] for row in rows] == [rollouts[0].text, rollouts[4].text]
    assert rows[0]["prompt"] == rollouts[0].prompt.messages[-1].content
    assert rows[0]["step"] == 2 * ppo.updates + 1
    assert rows[0]["vowels"] == vowels(rollouts)[0]
    assert rows[0]["reward"] == pytest.approx(0.1 * rows[0]["vowels"] - 0.5 * (not rollouts[0].ended))


def test_a_step_on_which_the_policy_has_run_away_is_skipped(tmp_path: Path) -> None:
    losses = {}
    for threshold in (1.05, 1e9):
        ppo = made(tmp_path, ratio_threshold=threshold)
        ppo(0)
        models.shake(ppo.base.adapters, "policy", seed=8, size=0.2)
        losses[threshold] = ppo(1)
        assert losses[threshold].figures["ratio"] > 1.05
    skipped = losses[1.05].value
    assert float(skipped.detach()) == 0 != float(losses[1e9].value.detach())
    skipped.backward()
    assert not any(each.grad.any() for each in ppo.parameters() if each.grad is not None)


def test_the_price_is_steered_to_the_target(tmp_path: Path) -> None:
    prices = {}
    for target in (None, 1e-6, 1e6):
        ppo = made(tmp_path, target_kl=target, horizon=80, init_kl_coef=0.5)
        prices[target] = [ppo.roll(number).figures["kl_price"] for number in range(3)]
    # Far from the target the error is held to a fifth: 8 replies of 80 change the price by 2 %.
    assert prices[None] == [0.5, 0.5, 0.5]
    assert prices[1e-6] == pytest.approx([0.5, 0.5 * 1.02, 0.5 * 1.02**2])
    assert prices[1e6] == pytest.approx([0.5, 0.5 * 0.98, 0.5 * 0.98**2])


def test_what_is_trained_is_its_state_and_nothing_else(tmp_path: Path) -> None:
    ppo = made(tmp_path)
    state = ppo.state_dict()
    mine = {"value_head.weight", "value_head.bias", "price"}
    assert {name for name in state if "lora_" not in name} == mine
    assert len(state) == 3 + 2 * len(ppo.base.adapters.layers)
    assert [rate for _, rate in ppo.rates()] == [1e-3, 1e-3]
    assert "value_head.weight" not in made(tmp_path, **RLOO).state_dict()


LEARNING = {"rollouts": 32, "mini_batch_size": 16, "init_kl_coef": 0, "missing_stop_penalty": 0}
TOKEN = 76


def learnt(
    folder: Path, *, rounds: int = 6, rate: float = 0.05, **changes: Any
) -> list[dict[str, float]]:
    """The figures of some rounds of learning, paid by the occurrence of one token."""
    ppo = made(folder, **{**LEARNING, **changes})
    ppo.signals = {"token": (1.0, lambda rollouts: [float(each.ids.count(TOKEN)) for each in rollouts])}
    groups = [{"params": list(ppo.base.adapters.parameters("policy")), "lr": rate}]
    groups += [{"params": [each], "lr": rate} for each, rate in ppo.rates()]
    optimiser = torch.optim.Adam(groups)
    found = []
    for step in range(rounds * ppo.updates):
        loss = ppo(step)
        optimiser.zero_grad()
        loss.value.backward()
        torch.nn.utils.clip_grad_norm_(ppo.base.adapters.parameters("policy"), 1.0)
        optimiser.step()
        found.append(dict(loss.figures))
    return found[:: ppo.updates]


@pytest.fixture(scope="module")
def freely(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    return learnt(tmp_path_factory.mktemp("freely"))


def test_a_token_that_is_paid_for_becomes_frequent(freely: list[dict[str, float]]) -> None:
    shares = [each["reward_token"] / each["reply_tokens"] for each in freely]
    assert shares[-1] > 0.2 and shares[0] < 0.05


def test_a_token_that_is_paid_for_becomes_frequent_without_a_critic(tmp_path: Path) -> None:
    found = learnt(tmp_path, method="rloo", samples=4)
    shares = [each["reward_token"] / each["reply_tokens"] for each in found]
    assert shares[-1] > 0.2 and shares[0] < 0.05


def test_a_high_price_holds_the_policy_where_it_was(tmp_path: Path) -> None:
    free, dear = (learnt(tmp_path, rate=0.01, init_kl_coef=price)[-1] for price in (0, 5))
    assert dear["k3"] < 0.4 * free["k3"]
    assert dear["reward_token"] < 0.5 * free["reward_token"]


def test_a_bonus_for_entropy_raises_it(tmp_path: Path, freely: list[dict[str, float]]) -> None:
    loose = learnt(tmp_path, entropy_coef=1)
    assert loose[0]["entropy"] == freely[0]["entropy"]
    assert loose[-1]["entropy"] > freely[-1]["entropy"] + 0.2
