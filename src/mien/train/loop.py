"""The one training loop: transformers' Trainer, told what a batch, a checkpoint and a stop are here.

An objective is a module whose `forward(batch)` is the loss. Its state is the adapter alone, so a
checkpoint is a few megabytes, and resuming after a kill is Trainer's own, with its random state.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from mien.base.model import Base, Flat
from mien.errors import DivergedError
from mien.train.data import Encoded, Row
from mien.train.recipe import Recipe

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
_STATE = "trainer_state.json"
Progress = Callable[[int, int, Mapping[str, float]], None]


class Objective(nn.Module):
    """A loss on the adapter in training. Only the adapter's matrices count as its state."""

    _keys_to_ignore_on_save = None  # Trainer asks for it after loading a checkpoint

    def __init__(self, base: Base, adapter: str) -> None:
        super().__init__()
        self.model = base.model
        self._base, self._adapter = (base,), adapter  # a tuple hides the base from nn.Module
        self._mine = set(map(id, base.adapters.parameters(adapter)))
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in self._mine)

    def nll(self, batch: Flat) -> Tensor:
        """-log p of each learnt token under the adapter in training."""
        (base,) = self._base
        with base.adapters.use(self._adapter):
            return base.nll(batch)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The adapter's matrices; the base is not state."""
        names = {name for name, parameter in self.named_parameters() if id(parameter) in self._mine}
        return {k: v for k, v in super().state_dict(*args, **kwargs).items() if k in names}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Put the adapter's matrices back; what belongs to the base stays as it is."""
        result = super().load_state_dict(state_dict, strict=False)
        known = set(self.state_dict())
        missing = [key for key in result.missing_keys if key in known]
        return type(result)(missing, result.unexpected_keys)


class _Trainer(Trainer):  # type: ignore[misc]
    """Trainer with a validation loss that is a mean over tokens, not over batches."""

    control: TrainerControl

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], **_: Any) -> Tensor:
        return torch.as_tensor(model(inputs["batch"]))

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        self.model.eval()
        total = count = 0.0
        with torch.no_grad():
            for inputs in self.get_eval_dataloader():
                size = len(inputs["batch"].targets)
                total += float(self.compute_loss(self.model, inputs)) * size
                count += size
        metrics = {"eval_loss": total / count}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _Journal(TrainerCallback):  # type: ignore[misc]
    """Writes metrics.jsonl, shows progress, and stops on a loss that is no number."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path, self.progress = path, progress

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        known = {new: (logs or {})[old] for old, new in _METRIC_NAMES.items() if old in (logs or {})}
        if not known:
            return
        line = {"step": state.global_step, "epoch": round(state.epoch or 0, 4), **known}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.progress(state.global_step, state.max_steps, known)
        for name, value in known.items():
            if not math.isfinite(value):
                raise DivergedError(
                    f"The {name.replace('_', ' ')} is {value} at step {state.global_step}.",
                    fix="Lower `learning_rate`; the last good checkpoint is kept.",
                )


_METRIC_NAMES = {
    "loss": "loss",
    "eval_loss": "validation_loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
}


class _Interrupt(TrainerCallback):  # type: ignore[misc]
    """On Ctrl-C, finish the step, write a checkpoint, and stop; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        try:
            before = signal.signal(signal.SIGINT, self._ask)
        except ValueError:  # not the main thread: whoever owns it handles Ctrl-C
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.asked:
            control.should_training_stop = True
            control.should_save = not _whole_epoch(state)  # else it is saved when it was evaluated

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.asked and not _whole_epoch(state):  # Trainer takes the stop for the epoch's end
            control.should_evaluate = control.should_save = False


def _whole_epoch(state: TrainerState) -> bool:
    return float(state.epoch or 0).is_integer()


class _Stopping(TrainerCallback):  # type: ignore[misc]
    """Stops when the validation loss has not improved for `patience` epochs.

    The history says so, and the history is in every checkpoint: a run that is gone on with stops where
    an undisturbed one would have. (Trainer's own callback begins to count anew.)
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.over(state):
            control.should_training_stop = True

    def over(self, state: TrainerState) -> bool:
        """Whether training has come to its end early."""
        losses = validation_losses(state)
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self.patience


def validation_losses(state: TrainerState) -> list[float]:
    """One per epoch, first to last."""
    return [line["eval_loss"] for line in state.log_history if "eval_loss" in line]


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C, with a checkpoint at `step`."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step


def fit(
    objective: Objective, data: Encoded, recipe: Recipe, folder: Path, progress: Progress
) -> TrainerState:
    """Train, from the newest whole checkpoint in `folder` if there is one.

    On return the objective holds the adapter that the recipe keeps: of the last epoch, or of the best
    validation loss (without validation data, the last).

    Raises:
        Interrupted: Ctrl-C; run again to go on.
        DivergedError: The loss is no longer a number.
    """
    start = resumable(folder)
    _cut_metrics(folder / METRICS, _step_of(start))
    interrupt, stopping = _Interrupt(), _Stopping(recipe.patience)
    arguments = _arguments(recipe, folder, stopping=bool(data.validation))
    if start and stopping.over(before := TrainerState.load_from_json(str(start / _STATE))):
        arguments.num_train_epochs = before.epoch  # nothing is left to do but to take what is kept
    trainer = _Trainer(
        model=objective,
        args=arguments,
        train_dataset=data.train,
        eval_dataset=data.validation or None,
        data_collator=_collate,
        callbacks=[_Journal(folder / METRICS, progress), interrupt, stopping],
    )
    _only(trainer)
    with interrupt.listening():
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    state = trainer.state
    if interrupt.asked and state.global_step < state.max_steps and not stopping.over(state):
        raise Interrupted(state.global_step)
    return state


def resumable(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole; half-written ones are removed."""
    whole = []
    for path in (folder / CHECKPOINTS).glob("checkpoint-*"):
        if _is_whole(path):
            whole.append(path)
        else:
            shutil.rmtree(path)
    return max(whole, key=_step_of, default=None)


def _is_whole(checkpoint: Path) -> bool:
    """Trainer writes its state last, but not in one go."""
    try:
        TrainerState.load_from_json(str(checkpoint / _STATE))
    except (OSError, ValueError, TypeError):
        return False
    return True


def _step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def _cut_metrics(path: Path, step: int) -> None:
    """Forget metrics after the checkpoint that training goes on from."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    path.write_text("".join(kept if step else []), encoding="utf-8")


def _collate(rows: list[Row]) -> dict[str, Flat]:
    return {"batch": Flat.of(rows)}


def _only(trainer: Trainer) -> None:
    """Take Trainer's own printing away; progress is shown by us."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)


def _arguments(recipe: Recipe, folder: Path, *, stopping: bool) -> TrainingArguments:
    best = stopping and recipe.keep == "best"
    return TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=16,
        gradient_accumulation_steps=recipe.accumulate,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        eval_strategy="epoch" if stopping else "no",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=best,
        metric_for_best_model="eval_loss" if best else None,
        greater_is_better=False if best else None,
        logging_steps=1,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # it would write 0 for a loss that is no number
        disable_tqdm=True,
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        seed=recipe.seed,
        log_level="error",
    )
