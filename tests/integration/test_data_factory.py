"""The data factory against a real server that fails in every way, in a process that is killed twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mien.data.formats import iter_records
from mien.data.simulated import DATA, REPORT
from tests.stub_server import Stub, serving

ROOT = Path(__file__).parents[2]
JOB = "import sys; from mien.cli.data.simulate import simulate; simulate(sys.argv[1:])"
FAULTS = "429:0.01,500:0.01,timeout:0.008,drop:0.01,broken:0.01,empty:0.01,blank:0.008,late:0.008"
ROWS, AT_ONCE, KILLS = 200, 8, 2


def job(stub: Stub, folder: Path, turns: str) -> subprocess.Popen[str]:
    flags = {
        **{"--persona": "witty", "-n": ROWS, "--turns": turns, "--out": folder / "set"},
        **{"--model": "stub", "--base-url": stub.url, "--parallel": AT_ONCE, "--timeout": 1},
    }
    given = [str(part) for pair in flags.items() for part in pair]
    return subprocess.Popen(
        [sys.executable, "-c", JOB, *given],
        env={**os.environ, "MIEN_HOME": str(folder / "home")},
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def answered(stub: Stub) -> int:
    return stub.log_path.read_text(encoding="utf-8").count('"paid": true')


def kill_at(calls: int, stub: Stub, folder: Path, turns: str) -> None:
    """Run the job until the server has answered so many calls in all, and kill it with -9."""
    running = job(stub, folder, turns)
    while answered(stub) < calls:
        assert running.poll() is None, running.communicate()[0]
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL


def finish(stub: Stub, folder: Path, turns: str) -> dict[str, Any]:
    running = job(stub, folder, turns)
    said = running.communicate(timeout=300)[0]
    assert running.returncode == 0, said
    report: dict[str, Any] = json.loads((folder / "set" / REPORT).read_text(encoding="utf-8"))
    return report


def question(row: dict[str, Any]) -> str:
    return json.dumps(row["body"], sort_keys=True)


@pytest.mark.parametrize("turns", ["1-2", pytest.param("1-8", marks=pytest.mark.slow)])
def test_a_job_that_is_killed_twice_among_faults_loses_doubles_and_pays_nothing_twice(
    tmp_path: Path, turns: str
) -> None:
    with serving(tmp_path, FAULTS, silence=2, latency=0.01, answers="tests.actors:answers") as stub:
        for number in range(1, KILLS + 1):
            kill_at(250 * number, stub, tmp_path, turns)
            assert not (tmp_path / "set" / DATA).exists()
        report = finish(stub, tmp_path, turns)
        log = stub.log()
        again = finish(stub, tmp_path, turns)
        assert len(stub.log()) == len(log)

    records = list(iter_records(tmp_path / "set" / DATA))
    aside = sum(report["set_aside"].values())
    assert aside == 0 and len(records) == report["dialogues"] == ROWS
    assert len({each.extra["id"] for each in records}) == ROWS
    assert [each.extra["number"] for each in records] == list(range(ROWS))

    paid = Counter(question(row) for row in log if row["paid"])
    assert set(paid.values()) == {1}
    assert report["calls"]["asked"] - sum(report["asked_again"].values()) == len(records) + sum(
        len(each.messages) for each in records
    )
    # What was answered and not asked again must have been kept: but for calls in flight at a kill, and
    # those that the client had left, the server has given each answer once.
    sound = Counter(question(row) for row in log if row["fault"] is None)
    twice = sum(times - 1 for times in sound.values())
    late = sum(row["fault"] == "late" for row in log)
    assert twice <= KILLS * AT_ONCE + late
    assert max(row["in_flight"] for row in log) >= AT_ONCE
    assert report["calls"]["paid"] <= len(paid) - KILLS * (250 - AT_ONCE) + late

    kinds = {row["fault"] for row in log} - {None}
    assert kinds == {fault.split(":")[0] for fault in FAULTS.split(",")}
    assert len(report["calls"]["retried"]) >= 4 and sum(report["calls"]["retried"].values()) >= 10
    assert report["asked_again"]
    assert again["calls"]["paid"] == 0 and again["dialogues"] == ROWS
