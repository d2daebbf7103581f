"""From a recipe to an adapter on disk: the folder of a run, and what is in it when.

    recipe.json        the resolved recipe            first
    persona.json       the specification              first
    metrics.jsonl      a line per step                while training
    checkpoints/       Trainer's own, the last two    while training; removed at the end
    adapter/           a PEFT folder                  at the end
    manifest.json      the card                       last: its presence means "complete"

The folder is named by what goes in, so the same recipe on the same data and base is the same run: it
is reused when complete and gone on with when not.
"""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from transformers import TrainerState

import mien
from mien.base.fetch import file_sha256
from mien.base.lora import WEIGHTS, LoraConfig
from mien.base.machine import probe
from mien.base.model import Base
from mien.errors import TrainError
from mien.persona.spec import Persona, find
from mien.registry.attach import attach
from mien.registry.cards import ADAPTER, PERSONA, Card, read_card, write_card
from mien.schema import digest
from mien.train.data import Dataset, Encoded, encode, length, load_dataset
from mien.train.loop import CHECKPOINTS, Objective, Progress, fit, validation_losses
from mien.train.recipe import Recipe
from mien.train.sft import Sft
from mien.workspace import Workspace, disk_errors, write_json

OBJECTIVES: dict[str, Callable[[Base, str], Objective]] = {"sft": Sft}
_EFFICIENCY = 0.45  # of the probed matrix rate that a whole training step reaches


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start: what a dry run shows."""

    recipe: Recipe
    persona: Persona
    base: Base
    dataset: Dataset
    encoded: Encoded
    folder: Path

    @property
    def steps(self) -> int:
        """Optimiser steps, if every epoch is run."""
        rows = self.recipe.batch_size * self.recipe.accumulate
        return self.recipe.epochs * -(-len(self.encoded.train) // rows)

    def seconds(self) -> float | None:
        """About how long training takes here: 4 FLOPs per weight and token, no weight gradients.

        None on a GPU, whose rate is not probed.
        """
        machine = probe()
        if machine.cuda:
            return None
        rate = (machine.bfloat16 if self.base.dtype == "bfloat16" else machine.float32) or 100.0
        weights = sum(p.numel() for p in self.base.model.parameters() if not p.requires_grad)
        tokens = self.encoded.tokens * self.recipe.epochs
        return float(4 * weights * tokens / (rate * 1e9 * _EFFICIENCY))

    def memory_mb(self) -> float:
        """About the peak: the weights, and what one step keeps between its two passes.

        Per token and layer, some sixteen vectors of the hidden and three of the inner size are kept.
        """
        config, rows = self.base.model.config, self.recipe.batch_size
        width = 16 * config.hidden_size + 6 * getattr(config, "intermediate_size", 0)
        longest = sorted(map(length, self.encoded.train), reverse=True)[:rows]
        size = 2 if self.base.dtype == "bfloat16" else 4
        weights = sum(p.numel() for p in self.base.model.parameters())
        kept = sum(longest) * width * config.num_hidden_layers
        return float(700 + size * (weights + kept) / 2**20)


def plan(recipe: Recipe, workspace: Workspace, base: Base) -> Plan:
    """Resolve a recipe against a base and a workspace; nothing is written.

    Raises:
        MienError: Something the recipe names cannot be used.
    """
    persona = find(recipe.persona)
    dataset = load_dataset(recipe, persona)
    identity = {
        "recipe": recipe.model_dump(mode="json", exclude={"persona", "base", "data", "validation"}),
        "persona": persona.digest() if recipe.under_prompt else persona.name,
        "base": base.files.sha256,
        "data": dataset.digest(),
        "dtype": base.dtype,
    }
    folder = workspace.runs / f"{persona.name}-{recipe.stage}-{digest(identity)[:8]}"
    return Plan(recipe, persona, base, dataset, encode(base, dataset, recipe.max_length), folder)


def train(ready: Plan, *, progress: Progress = lambda *_: None) -> Card:
    """Carry out a plan, or return the card of the same run if it is complete.

    The adapter stays attached to the base under the run's name.

    Raises:
        Interrupted: Ctrl-C; the same call goes on from there.
        TrainError: The loss diverged, or this recipe is training already.
    """
    base, recipe, folder = ready.base, ready.recipe, ready.folder
    if card := read_card(folder):
        attach(base, card, folder / ADAPTER)
        return card
    with disk_errors(folder, "100 MB"), _alone(folder), _fresh_adapter(ready):
        write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
        write_json(folder / PERSONA, ready.persona.model_dump(mode="json"))
        objective = OBJECTIVES[recipe.stage](base, folder.name)
        start = time.monotonic()
        with _recomputing(base, folder.name) if recipe.checkpointing else nullcontext():
            state = fit(objective, ready.encoded, recipe, folder, progress)
        base.model.eval().requires_grad_(False)
        base.adapters.rescale(folder.name, recipe.dose)
        base.adapters.save(folder.name, folder / ADAPTER, base=base.files.name)
        card = _card(ready, state, time.monotonic() - start)
        write_card(folder, card)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return card


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two processes that train one run would write into each other's files."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise TrainError(
            f"{folder}: another process is training this.", fix="Wait for it, or stop it."
        ) from error


@contextmanager
def _fresh_adapter(ready: Plan) -> Iterator[None]:
    """A new adapter under the run's name; it goes again if training does not come to its end."""
    base, recipe, name = ready.base, ready.recipe, ready.folder.name
    base.adapters.create(name, LoraConfig(recipe.lora.r, recipe.lora.alpha), seed=recipe.seed)
    try:
        yield
    except BaseException:
        base.adapters.drop(name)
        base.model.eval().requires_grad_(False)
        raise


@contextmanager
def _recomputing(base: Base, adapter: str) -> Iterator[None]:
    """Activations are made anew in the backward pass, in the way the forward pass made them."""

    @contextmanager
    def as_before() -> Iterator[None]:
        with base.adapters.use(adapter), base.blockwise():
            yield

    base.model.gradient_checkpointing_enable(
        {"use_reentrant": False, "context_fn": lambda: (nullcontext(), as_before())}
    )
    try:
        yield
    finally:
        base.model.gradient_checkpointing_disable()


def _card(ready: Plan, state: TrainerState, seconds: float) -> Card:
    base, recipe = ready.base, ready.recipe
    weights, losses = ready.folder / ADAPTER / WEIGHTS, validation_losses(state)
    kept = (min(losses) if recipe.keep == "best" else losses[-1]) if losses else None
    if not weights.exists():
        raise TrainError(f"{weights} was not written.", fix="Train again.")
    return Card(
        run=ready.folder.name,
        stage=recipe.stage,
        persona=ready.persona.name,
        persona_hash=ready.persona.digest(),
        base=base.files.name,
        base_hash=base.files.sha256,
        renderer=base.renderer.style.name,
        data=ready.dataset.name,
        data_hash=ready.dataset.digest(),
        recipe_hash=recipe.digest(),
        adapter_hash=file_sha256(weights),
        seed=recipe.seed,
        under_prompt=recipe.under_prompt,
        dtype=base.dtype,
        device=base.machine,
        version=mien.__version__,
        examples=ready.encoded.examples,
        steps=state.global_step,
        seconds=round(seconds, 1),
        validation_loss=None if kept is None else round(kept, 4),
        trained_tokens=ready.encoded.tokens * recipe.epochs,
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    )
