"""What the bench of serving makes of its arms' figures, and of arms that cannot be run; no model is
loaded."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

Runs = dict[str, list[dict[str, Any]]]


@pytest.fixture
def serve(scripts: None) -> ModuleType:
    return importlib.import_module("serve")


@pytest.fixture
def figures(scripts: None) -> ModuleType:
    return importlib.import_module("serve_figures")


def told(rate: float, replies: list[list[int]]) -> dict[str, Any]:
    return {"tokens_per_second": rate, "tokens_per_cpu_second": rate / 2, "replies": replies}


def added(tokens: int, whole: float, stream: float) -> dict[str, Any]:
    parts = {"whole": {"p50": whole}, "stream": {"p50": stream}}
    return {"tokens": tokens, **parts, "same_text": True}


@pytest.fixture
def runs(figures: ModuleType) -> Runs:
    eight, one, alone = [[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [7, 7, 7]], [[1, 2, 3]]
    ours = {"eight": told(90, eight), "one": told(100, one), "alone": told(20, alone)}
    ours |= {"switching": {"same_ms": 10.0, "switched_ms": 11.0}, "loading": {"step_ms": {"p50": 2.0}}}
    merged = {"one": told(80, one), "alone": told(10, alone)}
    rounded = [[9, 9, 9], [9, 9, 9]]
    return {
        figures.OURS: [{**ours, "peak_memory_mb": 1.0}],
        figures.MIXED: [{"eight": told(30, [[1, 2, 3], [4, 9, 9]])}],
        figures.MERGED: [merged],
        figures.LLAMA_Q8: [{"eight": told(100, rounded)}],
        figures.GATEWAY: [{"short": added(1, 2.5, 2.75), "long": added(64, 3.5, 2.0)}],
    }


def test_every_arm_is_held_against_us_where_both_were_run(figures: ModuleType, runs: Runs) -> None:
    ratios = figures.ratios(runs)
    assert ratios[figures.EVENLY] == 0.9
    assert ratios["8 rows, 8 personas, against PEFT adapter_names"] == 3
    assert ratios["8 rows, 1 persona, against transformers, merged"] == 1.25
    assert ratios["1 row, against transformers, merged (CPU time)"] == 2
    assert not [title for title in ratios if "gateway" in title]


def test_a_bar_is_reached_or_not_and_of_what_is_absent_nothing_is_said(
    figures: ModuleType, runs: Runs
) -> None:
    bars = figures.summary(runs)["bars"]
    reached = {title: bar["reached"] for title, bar in bars.items()}
    assert reached == {
        figures.EVENLY: True,
        "8 rows, 8 personas, against PEFT adapter_names": True,
        "8 rows, 8 personas, against llama.cpp q8_0": False,
        "1 row, against transformers, merged": True,
        "gateway, ms more for 1 token(s), whole": True,
        "gateway, ms more for 1 token(s), stream": True,
        "gateway, ms more for 64 token(s), whole": False,
        "gateway, ms more for 64 token(s), stream": True,
    }


def test_every_bar_is_of_a_comparison_that_is_made(serve: ModuleType, figures: ModuleType) -> None:
    every = {setting: told(1, [[1]]) for setting in figures.MEANINGS}
    compared = dict(figures.cases({name: [every] for name in serve.ARMS if name != figures.GATEWAY}))
    assert figures.BARS.keys() <= compared.keys()
    assert set(figures.EXACT) < serve.ARMS.keys()


def test_replies_are_compared_where_both_were_asked_the_same(figures: ModuleType, runs: Runs) -> None:
    same = figures.equality(runs)
    assert same["8 rows, 8 personas, against PEFT adapter_names"] == {
        "replies": 2,
        "replies_equal": 1,
        "first_differences": [1],
        "tokens_before": 0.667,
    }
    assert same["8 rows, 1 persona, against transformers, merged"]["replies_equal"] == 2
    assert figures.EVENLY not in same


def test_only_arms_in_our_own_numbers_must_say_the_same(figures: ModuleType, runs: Runs) -> None:
    assert figures.summary(runs)["equal"] is False
    runs[figures.MIXED] = [{"eight": told(30, runs[figures.OURS][0]["eight"]["replies"])}]
    assert figures.summary(runs)["equal"] is True


def test_averages_are_taken_of_numbers_at_any_depth(figures: ModuleType) -> None:
    first = {"a": {"b": 1.0, "same": True}, "n": 1, "version": "1"}
    second = {"a": {"b": 2.0, "same": False}, "n": 2, "version": "1"}
    assert figures.averages([first, second]) == {"a": {"b": 1.5, "same": False}, "n": 1.5}


@pytest.fixture
def bench(serve: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Where the processor advertises what is not allowed; PEFT is there, llama.cpp is not."""
    monkeypatch.setattr(serve, "probe", lambda: SimpleNamespace(bfloat16=None))
    found = serve.Bench(serve.QUICK, tmp_path, {serve.PEFT.name: Path("python")}, {"llama-cpp": "no"})
    found.shared["base_sha256"] = "0"
    return found


def test_the_result_says_what_the_contract_asks_and_keeps_no_replies(
    serve: ModuleType,
    bench: Any,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(serve, "device", lambda: "a machine")
    result = serve.result(bench, runs, {"threads": 2})
    assert {"name", "device", "ours", "peer", "ratios", "equal", "n"} <= result.keys()
    assert result["ours"] == {"eight": 90, "one": 100, "alone": 20}
    assert result["switching"] == {"same_ms": 10, "switched_ms": 11}
    assert "replies" not in result["runs"]["mien"][0]["eight"]
    assert result["runs"]["mien"][0]["peak_memory_mb"] == 1
    serve.show(result)
    shown = capsys.readouterr().err
    assert "8 rows, 8 personas" in shown
    assert "absent: llama-cpp: no" in shown


def test_no_arm_is_told_to_use_what_would_kill_it(bench: Any) -> None:
    assert bench.shared["matrix_units"] is False


def test_only_arms_whose_environment_is_there_are_run(serve: ModuleType, bench: Any) -> None:
    assert list(bench.arms()) == ["mien", "PEFT adapter_names", "transformers, merged", "gateway"]


def test_a_peer_s_arm_that_fails_is_absent_and_not_run_again(
    serve: ModuleType, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def failing(python: Path, script: str, job: dict[str, Any]) -> dict[str, Any]:
        ran.append(script)
        raise serve.ArmError(f"{script}: killed by SIGILL")

    monkeypatch.setattr(serve, "run_arm", failing)
    arms = bench.arms()
    assert arms["PEFT adapter_names"]() == arms["PEFT adapter_names"]() == {}
    assert ran == ["serve_peft.py"]
    assert bench.absent["PEFT adapter_names"] == "serve_peft.py: killed by SIGILL"
    with pytest.raises(serve.ArmError):
        arms["mien"]()


def test_the_sizes_can_be_given(serve: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["serve.py", "--quick", "--tokens", "5"])
    scale = serve.scale_of(serve.options())
    assert (scale.tokens, scale.cycles, scale.requests) == (5, 1, serve.QUICK.requests)
