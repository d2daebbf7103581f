"""From a recipe to an adapter on disk: the folder of a run, and what is in it when.

    recipe.json        the resolved recipe            first
    persona.json       the specification              first
    metrics.jsonl      a line per step                while training
    leash.jsonl        a line per look of the guard   while training; runs on preferences
    samples.jsonl      some rollouts of each round    while training; PPO
    checkpoints/       Trainer's own, the last two    while training; removed at the end
    dose.json          how the dose was chosen        at the end; SFT
    adapter/           a PEFT folder                  at the end
    manifest.json      the card                       last: its presence means "complete"

The folder is named by what goes in, so the same recipe on the same data and base is the same run: it
is reused when complete and gone on with when not.
"""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout
from transformers import TrainerState

import mien
from mien.base.fetch import file_sha256
from mien.base.lora import WEIGHTS, LoraConfig
from mien.base.model import Base
from mien.errors import TrainError
from mien.registry.attach import attach
from mien.registry.cards import (
    ADAPTER,
    PERSONA,
    Card,
    adapter_folder,
    read_card,
    write_card,
)
from mien.train.leash import Guard, Verdict
from mien.train.loop import CHECKPOINTS, Progress, cut_lines, fit, resumable, step_of, validation_losses
from mien.train.plan import Plan
from mien.train.ppo import SAMPLES
from mien.train.recipe import Passes, SftRecipe
from mien.train.stages import Company, Staged, prepare
from mien.workspace import disk_errors, write_json

VERDICT = "verdict.json"


def train(ready: Plan, *, company: Company | None = None, progress: Progress | None = None) -> Card:
    """Carry out a plan, or return the card of the same run if it is complete.

    The adapter stays attached to the base under the run's name.

    Args:
        ready: The plan.
        company: Who is asked and told on the way: the gold score, a judge, a show.
        progress: Called after each step, in place of the show.

    Raises:
        Interrupted: Ctrl-C; the same call goes on from there.
        TrainError: The loss diverged, or this recipe is training already.
    """
    base, recipe, folder, company = ready.base, ready.recipe, ready.folder, company or Company()
    if card := read_card(folder):
        attach(base, card, folder / ADAPTER)
        return card
    with disk_errors(folder, "100 MB"), _alone(folder), _adapter(ready):
        write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
        write_json(folder / PERSONA, ready.persona.model_dump(mode="json"))
        staged = prepare(ready, company)
        company.show.begin(f"training {ready.persona.name} on {ready.size}", ready.steps)
        cut_lines(folder / SAMPLES, step_of(resumable(folder)))
        start = time.monotonic()
        with _recomputing(base, folder.name) if recipe.checkpointing else nullcontext():
            told = progress or company.show.training
            state = fit(staged.objective, staged.course, recipe, folder, told, staged.guard)
        base.model.eval().requires_grad_(False)
        verdict = _settled(staged.guard, state.global_step, folder) if staged.guard else None
        staged.objective.finish(folder / ADAPTER)
        staged.after()
        base.adapters.save(folder.name, folder / ADAPTER, base=base.files.name)
        card = _card(ready, staged, state, verdict, time.monotonic() - start)
        write_card(folder, card)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return card


def _settled(guard: Guard, step: int, folder: Path) -> Verdict:
    """The verdict on a run, written down, with the adapter of its best look in place."""
    if guard.looks[-1].step < step:  # patience ended it between two looks
        guard.look(step)
    verdict = guard.verdict()
    write_json(folder / VERDICT, verdict.model_dump(mode="json"))
    guard.keep(verdict.best)
    return verdict


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
def _adapter(ready: Plan) -> Iterator[None]:
    """The adapter in training, new or a copy; it goes again if training does not come to its end."""
    base, recipe, name = ready.base, ready.recipe, ready.folder.name
    if ready.start:
        attach(base, ready.start, adapter_folder(ready.workspace, ready.start))
        base.adapters.copy(ready.start.run, name)
    else:
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


def _card(
    ready: Plan, staged: Staged, state: TrainerState, verdict: Verdict | None, seconds: float
) -> Card:
    base, recipe = ready.base, ready.recipe
    weights, losses = ready.folder / ADAPTER / WEIGHTS, validation_losses(state)
    kept = (min(losses) if staged.course.keep_best else losses[-1]) if losses else None
    if not weights.exists():
        raise TrainError(f"{weights} was not written.", fix="Train again.")
    epochs = recipe.epochs if isinstance(recipe, Passes) else 1
    given = base.adapters.configs[ready.folder.name].alpha / recipe.lora.alpha
    return Card(
        run=ready.folder.name,
        stage=recipe.stage,
        persona=ready.persona.name,
        persona_hash=ready.persona.digest(),
        base=base.files.name,
        base_hash=base.files.sha256,
        renderer=base.renderer.style.name,
        parents=tuple(card.run for card in (ready.start, *ready.rewards.values()) if card),
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
        kept_step=verdict.best if verdict else None,
        verdict=verdict.text if verdict else None,
        seconds=round(seconds, 1),
        validation_loss=None if kept is None else round(kept, 4),
        dose=round(given, 4) if isinstance(recipe, SftRecipe) else None,
        trained_tokens=ready.encoded.tokens * epochs,
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    )
