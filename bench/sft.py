"""SFT against TRL's SFTTrainer: same rows, tokens, loss mask, first adapter, schedule, seed and threads.

    python bench/sft.py [--quick] [--json OUT] [--steps N] [--epochs N] [--batch N] [--cycles N]

`bench/README.md` says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from common import (
    RESULTS,
    ArmError,
    Figures,
    Peer,
    PeerError,
    console,
    device,
    in_turn,
    keep,
    machine,
    parser,
    run_arm,
    sources,
    threads,
    times_better,
)
from mien.base.fetch import pull
from mien.base.machine import probe
from mien.train.recipe import SftRecipe
from mien.workspace import read_json

TRL = Peer("trl-1.16", ("torch==2.13.0", "trl==1.16.0", "peft", "transformers", "datasets"))
OURS, DEFAULT, BEST = "mien", "TRL as it comes", "TRL at its best"
PERSONA = "witty"
_SAME_START = 1e-3  # nats a token: rounding, but no other token, mask, or matrix
# Nats a token. With the same batches only rounding differs; packs and groups are other batches.
_SAME_END = {OURS: 0.02, DEFAULT: 0.02, BEST: 0.05}
# What oneDNN may use where a guest is refused the AMX instructions that its CPU advertises.
_NO_AMX = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}


@dataclass(frozen=True)
class Scale:
    """How much is run; None is all there is."""

    rows: int | None = None
    held_out: int | None = None
    epochs: int = 2
    batch: int = 8
    cycles: int = 2
    trial_rows: int = 32
    trial_cycles: int = 2
    trust: bool = False  # in the best setting that the last full run found


QUICK = Scale(rows=32, held_out=8, cycles=1, trial_rows=8, trial_cycles=1, trust=True)


@dataclass(frozen=True)
class Setting:
    """One way to run TRL."""

    flags: Mapping[str, Any]
    environment: Mapping[str, str] | None = None


class Bench:
    """One run of the bench, in a scratch folder.

    Args:
        python: TRL's interpreter.
    """

    def __init__(self, scale: Scale, scratch: Path, python: Path) -> None:
        self.scale, self.scratch, self.python = scale, scratch, python
        self.recipe = SftRecipe(persona=PERSONA, epochs=scale.epochs, batch_size=scale.batch)
        self.count = 0
        self.rows: dict[str, list[list[list[int]]]] = {}
        self.shared: dict[str, Any] = {
            "recipe": self.recipe.model_dump(mode="json"),
            "rows": str(scratch / "rows.json"),
            "start": str(scratch / "start"),
        }

    def prepare(self) -> None:
        """Rows and first adapter."""
        most = {"most_rows": self.scale.rows, "most_held_out": self.scale.held_out}
        self.shared |= self.mien("prepare", **most)
        self.rows = json.loads(Path(self.shared["rows"]).read_text(encoding="utf-8"))

    def mien(self, do: str, **job: Any) -> Figures:
        """Our arm's script, asked to do one of its three things."""
        return run_arm(sys.executable, "sft_mien.py", {**self.shared, "do": do, **job})

    def ours(self) -> Figures:
        """Our training."""
        out = self.out()
        return self.mien("train", out=out, limit=None) | {"adapter": f"{out}/adapter"}

    def trl(self, setting: Setting, limit: int | None = None, epochs: int | None = None) -> Figures:
        """TRL's training, on the first `limit` rows."""
        out = self.out()
        recipe = self.shared["recipe"] | {"epochs": epochs or self.scale.epochs}
        told = {"recipe": recipe, "flags": dict(setting.flags), "limit": limit, "out": out}
        figures = run_arm(self.python, "sft_trl.py", self.shared | told, setting.environment)
        return figures | {"adapter": f"{out}/adapter"}

    def judge(self, runs: Mapping[str, list[Figures]]) -> float:
        """Put the held-out loss into every run; returns that of the first adapter."""
        every = [run for series in runs.values() for run in series]
        adapters = [self.shared["start"], *(run["adapter"] for run in every)]
        losses = self.mien("judge", base=self.recipe.base, adapters=adapters)["losses"]
        for run in every:
            run["held_out_loss"] = losses[run.pop("adapter")]
        return float(losses[self.shared["start"]])

    def out(self) -> str:
        """A new folder's path."""
        self.count += 1
        return str(self.scratch / f"out-{self.count}")

    def packed_length(self) -> int:
        """Tokens of a pack that holds about as much as a batch of ours, and cuts no row."""
        lengths = [len(prompt) + len(completion) for prompt, completion in self.rows["train"]]
        steps = math.ceil(len(lengths) / self.scale.batch)
        return max(*lengths, math.ceil(sum(lengths) / steps))


def layouts(bench: Bench) -> dict[str, Setting]:
    """The ways TRL can lay out a batch, all without recomputing activations."""
    fast = {"gradient_checkpointing": False}
    packs = {"packing": True, "packing_strategy": "bfd", "max_length": bench.packed_length()}
    single = {"per_device_train_batch_size": 1, "per_device_eval_batch_size": 1}
    return {
        "packed": Setting({**fast, **packs, **single}),
        "padding-free": Setting({**fast, "padding_free": True, "max_length": None}),
        "grouped by length": Setting({**fast, "train_sampling_strategy": "group_by_length"}),
    }


def in_bfloat16(name: str, setting: Setting) -> dict[str, Setting]:
    """The same under bfloat16 autocast, in a way that can work on this machine."""
    cast = replace(setting, flags={**setting.flags, "bf16": True})
    if probe().bfloat16 is None and probe().cuda is None:
        return {f"{name}, bfloat16 without AMX": replace(cast, environment=_NO_AMX)}
    return {f"{name}, bfloat16": cast}


def trials(bench: Bench) -> tuple[str, Setting, dict[str, Figures]]:
    """Try TRL's settings on a few rows; the fastest counts as its best."""
    settings = layouts(bench)
    tried = try_each(bench, settings)
    fastest = quickest(tried)
    settings |= in_bfloat16(fastest, settings[fastest])
    tried |= try_each(bench, {name: settings[name] for name in settings if name not in tried})
    best = quickest(tried)
    return best, settings[best], tried


def found_before(bench: Bench) -> tuple[str, Setting, dict[str, Figures]] | None:
    """TRL's best setting by the full run that is kept, if that was on a machine like this one."""
    path = RESULTS / "sft.json"
    if not (bench.scale.trust and path.exists()):
        return None
    known = read_json(path)
    plain = layouts(bench)
    settings = plain | {k: v for name in plain for k, v in in_bfloat16(name, plain[name]).items()}
    name = known["best_setting"]["name"]
    if known["device"] != device() or name not in settings:
        return None
    return name, settings[name], known["trials"]


def try_each(bench: Bench, settings: Mapping[str, Setting]) -> dict[str, Figures]:
    """One epoch over the trial's rows under each setting; of its cycles, the fastest."""
    arms = {f"trial: {name}": partial(attempted, bench, setting) for name, setting in settings.items()}
    runs = in_turn(arms, bench.scale.trial_cycles).values()
    return dict(zip(settings, (max(series, key=speed) for series in runs), strict=True))


def quickest(tried: Mapping[str, Figures]) -> str:
    """The name of the fastest trial."""
    return max(tried, key=lambda name: speed(tried[name]))


def speed(figures: Figures) -> float:
    """Tokens a second; none where the trial failed."""
    return float(figures.get("tokens_per_second", 0.0))


def attempted(bench: Bench, setting: Setting) -> Figures:
    """A trial's figures, or why there are none: a setting that fails is not TRL's best."""
    try:
        figures = bench.trl(setting, bench.scale.trial_rows, 1)
    except ArmError as error:
        return {"failed": str(error)}
    figures.pop("adapter")
    return figures


def measure(scale: Scale, python: Path) -> Figures:
    """The whole bench."""
    with tempfile.TemporaryDirectory(prefix="mien-sft-") as scratch:
        bench = Bench(scale, Path(scratch), python)
        before = machine()
        bench.prepare()
        best, setting, tried = found_before(bench) or trials(bench)
        theirs = {DEFAULT: Setting({}), BEST: setting}
        arms = {OURS: bench.ours} | {name: partial(bench.trl, how) for name, how in theirs.items()}
        runs = in_turn(arms, scale.cycles)
        start_loss = bench.judge(runs)
        return result(bench, runs, start_loss) | {
            "best_setting": {"name": best, "flags": setting.flags, "environment": setting.environment},
            "trials": tried,
            "machine": before,
        }


def result(bench: Bench, runs: dict[str, list[Figures]], start_loss: float) -> Figures:
    """The contract's keys, and the details."""
    peers = {name: summary(runs[name]) for name in (DEFAULT, BEST)}
    equality = equal(runs, start_loss)
    return {
        "name": "sft",
        "device": device(),
        "ours": summary(runs[OURS]),
        "peer": peers,
        "ratios": {key: value for name in peers for key, value in ratios(runs, name).items()},
        "equal": all(equality[name] for name in ("tokens", "start", "end")),
        "n": bench.scale.cycles,
        "equality": equality,
        "rows": len(bench.rows["train"]),
        "held_out_rows": len(bench.rows["held_out"]),
        "recipe": bench.recipe.model_dump(mode="json"),
        "base_sha256": bench.shared["base_sha256"],
        "start_loss": start_loss,
        "runs": runs,
        "code": sources("sft.py", "arms/measured.py", "arms/sft_mien.py", "arms/sft_trl.py"),
    }


def summary(series: list[Figures]) -> Figures:
    """Means over the cycles."""
    keys = (
        "tokens_per_second",
        "tokens_per_cpu_second",
        "held_out_loss",
        "peak_memory_mb",
        "training_seconds",
        "process_seconds",
    )
    return {key: round(sum(run[key] for run in series) / len(series), 4) for key in keys}


def ratios(runs: Mapping[str, list[Figures]], peer: str) -> dict[str, float]:
    """How many times better we are than one peer."""

    def over(key: str, *, more_is_better: bool) -> float:
        ours, theirs = ([run[key] for run in runs[name]] for name in (OURS, peer))
        return times_better(ours, theirs, more_is_better=more_is_better)

    return {
        f"speed, against {peer}": over("tokens_per_second", more_is_better=True),
        f"memory, against {peer}": over("peak_memory_mb", more_is_better=False),
    }


def equal(runs: Mapping[str, list[Figures]], start_loss: float) -> Figures:
    """Whether all arms had the same to do, and ended equally well."""
    every = [run for series in runs.values() for run in series]
    starts = [abs(run["start_loss"] - start_loss) for run in every]
    goal = runs[OURS][0]["held_out_loss"]
    ends = {name: max(abs(run["held_out_loss"] - goal) for run in runs[name]) for name in runs}
    return {
        "tokens": len({run["tokens"] for run in every}) == 1,
        "start": max(starts) <= _SAME_START,
        "end": all(ends[name] <= _SAME_END[name] for name in runs),
        "largest_start_difference": round(max(starts), 6),
        "end_difference": {name: round(ends[name], 6) for name in runs},
    }


def show(found: Figures) -> None:
    """The result as tables."""
    table = Table(title=f"SFT on {found['device']}, {found['rows']} rows, {found['n']} cycle(s)")
    for column in ("", "tokens/s", "per CPU s", "loss", "peak MB", "train s", "process s"):
        table.add_column(column, justify="left" if not column else "right")
    for name, means in {OURS: found["ours"], **found["peer"]}.items():
        table.add_row(name, *(f"{value:.4g}" for value in means.values()))
    console.print(table)
    for name, figures in found["trials"].items():
        console.print(f"trial: {name}: {figures.get('tokens_per_second', figures.get('failed'))}")
    console.print(f"best of TRL: {found['best_setting']['name']}")
    console.print(f"times better: {found['ratios']}; equal: {found['equality']}")


def options() -> argparse.Namespace:
    """What the command line says."""
    known = parser("SFT against TRL's SFTTrainer.")
    known.add_argument("--steps", type=int, help="optimiser steps in all; fewer take fewer rows")
    for name in ("epochs", "batch", "cycles"):
        known.add_argument(f"--{name}", type=int)
    return known.parse_args()


def scale_of(given: argparse.Namespace) -> Scale:
    """The scale that the options ask for."""
    named = {name: value for name in ("epochs", "batch", "cycles") if (value := getattr(given, name))}
    scale = replace(QUICK if given.quick else Scale(), **named)
    if given.steps is None:
        return scale
    rows = max(1, given.steps // scale.epochs) * scale.batch
    return replace(scale, rows=rows, trial_rows=min(rows, scale.trial_rows))


def main() -> None:
    """Run, show, keep."""
    given = options()
    pull(report=console.print)
    try:
        python = TRL.python()
    except PeerError as error:
        console.print(f"TRL 1.16 is absent and could not be installed, so nothing is compared: {error}")
        absent = {"name": "sft", "device": device(), "peer": None, "absent": str(error)}
        keep(absent, json_path=given.json, quick=True)
        return
    console.print(f"each arm in turn, {threads()} threads, TRL in {TRL.folder}")
    try:
        found = measure(scale_of(given), python)
    except ArmError as error:
        raise SystemExit(f"stopped: {error}") from error
    path = keep(found, json_path=given.json, quick=given.quick)
    show(found)
    console.print(f"kept in {path}" if path else "not kept: give --json OUT")


if __name__ == "__main__":
    main()
