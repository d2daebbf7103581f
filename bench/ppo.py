"""PPO on one base against the last PPOTrainer that TRL had: same base, prompts, reward and lengths.

    python bench/ppo.py [--quick] [--json OUT] [--steps N] [--rollouts N] [--tokens N] [--cycles N]

`bench/README.md` says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from common import (
    Figures,
    Peer,
    conduct,
    console,
    device,
    in_turn,
    machine,
    means,
    parser,
    run_arm,
    sized,
    sources,
    times_better,
)
from mien.base.fetch import pull
from mien.train.recipe import PpoRecipe, Signal

# The newest release with `trl.experimental.ppo`.
TRL = Peer("trl-1.12", ("torch==2.13.0", "trl==1.12.0", "peft", "transformers", "datasets"))
OURS, DEFAULT, LEAN = "mien", "TRL as it comes", "TRL, value trunk frozen"
PERSONA = "witty"
_SAME_LOGP = 1e-3  # nats a token; and the score of a reply
_SAME_MATHS = 1e-5
_SHOWN = ("seconds_per_step", "cpu_seconds_per_step", "training_seconds", "peak_memory_mb")


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    steps: int = 3
    rollouts: int = 32
    tokens: int = 64
    cycles: int = 2


QUICK = Scale(steps=2, rollouts=8, tokens=24, cycles=1)
# One step of TRL's from which its tables are taken. Rewards are whitened from 8 replies a minibatch on,
# and at this rate the second pass is far enough from the first for some ratios to be clipped.
_WITNESS = {"rollouts": 16, "mini_batch_size": 8, "max_tokens": 24, "learning_rate": 1e-3}


class Bench:
    """One run of the bench, in a scratch folder.

    Args:
        python: TRL's interpreter.
    """

    def __init__(self, scale: Scale, scratch: Path, python: Path) -> None:
        self.scale, self.scratch, self.python = scale, scratch, python
        # In float32 everywhere, so that log-probabilities can be compared.
        self.recipe = PpoRecipe(
            persona=PERSONA,
            start="fresh",
            anchor="base",
            signals=(Signal(kind="learned", runs=("shared",), combine="mean"),),
            steps=scale.steps,
            rollouts=scale.rollouts,
            mini_batch_size=scale.rollouts // 2,
            max_tokens=scale.tokens,
            temperature=1.0,
            init_kl_coef=0.05,
            learning_rate=5e-5,
            dtype="float32",
        )
        self.count = 0
        self.shared: dict[str, Any] = {
            "recipe": self.recipe.model_dump(mode="json"),
            "prompts": str(scratch / "prompts.json"),
            "start": str(scratch / "start"),
            "head": str(scratch / "head.safetensors"),
        }

    def prepare(self) -> None:
        """Prompts, each of them asked once; first adapter; head of the reward."""
        rows = max(self.scale.steps * self.scale.rollouts, _WITNESS["rollouts"])
        self.shared |= self.mien("prepare", rows=int(rows))

    def mien(self, do: str, **job: Any) -> Figures:
        """Our arm's script, asked to do one of its three things."""
        return run_arm(sys.executable, "ppo_mien.py", {**self.shared, "do": do, **job})

    def ours(self) -> Figures:
        """Our training."""
        figures = self.mien("train", out=self.out(), limit=self.episodes)
        updates = figures["steps"] // self.scale.steps
        return self.priced(figures | {"steps": figures["steps"] // updates})

    def trl(self, *, whole_value: bool, **job: Any) -> Figures:
        """TRL's training; its value model learns as a whole, or its head alone does."""
        told = {"out": self.out(), "limit": self.episodes, "whole_value": whole_value, "flags": {}}
        return self.priced(run_arm(self.python, "ppo_trl.py", {**self.shared, **told, **job}))

    def check(self) -> Figures:
        """What TRL held in one step, against ours."""
        recipe = self.recipe.model_dump(mode="json") | _WITNESS
        told = {"recipe": recipe, "witness": str(self.scratch / "witness.safetensors")}
        flags = {"whiten_rewards": True, "missing_eos_penalty": None}
        self.trl(whole_value=True, limit=_WITNESS["rollouts"], flags=flags, **told)
        return self.mien("check", **told)

    @property
    def episodes(self) -> int:
        """Replies in all."""
        return self.scale.steps * self.scale.rollouts

    def priced(self, figures: Figures) -> Figures:
        """With what a step costs, rollouts and all passes over them."""
        steps = figures["steps"]
        return figures | {
            "seconds_per_step": round(figures["training_seconds"] / steps, 3),
            "cpu_seconds_per_step": round(figures["cpu_seconds"] / steps, 3),
        }

    def out(self) -> str:
        """A new folder's path."""
        self.count += 1
        return str(self.scratch / f"out-{self.count}")


def measure(scale: Scale, python: Path) -> Figures:
    """The whole bench."""
    with tempfile.TemporaryDirectory(prefix="mien-ppo-") as scratch:
        bench = Bench(scale, Path(scratch), python)
        before = machine()
        bench.prepare()
        equality = equal(bench.check())
        runs = in_turn(
            {
                OURS: bench.ours,
                DEFAULT: partial(bench.trl, whole_value=True),
                LEAN: partial(bench.trl, whole_value=False),
            },
            scale.cycles,
        )
        return result(bench, runs, equality) | {"machine": before}


def equal(found: Figures) -> Figures:
    """Whether the same models and the same maths are at work."""
    models, maths = found["models"], found["maths"]
    return {
        "models": all(each <= _SAME_LOGP for each in models.values()),
        "maths": all(each <= _SAME_MATHS for each in maths.values()),
        "clipped_share": found["clipped_share"],
        "largest_model_difference": models,
        "largest_maths_difference": maths,
    }


def result(bench: Bench, runs: dict[str, list[Figures]], equality: Figures) -> Figures:
    """The contract's keys, and the details."""
    return {
        "name": "ppo",
        "device": device(),
        "ours": means(runs[OURS], _SHOWN),
        "peer": {name: means(runs[name], _SHOWN) for name in (DEFAULT, LEAN)},
        "ratios": {k: v for name in (DEFAULT, LEAN) for k, v in ratios(runs, name).items()},
        "equal": equality["models"] and equality["maths"],
        "n": bench.scale.cycles,
        "equality": equality,
        "recipe": bench.recipe.model_dump(mode="json"),
        "base_sha256": bench.shared["base_sha256"],
        "runs": runs,
        "code": sources("ppo.py", "arms/measured.py", "arms/ppo_mien.py", "arms/ppo_trl.py"),
    }


def ratios(runs: Mapping[str, list[Figures]], peer: str) -> dict[str, float]:
    """How many times better we are than one peer."""

    def over(key: str) -> float:
        both = ([run[key] for run in runs[name]] for name in (OURS, peer))
        return times_better(*both, more_is_better=False)

    return {
        f"time, against {peer}": over("seconds_per_step"),
        f"CPU time, against {peer}": over("cpu_seconds_per_step"),
        f"memory, against {peer}": over("peak_memory_mb"),
    }


def show(found: Figures) -> None:
    """The result as a table."""
    recipe = found["recipe"]
    size = f"{recipe['steps']} steps of {recipe['rollouts']} replies of {recipe['max_tokens']} tokens"
    table = Table(title=f"PPO on {found['device']}, {size}, {found['n']} cycle(s)")
    for column in ("", "s/step", "CPU s/step", "loop s", "peak MB"):
        table.add_column(column, justify="left" if not column else "right")
    for name, figures in {OURS: found["ours"], **found["peer"]}.items():
        table.add_row(name, *(f"{value:.4g}" for value in figures.values()))
    console.print(table)
    console.print(f"times better: {found['ratios']}; equal: {found['equality']}")


def options() -> argparse.Namespace:
    """What the command line says."""
    about = "PPO on one base against the last PPOTrainer of TRL."
    return parser(about, "steps", "rollouts", "tokens", "cycles").parse_args()


def scale_of(given: argparse.Namespace) -> Scale:
    """The scale that the options ask for."""
    return sized(given, Scale(), QUICK)


def main() -> None:
    """Run, show, keep."""
    given = options()
    pull(report=console.print)
    conduct("ppo", TRL, given, partial(measure, scale_of(given)), show)


if __name__ == "__main__":
    main()
