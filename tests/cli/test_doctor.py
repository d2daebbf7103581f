"""`mien doctor`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mien.base import machine
from mien.base.machine import Machine
from mien.cli import doctor
from mien.registry.cards import Card, write_card
from mien.workspace import Workspace, write_json
from tests.cli.running import run

PLAIN = Machine(cpu="Test CPU", cores=4, float32=200.0, bfloat16=None, cuda=None)


class Usage(NamedTuple):
    """What `shutil.disk_usage` says."""

    total: int
    used: int
    free: int


@pytest.fixture(autouse=True)
def place(home: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and workspace on a machine with known figures and a large disk."""
    monkeypatch.setenv("MIEN_WORKSPACE", str(workspace.root))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "probe", lambda **_: PLAIN)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**12))
    return home


def look(*arguments: str) -> tuple[int, dict[str, Any]]:
    """(exit code, lines by what they are about)."""
    result = run("doctor", "--json", *arguments)
    return result.exit_code, {line["about"]: line for line in json.loads(result.stdout)}


def test_a_fresh_machine_is_ready_with_notes() -> None:
    code, lines = look()
    assert code == 0
    assert lines["base models"]["state"] == lines["embedder"]["state"] == "note"
    assert "`mien base pull`" in lines["base models"]["todo"]
    assert lines["home"]["state"] == lines["torch"]["state"] == lines["pip"]["state"] == "ok"


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(width: int) -> None:
    text = run("doctor", width=width).stdout
    assert max(map(len, text.splitlines())) <= width
    assert text.endswith("Ready: 0 problems, 4 notes.\n")


def test_every_problem_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**6))
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    monkeypatch.setattr(machine, "probe", lambda **_: Machine("Test CPU", 4, None, None, None))
    (home / "bases" / "broken").mkdir(parents=True)
    (home / "bases" / "broken" / "mien-base.json").write_text("{")
    code, lines = look()
    bad = {about: line["todo"] for about, line in lines.items() if line["state"] == "problem"}
    assert code == 1
    assert set(bad) == {"pip", "speed", "base models", "workspace"}
    assert all(bad.values())


def test_a_full_disk_is_a_problem_while_no_base_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**9))
    code, lines = look()
    assert code == 1
    assert lines["home"]["todo"] == "Free 2.0 GB, or point MIEN_HOME elsewhere."
    assert lines["workspace"]["state"] == "ok"


def test_what_is_cached_and_trained_is_named(home: Path, workspace: Workspace) -> None:
    write_json(home / "embedder" / "config.json", {})
    model = home / "bases" / "smollm2-135m"
    write_json(model / "mien-base.json", {"name": model.name, "sha256": "0" * 64, "licence": "x"})
    (home / "bases" / "half.partial").mkdir()
    write_card(workspace.runs / "calm-sft-1", card("calm-sft-1"))
    code, lines = look()
    assert code == 0
    assert lines["embedder"]["found"].startswith("cached")
    assert lines["adapters"]["found"] == "1, of calm"
    assert lines["base models"]["found"] == "unfinished: half.partial"


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        (PLAIN, "float32 200 GFLOP/s; bfloat16 crashes here and is therefore not used"),
        (Machine("C", 4, 200.0, 800.0, None), "bfloat16 800 GFLOP/s; computes in bfloat16"),
        (Machine("C", 4, 200.0, 210.0, None), "bfloat16 210 GFLOP/s; computes in float32"),
        (Machine("C", 4, 200.0, None, "H100"), "computes on the GPU, in bfloat16"),
    ],
)
def test_the_speed_in_words(figures: Machine, says: str) -> None:
    assert says in doctor._arithmetic(figures).found


def test_fewer_threads_than_cores_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert look()[1]["processor"]["state"] == "note"


def test_fresh_measures_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(machine, "probe", lambda *, fresh: asked.append(fresh) or PLAIN)
    look()
    look("--fresh")
    assert asked == [False, True]


def card(run_name: str) -> Card:
    texts = {name: "x" for name, field in Card.model_fields.items() if field.annotation is str}
    numbers = {"seed": 0, "examples": 1, "steps": 1, "seconds": 1, "trained_tokens": 1}
    figures = {**numbers, "peak_memory_mb": 1}
    return Card.model_validate(texts | figures | {"run": run_name, "persona": "calm"})
