"""Runs on preferences that are killed end as if they had not been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mien.base import model
from mien.base.fetch import BaseFiles
from mien.base.lora import WEIGHTS
from mien.base.machine import Machine
from mien.base.model import Base
from mien.errors import AdapterError, DivergedError
from mien.registry.cards import ADAPTER, CARD
from mien.train import run
from mien.train.dpo import Batch, Dpo
from mien.train.leash import LOOKS
from mien.train.loop import METRICS, Interrupted, Loss
from mien.train.plan import Plan
from mien.train.ppo import SAMPLES
from mien.train.reward import HEAD
from mien.train.run import VERDICT, train
from tests import models
from tests.train.builders import planned as planned_sft
from tests.train.pairs import planned_pairs
from tests.train.preference_script import planned, planned_ppo

TREE = Path(__file__).parents[2]
STAGES = ("dpo", "reward", "ppo")
LEFT = (f"{ADAPTER}/{WEIGHTS}", f"{ADAPTER}/{HEAD}", METRICS, LOOKS, SAMPLES, VERDICT)


def outcome(ready: Plan) -> dict[str, bytes]:
    """All that a run leaves which a disturbance might have changed, byte for byte."""
    found = {name: ready.folder / name for name in LEFT}
    return {name: path.read_bytes() for name, path in found.items() if path.exists()}


@pytest.fixture(scope="module")
def kept_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reference's log-probabilities lie: made once, as a second run finds them."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _at_home(kept_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_HOME", str(kept_home))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, kept_home: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_HOME", str(kept_home))
        patch.setattr("mien.train.plan.probe", lambda: Machine("cpu", 1, 50.0, None, None))
        patch.setattr(model, "probe", lambda: Machine("cpu", 1, 50.0, None, None))
        for stage in STAGES:
            ready = planned(stage, tmp_path_factory.mktemp(stage))
            train(ready)
            found[stage] = outcome(ready)
    return found


class Children:
    """Runs in processes of their own."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.train.preference_script"]
        self.parent = subprocess.Popen(
            command, cwd=TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def kill(self, stage: str, folder: Path, step: int) -> None:
        """Train, and kill the process once a step is done."""
        assert self.parent.stdin and self.parent.stdout
        print(stage, folder, file=self.parent.stdin, flush=True)
        child = int(self.parent.stdout.readline().removeprefix("process "))
        for line in self.parent.stdout:
            if line.startswith(f"step {step} "):
                os.kill(child, signal.SIGKILL)
            if line.startswith("ended"):
                break
        assert line == f"ended by {signal.SIGKILL:d}\n"

    def end(self) -> None:
        """No more runs."""
        self.parent.communicate()


@pytest.fixture(scope="module")
def children(kept_home: Path) -> Iterator[Children]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_HOME", str(kept_home))
        found = Children()
    yield found
    found.end()


def test_each_stage_leaves_what_it_should(undisturbed: dict[str, Any]) -> None:
    weights, head, *_ = LEFT
    assert set(undisturbed["dpo"]) == {weights, METRICS, LOOKS, VERDICT}
    assert set(undisturbed["reward"]) == {weights, head, METRICS}
    assert set(undisturbed["ppo"]) == {weights, METRICS, LOOKS, SAMPLES, VERDICT}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("stage", STAGES)
def test_after_a_kill_at_a_random_step_the_run_ends_as_if_there_had_been_none(
    tmp_path: Path, children: Children, undisturbed: dict[str, Any], stage: str, seed: int
) -> None:
    # Each test run may take another step: the seed is the operating system's if asked for.
    draw = random.Random(os.environ.get("MIEN_TEST_SEED", "") + f"{stage} {seed}")
    ready = planned(stage, tmp_path)
    step = draw.randrange(1, ready.steps)
    children.kill(stage, tmp_path, step)
    assert ready.folder.exists() and not (ready.folder / CARD).exists()
    train(ready)
    assert outcome(ready) == undisturbed[stage], f"killed at step {step}"


@pytest.mark.parametrize("stage", STAGES)
def test_after_a_crash_between_the_last_step_and_the_manifest_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Any], stage: str
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("crash")

    ready = planned(stage, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(run, "write_card", crash)
        train(ready)
    train(ready)
    assert outcome(ready) == undisturbed[stage]
    assert sorted(path.name for path in ready.folder.iterdir() if path.is_dir()) == [ADAPTER]


@pytest.mark.parametrize("step", [3, 4])
def test_ctrl_c_inside_a_round_of_ppo_and_at_its_end_changes_nothing(
    tmp_path: Path, undisturbed: dict[str, Any], step: int
) -> None:
    def interrupt(now: int, steps: int, found: object) -> None:
        if now == step:
            signal.raise_signal(signal.SIGINT)

    ready = planned("ppo", tmp_path)
    with pytest.raises(Interrupted):
        train(ready, progress=interrupt)
    train(ready)
    assert outcome(ready) == undisturbed["ppo"]


def test_a_loss_that_is_no_number_stops_dpo_and_leaves_no_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Dpo.forward

    def broken(self: Dpo, batch: Batch) -> Loss:
        loss = real(self, batch)
        return Loss(loss.value * float("nan"), loss.weight, loss.figures)

    ready = planned_pairs(tmp_path, "dpo")
    with monkeypatch.context() as patch, pytest.raises(DivergedError, match="loss is nan at step 1"):
        patch.setattr(Dpo, "forward", broken)
        train(ready)
    assert not (ready.folder / CARD).exists()
    assert ready.folder.name not in ready.base.adapters.configs


@pytest.mark.parametrize("stage", ["dpo", "ppo"])
def test_a_start_that_was_trained_on_another_base_is_one_line(tmp_path: Path, stage: str) -> None:
    start = train(planned_sft(tmp_path, epochs=1)).run
    files = BaseFiles("other", Path("other"), "1" * 64, "Apache-2.0")
    other = Base(models.llama_model(1), models.chatml_tokenizer(), files)
    with pytest.raises(
        AdapterError, match=f"The adapter of '{start}' was trained on tiny, not"
    ) as caught:
        if stage == "ppo":
            planned_ppo(tmp_path, other, start=start)
        else:
            planned_pairs(tmp_path, stage, other, start=start)
    assert "--base tiny" in caught.value.fix
