"""Trains the tiny run in a process of its own, for tests that kill it: `python -m tests.train.script`.

Arguments: the folder, and the recipe's settings as JSON. A line is printed after each step.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from mien.base import model
from mien.base.machine import Machine
from mien.train import plan, run
from mien.train.loop import Interrupted
from tests.train.builders import planned

_PAUSE = 0.03  # so that whoever reads the lines can act before the next


def main(folder: str, settings: str) -> None:
    """Train, and say how it ended."""
    for module in (plan, model):
        module.probe = lambda: Machine("cpu", 1, 50.0, None, None)  # type: ignore[attr-defined]
    try:
        card = run.train(planned(Path(folder), **json.loads(settings)), progress=tell)
    except Interrupted as stop:
        print(stop, flush=True)
        raise SystemExit(130) from stop
    print(f"complete at step {card.steps}", flush=True)


def tell(step: int, steps: int, metrics: Mapping[str, float]) -> None:
    """One line per step."""
    if "loss" in metrics:
        print(f"step {step} of {steps}", flush=True)
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
