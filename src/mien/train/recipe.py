"""The recipe of one training stage: everything that decides what comes out, and nothing else.

A recipe is a strict YAML file. Precedence, in one sentence: what the command line says replaces what
the file says, which replaces the defaults below. `docs/results.md` says how the defaults were chosen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from mien import specfile
from mien.base.fetch import DEFAULT_BASE
from mien.schema import Strict


class Lora(Strict):
    """The adapter's shape."""

    r: int = Field(default=16, ge=1, le=256, description="rank of the update")
    alpha: float = Field(default=32, gt=0, description="the update is scaled by alpha / r")


class Recipe(Strict):
    """One stage of training a persona."""

    model_config = ConfigDict(title="mien recipe")

    stage: Literal["sft"] = Field(default="sft", description="the objective")
    persona: str = Field(min_length=1, description="a built-in name or the path of a .yaml file")
    base: str = Field(default=DEFAULT_BASE, description="a known name, folder, .gguf file or hub id")
    data: Path | None = Field(
        default=None, description="JSONL of examples; without it, the built-in corpus in this voice"
    )
    validation: Path | None = Field(
        default=None,
        description="JSONL to stop early on; without it, prompts of `data` are held out by their hash",
    )
    under_prompt: bool = Field(
        default=False, description="train under the persona's system prompt instead of none"
    )
    lora: Lora = Lora()
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    epochs: int = Field(default=3, ge=1, description="most passes over the data")
    patience: int = Field(
        default=2, ge=1, description="stop after this many epochs without a better validation loss"
    )
    keep: Literal["last", "best"] = Field(
        default="last",
        description="the adapter of the last epoch, or of the best validation loss; a voice goes on"
        " arriving after that loss has turned (docs/log.md)",
    )
    dose: float = Field(
        default=1.3,
        gt=0,
        le=3,
        description="what the finished update is multiplied by: more voice, less content",
    )
    batch_size: int = Field(
        default=4, ge=1, description="examples a step, laid end to end; a dialogue counts as one"
    )
    accumulate: int = Field(default=1, ge=1, description="batches a step, where one does not fit")
    max_length: int = Field(default=1024, ge=16, description="tokens; longer examples are left out")
    checkpointing: bool = Field(
        default=False, description="recompute activations in the backward pass: slower, less memory"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of the frozen base; auto takes what this machine computes faster"
    )
    seed: int = Field(default=0, ge=0)

    @classmethod
    def load(cls, path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
        """Read a recipe file; `overrides` replace its top-level keys.

        Raises:
            SpecError: It has mistakes; all are reported at once.
        """
        recipe = specfile.load(path, cls)
        return specfile.validate(
            recipe.model_dump() | (overrides or {}), cls, source=f"{path} with overrides"
        )
