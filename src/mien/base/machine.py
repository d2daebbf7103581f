"""What this machine computes faster, and how its memory is handled.

A CPU may advertise bfloat16 instructions that the machine it is a guest of does not allow; the first
product then kills the process. So the trial runs apart, once, and its outcome is kept in the home,
by what it was found on.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from mien.schema import digest
from mien.workspace import home, read_json, write_json

_TRIAL = """
import json, sys, time, torch
torch.set_num_threads(int(sys.argv[2]))
dtype = getattr(torch, sys.argv[1])
x, w = torch.randn(1024, 576).to(dtype), torch.randn(1536, 576).to(dtype)
product = lambda: torch.nn.functional.linear(x, w)
product(); rates = []
for _ in range(5):
    start = time.perf_counter(); [product() for _ in range(8)]
    rates.append(8 * 2 * 1024 * 576 * 1536 / (time.perf_counter() - start) / 1e9)
print(json.dumps(max(rates)))  # a busy machine only ever looks slower
"""
# M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD of malloc.h: never map a block apart, never give back, and grow
# by this many bytes.
_MALLOC = {-4: 0, -1: 2**31 - 1, -2: 64 * 2**20}
_SOFTLY = 1  # omp_pause_soft of omp.h
# A factor, since bfloat16 also costs some precision: it must be worth it.
_WORTH_IT = 1.2


@dataclass(frozen=True)
class Machine:
    """GFLOP/s of a 1024 x 576 x 1536 product; None where the trial crashed."""

    cpu: str
    cores: int
    float32: float | None
    bfloat16: float | None
    cuda: str | None

    @property
    def dtype(self) -> str:
        """The type to compute in."""
        fast = self.cuda or (self.bfloat16 or 0) > _WORTH_IT * (self.float32 or 0)
        return "bfloat16" if fast else "float32"


def probe(*, fresh: bool = False) -> Machine:
    """The machine's figures, measured on first use and then remembered."""
    cpu, cores, cuda = _cpu(), _cores(), _cuda()
    # A home may be shared by several machines, and a process may have fewer cores than the next.
    memo = home() / "machines" / f"{digest([cpu, cores, cuda])[:12]}.json"
    if not fresh and memo.exists():
        return Machine(**read_json(memo))
    machine = Machine(cpu, cores, _trial("float32", cores), _trial("bfloat16", cores), cuda)
    write_json(memo, asdict(machine))
    return machine


def choose_dtype() -> str:
    """`bfloat16` where it is clearly faster here, else `float32`."""
    return probe().dtype


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed for the next tensor of that size.

    By default it gives large blocks back to the system, and the next one is mapped and zeroed anew:
    50,000 page faults a training step, a tenth of its time. Elsewhere than on glibc, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for option, value in _MALLOC.items():
        mallopt(option, value)


def dismiss_helpers() -> None:
    """Let the threads go with which this one computes in parallel; the next product calls them back.

    Each thread that computes has helpers of its own. Once all of them are more than the cores, OpenMP
    lets helpers sleep between products instead of waiting awake, and to wake them for each of the
    hundreds of products of a step took up to half of the time of decoding. So who computes now and then
    beside a thread that always does dismisses his. Where OpenMP has no such call, nothing happens.
    """
    try:
        pause = ctypes.CDLL(None).omp_pause_resource_all
    except (OSError, TypeError, AttributeError):
        return
    pause(_SOFTLY)


def _trial(dtype: str, threads: int) -> float | None:
    command = [sys.executable, "-c", _TRIAL, dtype, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return round(float(json.loads(done.stdout)), 1) if done.returncode == 0 else None


def _cuda() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
