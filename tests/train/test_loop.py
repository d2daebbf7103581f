"""The loop: it learns, it is exact, and nothing that stops it loses or changes anything."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mien.base import model
from mien.base.flat import Flat
from mien.base.lora import WEIGHTS
from mien.base.machine import Machine
from mien.base.model import Base
from mien.errors import DivergedError, MienError, TrainError
from mien.registry.cards import ADAPTER, CARD, Card
from mien.train import run
from mien.train.loop import CHECKPOINTS, METRICS, Interrupted, Loss, resumable
from mien.train.plan import Plan
from mien.train.run import train
from mien.train.sft import Sft
from tests.train.builders import metrics, planned, series

STEPS, EPOCH = 20, 5
TREE = Path(__file__).parents[2]


def weights(ready: Plan) -> bytes:
    return (ready.folder / ADAPTER / WEIGHTS).read_bytes()


def outcome(ready: Plan) -> tuple[list[dict[str, float]], bytes]:
    """All that a run leaves which a disturbance might have changed."""
    return metrics(ready.folder), weights(ready)


def checkpoints(ready: Plan) -> list[str]:
    return sorted(path.name for path in (ready.folder / CHECKPOINTS).glob("checkpoint-*"))


def stop_at(step: int, what: BaseException) -> Any:
    """Progress that ends training after a step, as a crash would."""

    def progress(now: int, steps: int, found: object) -> None:
        if now >= step:
            raise what

    return progress


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, float]], bytes]:
    ready = planned(tmp_path_factory.mktemp("undisturbed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.train.plan.probe", lambda: Machine("cpu", 1, 50.0, None, None))
        patch.setattr(model, "probe", lambda: Machine("cpu", 1, 50.0, None, None))
        train(ready)
    return outcome(ready)


def test_the_loss_falls(tmp_path: Path) -> None:
    ready = planned(tmp_path)
    card = train(ready)
    losses, held = series(ready.folder, "loss"), series(ready.folder, "validation_loss")
    assert sum(losses[-EPOCH:]) < 0.8 * sum(losses[:EPOCH])
    assert held[-1] < held[0]
    assert (card.steps, card.examples) == (STEPS, 10)


def test_a_line_of_metrics_for_each_step_and_each_epoch(
    undisturbed: tuple[list[dict[str, float]], bytes],
) -> None:
    lines, _ = undisturbed
    learnt = [line for line in lines if "loss" in line]
    assert [line["step"] for line in learnt] == list(range(1, STEPS + 1))
    assert all(set(line) == {"step", "epoch", "loss", "grad_norm", "learning_rate"} for line in learnt)
    held = [line for line in lines if "loss" not in line]
    assert [line["step"] for line in held] == [5, 10, 15, 20]
    assert all(set(line) == {"step", "epoch", "validation_loss"} for line in held)


def test_the_learning_rate_rises_and_falls(tmp_path: Path) -> None:
    ready = planned(tmp_path, warmup=0.25, schedule="linear", epochs=2)
    train(ready)
    rates = series(ready.folder, "learning_rate")
    assert max(rates) <= 0.01
    assert rates.index(max(rates)) in (2, 3)
    assert rates[0] < rates[1] < rates[2]
    assert rates[-1] < rates[-2] < rates[-3]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    tmp_path: Path, undisturbed: tuple[list[dict[str, float]], bytes]
) -> None:
    same, other = planned(tmp_path / "same"), planned(tmp_path / "other", seed=1)
    train(same)
    train(other)
    assert outcome(same) == undisturbed
    assert weights(other) != undisturbed[1]


def test_gradients_that_are_accumulated_are_those_of_one_batch(tmp_path: Path) -> None:
    whole = planned(tmp_path / "whole", batch_size=10, epochs=1)
    parts = planned(tmp_path / "parts", batch_size=5, accumulate=2, epochs=1)
    assert whole.steps == parts.steps == 1
    for each in (whole, parts):
        train(each)
    for name, tensor in load_file(whole.folder / ADAPTER / WEIGHTS).items():
        torch.testing.assert_close(
            load_file(parts.folder / ADAPTER / WEIGHTS)[name], tensor, rtol=1e-3, atol=1e-3
        )


def test_recomputing_activations_changes_nothing_that_is_learnt(
    tmp_path: Path, undisturbed: tuple[list[dict[str, float]], bytes]
) -> None:
    ready = planned(tmp_path, checkpointing=True)
    train(ready)
    expected = [line["loss"] for line in undisturbed[0] if "loss" in line]
    assert series(ready.folder, "loss") == pytest.approx(expected, rel=1e-4)
    assert not ready.base.model.is_gradient_checkpointing


def test_a_checkpoint_holds_the_adapter_and_not_the_base(tmp_path: Path) -> None:
    ready = planned(tmp_path)
    with pytest.raises(RuntimeError):
        train(ready, progress=stop_at(12, RuntimeError("crash")))
    newest = resumable(ready.folder)
    assert newest is not None and newest.name == "checkpoint-10"
    held = load_file(newest / "model.safetensors")
    assert all("lora_" in name for name in held)
    layers = len(ready.base.adapters.layers)
    assert len(held) == 2 * layers
    adapter = sum(tensor.numel() for tensor in held.values())
    whole = sum(parameter.numel() for parameter in ready.base.model.parameters())
    assert adapter < whole / 5
    assert (newest / "model.safetensors").stat().st_size < 4 * adapter + 200 * len(held)


def test_a_half_written_checkpoint_is_ignored_and_removed(
    tmp_path: Path, undisturbed: tuple[list[dict[str, float]], bytes]
) -> None:
    ready = planned(tmp_path)
    with pytest.raises(RuntimeError):
        train(ready, progress=stop_at(16, RuntimeError("crash")))
    assert checkpoints(ready) == ["checkpoint-10", "checkpoint-15"]
    state = ready.folder / CHECKPOINTS / "checkpoint-15" / "trainer_state.json"
    state.write_text(state.read_text()[:200])
    (ready.folder / CHECKPOINTS / "checkpoint-18").mkdir()
    (ready.folder / CHECKPOINTS / "checkpoint-18" / "model.safetensors").write_bytes(b"half")
    found = resumable(ready.folder)
    assert found is not None and found.name == "checkpoint-10"
    assert checkpoints(ready) == ["checkpoint-10"]
    train(planned(tmp_path))
    assert outcome(ready) == undisturbed


def test_a_crash_and_the_same_call_in_the_same_process_go_on(
    tmp_path: Path, undisturbed: tuple[list[dict[str, float]], bytes]
) -> None:
    ready = planned(tmp_path)
    with pytest.raises(RuntimeError):
        train(ready, progress=stop_at(13, RuntimeError("crash")))
    assert ready.base.adapters.configs == {}
    assert not ready.base.model.training
    train(ready)
    assert outcome(ready) == undisturbed


class Child:
    """The tiny run in a process of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        command = [sys.executable, "-m", "tests.train.script", str(folder), json.dumps(settings)]
        self.process = subprocess.Popen(
            command, cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def reach(self, step: int) -> None:
        """Wait until a step is done."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(f"step {step} "):
                return
        raise AssertionError(self.process.communicate())

    def send(self, number: int) -> tuple[int, str]:
        """Send a signal; the exit code and what was printed after it."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=120)
        return self.process.returncode, out


@pytest.mark.parametrize("seed", [0, 1])
def test_after_a_kill_at_a_random_step_the_run_ends_as_if_there_had_been_none(
    tmp_path: Path, undisturbed: tuple[list[dict[str, float]], bytes], seed: int
) -> None:
    # Each test run may take another step: the seed is the operating system's if asked for.
    draw = random.Random(os.environ.get("MIEN_TEST_SEED", "") + str(seed))
    step = draw.randrange(1, STEPS)
    child = Child(tmp_path)
    child.reach(step)
    code, _ = child.send(signal.SIGKILL)
    assert code == -signal.SIGKILL
    ready = planned(tmp_path)
    assert ready.folder.exists() and not (ready.folder / CARD).exists()
    train(ready)
    assert outcome(ready) == undisturbed, f"killed at step {step}"


@pytest.mark.parametrize("step", [7, 10])
def test_after_ctrl_c_there_is_a_checkpoint_and_the_run_goes_on_from_it(
    tmp_path: Path, undisturbed: tuple[list[dict[str, float]], bytes], step: int
) -> None:
    # In the middle of an epoch, and where one ends.
    child = Child(tmp_path)
    child.reach(step - 1)
    code, out = child.send(signal.SIGINT)
    assert code == 130
    reached = int(out.split()[-1])
    assert f"stopped at step {reached}" in out
    assert step <= reached <= step + 1
    ready = planned(tmp_path)
    found = resumable(ready.folder)
    assert found is not None and found.name == f"checkpoint-{reached}"
    train(ready)
    assert outcome(ready) == undisturbed


@pytest.mark.parametrize("step", range(4, 12))
def test_ctrl_c_at_any_step_of_an_epoch_changes_nothing(
    tmp_path: Path, undisturbed: tuple[list[dict[str, float]], bytes], step: int
) -> None:
    def interrupt(now: int, steps: int, found: Mapping[str, float]) -> None:
        if now == step and "loss" in found:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    ready = planned(tmp_path)
    with pytest.raises(Interrupted, match="stopped at step"):
        train(ready, progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    train(ready)
    assert outcome(ready) == undisturbed


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def impatient(now: int, steps: int, found: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    ready = planned(tmp_path)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(ready, progress=impatient)
    assert not isinstance(caught.value, Interrupted)


@pytest.mark.parametrize("where", [3, 8])
def test_a_loss_that_is_no_number_stops_training_and_keeps_what_was_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: int
) -> None:
    real, calls = Sft.forward, list[int]()

    def broken(self: Sft, batch: Flat) -> Loss:
        calls.append(1)
        loss = real(self, batch)
        if self.training and len(calls) > where:
            return replace(loss, value=loss.value * float("nan"))
        return loss

    monkeypatch.setattr(Sft, "forward", broken)
    ready = planned(tmp_path)
    with pytest.raises(DivergedError, match="The loss is nan at step") as caught:
        train(ready)
    assert "learning_rate" in caught.value.fix
    assert checkpoints(ready) == ([] if where < EPOCH else ["checkpoint-5"])
    assert not (ready.folder / CARD).exists()


OVERFIT = {"epochs": 12, "learning_rate": 0.06, "patience": 2, "schedule": "constant", "keep": "best"}


def validation_loss(base: Base, ready: Plan, adapter: str) -> float:
    with torch.no_grad(), base.adapters.use(adapter):
        return float(base.nll(Flat.of(ready.encoded.validation)).mean())


def test_training_stops_when_it_gets_worse_and_keeps_the_best_and_not_the_last(tmp_path: Path) -> None:
    ready = planned(tmp_path, **OVERFIT)
    card = train(ready)
    held = series(ready.folder, "validation_loss")
    assert len(held) < 12, held
    assert len(held) - 1 - held.index(min(held)) == 2
    assert card.steps == EPOCH * len(held)
    assert card.validation_loss == pytest.approx(min(held), abs=1e-4)
    assert validation_loss(ready.base, ready, card.run) == pytest.approx(min(held), abs=1e-4)
    fresh = planned(tmp_path, **OVERFIT)
    train(fresh)
    assert validation_loss(fresh.base, fresh, card.run) == pytest.approx(min(held), abs=1e-4)


def test_the_last_is_kept_where_the_recipe_says_so_and_the_card_tells_its_loss(tmp_path: Path) -> None:
    ready = planned(tmp_path, **OVERFIT | {"keep": "last"})
    card = train(ready)
    held = series(ready.folder, "validation_loss")
    assert held[-1] > min(held) + 1e-3
    assert card.validation_loss == pytest.approx(held[-1], abs=1e-4)
    assert validation_loss(ready.base, ready, card.run) == pytest.approx(held[-1], abs=1e-4)


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("lines_before_the_end", [0, 3])
def test_a_run_that_is_gone_on_with_stops_where_it_would_have_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines_before_the_end: int, keep: str
) -> None:
    # One crash after the decision to stop and before the end, one an epoch earlier.
    settings = OVERFIT | {"keep": keep}
    whole, ready = planned(tmp_path / "whole", **settings), planned(tmp_path / "cut", **settings)
    steps = train(whole).steps

    def crash(*_: object) -> None:
        raise RuntimeError("crash")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(run, "write_card", crash)
        train(ready, progress=stop_at(steps - lines_before_the_end or 999, RuntimeError("crash")))
    card = train(planned(tmp_path / "cut", **settings))
    assert card.steps == steps
    assert outcome(ready) == outcome(whole)


def test_without_validation_data_every_epoch_is_run_and_the_last_is_kept(tmp_path: Path) -> None:
    ready = planned(tmp_path)
    ready = replace(ready, encoded=replace(ready.encoded, validation=[]))
    card = train(ready)
    assert (card.validation_loss, card.steps) == (None, STEPS)
    assert series(ready.folder, "validation_loss") == []


@pytest.mark.parametrize("seam", ["optimizer.pt", "model.safetensors"])
def test_a_full_disk_is_one_line_and_the_earlier_checkpoint_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[list[dict[str, float]], bytes],
    seam: str,
) -> None:
    from transformers import trainer

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(real: Any) -> Any:
        def write(what: Any, where: Any, *args: Any, **kwargs: Any) -> None:
            if f"checkpoint-10/{seam}" in str(where):
                Path(where).write_bytes(b"half")
                raise full
            real(what, where, *args, **kwargs)

        return write

    ready = planned(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(MienError) as caught:
        patch.setattr(torch, "save", fill(torch.save))
        patch.setattr(trainer.safetensors.torch, "save_file", fill(trainer.safetensors.torch.save_file))
        train(ready)
    assert str(caught.value).startswith(f"{ready.folder}: cannot write (No space left on device")
    assert "\n" not in str(caught.value)
    found = resumable(ready.folder)
    assert found is not None and found.name == "checkpoint-5"
    train(ready)
    assert outcome(ready) == undisturbed


def test_the_manifest_is_written_last_and_means_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[list[dict[str, float]], bytes]
) -> None:
    def crash(folder: Path, card: Card) -> None:
        assert (folder / ADAPTER / WEIGHTS).exists()
        raise RuntimeError("crash")

    ready = planned(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(run, "write_card", crash)
        train(ready)
    assert not (ready.folder / CARD).exists()
    assert checkpoints(ready) == ["checkpoint-15", "checkpoint-20"]
    train(ready)
    assert (ready.folder / CARD).exists() and not (ready.folder / CHECKPOINTS).exists()
    assert outcome(ready) == undisturbed


def test_a_second_call_reuses_the_first_in_the_same_process_and_in_another(tmp_path: Path) -> None:
    ready = planned(tmp_path)
    card = train(ready)
    before = (ready.folder / METRICS).stat().st_mtime_ns
    never = stop_at(0, AssertionError("trained again"))
    assert train(ready, progress=never) == card
    later = planned(tmp_path)
    assert later.folder == ready.folder
    assert train(later, progress=never) == card
    assert card.run in later.base.adapters.configs
    assert (ready.folder / METRICS).stat().st_mtime_ns == before


def test_what_goes_in_names_the_run(tmp_path: Path) -> None:
    names = {
        planned(tmp_path, **change).folder.name
        for change in ({}, {"seed": 1}, {"epochs": 3}, {"lora": {"r": 4}}, {"under_prompt": True})
    }
    assert len(names) == 5
    assert all(name.startswith("witty-sft-") for name in names)
    assert planned(tmp_path / "elsewhere").folder.name == planned(tmp_path).folder.name


def test_two_processes_do_not_train_one_run(tmp_path: Path) -> None:
    ready = planned(tmp_path)

    def second(now: int, steps: int, found: object) -> None:
        with pytest.raises(TrainError, match="another process is training this"):
            train(planned(tmp_path))
        raise RuntimeError("seen")

    with pytest.raises(RuntimeError, match="seen"):
        train(ready, progress=second)
    train(ready)
