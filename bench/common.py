"""What the benches share: the machine, peers in environments of their own, arms in processes of their
own, repetition in turn, and results on disk.

An arm is a script in `bench/arms/`. It reads its job as JSON from standard input and prints its figures
as JSON on the last line of standard output.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from mien.base.machine import probe
from mien.workspace import home, read_json, write_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Sizes = TypeVar("Sizes", bound="DataclassInstance")
BENCH = Path(__file__).resolve().parent
RESULTS = BENCH / "results"
console = Console(stderr=True)
Figures = dict[str, Any]
_READY = "mien-peer.json"
_INSTALLERS = {"pip", "setuptools", "wheel"}  # each environment has its own, and it does not matter


class PeerError(Exception):
    """A peer's environment cannot be had here."""


class ArmError(Exception):
    """An arm's process failed."""


@dataclass(frozen=True)
class Peer:
    """A package to measure against, in a virtual environment under the cache home.

    Args:
        name: Of the environment, as in `trl-1.16`.
        requirements: What pip is asked for.
        free: Packages that need not have the running environment's version.
    """

    name: str
    requirements: tuple[str, ...]
    free: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the environment lies."""
        return (home() / "peers" / self.name).absolute()

    @property
    def executable(self) -> Path:
        """Its Python; never resolved, since the link's place is what makes it this environment."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def python(self) -> Path:
        """Its Python, after making the environment where it is missing or out of step with ours.

        Raises:
            PeerError: pip could not install it.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder.parent / f".{self.name}.lock"):
            if not self._ready():
                console.print(f"making {self.folder}, once: {', '.join(self.requirements)}")
                self._make()
        return self.executable

    def versions(self) -> dict[str, str]:
        """What is installed in it."""
        places = (*self.folder.glob("lib/python*/site-packages"), self.folder / "Lib/site-packages")
        return installed(map(str, places))

    def pins(self) -> dict[str, str]:
        """Our versions, which the peer is to share so that only the peer differs."""
        return {name: version for name, version in installed().items() if name not in self.free}

    def _ready(self) -> bool:
        marker = self.folder / _READY
        if not (marker.exists() and self.executable.exists()):
            return False
        theirs, ours = self.versions(), self.pins()
        same = all(theirs[name] == ours[name] for name in theirs.keys() & ours.keys() - _INSTALLERS)
        return same and read_json(marker)["requirements"] == list(self.requirements)

    def _make(self) -> None:
        _must([sys.executable, "-m", "venv", "--clear", str(self.folder)])
        constraints = self.folder / "constraints.txt"
        lines = [f"{name}=={version}\n" for name, version in self.pins().items()]
        constraints.write_text("".join(lines), encoding="utf-8")
        pip = [str(self.executable), "-m", "pip", "install", "--quiet", "-c", str(constraints)]
        _must([*pip, *self.requirements])
        write_json(self.folder / _READY, {"requirements": list(self.requirements)})


def installed(path: Iterable[str] | None = None) -> dict[str, str]:
    """Versions of the distributions on `path` (by default the running environment), mien aside.

    Local labels such as `+cpu` are cut, so that pip may take the build that its index has.
    """
    found = metadata.distributions() if path is None else metadata.distributions(path=list(path))
    pairs = {_canonical(each.metadata["Name"]): each.version.partition("+")[0] for each in found}
    return {name: pairs[name] for name in sorted(pairs) if name != "mien"}


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _must(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing was said"]
        errors = [line for line in said if "ERROR" in line]
        raise PeerError((errors or said)[-1].strip())


def threads() -> int:
    """Cores this process may use; every arm gets as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_arm(
    python: Path | str, script: str, job: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Figures:
    """Run `bench/arms/SCRIPT` in a process of its own.

    Args:
        python: The interpreter; its environment decides what can be imported.
        job: What the arm is told.
        environment: Further variables.

    Returns:
        The arm's figures, and `process_seconds`, from its start to its end.

    Raises:
        ArmError: It crashed, or printed no figures.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as scratch:
        done = subprocess.run(
            [str(python), str(BENCH / "arms" / script)],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            env=_environment(scratch) | dict(environment or {}),
            check=False,
        )
    if done.returncode:
        raise ArmError(f"{script}: {_ending(done.returncode)}: {_last_line(done.stderr)}")
    try:
        figures: Figures = json.loads(_last_line(done.stdout))
    except ValueError:
        raise ArmError(f"{script}: no figures on its last line: {_last_line(done.stdout)!r}") from None
    return figures | {"process_seconds": round(time.monotonic() - start, 1)}


def _environment(scratch: str) -> dict[str, str]:
    count = str(threads())
    return os.environ | {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": scratch,
    }


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def in_turn(arms: Mapping[str, Callable[[], Figures]], cycles: int) -> dict[str, list[Figures]]:
    """Run every arm once, then every arm once more: a machine that gets slower does so for all."""
    runs: dict[str, list[Figures]] = {name: [] for name in arms}
    with progress() as bar:
        task = bar.add_task("", total=cycles * len(arms))
        for cycle in range(cycles):
            for name, run in arms.items():
                bar.update(task, description=f"{name} ({cycle + 1} of {cycles})")
                runs[name].append(run())
                bar.advance(task)
    return runs


def progress() -> Progress:
    """A bar that counts runs and estimates the rest."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), Remaining(), console=console)


def mean(values: Iterable[float]) -> float:
    """Geometric mean, under which a ratio and its inverse agree."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def times_better(ours: Sequence[float], peer: Sequence[float], *, more_is_better: bool) -> float:
    """How many times better we are: the geometric mean over runs of the same cycle."""
    pairs = zip(ours, peer, strict=True)
    return round(mean(our / their if more_is_better else their / our for our, their in pairs), 3)


def means(series: Sequence[Figures], keys: Iterable[str]) -> Figures:
    """Means over the runs of one arm."""
    return {key: round(sum(run[key] for run in series) / len(series), 4) for key in keys}


def device() -> str:
    """The machine in one line."""
    machine = probe()
    return machine.cuda or f"{machine.cpu}, {threads()} threads, {_memory_gb()} GB"


def machine() -> Figures:
    """The machine as results keep it, with how busy it was."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    facts = {"memory_gb": _memory_gb(), "threads": threads(), "load_before": load}
    return asdict(probe()) | facts | {"system": platform.platform(), "python": platform.python_version()}


def _memory_gb() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def sources(*scripts: str) -> str:
    """Hash of the bench's own code, so that a result says what made it."""
    paths = [BENCH / script for script in ("common.py", "arms/report.py", *scripts)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def parser(about: str, *sizes: str) -> argparse.ArgumentParser:
    """The options every bench has, and those of its own sizes."""
    options = argparse.ArgumentParser(description=about)
    options.add_argument("--quick", action="store_true", help="a small run, within five minutes")
    options.add_argument("--json", type=Path, metavar="OUT", help="where the result is written")
    for name in sizes:
        options.add_argument(f"--{name}", type=int)
    return options


def sized(given: argparse.Namespace, full: Sizes, quick: Sizes) -> Sizes:
    """The sizes of a full or a quick run, but for those that the command line names."""
    named = {each.name: getattr(given, each.name, None) for each in fields(full)}
    return replace(quick if given.quick else full, **{k: v for k, v in named.items() if v})


def keep(result: Figures, *, json_path: Path | None, quick: bool) -> Path | None:
    """Write a result where it was asked for; a full run's is kept in `bench/results/`."""
    path = json_path or (None if quick else RESULTS / f"{result['name']}.json")
    if path is not None:
        write_json(path, result)
    return path


def conduct(
    name: str,
    peer: Peer,
    given: argparse.Namespace,
    measure: Callable[[Path], Figures],
    show: Callable[[Figures], None],
) -> None:
    """Have the peer, measure, show, keep; where the peer cannot be had, say so and end.

    Args:
        name: Of the bench.
        given: What the command line says.
        measure: The whole bench, given the peer's Python.
        show: Prints a result.
    """
    pythons, absent = at_hand({peer.name: peer.python})
    if absent:
        console.print("so nothing is compared")
        result = {"name": name, "device": device(), "peer": None, "absent": absent[peer.name]}
        keep(result, json_path=given.json, quick=True)
        return
    see_through(given, partial(measure, pythons[peer.name]), show)


def at_hand(peers: Mapping[str, Callable[[], Path]]) -> tuple[dict[str, Path], dict[str, str]]:
    """The Pythons of the peers that can be had, and why the others cannot, which is also said.

    Args:
        peers: What gives the Python of each, or raises `PeerError`.
    """
    pythons, absent = dict[str, Path](), dict[str, str]()
    for name, python in peers.items():
        try:
            pythons[name] = python()
        except PeerError as error:
            absent[name] = str(error)
            console.print(f"{name} is absent and could not be installed: {error}")
    return pythons, absent


def see_through(
    given: argparse.Namespace, measure: Callable[[], Figures], show: Callable[[Figures], None]
) -> None:
    """Measure, show, keep."""
    console.print(f"each arm in turn, {threads()} threads, peers in {home() / 'peers'}")
    try:
        found = measure()
    except ArmError as error:
        raise SystemExit(f"stopped: {error}") from error
    path = keep(found, json_path=given.json, quick=given.quick)
    show(found)
    console.print(f"kept in {path}" if path else "not kept: give --json OUT")
