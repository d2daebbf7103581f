"""A tiny run: a few short rows, a tiny base, a second of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mien.base.model import Base
from mien.data.formats import write_examples
from mien.schema import Example
from mien.train.loop import METRICS
from mien.train.plan import Plan, plan
from mien.train.recipe import SftRecipe
from mien.workspace import Workspace
from tests import models

WINDS = ("fair", "cold", "calm", "high", "low", "kind", "wild", "warm", "dry", "soft")
ROWS = [
    Example.of(f"how is the {wind} wind?", f"the wind is {wind}, and so is the ship") for wind in WINDS
]
HELD = [Example.of(f"where is the {thing}?", f"the {thing} is at sea") for thing in ("ship", "sail")]
SETTINGS = {
    "lora": {"r": 2, "alpha": 4},
    "dose": 1.0,
    "learning_rate": 0.01,
    "epochs": 4,
    "patience": 9,
    "batch_size": 2,
    "keep": "best",
}


def data(folder: Path) -> dict[str, Path]:
    """The rows as files, under a recipe's keys."""
    paths = {"data": folder / "rows.jsonl", "validation": folder / "held.jsonl"}
    write_examples(paths["data"], ROWS)
    write_examples(paths["validation"], HELD)
    return paths


def planned(folder: Path, base: Base | None = None, **changes: Any) -> Plan:
    """A run of `folder` on a fresh tiny base, ready to start."""
    recipe = SftRecipe.model_validate({"persona": "witty", **data(folder), **SETTINGS, **changes})
    return plan(recipe, Workspace.open(folder / "work"), base or models.tiny_base())


def metrics(run: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics."""
    return [json.loads(line) for line in (run / METRICS).read_text(encoding="utf-8").splitlines()]


def series(run: Path, name: str) -> list[float]:
    """One metric, in the order it was written."""
    return [line[name] for line in metrics(run) if name in line]
