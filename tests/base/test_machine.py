"""The machine's trial: run apart, survived when it crashes, remembered."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from mien.base import machine
from mien.base.machine import Machine, choose_dtype, probe
from mien.workspace import read_json

# The trial's own script with the product left out; bfloat16 kills the process as a forbidden
# instruction does.
_CRASHES = """
import os, signal, sys
if sys.argv[1] == "bfloat16": os.kill(os.getpid(), signal.SIGILL)
print(50.0)
"""
_RATES = """
import sys
print({{"float32": {float32}, "bfloat16": {bfloat16}}}[sys.argv[1]])
"""


@pytest.fixture(autouse=True)
def _no_gpu(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cuda", lambda: None)


def rates(monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: float) -> None:
    monkeypatch.setattr(machine, "_TRIAL", _RATES.format(float32=float32, bfloat16=bfloat16))


def test_a_trial_that_crashes_gives_none_and_float32_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_TRIAL", _CRASHES)
    found = probe()
    assert (found.float32, found.bfloat16) == (50.0, None)
    assert choose_dtype() == "float32"


@pytest.mark.parametrize(
    ("float32", "bfloat16", "chosen"),
    [(50, 200, "bfloat16"), (50, 61, "bfloat16"), (50, 59, "float32"), (50, 10, "float32")],
)
def test_bfloat16_is_chosen_only_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: float, chosen: str
) -> None:
    rates(monkeypatch, float32, bfloat16)
    assert choose_dtype() == chosen


def test_with_a_gpu_bfloat16_is_chosen_whatever_the_cpu_does() -> None:
    assert Machine("cpu", 1, 50.0, None, "a GPU").dtype == "bfloat16"


def test_the_figures_are_measured_once_and_again_on_demand(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    rates(monkeypatch, 10, 20)
    first = probe()
    rates(monkeypatch, 30, 40)
    assert probe() == first
    assert [read_json(memo)["float32"] for memo in (home / "machines").iterdir()] == [10]
    assert probe(fresh=True).float32 == 30
    assert probe().float32 == 30


@pytest.mark.parametrize("change", [("_cpu", "another"), ("_cores", 999), ("_cuda", "a GPU")])
def test_figures_of_other_hardware_are_not_believed(
    monkeypatch: pytest.MonkeyPatch, change: tuple[str, object]
) -> None:
    # A home may be shared by several machines, and a GPU may be hidden from one process.
    rates(monkeypatch, 10, 20)
    probe()
    name, value = change
    with monkeypatch.context() as patch:
        patch.setattr(machine, name, lambda: value)
        rates(patch, 30, 40)
        assert probe().float32 == 30
    assert probe().float32 == 10  # and do not replace this hardware's own


def test_the_memo_is_readable_and_names_the_hardware(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    rates(monkeypatch, 10, 20)
    found = probe()
    (path,) = (home / "machines").iterdir()
    memo = json.loads(path.read_text())
    assert Machine(**memo) == found
    assert found.cpu
    assert found.cores >= 1


def test_the_real_trial_measures_float32() -> None:
    rate = machine._trial("float32", 1)
    assert rate is not None
    assert rate > 0


_FAULTS = """
import resource, torch
from mien.base.machine import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5): torch.ones(2**22)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults(); keep_freed_memory(); print(plain, min(faults() for _ in range(5)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_kept_for_the_next_tensor() -> None:
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    plain, kept = map(int, done.stdout.split())
    # How often glibc maps anew by itself differs between its versions and with huge pages; kept, never,
    # once every block that it chooses from was used: hence the least of several rounds.
    assert kept <= plain
    assert kept < 2**24 / 4096, "five tensors cost fewer faults than the pages of one"


def test_without_glibc_memory_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(machine.ctypes, "CDLL", missing)
    machine.keep_freed_memory()


_HELPERS = """
import os, torch
from mien.base.machine import dismiss_helpers
threads = lambda: len(os.listdir("/proc/self/task"))
torch.set_num_threads(3)
alone = threads(); torch.ones(2**22).exp(); helped = threads()
dismiss_helpers(); print(helped - alone, threads() - alone)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells its threads")
def test_helpers_are_dismissed_and_come_back() -> None:
    code = _HELPERS + "torch.ones(2**22).exp(); print(threads() - alone)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "0", "2"]


def test_without_openmp_helpers_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: object())
    machine.dismiss_helpers()
