"""Tiny runs on preferences, as plans, and trained in processes of their own for tests that kill them.

`python -m tests.train.preference_script` reads lines of `STAGE FOLDER` and trains each in a fork, which
prints its process id, then a line after each step, and what ended it: one import serves many runs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.base import model
from mien.base.machine import Machine
from mien.base.model import Base
from mien.train import plan as planning
from mien.train import run
from mien.train.plan import Plan, plan
from mien.train.recipe import recipe_of
from mien.workspace import Workspace
from tests import models
from tests.train.builders import data
from tests.train.pairs import planned_pairs

EXCLAIM = {"kind": "words", "words": ["!"]}
PPO: dict[str, Any] = {
    "stage": "ppo",
    "persona": "witty",
    "start": "fresh",
    "signals": [EXCLAIM],
    "lora": {"r": 2, "alpha": 4},
    "learning_rate": 0.01,
    "steps": 8,
    "rollouts": 8,
    "mini_batch_size": 4,
    "max_tokens": 8,
    "leash": {"prompts": 2, "max_tokens": 8, "checks": 2, "kl_budget": 1000},
}
# What is killed has state of every kind: checkpoints on the way, a price that moves, moments, looks.
CHANGES: dict[str, dict[str, Any]] = {
    "dpo": {"epochs": 4, "patience": 9},
    "reward": {"epochs": 4, "patience": 9},
    "ppo": {"target_kl": 0.5, "horizon": 50},
}
_PAUSE = 0.03  # so that whoever reads the lines can act before the next


def planned_ppo(folder: Path, base: Base | None = None, **changes: Any) -> Plan:
    """A run of PPO in `folder` on a fresh tiny base, ready to start; exclamation marks are paid for."""
    settings = {**PPO, "data": data(folder)["data"], **changes}
    workspace = Workspace.open(folder / "work")
    return plan(recipe_of(settings, source="test"), workspace, base or models.tiny_base())


def planned(stage: str, folder: Path) -> Plan:
    """The run that tests of resuming disturb."""
    if stage == "ppo":
        return planned_ppo(folder, **CHANGES[stage])
    return planned_pairs(folder, stage, **CHANGES[stage])


def main() -> None:
    """Train what the lines of standard input ask for, one after another."""
    for module in (planning, model):
        module.probe = lambda: Machine("cpu", 1, 50.0, None, None)  # type: ignore[attr-defined]
    for line in sys.stdin:
        if child := os.fork():
            print("ended by", os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
            continue
        stage, folder = line.split(maxsplit=1)
        print(f"process {os.getpid()}", flush=True)
        run.train(planned(stage, Path(folder.rstrip("\n"))), progress=tell)
        os._exit(0)


def tell(step: int, steps: int, metrics: Mapping[str, float]) -> None:
    """One line per step."""
    if "loss" in metrics:
        print(f"step {step} of {steps}", flush=True)
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
