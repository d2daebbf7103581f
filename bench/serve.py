"""Eight personas from one base, against PEFT's `adapter_names` and against one persona merged.

    python bench/serve.py [--quick] [--json OUT] [--tokens N] [--cycles N]

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
    Figures,
    Peer,
    conduct,
    console,
    device,
    in_turn,
    machine,
    parser,
    run_arm,
    sources,
    times_better,
)
from mien.base.fetch import pull

PEFT = Peer("peft-0.21", ("torch==2.13.0", "peft==0.21.2", "transformers"))
OURS, MIXED, MERGED = "mien", "PEFT adapter_names", "transformers, merged"
EIGHT, ONE, ALONE = "eight", "one", "alone"
MEANINGS = {EIGHT: "8 rows, 8 personas", ONE: "8 rows, 1 persona", ALONE: "1 row"}
RATE, CPU_RATE = "tokens_per_second", "tokens_per_cpu_second"
ROWS = 8
# What is held against what: the setting and the arm of either side.
COMPARED = {
    "eight personas, against one by the same engine": ((OURS, EIGHT), (OURS, ONE)),
    "eight personas, against PEFT": ((OURS, EIGHT), (MIXED, EIGHT)),
    "one persona, 8 rows, against transformers": ((OURS, ONE), (MERGED, ONE)),
    "one persona alone, against transformers": ((OURS, ALONE), (MERGED, ALONE)),
}


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    tokens: int = 96
    cycles: int = 3


QUICK = Scale(tokens=24, cycles=1)


class Bench:
    """One run of the bench, in a scratch folder.

    Args:
        python: PEFT's interpreter.
    """

    def __init__(self, scale: Scale, scratch: Path, python: Path) -> None:
        self.scale, self.python = scale, python
        self.shared: dict[str, Any] = {"tokens": scale.tokens, "out": str(scratch)}

    def prepare(self) -> None:
        """Adapters and prompts."""
        self.shared |= run_arm(
            sys.executable, "serve_mien.py", {**self.shared, "do": "prepare", "rows": ROWS}
        )

    def arms(self) -> dict[str, Any]:
        """Each arm, ready to be run."""
        return {
            OURS: partial(run_arm, sys.executable, "serve_mien.py", {**self.shared, "do": "answer"}),
            MIXED: partial(run_arm, self.python, "serve_peft.py", {**self.shared, "do": "mixed"}),
            MERGED: partial(run_arm, self.python, "serve_peft.py", {**self.shared, "do": "merged"}),
        }


def measure(scale: Scale, python: Path) -> Figures:
    """The whole bench."""
    with tempfile.TemporaryDirectory(prefix="mien-serve-") as scratch:
        bench = Bench(scale, Path(scratch), python)
        before = machine()
        bench.prepare()
        runs = in_turn(bench.arms(), scale.cycles)
        return result(bench.shared, runs, scale) | {"machine": before}


def result(shared: Mapping[str, Any], runs: Mapping[str, list[Figures]], scale: Scale) -> Figures:
    """The contract's keys, and the details."""
    same = equality(runs)
    return {
        "name": "serve",
        "device": device(),
        "ours": rates(runs[OURS]),
        "peer": {name: rates(runs[name]) for name in (MIXED, MERGED)},
        "ratios": ratios(runs),
        "equal": all(each["replies_equal"] == each["replies"] for each in same.values()),
        "n": scale.cycles,
        "equality": same,
        "tokens": scale.tokens,
        "rows": ROWS,
        "base_sha256": shared["base_sha256"],
        "runs": {name: [without_replies(run) for run in series] for name, series in runs.items()},
        "code": sources("serve.py", "arms/measured.py", "arms/serve_mien.py", "arms/serve_peft.py"),
    }


def rates(series: Sequence[Figures]) -> Figures:
    """Mean tokens a second of each setting that an arm was run in."""
    settings = [key for key in MEANINGS if key in series[0]]
    return {key: round(sum(run[key][RATE] for run in series) / len(series), 2) for key in settings}


def ratios(runs: Mapping[str, list[Figures]]) -> dict[str, float]:
    """How many times better, by the clock and by processor time."""
    found = {}
    for name, ((arm, setting), (other, its)) in COMPARED.items():
        for title, key in ((name, RATE), (f"{name} (CPU time)", CPU_RATE)):
            both = [run[setting][key] for run in runs[arm]], [run[its][key] for run in runs[other]]
            found[title] = times_better(*both, more_is_better=True)
    return found


def equality(runs: Mapping[str, list[Figures]]) -> dict[str, Figures]:
    """Where both sides were asked the same: how many greedy replies agree, and where others part."""
    found = {}
    for name, ((arm, setting), (other, its)) in COMPARED.items():
        if setting == its:
            ours, theirs = runs[arm][0][setting]["replies"], runs[other][0][its]["replies"]
            apart = [first_difference(a, b) for a, b in zip(ours, theirs, strict=True)]
            differing = [at for at in apart if at is not None]
            found[name] = {
                "replies": len(apart),
                "replies_equal": len(apart) - len(differing),
                "first_differences": differing,
            }
    return found


def first_difference(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """The first place where two replies differ."""
    pairs = enumerate(zip(ours, theirs, strict=True))
    return next((i for i, (a, b) in pairs if a != b), None)


def without_replies(run: Figures) -> Figures:
    """A run as it is kept."""
    return {
        key: {k: v for k, v in value.items() if k != "replies"} if key in MEANINGS else value
        for key, value in run.items()
    }


def show(found: Figures) -> None:
    """The result as a table."""
    title = f"Decoding on {found['device']}, tokens/s, {found['tokens']} tokens, {found['n']} cycle(s)"
    table = Table(title=title)
    table.add_column("")
    for meaning in MEANINGS.values():
        table.add_column(meaning, justify="right")
    for name, figures in {OURS: found["ours"], **found["peer"]}.items():
        table.add_row(name, *(f"{figures[key]:.4g}" if key in figures else "" for key in MEANINGS))
    console.print(table)
    for name, ratio in found["ratios"].items():
        console.print(f"{ratio:6.2f}  {name}")
    console.print(f"equal: {found['equality']}")


def options() -> argparse.Namespace:
    """What the command line says."""
    known = parser("Eight personas from one base against PEFT's adapter_names.")
    for name in ("tokens", "cycles"):
        known.add_argument(f"--{name}", type=int)
    return known.parse_args()


def scale_of(given: argparse.Namespace) -> Scale:
    """The scale that the options ask for."""
    named = {name: value for name in ("tokens", "cycles") if (value := getattr(given, name))}
    return replace(QUICK if given.quick else Scale(), **named)


def main() -> None:
    """Run, show, keep."""
    given = options()
    pull(report=console.print)
    conduct("serve", PEFT, given, partial(measure, scale_of(given)), show)


if __name__ == "__main__":
    main()
