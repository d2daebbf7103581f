"""DPO against TRL's DPOTrainer: same pairs, first adapter, reference, schedule, seed and threads.

    python bench/dpo.py [--quick] [--json OUT] [--pairs N] [--epochs N] [--batch N] [--cycles N]

`bench/README.md` says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from common import (
    RESULTS,
    ArmError,
    Figures,
    conduct,
    console,
    device,
    in_turn,
    machine,
    means,
    parser,
    run_arm,
    sources,
    times_better,
)
from mien.base.fetch import pull
from mien.train.recipe import DpoRecipe
from mien.workspace import read_json
from sft import BEST, DEFAULT, TRL, Setting, in_bfloat16

COLD, WARM = "mien, cache cold", "mien, cache warm"
PERSONA = "witty"
_SAME_LOGP = 1e-3  # nats a token
_SAME_LOSS = 0.01  # as a share
_FIRST_STEPS = 10
_TIME = "seconds_per_pair"
_COSTS = (_TIME, f"cpu_{_TIME}", "training_seconds", "reference_seconds")
_SHOWN = (*_COSTS, "peak_memory_mb", "process_seconds")


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    pairs: int = 120
    epochs: int = 1
    batch: int = 4
    cycles: int = 2
    probed: int = 24  # pairs whose log-probabilities are compared token by token
    trial_pairs: int = 16
    trial_cycles: int = 2
    trust: bool = False  # in the best setting that the last full run found


QUICK = Scale(pairs=16, cycles=1, probed=8, trial_pairs=4, trial_cycles=1, trust=True)


class Bench:
    """One run of the bench, in a scratch folder.

    Args:
        python: TRL's interpreter.
    """

    def __init__(self, scale: Scale, scratch: Path, python: Path) -> None:
        self.scale, self.scratch, self.python = scale, scratch, python
        # In float32 everywhere, so that log-probabilities can be compared.
        self.recipe = DpoRecipe(
            persona=PERSONA,
            start="fresh",
            anchor="base",
            nll=0,  # TRL's default
            epochs=scale.epochs,
            batch_size=scale.batch,
            dtype="float32",
        )
        self.count = 0
        self.store = ""
        self.shared: dict[str, Any] = {
            "recipe": self.recipe.model_dump(mode="json"),
            "pairs": str(scratch / "pairs.json"),
            "start": str(scratch / "start"),
            "probed": scale.probed,
        }

    def prepare(self) -> None:
        """Pairs and first adapter."""
        self.shared |= self.mien("prepare", rows=self.scale.pairs)

    def mien(self, do: str, **job: Any) -> Figures:
        """Our arm's script, asked to do one of its two things."""
        return run_arm(sys.executable, "dpo_mien.py", {**self.shared, "do": do, **job})

    def cold(self) -> Figures:
        """Our training, with everything still to be asked of the reference."""
        self.store = f"{self.out()}.db"
        return self.warm()

    def warm(self) -> Figures:
        """Our training, with what the last cold run asked."""
        return self.priced(self.mien("train", out=self.out(), store=self.store), self.scale.pairs)

    def trl(self, setting: Setting, limit: int | None = None) -> Figures:
        """TRL's training, on the first `limit` pairs."""
        told = {"flags": dict(setting.flags), "limit": limit, "out": self.out()}
        figures = run_arm(self.python, "dpo_trl.py", self.shared | told, setting.environment)
        return self.priced(figures, limit or self.scale.pairs)

    def priced(self, figures: Figures, pairs: int) -> Figures:
        """With what a pair costs: in all, and without asking the reference beforehand."""
        seen = pairs * self.scale.epochs
        loop, asking = figures["training_seconds"], figures["reference_seconds"]
        processor = figures["cpu_seconds"] + figures["reference_cpu_seconds"]
        return figures | {
            "seconds_per_pair": round((loop + asking) / seen, 4),
            "loop_seconds_per_pair": round(loop / seen, 4),
            "cpu_seconds_per_pair": round(processor / seen, 4),
            "loop_cpu_seconds_per_pair": round(figures["cpu_seconds"] / seen, 4),
        }

    def out(self) -> str:
        """A new folder's path."""
        self.count += 1
        return str(self.scratch / f"out-{self.count}")


def settings() -> dict[str, Setting]:
    """TRL at its best: without recomputing activations, its reference asked once, before the loop."""
    plain = Setting({"gradient_checkpointing": False, "precompute_ref_log_probs": True})
    return {"float32": plain} | in_bfloat16("autocast", plain)


def trials(bench: Bench) -> tuple[str, dict[str, Figures]]:
    """Try TRL's settings on a few pairs; the name of the fastest, and all figures."""
    arms = {f"trial: {name}": partial(attempted, bench, how) for name, how in settings().items()}
    runs = in_turn(arms, bench.scale.trial_cycles).values()
    tried = dict(zip(settings(), (min(series, key=cost) for series in runs), strict=True))
    return min(tried, key=lambda name: cost(tried[name])), tried


def attempted(bench: Bench, setting: Setting) -> Figures:
    """A trial's figures, or why there are none: a setting that fails is not TRL's best."""
    try:
        figures = bench.trl(setting, bench.scale.trial_pairs)
    except ArmError as error:
        return {"failed": str(error)}
    figures.pop("logps")
    return figures


def cost(figures: Figures) -> float:
    """Seconds a pair; endless where the trial failed."""
    return float(figures.get(_TIME, "inf"))


def found_before(bench: Bench) -> tuple[str, dict[str, Figures]] | None:
    """TRL's best setting by the full run that is kept, if that was on a machine like this one."""
    path = RESULTS / "dpo.json"
    if not (bench.scale.trust and path.exists()):
        return None
    known = read_json(path)
    name = known["best_setting"]["name"]
    return (name, known["trials"]) if known["device"] == device() and name in settings() else None


def measure(scale: Scale, python: Path) -> Figures:
    """The whole bench."""
    with tempfile.TemporaryDirectory(prefix="mien-dpo-") as scratch:
        bench = Bench(scale, Path(scratch), python)
        before = machine()
        bench.prepare()
        best, tried = found_before(bench) or trials(bench)
        setting = settings()[best]
        runs = in_turn(
            {
                COLD: bench.cold,
                WARM: bench.warm,
                DEFAULT: partial(bench.trl, Setting({})),
                BEST: partial(bench.trl, setting),
            },
            scale.cycles,
        )
        return result(bench, runs) | {
            "best_setting": {"name": best, "flags": setting.flags, "environment": setting.environment},
            "trials": tried,
            "machine": before,
        }


def result(bench: Bench, runs: dict[str, list[Figures]]) -> Figures:
    """The contract's keys, and the details."""
    equality = equal(runs)
    for run in (run for series in runs.values() for run in series):
        run.pop("logps")
    return {
        "name": "dpo",
        "device": device(),
        "ours": {name: means(runs[name], _SHOWN) for name in (COLD, WARM)},
        "peer": {name: means(runs[name], _SHOWN) for name in (DEFAULT, BEST)},
        "ratios": ratios(runs),
        "equal": equality["logps"] and equality["losses"],
        "n": bench.scale.cycles,
        "equality": equality,
        "pairs": bench.scale.pairs,
        "recipe": bench.recipe.model_dump(mode="json"),
        "base_sha256": bench.shared["base_sha256"],
        "runs": runs,
        "code": sources("dpo.py", "arms/measured.py", "arms/dpo_mien.py", "arms/dpo_trl.py"),
    }


def ratios(runs: Mapping[str, list[Figures]]) -> dict[str, float]:
    """How many times better we are; like is held against like."""

    def over(ours: str, peer: str, key: str) -> float:
        both = ([run[key] for run in runs[name]] for name in (ours, peer))
        return times_better(*both, more_is_better=False)

    compared = {
        f"cache warm, against {DEFAULT}": (WARM, DEFAULT, ""),
        f"cache cold, against {DEFAULT}": (COLD, DEFAULT, ""),
        f"both ask the reference, against {BEST}": (COLD, BEST, ""),
        f"neither asks the reference, against {BEST}": (WARM, BEST, "loop_"),
    }
    times = {f"time, {what}": over(a, b, f"{loop}{_TIME}") for what, (a, b, loop) in compared.items()}
    cpu = {
        f"CPU time, {what}": over(a, b, f"{loop}cpu_{_TIME}") for what, (a, b, loop) in compared.items()
    }
    memory = {
        f"memory, {ours.removeprefix('mien, ')}, against {peer}": over(ours, peer, "peak_memory_mb")
        for peer in (DEFAULT, BEST)
        for ours in (WARM, COLD)
    }
    return times | cpu | memory


def equal(runs: Mapping[str, list[Figures]]) -> Figures:
    """Whether both sides see the same in the same tokens, and take the same first steps."""
    ours, theirs = runs[COLD][0], runs[DEFAULT][0]
    logps = {side: apart(ours["logps"][side], theirs["logps"][side]) for side in ("policy", "reference")}
    losses, gradients = (
        largest_share(ours[key], theirs[key], _FIRST_STEPS) for key in ("losses", "gradients")
    )
    return {
        "logps": all(each["max"] <= _SAME_LOGP for each in logps.values()),
        "losses": losses <= _SAME_LOSS,
        "logp_difference": logps,
        "loss_difference": losses,
        "gradient_difference": gradients,
        "steps": min(_FIRST_STEPS, len(ours["losses"])),
    }


def apart(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> dict[str, float]:
    """Largest and mean difference over all tokens of all replies, which must be as many."""
    both = zip(ours, theirs, strict=True)
    found = [abs(mine - other) for row in both for mine, other in zip(*row, strict=True)]
    return {"max": max(found), "mean": sum(found) / len(found), "tokens": len(found)}


def largest_share(ours: Sequence[float], theirs: Sequence[float], most: int) -> float:
    """The largest difference in the first steps, as a share of the peer's value."""
    pairs = list(zip(ours, theirs, strict=True))[:most]
    return max(abs(mine - other) / abs(other) for mine, other in pairs)


def show(found: Figures) -> None:
    """The result as tables."""
    table = Table(title=f"DPO on {found['device']}, {found['pairs']} pairs, {found['n']} cycle(s)")
    for column in ("", "s/pair", "CPU s/pair", "loop s", "reference s", "peak MB", "process s"):
        table.add_column(column, justify="left" if not column else "right")
    for name, figures in {**found["ours"], **found["peer"]}.items():
        table.add_row(name, *(f"{value:.4g}" for value in figures.values()))
    console.print(table)
    for name, figures in found["trials"].items():
        console.print(f"trial: {name}: {figures.get(_TIME, figures.get('failed'))}")
    console.print(f"best of TRL: {found['best_setting']['name']}")
    console.print(f"times better: {found['ratios']}; equal: {found['equality']}")


def options() -> argparse.Namespace:
    """What the command line says."""
    known = parser("DPO against TRL's DPOTrainer.")
    for name in ("pairs", "epochs", "batch", "cycles"):
        known.add_argument(f"--{name}", type=int)
    return known.parse_args()


def scale_of(given: argparse.Namespace) -> Scale:
    """The scale that the options ask for."""
    names = ("pairs", "epochs", "batch", "cycles")
    named = {name: value for name in names if (value := getattr(given, name))}
    return replace(QUICK if given.quick else Scale(), **named)


def main() -> None:
    """Run, show, keep."""
    given = options()
    pull(report=console.print)
    conduct("dpo", TRL, given, partial(measure, scale_of(given)), show)


if __name__ == "__main__":
    main()
