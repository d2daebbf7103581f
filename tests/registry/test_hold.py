"""What a server has in memory is not removed, and however the server ends, it may be removed after."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mien.errors import AdapterError
from mien.registry.cards import Card, cards
from mien.registry.hold import LOCK, held, is_held, unheld
from mien.registry.retire import remove, superseded
from mien.workspace import Workspace
from tests.registry.test_cards import put

HOLDER = """
import sys
from pathlib import Path
from mien.registry.hold import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(run: Path) -> Iterator[subprocess.Popen[str]]:
    """That holds a run."""
    command = [sys.executable, "-c", HOLDER, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def old(workspace: Workspace) -> Card:
    """A version that nothing else needs."""
    first = put(workspace, run="a", made="2026-01-01T00:00:00+00:00")
    put(workspace, run="b", made="2026-01-02T00:00:00+00:00")
    return first


def test_what_another_process_holds_stays_until_that_is_killed(workspace: Workspace, old: Card) -> None:
    with another_process(workspace.runs / "a") as server:
        with pytest.raises(AdapterError, match="a stays: a server has it in memory"):
            remove(workspace, old)
        assert superseded(workspace) == []
        server.kill()
        server.wait()
        assert superseded(workspace) == [old]
        remove(workspace, old)
    assert [card.run for card in cards(workspace)] == ["b"]


def test_several_may_hold_one_and_the_last_lets_it_go(workspace: Workspace, old: Card) -> None:
    run = workspace.runs / "a"
    with held(run):
        with held(run):
            assert is_held(run)
        assert is_held(run)
    assert not is_held(run)
    remove(workspace, old)


def test_looking_leaves_nothing_in_a_folder(workspace: Workspace, old: Card) -> None:
    assert superseded(workspace) == [old]
    assert not (workspace.runs / "a" / LOCK).exists()


def test_what_is_gone_cannot_be_held(workspace: Workspace) -> None:
    with pytest.raises(AdapterError, match="no such folder"), held(workspace.runs / "gone"):
        pass
    with unheld(workspace.runs / "gone") as free:
        assert not free


def test_where_nothing_can_be_written_it_is_served_all_the_same(
    workspace: Workspace, old: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(Path, "open", refuse)  # root may write whatever the mode says
    with held(workspace.runs / "a"):
        assert [path.name for path in (workspace.runs / "a").iterdir()] == ["manifest.json"]


def test_on_a_file_system_without_locks_nothing_is_removed(
    workspace: Workspace, old: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with held(workspace.runs / "a"), pytest.raises(AdapterError, match="a stays"):
        remove(workspace, old)
