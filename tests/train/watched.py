"""Folders of runs on preferences as training leaves them, with made-up figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.train.leash import LOOKS, Look, Verdict, judge
from mien.train.loop import METRICS
from mien.train.ppo import SAMPLES
from mien.train.recipe import recipe_of
from mien.train.run import VERDICT
from mien.workspace import write_json

Rows = Sequence[Mapping[str, Any]]


def look(step: int, kl: float, proxy: float, gold: Sequence[float] = (), **more: float) -> Look:
    """A look; voice and content are known where the gold score is."""
    judged = {"voice": 0.5, "content": 0.6} if gold else {}
    return Look(
        step=step,
        kl=kl,
        proxy=proxy,
        gold=tuple(gold),
        repetition=0.02,
        reply_words=31,
        more=more,
        **judged,
    )


# Gold of two prompts: mean 0.3, 0.5, 0.4; the bootstrap of two values has both as its ends. Both have
# fallen by the same at the end, and the proxy has risen, so this is over-optimised.
LOOKED = (
    look(0, 0.0, 0.1, (0.2, 0.4)),
    look(40, 4.0, 0.9, (0.4, 0.6)),
    look(80, 16.0, 1.5, (0.3, 0.5)),
)
METRICS_OF_PPO = tuple(
    {"step": step, "reward_learned": step / 10, "kl": step / 5, "entropy": 2.4 - step / 100}
    for step in (1, 41, 77)
)


def sample(step: int, prompt: str, reply: str, **figures: float) -> dict[str, Any]:
    """A rollout that is kept to be read."""
    return {"step": step, "prompt": prompt, "reply": reply, **figures}


def put(
    runs: Path,
    name: str,
    looks: Sequence[Look] = LOOKED,
    *,
    stage: str = "ppo",
    finished: bool = True,
    verdict: Verdict | None = None,
    metrics: Rows = METRICS_OF_PPO,
    samples: Rows = (),
    **recipe: Any,
) -> Path:
    """A run under `runs`; its verdict is that of its looks unless one is given."""
    folder = runs / name
    folder.mkdir(parents=True)
    resolved = recipe_of({"stage": stage, "persona": "witty", **recipe}, source="test")
    write_json(folder / "recipe.json", resolved.model_dump(mode="json"))
    files = {LOOKS: [each.model_dump(mode="json") for each in looks], METRICS: metrics, SAMPLES: samples}
    for file, rows in files.items():
        (folder / file).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    if finished:
        write_json(folder / VERDICT, (verdict or judge(looks)).model_dump(mode="json"))
    return folder
