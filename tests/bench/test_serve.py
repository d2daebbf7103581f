"""What the bench of serving makes of its arms' figures; no model is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import common

BENCH = Path(common.__file__).parent
Runs = dict[str, list[dict[str, Any]]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """As if Python had been started on the script."""
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("serve")


def told(rate: float, replies: list[list[int]]) -> dict[str, Any]:
    return {"tokens_per_second": rate, "tokens_per_cpu_second": rate / 2, "replies": replies}


@pytest.fixture
def runs(serve: ModuleType) -> Runs:
    eight, one, alone = [[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [7, 7, 7]], [[1, 2, 3]]
    ours = {"eight": told(90, eight), "one": told(100, one), "alone": told(20, alone)}
    merged = {"one": told(80, one), "alone": told(10, alone)}
    return {
        serve.OURS: [{**ours, "peak_memory_mb": 1.0}],
        serve.MIXED: [{"eight": told(30, [[1, 2, 3], [4, 9, 9]])}],
        serve.MERGED: [merged],
    }


def test_like_is_held_against_like(serve: ModuleType, runs: Runs) -> None:
    ratios = serve.ratios(runs)
    assert ratios["eight personas, against one by the same engine"] == 0.9
    assert ratios["eight personas, against PEFT"] == 3
    assert ratios["one persona, 8 rows, against transformers"] == 1.25
    assert ratios["one persona alone, against transformers (CPU time)"] == 2


def test_replies_are_compared_where_both_were_asked_the_same(serve: ModuleType, runs: Runs) -> None:
    same = serve.equality(runs)
    assert same["eight personas, against PEFT"] == {
        "replies": 2,
        "replies_equal": 1,
        "first_differences": [1],
    }
    assert same["one persona, 8 rows, against transformers"]["replies_equal"] == 2
    assert "eight personas, against one by the same engine" not in same


def test_the_result_says_what_the_contract_asks_and_keeps_no_replies(
    serve: ModuleType, runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "device", lambda: "a machine")
    result = serve.result({"base_sha256": "0"}, runs, serve.QUICK)
    assert {"name", "device", "ours", "peer", "ratios", "equal", "n"} <= result.keys()
    assert result["equal"] is False
    assert result["ours"] == {"eight": 90, "one": 100, "alone": 20}
    assert "replies" not in result["runs"][serve.OURS][0]["eight"]
    assert result["runs"][serve.OURS][0]["peak_memory_mb"] == 1
    serve.show(result)
    assert "8 rows, 8 personas" in capsys.readouterr().err


def test_the_sizes_can_be_given(serve: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["serve.py", "--quick", "--tokens", "5"])
    assert serve.scale_of(serve.options()) == serve.Scale(tokens=5, cycles=1)
