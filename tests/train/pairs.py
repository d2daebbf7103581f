"""A tiny run on preferences: a few short pairs, a tiny base, a second of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mien.base.model import Base
from mien.data.formats import write_records
from mien.schema import Message, Preference, conversation
from mien.train.plan import Plan, plan
from mien.train.recipe import recipe_of
from mien.workspace import Workspace
from tests import models
from tests.train.builders import WINDS


def pair(
    prompt: str, chosen: str, rejected: str, *, margin: float | None = None, system: str | None = None
) -> Preference:
    """A preference between two texts, after one question."""
    return Preference(
        prompt=conversation(prompt, system=system),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        margin=margin,
    )


PAIRS = [pair(f"how is the {wind} wind?", f"it is {wind}, sir", f"{wind} or so") for wind in WINDS]
HELD = [pair(f"how is the {thing}?", "it is at sea, sir", "at sea or so") for thing in ("ship", "sail")]
SETTINGS: dict[str, dict[str, Any]] = {
    "dpo": {"start": "fresh", "nll": 0, "leash": {"prompts": 2, "max_tokens": 8, "checks": 2}},
    "reward": {},
}
_COMMON = {"persona": "witty", "lora": {"r": 2, "alpha": 4}, "learning_rate": 0.01, "batch_size": 2}


def write_pairs(path: Path, pairs: Sequence[Preference] = PAIRS) -> Path:
    """The pairs as JSONL."""
    write_records(path, pairs)
    return path


def files(folder: Path) -> dict[str, Path]:
    """The pairs as files, under a recipe's keys."""
    return {
        "data": write_pairs(folder / "pairs.jsonl"),
        "validation": write_pairs(folder / "held-pairs.jsonl", HELD),
    }


def planned_pairs(folder: Path, stage: str, base: Base | None = None, **changes: Any) -> Plan:
    """A run of `folder` on a fresh tiny base, ready to start: DPO from a fresh adapter, or a reward.

    Whoever trains it needs the fixture `home`: there the reference's log-probabilities are kept.
    """
    settings = {**_COMMON, **SETTINGS[stage], **files(folder), **changes}
    recipe = recipe_of({"stage": stage, **settings}, source="test")
    return plan(recipe, Workspace.open(folder / "work"), base or models.tiny_base())
