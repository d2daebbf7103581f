"""Eight personas from one base: our engine beside PEFT, transformers, llama.cpp and vLLM; and what our
gateway costs, a switch of persona, and a load while others speak.

    python bench/serve.py [--quick] [--json OUT] [--tokens N] [--requests N] [--cycles N]

`bench/README.md` says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from common import (
    ArmError,
    Figures,
    Peer,
    at_hand,
    console,
    device,
    in_turn,
    machine,
    parser,
    run_arm,
    see_through,
    sized,
    sources,
)
from mien.base.fetch import pull
from mien.base.machine import probe
from serve_figures import (
    GATEWAY,
    LLAMA_F32,
    LLAMA_Q8,
    MERGED,
    MIXED,
    OURS,
    VLLM_BF16,
    VLLM_F32,
    show,
    summary,
)
from vllm_cpu import VLLM
from vllm_cpu import python as vllm_python

PEFT = Peer("peft-0.21", ("torch==2.13.0", "peft==0.21.2", "transformers"))
LLAMA = Peer("llama-cpp-0.3", ("llama-cpp-python==0.3.36",))
PEERS = {PEFT.name: PEFT.python, LLAMA.name: LLAMA.python, VLLM.name: vllm_python}
ROWS = 8
_CODE = ("serve.py", "serve_figures.py", "vllm_cpu.py", "arms/decoding.py", "arms/measured.py")


@dataclass(frozen=True)
class Arm:
    """A way to answer.

    Args:
        script: In `arms/`.
        job: What it is told beside what all are told.
        peer: Whose environment it needs; none: ours.
    """

    script: str
    job: Mapping[str, str] = field(default_factory=dict)
    peer: str | None = None


ARMS = {
    OURS: Arm("serve_mien.py", {"do": "answer"}),
    MIXED: Arm("serve_peft.py", {"do": "mixed"}, PEFT.name),
    MERGED: Arm("serve_peft.py", {"do": "merged"}, PEFT.name),
    LLAMA_F32: Arm("serve_llama.py", {"kind": "f32"}, LLAMA.name),
    LLAMA_Q8: Arm("serve_llama.py", {"kind": "q8_0"}, LLAMA.name),
    VLLM_F32: Arm("serve_vllm.py", {"dtype": "float32"}, VLLM.name),
    VLLM_BF16: Arm("serve_vllm.py", {"dtype": "bfloat16"}, VLLM.name),
    GATEWAY: Arm("serve_gateway.py"),
}


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        tokens: Of a reply, where decoding is measured.
        requests: Of one token each, for the gateway and for switches.
        long: Tokens of the gateway's longer replies.
        long_requests: How many of those.
    """

    tokens: int = 96
    requests: int = 100
    long: int = 64
    long_requests: int = 12
    cycles: int = 3


QUICK = Scale(tokens=24, requests=24, long_requests=3, cycles=1)


class Bench:
    """One run of the bench, in a scratch folder.

    Args:
        pythons: Interpreters of the peers, by name.
        absent: Why others cannot be had; arms that fail come to it.
    """

    def __init__(
        self, scale: Scale, scratch: Path, pythons: Mapping[str, Path], absent: dict[str, str]
    ) -> None:
        self.scale, self.pythons, self.absent = scale, pythons, absent
        # Where bfloat16 crashes, the processor advertises instructions that the machine does not allow.
        usable = probe().bfloat16 is not None
        self.shared: dict[str, Any] = {**asdict(scale), "out": str(scratch), "matrix_units": usable}

    def prepare(self) -> None:
        """Adapters and prompts."""
        self.shared |= self.ours("serve_mien.py", do="prepare", rows=ROWS)
        if LLAMA.name in self.pythons:
            kinds = [arm.job["kind"] for arm in ARMS.values() if arm.peer == LLAMA.name]
            self.shared |= self.ours("serve_gguf.py", kinds=kinds)

    def ours(self, script: str, **job: Any) -> Figures:
        """One of our own scripts."""
        return run_arm(sys.executable, script, {**self.shared, **job})

    def arms(self) -> dict[str, Callable[[], Figures]]:
        """Each arm whose environment is there, ready to be run."""
        found = {None: Path(sys.executable), **self.pythons}
        return {
            name: partial(self.run, name, arm, found[arm.peer])
            for name, arm in ARMS.items()
            if arm.peer in found
        }

    def run(self, name: str, arm: Arm, python: Path) -> Figures:
        """An arm; one of a peer's that fails is absent from then on."""
        if name in self.absent:
            return {}
        try:
            return run_arm(python, arm.script, {**self.shared, **arm.job})
        except ArmError as error:
            if arm.peer is None:
                raise
            console.print(f"{name} is absent: {error}")
            self.absent[name] = str(error)
            return {}


def measure(scale: Scale, pythons: Mapping[str, Path], absent: dict[str, str]) -> Figures:
    """The whole bench."""
    with tempfile.TemporaryDirectory(prefix="mien-serve-") as scratch:
        bench = Bench(scale, Path(scratch), pythons, absent)
        before = machine()
        bench.prepare()
        runs = in_turn(bench.arms(), scale.cycles)
        return result(bench, {name: runs[name] for name in runs if name not in absent}, before)


def result(bench: Bench, runs: Mapping[str, list[Figures]], before: Figures) -> Figures:
    """The contract's keys, and the details."""
    scripts = sorted({f"arms/{arm.script}" for arm in ARMS.values()})
    about = {
        "name": "serve",
        "device": device(),
        "n": bench.scale.cycles,
        "absent": bench.absent,
        "scale": asdict(bench.scale),
        "rows": ROWS,
        "base_sha256": bench.shared["base_sha256"],
        "machine": before,
        "code": sources(*_CODE, *scripts, "arms/serve_client.py", "arms/serve_gguf.py"),
    }
    return about | summary(runs)


def options() -> argparse.Namespace:
    """What the command line says."""
    about = "Eight personas from one base, side by side."
    return parser(about, "tokens", "requests", "cycles").parse_args()


def scale_of(given: argparse.Namespace) -> Scale:
    """The scale that the options ask for."""
    return sized(given, Scale(), QUICK)


def main() -> None:
    """Run, show, keep."""
    given = options()
    pull(report=console.print)
    pythons, absent = at_hand(PEERS)
    see_through(given, partial(measure, scale_of(given), pythons, absent), show)


if __name__ == "__main__":
    main()
