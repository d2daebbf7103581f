"""What every arm that trains measures of itself, the same way in every environment, mien or not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from report import peak_memory_mb, receive, send, versions
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

__all__ = ["Clock", "Stopwatch", "peak_memory_mb", "receive", "send", "shake", "versions"]


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
