"""The one training loop: transformers' Trainer, told what a batch, a checkpoint and a stop are here.

An objective is a module whose `forward(batch)` is a loss. Its state is the adapter in training, and a
head where it has one, so a checkpoint is a few megabytes, and resuming after a kill is Trainer's own,
with its random state. The loop knows no objective: what differs between them is their rows (`Course`),
their loss, and who watches over them (`Watch`).
"""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from mien.base.flat import Flat
from mien.base.model import Base
from mien.errors import DivergedError
from mien.train.recipe import Recipe

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
_STATE = "trainer_state.json"
Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Loss:
    """What an objective makes of a batch.

    Attributes:
        value: The mean that is made small; a scalar.
        weight: How much it is a mean of: tokens, pairs. Held-out batches are weighted by it.
        figures: What else is worth a place in the metrics.
    """

    value: Tensor
    weight: float
    figures: Mapping[str, float] = field(default_factory=dict)


class Objective(nn.Module):
    """A loss on the adapter in training. Only what is trained counts as its state.

    A subclass adds its `forward`, and its head, if it has one, as a submodule.
    """

    _keys_to_ignore_on_save = None  # Trainer asks for it after loading a checkpoint

    def __init__(self, base: Base, adapter: str) -> None:
        super().__init__()
        self.model = base.model
        self._base, self.adapter = (base,), adapter  # a tuple hides the base from nn.Module
        mine = set(map(id, base.adapters.parameters(adapter)))
        self._frozen = {id(each) for each in base.model.parameters() if id(each) not in mine}
        for parameter in base.model.parameters():
            parameter.requires_grad_(id(parameter) in mine)

    @property
    def base(self) -> Base:
        """The base that the adapter lies on."""
        return self._base[0]

    def collate(self, rows: Sequence[Any]) -> Any:
        """A batch from some rows of the course."""
        raise NotImplementedError

    def forward(self, batch: Any) -> Loss:
        """The loss of one batch."""
        raise NotImplementedError

    def rates(self) -> Sequence[tuple[nn.Parameter, float]]:
        """Parameters that learn at a rate of their own."""
        return ()

    def finish(self, folder: Path) -> None:
        """Training has come to its end; the adapter is about to be saved into `folder`."""

    def nll(self, batch: Flat) -> Tensor:
        """-log p of each learnt token under the adapter in training."""
        with self.base.adapters.use(self.adapter):
            return self.base.nll(batch)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """What is trained; the base is not state."""
        mine = {name for name, each in self.named_parameters() if id(each) not in self._frozen}
        mine |= {name for name, _ in self.named_buffers() if not name.startswith("model.")}
        return {k: v for k, v in super().state_dict(*args, **kwargs).items() if k in mine}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Put what was trained back; what belongs to the base stays as it is."""
        result = super().load_state_dict(state_dict, strict=False)
        known = set(self.state_dict())
        missing = [key for key in result.missing_keys if key in known]
        return type(result)(missing, result.unexpected_keys)


@dataclass(frozen=True)
class Course:
    """What an objective is shown, how often, and when it is looked at.

    Attributes:
        rows: In training; `Objective.collate` makes batches of them.
        held_out: For the validation loss after each epoch.
        epochs: Passes over the rows.
        shuffle: Whether their order is drawn anew for each pass.
        patience: Stop after this many epochs without a better validation loss.
        keep_best: Keep the adapter of the best validation loss, not the last.
        save_every: Steps between checkpoints; None is an epoch.
        every: Steps that belong together; there is no checkpoint inside them.
    """

    rows: Sequence[Any]
    held_out: Sequence[Any]
    epochs: int
    batch_size: int
    accumulate: int = 1
    shuffle: bool = True
    patience: int | None = None
    keep_best: bool = False
    save_every: int | None = None
    every: int = 1


class Watch(Protocol):
    """Looks at a run from outside while it goes on."""

    def begin(self, step: int) -> bool:
        """The run begins, or goes on from a checkpoint at `step`; whether it was stopped there."""
        ...

    def step(self, step: int, steps: int) -> bool:
        """A step is done; whether training should stop here."""
        ...


class _Trainer(Trainer):  # type: ignore[misc]
    """Trainer with an objective's own figures, and a validation loss that weighs batches."""

    control: TrainerControl

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seen = Means()

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs  # an objective puts on the device what it needs there

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], **_: Any) -> Tensor:
        loss: Loss = model(inputs["batch"])
        self._seen.add(loss)
        return loss.value

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        optimizer = super().create_optimizer(*args, **kwargs)
        for parameter, rate in self.model.rates():
            for group in optimizer.param_groups:
                group["params"] = [each for each in group["params"] if each is not parameter]
            optimizer.add_param_group({"params": [parameter], "lr": rate, "weight_decay": 0.0})
        return optimizer

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            logs = logs | self._seen.take()
        super().log(logs, *args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        self.model.eval()
        seen = Means()
        with torch.no_grad():
            for inputs in self.get_eval_dataloader():
                loss = self.model(inputs["batch"])
                seen.add(loss, {"loss": float(loss.value), **loss.figures})
        metrics = {f"eval_{name}": value for name, value in seen.take().items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Means:
    """Means of figures since they were last taken, each weighted by its loss's weight."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.weights: dict[str, float] = {}

    def add(self, loss: Loss, figures: Mapping[str, float] | None = None) -> None:
        """Count a loss's own figures, or those that are given in their place."""
        for name, value in (loss.figures if figures is None else figures).items():
            self.totals[name] = self.totals.get(name, 0.0) + value * loss.weight
            self.weights[name] = self.weights.get(name, 0.0) + loss.weight

    def take(self) -> dict[str, float]:
        """The means; they begin anew."""
        means = {name: self.totals[name] / self.weights[name] for name in self.totals}
        self.totals, self.weights = {}, {}
        return means


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
        known = {_named(key): value for key, value in (logs or {}).items() if key not in _TRAINERS_OWN}
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


# Totals that Trainer adds at the end of a run; the card has them, and the last line is a step's.
_TRAINERS_OWN = {
    "epoch",
    "total_flos",
    "train_loss",
    "train_runtime",
    "train_samples_per_second",
    "train_steps_per_second",
}


def _named(key: str) -> str:
    return f"validation_{key.removeprefix('eval_')}" if key.startswith("eval_") else key


class _Interrupt(TrainerCallback):  # type: ignore[misc]
    """On Ctrl-C, finish the round, write a checkpoint, and stop; a second Ctrl-C stops at once.

    Args:
        every: Steps a round, on which alone a run can be gone on with.
    """

    def __init__(self, every: int) -> None:
        self.every, self.asked = every, False

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
        if self.asked and state.global_step % self.every == 0:
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

    def __init__(self, patience: int | None) -> None:
        self.patience = patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.over(state):
            control.should_training_stop = True

    def over(self, state: TrainerState) -> bool:
        """Whether training has come to its end early."""
        losses = validation_losses(state)
        return bool(losses and self.patience) and len(losses) - 1 - losses.index(min(losses)) >= (
            self.patience or 0
        )


class _Watching(TrainerCallback):  # type: ignore[misc]
    """Lets a watch look after every step, and stops when it says so."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.stopped = watch, False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.watch.step(state.global_step, state.max_steps):
            self.stopped = control.should_training_stop = True


def validation_losses(state: TrainerState) -> list[float]:
    """One per epoch, first to last."""
    return [line["eval_loss"] for line in state.log_history if "eval_loss" in line]


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C, with a checkpoint at `step`."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step


def fit(
    objective: Objective,
    course: Course,
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    watch: Watch | None = None,
) -> TrainerState:
    """Train, from the newest whole checkpoint in `folder` if there is one.

    On return the objective holds the adapter that the course keeps: of the last epoch, or of the best
    validation loss (without validation data, the last).

    Raises:
        Interrupted: Ctrl-C; run again to go on.
        DivergedError: The loss is no longer a number.
    """
    start = resumable(folder)
    cut_lines(folder / METRICS, step_of(start))
    interrupt, stopping = _Interrupt(course.every), _Stopping(course.patience)
    watching = _Watching(watch) if watch else None
    arguments = _arguments(recipe, course, folder)
    stopped = bool(watch and watch.begin(step_of(start)))
    if start:
        before = TrainerState.load_from_json(str(start / _STATE))
        if stopped or stopping.over(before):
            arguments.num_train_epochs = before.epoch  # nothing is left to do but to take what is kept
    trainer = _Trainer(
        model=objective,
        args=arguments,
        train_dataset=course.rows,
        eval_dataset=course.held_out or None,
        data_collator=lambda rows: {"batch": objective.collate(rows)},
        callbacks=[
            _Journal(folder / METRICS, progress),
            interrupt,
            stopping,
            *([watching] if watching else []),
        ],
    )
    _only(trainer)
    with interrupt.listening():
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    state = trainer.state
    stopped = stopped or bool(watching and watching.stopped)
    ended = stopped or state.global_step >= state.max_steps or stopping.over(state)
    if interrupt.asked and not ended:
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
    return max(whole, key=step_of, default=None)


def _is_whole(checkpoint: Path) -> bool:
    """Trainer writes its state last, but not in one go."""
    try:
        TrainerState.load_from_json(str(checkpoint / _STATE))
    except (OSError, ValueError, TypeError):
        return False
    return True


def step_of(checkpoint: Path | None) -> int:
    """The step a checkpoint was written at; 0 for none."""
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def cut_lines(path: Path, step: int) -> None:
    """Forget the lines of a JSONL file after the checkpoint that training goes on from."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    path.write_text("".join(kept if step else []), encoding="utf-8")


def _only(trainer: Trainer) -> None:
    """Take Trainer's own printing away; progress is shown by us."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)


def _arguments(recipe: Recipe, course: Course, folder: Path) -> TrainingArguments:
    best = bool(course.held_out) and course.keep_best
    return TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        per_device_train_batch_size=course.batch_size,
        per_device_eval_batch_size=16,
        gradient_accumulation_steps=course.accumulate,
        num_train_epochs=course.epochs,
        train_sampling_strategy="random" if course.shuffle else "sequential",
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        eval_strategy="epoch" if course.held_out else "no",
        save_strategy="steps" if course.save_every else "epoch",
        save_steps=course.save_every or 500,
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
