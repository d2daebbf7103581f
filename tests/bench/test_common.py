"""The benches' helpers, with arms and peers that take no time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench.common import ArmError, Peer, PeerError, in_turn, installed, keep, run_arm, times_better

from bench import common
from mien.workspace import read_json, write_json

PEER = Peer("toy-1.0", ("toy==1.0",), free=("numpy",))
ECHO = 'import sys; print("noise"); print(sys.stdin.read())'


@pytest.fixture
def arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs a script's text as an arm."""
    (tmp_path / "arms").mkdir()
    monkeypatch.setattr(common, "BENCH", tmp_path)

    def run(text: str, **options: Any) -> dict[str, Any]:
        (tmp_path / "arms/arm.py").write_text(text)
        return run_arm(sys.executable, "arm.py", {"question": 1}, **options)

    return run


@pytest.fixture
def commands(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been run to make a peer; an interpreter appears where one was asked for."""
    ran: list[list[str]] = []

    def must(command: list[str]) -> None:
        ran.append(command)
        PEER.executable.parent.mkdir(parents=True, exist_ok=True)
        PEER.executable.touch()

    monkeypatch.setattr(common, "_must", must)
    return ran


def test_an_arm_is_told_its_job_and_its_last_line_is_its_figures(arm: Callable[..., Any]) -> None:
    figures = arm(ECHO)
    assert figures["question"] == 1
    assert figures["process_seconds"] >= 0


def test_an_arm_gets_our_threads_and_what_it_is_given(arm: Callable[..., Any]) -> None:
    shown = (
        'import json, os; print(json.dumps({k: os.environ[k] for k in ("OMP_NUM_THREADS", "EXTRA")}))'
    )
    figures = arm(shown, environment={"EXTRA": "yes"})
    assert figures["OMP_NUM_THREADS"] == str(common.threads())
    assert figures["EXTRA"] == "yes"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ValueError('no such flag')", "ended with 1: ValueError: no such flag"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "killed by SIGILL"),
        ("print('done')", "no figures on its last line: 'done'"),
        ("", "no figures"),
    ],
)
def test_an_arm_that_fails_says_how(arm: Callable[..., Any], text: str, said: str) -> None:
    with pytest.raises(ArmError, match=said):
        arm(text)


def test_arms_run_in_turn() -> None:
    order: list[str] = []

    def run(name: str) -> dict[str, Any]:
        order.append(name)
        return {"at": len(order)}

    runs = in_turn({"a": lambda: run("a"), "b": lambda: run("b")}, cycles=2)
    assert order == ["a", "b", "a", "b"]
    assert runs == {"a": [{"at": 1}, {"at": 3}], "b": [{"at": 2}, {"at": 4}]}


def test_a_ratio_says_how_many_times_better_we_are() -> None:
    assert times_better([20, 40], [10, 20], more_is_better=True) == 2
    assert times_better([100], [300], more_is_better=False) == 3


def test_a_ratio_pairs_runs_of_a_cycle_so_that_a_slow_spell_cancels() -> None:
    assert times_better([20, 2], [10, 1], more_is_better=True) == 2
    with pytest.raises(ValueError, match="shorter"):
        times_better([1, 2], [1], more_is_better=True)


def test_twice_better_and_twice_worse_are_level() -> None:
    assert times_better([2, 1], [1, 2], more_is_better=True) == 1


def test_installed_versions_have_no_local_label_and_leave_us_out() -> None:
    found = installed()
    assert "mien" not in found
    assert "+" not in found["torch"]
    assert found["pytest"] == pytest.__version__


def test_a_peer_is_made_once_with_our_versions(commands: list[list[str]]) -> None:
    assert PEER.python() == PEER.python() == PEER.executable
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    assert commands[1][-1] == "toy==1.0"
    pins = (PEER.folder / "constraints.txt").read_text().splitlines()
    assert f"torch=={installed()['torch']}" in pins
    assert not [pin for pin in pins if pin.startswith("numpy==")]


def test_a_peer_out_of_step_with_us_is_made_again(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    PEER.python()
    theirs = {"torch": "0.1", "numpy": "0.1", "pip": "0.1"}
    monkeypatch.setattr(Peer, "versions", lambda self: {"numpy": theirs["numpy"], "pip": theirs["pip"]})
    PEER.python()
    assert len(commands) == 2, "numpy is free, and pip does not matter"
    monkeypatch.setattr(Peer, "versions", lambda self: theirs)
    PEER.python()
    assert len(commands) == 4


def test_a_peer_half_made_is_made_again(commands: list[list[str]]) -> None:
    PEER.python()
    (PEER.folder / "mien-peer.json").unlink()
    PEER.python()
    assert len(commands) == 4


def test_a_peer_with_other_requirements_is_made_again(commands: list[list[str]]) -> None:
    PEER.python()
    write_json(PEER.folder / "mien-peer.json", {"requirements": ["toy==0.9"]})
    PEER.python()
    assert len(commands) == 4


def test_a_command_that_fails_gives_its_error_line() -> None:
    script = "import sys; sys.exit('ERROR: no match for toy\\nnote: something else')"
    with pytest.raises(PeerError, match="ERROR: no match for toy"):
        common._must([sys.executable, "-c", script])


def test_a_full_result_is_kept_among_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    assert keep({"name": "toy"}, json_path=None, quick=False) == tmp_path / "toy.json"
    assert read_json(tmp_path / "toy.json") == {"name": "toy"}


def test_a_quick_result_is_written_only_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    assert keep({"name": "toy"}, json_path=None, quick=True) is None
    asked = tmp_path / "out.json"
    assert keep({"name": "toy"}, json_path=asked, quick=True) == asked
    assert json.loads(asked.read_text())["name"] == "toy"
    assert not (tmp_path / "results").exists()


def test_sources_change_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "BENCH", tmp_path)
    (tmp_path / "arms").mkdir()
    for name in ("common.py", "arms/report.py", "a.py"):
        (tmp_path / name).write_text("1")
    before = common.sources("a.py")
    (tmp_path / "a.py").write_text("2")
    assert common.sources("a.py") != before


def test_every_bench_takes_quick_and_json() -> None:
    given = common.parser("about").parse_args(["--quick", "--json", "x.json"])
    assert (given.quick, given.json) == (True, Path("x.json"))


@dataclass(frozen=True)
class Sizes:
    steps: int = 9
    cycles: int = 3


def test_an_option_changes_the_size_it_names_and_leaves_the_others() -> None:
    given = common.parser("about", "steps", "cycles").parse_args(["--quick", "--steps", "5"])
    assert common.sized(given, Sizes(), Sizes(steps=2, cycles=1)) == Sizes(steps=5, cycles=1)
    given = common.parser("about", "steps").parse_args([])
    assert common.sized(given, Sizes(), Sizes(steps=2, cycles=1)) == Sizes()


def test_peers_that_cannot_be_had_are_told_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    def absent() -> Path:
        raise PeerError("no match for toy")

    found = common.at_hand({"here": lambda: Path("python"), "toy-1.0": absent})
    assert found == ({"here": Path("python")}, {"toy-1.0": "no match for toy"})
    assert "toy-1.0 is absent" in capsys.readouterr().err


def test_means_are_of_the_runs_of_one_arm() -> None:
    assert common.means([{"a": 1.0, "b": 3}, {"a": 2.0, "b": 4}], ("a",)) == {"a": 1.5}


def test_a_bench_whose_peer_is_absent_says_so_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(self: Peer) -> Path:
        raise PeerError("no match for toy")

    monkeypatch.setattr(Peer, "python", absent)
    out = tmp_path / "out.json"
    given = common.parser("about").parse_args(["--json", str(out)])
    never: Any = None  # would fail if it were called
    common.conduct("toy", PEER, given, never, never)
    assert read_json(out)["absent"] == "no match for toy"


def test_a_bench_is_measured_shown_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "python", lambda self: self.executable)
    out, shown = tmp_path / "out.json", list[dict[str, Any]]()
    given = common.parser("about").parse_args(["--json", str(out)])
    common.conduct("toy", PEER, given, lambda python: {"name": "toy", "at": str(python)}, shown.append)
    assert shown == [read_json(out)] == [{"name": "toy", "at": str(PEER.executable)}]


def test_a_bench_whose_arm_fails_stops_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(python: Path) -> dict[str, Any]:
        raise ArmError("arm.py: killed by SIGILL")

    monkeypatch.setattr(Peer, "python", lambda self: self.executable)
    given = common.parser("about").parse_args(["--quick"])
    with pytest.raises(SystemExit, match="killed by SIGILL"):
        common.conduct("toy", PEER, given, failing, lambda _: None)
