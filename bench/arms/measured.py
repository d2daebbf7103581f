"""What every arm measures of itself, the same way in every environment, mien or not."""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

_SHOWN = ("torch", "transformers", "accelerate", "peft", "trl", "datasets", "mien")


class Clock(TrainerCallback):
    """Time and memory of the training loop: from before its first step to after its last."""

    def __init__(self) -> None:
        self.wall = self.cpu = self.peak = 0.0
        self.steps = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.wall, self.cpu = -time.perf_counter(), -time.process_time()

    def on_train_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()
        self.peak, self.steps = peak_memory_mb(), state.global_step

    def figures(self, tokens: int) -> dict[str, Any]:
        """Of a loop that saw `tokens` tokens, padding not counted."""
        return {
            "tokens": tokens,
            "tokens_per_second": round(tokens / self.wall, 2),
            "tokens_per_cpu_second": round(tokens / self.cpu, 2),
            **self.costs(),
        }

    def costs(self) -> dict[str, Any]:
        """Of the loop, whatever it counts."""
        return {
            "training_seconds": round(self.wall, 2),
            "cpu_seconds": round(self.cpu, 2),
            "peak_memory_mb": round(self.peak, 1),
            "steps": self.steps,
        }


class Stopwatch:
    """Wall and processor time within its `with` blocks, added up."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self.wall -= time.perf_counter()
        self.cpu -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


def shake(adapter: Path, size: float) -> None:
    """Draw the second matrices of a fresh adapter, which are 0, as if it had been trained.

    From an adapter that changes nothing, policy and reference are one, and an error could hide.
    """
    path, draw = adapter / "adapter_model.safetensors", torch.Generator().manual_seed(0)
    tensors = load_file(path)
    for name in sorted(tensors):
        if ".lora_B." in name:
            tensors[name].normal_(std=size, generator=draw)
    save_file(tensors, path, metadata={"format": "pt"})


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
