"""What a run would be, before anything is written: a recipe resolved against base and workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mien.base.machine import probe
from mien.base.model import Base
from mien.persona.spec import Persona, find
from mien.registry.cards import NULLS, POLICIES, Card, newest
from mien.schema import digest
from mien.train.data import Dataset, Encoded, encode, length, load_dataset
from mien.train.recipe import DpoRecipe, Passes, PpoRecipe, Recipe
from mien.workspace import Workspace

_EFFICIENCY = 0.45  # of the probed matrix rate that a whole training step reaches
_UPDATE, _READ = 4, 2  # FLOPs per weight and token: no gradients of weights; the forward pass alone


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start: what a dry run shows.

    Attributes:
        start: The card of the adapter that training starts from, if it does not start afresh.
        rewards: The cards of the reward models that it is paid by, under the names in the recipe.
    """

    recipe: Recipe
    persona: Persona
    base: Base
    workspace: Workspace
    dataset: Dataset
    encoded: Encoded
    folder: Path
    start: Card | None = None
    rewards: Mapping[str, Card] = field(default_factory=dict)

    @property
    def size(self) -> str:
        """What there is to learn from, in words."""
        unit = {"sft": "replies", "null": "replies", "ppo": "prompts"}.get(self.recipe.stage, "pairs")
        return f"{self.encoded.examples} {unit}"

    @property
    def steps(self) -> int:
        """Optimiser steps, if every epoch is run."""
        recipe = self.recipe
        if isinstance(recipe, Passes):
            rows = recipe.batch_size * recipe.accumulate
            return recipe.epochs * -(-len(self.encoded.train) // rows)
        assert isinstance(recipe, PpoRecipe)
        return recipe.steps * recipe.ppo_epochs * (recipe.rollouts // recipe.mini_batch_size)

    def seconds(self) -> float | None:
        """About how long training takes here: by its FLOPs, and a trial of this machine.

        None on a GPU, whose rate is not probed.
        """
        machine = probe()
        if machine.cuda:
            return None
        rate = (machine.bfloat16 if self.base.dtype == "bfloat16" else machine.float32) or 100.0
        weights = sum(p.numel() for p in self.base.model.parameters() if not p.requires_grad)
        return float(weights * self._work() / (rate * 1e9 * _EFFICIENCY))

    def _work(self) -> float:
        """FLOPs per weight."""
        recipe, tokens = self.recipe, self.encoded.tokens
        if isinstance(recipe, PpoRecipe):
            prompts = tokens / max(1, len(self.encoded.train))
            drawn = recipe.steps * recipe.rollouts * (prompts + recipe.max_tokens)
            reads = 3 + len(self.rewards)  # to draw it, by policy, reference and reward models
            return drawn * (_READ * reads + _UPDATE * recipe.ppo_epochs)
        assert isinstance(recipe, Passes)
        first = _READ * tokens if isinstance(recipe, DpoRecipe) else 0
        return first + _UPDATE * tokens * recipe.epochs

    def memory_mb(self) -> float:
        """About the peak: the weights, and what one step keeps between its two passes.

        Per token and layer, some sixteen vectors of the hidden and three of the inner size are kept.
        """
        config, recipe = self.base.model.config, self.recipe
        width = 16 * config.hidden_size + 6 * getattr(config, "intermediate_size", 0)
        rows = recipe.mini_batch_size if isinstance(recipe, PpoRecipe) else 1
        rows = recipe.batch_size if isinstance(recipe, Passes) else rows
        more = recipe.max_tokens if isinstance(recipe, PpoRecipe) else 0
        longest = sorted(map(length, self.encoded.train), reverse=True)[:rows]
        size = 2 if self.base.dtype == "bfloat16" else 4
        weights = sum(p.numel() for p in self.base.model.parameters())
        kept = (sum(longest) + more * rows) * width * config.num_hidden_layers
        return float(700 + size * (weights + kept) / 2**20)


def plan(recipe: Recipe, workspace: Workspace, base: Base) -> Plan:
    """Resolve a recipe against a base and a workspace; nothing is written.

    Raises:
        MienError: Something the recipe names cannot be used.
    """
    persona = find(recipe.persona)
    dataset = load_dataset(recipe, persona)
    sha = base.files.sha256
    wanted = _start_of(recipe, persona)
    start = newest(workspace, wanted, base_hash=sha, stages=_starts(recipe)) if wanted else None
    signals = recipe.signals if isinstance(recipe, PpoRecipe) else ()
    rewards = {
        name: newest(workspace, _named(name, recipe, persona), base_hash=sha, stages=("reward",))
        for each in signals
        for name in each.runs
    }
    outside = {"persona", "base", "data", "validation", "start"}
    identity = {
        "recipe": recipe.model_dump(mode="json", exclude=outside),
        "persona": persona.digest() if recipe.under_prompt else persona.name,
        "base": sha,
        "data": dataset.digest(),
        "dtype": base.dtype,
    }
    if start or rewards:
        identity["adapters"] = [card.adapter_hash for card in (start, *rewards.values()) if card]
    folder = workspace.runs / f"{persona.name}-{recipe.stage}-{digest(identity)[:8]}"
    encoded = encode(base, dataset, recipe)
    return Plan(recipe, persona, base, workspace, dataset, encoded, folder, start, rewards)


def _starts(recipe: Recipe) -> tuple[str, ...]:
    """The stages that a start may come from: a persona's SFT, or the null's, unless a run is named."""
    named = isinstance(recipe, DpoRecipe | PpoRecipe) and recipe.start is not None
    return POLICIES if named else ("null",) if recipe.stage in NULLS else ("sft",)


def _named(name: str, recipe: Recipe, persona: Persona) -> str:
    """The persona that a recipe calls by its file goes by its name everywhere else."""
    return persona.name if name == recipe.persona else name


def _start_of(recipe: Recipe, persona: Persona) -> str | None:
    """Whose adapter a run starts from: a run's or a persona's name; None is a fresh one."""
    if not isinstance(recipe, DpoRecipe | PpoRecipe) or recipe.start == "fresh":
        return None
    return _named(recipe.start or recipe.persona, recipe, persona)
