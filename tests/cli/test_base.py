"""`mien base`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mien.base.fetch import KNOWN, BaseFiles
from mien.cli import base
from mien.workspace import write_json
from tests.cli.running import run


def cache(home: Path, name: str, size: int = 1_500_000) -> Path:
    """A base model, as far as the list can tell."""
    folder = home / "bases" / name
    write_json(folder / "mien-base.json", {"name": name, "sha256": "0" * 64, "licence": "MIT"})
    (folder / "model.safetensors").write_bytes(bytes(size))
    return folder


def test_known_bases_are_listed_before_anything_is_pulled(home: Path) -> None:
    result = run("base", "list")
    assert result.exit_code == 0
    assert all(name in result.output for name in KNOWN)
    assert result.output.count("not pulled") == len(KNOWN)
    assert not home.exists()


def test_a_cached_one_is_listed_with_its_size(home: Path) -> None:
    cache(home, "other-12345678")
    result = run("base", "list", width=120)
    row = next(line for line in result.output.splitlines() if line.startswith("other"))
    assert row.split() == [
        "other-12345678",
        "unknown",
        "2",
        "MB",
        "unknown",
        "from",
        "a",
        "GGUF",
        "file",
    ]


def test_as_json(home: Path) -> None:
    folder = cache(home, "smollm2-135m")
    first, *others = json.loads(run("base", "list", "--json").stdout)
    assert first["name"] == "smollm2-135m" and first["default"] and first["stage"] == "instruct"
    assert first["folder"] == str(folder) and first["bytes"] > 1_500_000
    assert [row["folder"] for row in others] == [None] * len(others)


def test_pull_says_each_stage_on_stderr_and_the_place_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pull(ref: str, *, report: Callable[[str], None]) -> BaseFiles:
        report(f"converting {ref}")
        return BaseFiles("smollm2-135m", tmp_path, "0" * 64, "Apache-2.0")

    monkeypatch.setattr(base, "pull", pull)
    result = run("base", "pull")
    assert result.exit_code == 0
    assert result.stderr == "converting smollm2-135m\n"
    assert result.stdout == f"smollm2-135m is ready: 0 kB. Licence: Apache-2.0.\n{tmp_path}\n"


def test_pull_of_nothing_there_is_is_bad_input(home: Path) -> None:
    result = run("base", "pull", "nope")
    assert result.exit_code == 2
    assert "Fix: Known: smollm2-135m" in result.stderr
