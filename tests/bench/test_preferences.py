"""What the benches of DPO and PPO make of their arms' figures; the arms' models are not loaded."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file


@pytest.fixture
def dpo(scripts: None) -> ModuleType:
    return importlib.import_module("dpo")


@pytest.fixture
def ppo(scripts: None) -> ModuleType:
    return importlib.import_module("ppo")


def dpo_run(seconds: float, memory: float, **more: Any) -> dict[str, Any]:
    logps = {"policy": [[-1.0, -2.0], [-3.0]], "reference": [[-1.0, -2.0], [-3.0]]}
    costs = {"seconds_per_pair": seconds, "loop_seconds_per_pair": seconds / 2}
    costs |= {"cpu_seconds_per_pair": 2 * seconds, "loop_cpu_seconds_per_pair": seconds}
    steps = {"losses": [0.7, 0.6], "gradients": [2.0, 1.0], "logps": logps}
    return {**costs, "peak_memory_mb": memory, **steps, **more}


@pytest.fixture
def dpo_runs(dpo: ModuleType) -> dict[str, list[dict[str, Any]]]:
    return {
        dpo.COLD: [dpo_run(2, 1000)],
        dpo.WARM: [dpo_run(1, 900)],
        dpo.DEFAULT: [dpo_run(5, 1800)],
        dpo.BEST: [dpo_run(3, 2700)],
    }


def test_dpo_holds_like_against_like(dpo: ModuleType, dpo_runs: dict[str, Any]) -> None:
    ratios = dpo.ratios(dpo_runs)
    assert ratios["time, cache warm, against TRL as it comes"] == 5
    assert ratios["time, cache cold, against TRL as it comes"] == 2.5
    assert ratios["time, both ask the reference, against TRL at its best"] == 1.5
    assert ratios["time, neither asks the reference, against TRL at its best"] == 3, "loops alone"
    assert ratios["CPU time, neither asks the reference, against TRL at its best"] == 3
    assert ratios["memory, cache warm, against TRL at its best"] == 3


def test_dpo_is_equal_where_tokens_and_steps_are(dpo: ModuleType, dpo_runs: dict[str, Any]) -> None:
    found = dpo.equal(dpo_runs)
    assert found["logps"] and found["losses"]
    assert found["logp_difference"]["policy"] == {"max": 0, "mean": 0, "tokens": 3}
    assert found["steps"] == 2


def test_dpo_is_not_equal_where_one_token_is_off(dpo: ModuleType, dpo_runs: dict[str, Any]) -> None:
    dpo_runs[dpo.DEFAULT][0]["logps"]["reference"][0][1] += 0.002
    found = dpo.equal(dpo_runs)
    assert not found["logps"]
    assert found["logp_difference"]["reference"]["max"] == pytest.approx(0.002)


def test_dpo_is_not_equal_where_a_loss_is_two_percent_off(
    dpo: ModuleType, dpo_runs: dict[str, Any]
) -> None:
    dpo_runs[dpo.DEFAULT][0]["losses"] = [0.7, 0.6 / 1.02]
    found = dpo.equal(dpo_runs)
    assert not found["losses"]
    assert found["loss_difference"] == pytest.approx(0.02)


def test_dpo_refuses_to_compare_replies_of_other_lengths(dpo: ModuleType) -> None:
    with pytest.raises(ValueError, match="shorter"):
        dpo.apart([[-1.0, -2.0]], [[-1.0]])


def test_dpo_prices_a_pair_with_and_without_the_pass_over_the_reference(
    dpo: ModuleType, tmp_path: Path
) -> None:
    bench = dpo.Bench(dpo.Scale(pairs=10, epochs=2), tmp_path, tmp_path)
    costs = {"training_seconds": 20, "reference_seconds": 4, "cpu_seconds": 40}
    found = bench.priced({**costs, "reference_cpu_seconds": 8}, 10)
    assert found["seconds_per_pair"] == 1.2
    assert found["loop_seconds_per_pair"] == 1
    assert found["cpu_seconds_per_pair"] == 2.4


def test_a_setting_of_trl_that_fails_is_not_its_best(dpo: ModuleType) -> None:
    assert dpo.cost({"failed": "killed by SIGILL"}) > dpo.cost({"seconds_per_pair": 1e6})


def test_ppo_is_equal_only_if_models_and_maths_are(ppo: ModuleType) -> None:
    found = {"models": {"scores": 1e-4}, "maths": {"returns": 1e-6}, "clipped_share": 0.1}
    assert ppo.equal(found)["models"] and ppo.equal(found)["maths"]
    assert not ppo.equal(found | {"maths": {"returns": 1e-4}})["maths"]
    assert not ppo.equal(found | {"models": {"scores": 0.01}})["models"]


def test_ppo_counts_rounds_not_steps_of_the_optimiser(
    ppo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = ppo.Bench(ppo.Scale(steps=3), tmp_path, tmp_path)
    loop = {"steps": 12, "training_seconds": 6.0, "cpu_seconds": 9.0}
    monkeypatch.setattr(bench, "mien", lambda do, **job: dict(loop))
    found = bench.ours()
    assert found["steps"] == 3
    assert (found["seconds_per_step"], found["cpu_seconds_per_step"]) == (2, 3)


@pytest.mark.parametrize("size", ["dpo", "ppo"])
def test_an_option_changes_the_size_it_names(
    scripts: None, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(size)
    monkeypatch.setattr("sys.argv", ["bench", "--quick", "--cycles", "3"])
    given = module.scale_of(module.options())
    assert given == replace(module.QUICK, cycles=3)


def test_ppo_s_maths_takes_trl_s_tables_with_their_further_state(scripts: None) -> None:
    """One reply of two tokens that ended, in tables of four; worked by hand.

    Price 1/2, gamma 1, lambda 1: penalties 0.2 and 0 give rewards -0.1, 0, and 3 at the further state.
    Returns are then what is still to come: 2.9, 3, 3.
    """
    arm = importlib.import_module("ppo_mien")
    recipe = arm.PpoRecipe(
        persona="witty", signals=[{"kind": "length"}], init_kl_coef=0.5, gamma=1, lam=1, start="fresh"
    )
    tokens = torch.tensor([[True, True, False, False]])
    states = torch.tensor([[True, True, True, False]])
    rewards = torch.tensor([[-0.1, 0.0, 3.0, 0.0]])
    values = torch.tensor([[1.0, 2.0, 0.5, 0.0]])
    white = arm.whiten(rewards, states, shift=False)
    coming = white.flip(1).cumsum(1).flip(1) * states
    ahead = (coming - values)[:, :2]
    seen = {
        "tokens": tokens,
        "states": states,
        "scores": torch.tensor([3.0]),
        "values": values,
        "logprobs": torch.tensor([[-1.0, -2.0, 1.0, 1.0]]),
        "ref_logprobs": torch.tensor([[-1.2, -2.0, 1.0, 1.0]]),
        "rewards": rewards,
        "white_rewards": white,
        "returns": coming,
        "advantages": torch.nn.functional.pad((ahead - ahead.mean()) / ahead.std(), (0, 2)),
        "mb_new_logprobs": torch.tensor([[-0.5, -2.0, 1.0, 1.0]]),  # ratios exp(1/2) and 1
        "mb_logprobs": torch.tensor([[-1.0, -2.0, 1.0, 1.0]]),
        "mb_advantage": torch.tensor([[1.0, -1.0, 0.0, 0.0]]),
        "mb_tokens": tokens,
        "mb_states": states,
        "mb_vpred": torch.tensor([[1.1, 2.0, 0.5, 9.0]]),
        "mb_values": values,
        "mb_return": torch.tensor([[1.3, 2.0, 0.5, 0.0]]),
        "policy_loss": torch.tensor((-1.2 + 1) / 2),
        "clipped": torch.tensor(0.5),
        "value_loss": torch.tensor(0.5 * 0.2**2 / 3),
    }
    found = arm.same_maths(recipe, seen)
    assert max(found.values()) < 1e-6
    wrong = arm.same_maths(recipe, seen | {"returns": coming + 0.1})
    assert wrong["returns"] == pytest.approx(0.1, rel=1e-4)


def test_a_shaken_adapter_keeps_its_first_matrices(scripts: None, tmp_path: Path) -> None:
    measured = importlib.import_module("measured")
    path = tmp_path / "adapter_model.safetensors"
    save_file({"x.lora_A.weight": torch.ones(2, 3), "x.lora_B.weight": torch.zeros(3, 2)}, path)
    measured.shake(tmp_path, 0.1)
    found = load_file(path)
    assert found["x.lora_A.weight"].eq(1).all()
    assert found["x.lora_B.weight"].ne(0).all()
    measured.shake(tmp_path, 0.1)
    assert load_file(path)["x.lora_B.weight"].equal(found["x.lora_B.weight"])


def test_a_stopwatch_adds_up_its_blocks_and_nothing_else(scripts: None) -> None:
    watch = importlib.import_module("measured").Stopwatch()
    for _ in range(2):
        with watch:
            sum(range(100_000))
        before = watch.cpu
        sum(range(100_000))
        assert watch.cpu == before > 0
