"""Where things lie: migrations, atomic writes, scores, and what a failing disk says."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import torch

from mien import workspace as module
from mien.errors import MienError
from mien.schema import Score
from mien.workspace import MIGRATIONS, Workspace, disk_errors, home, read_json, write_atomic, write_json

SCORES = [
    Score(name="voice", system="captain", value=0.5, low=0.4, high=0.6, n=10, method="wilson"),
    Score(name="ocean", system="base", value=-1.25, low=-2, high=0, n=3, method="bootstrap"),
]


def version(workspace: Workspace) -> int:
    with closing(workspace.database()) as db:
        return int(db.execute("pragma user_version").fetchone()[0])


def at_version(workspace: Workspace, done: int) -> None:
    """A database as an older release left it."""
    workspace.root.mkdir(parents=True)
    with closing(sqlite3.connect(workspace.root / "mien.db")) as db:
        for migrate in MIGRATIONS[:done]:
            migrate(db)
        db.execute(f"pragma user_version = {done}")
        db.commit()


@pytest.mark.parametrize("done", range(len(MIGRATIONS) + 1))
def test_a_database_of_every_age_is_migrated_and_works(workspace: Workspace, done: int) -> None:
    at_version(workspace, done)
    assert version(workspace) == len(MIGRATIONS)
    workspace.add_scores("r", SCORES)
    assert workspace.scores() == SCORES


def test_migrating_twice_changes_nothing(workspace: Workspace) -> None:
    workspace.add_scores("r", SCORES)
    assert version(workspace) == version(workspace) == len(MIGRATIONS)
    assert workspace.scores() == SCORES


def test_a_later_migration_keeps_the_scores(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add_scores("r", SCORES)

    def note(db: sqlite3.Connection) -> None:
        db.execute("alter table score add column note text")

    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, note))
    assert workspace.scores() == SCORES
    assert version(workspace) == len(MIGRATIONS) + 1


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add_scores("r", SCORES)

    def broken(db: sqlite3.Connection) -> None:
        db.execute("drop table score")
        raise sqlite3.OperationalError("half-way")

    with monkeypatch.context() as patch, pytest.raises(sqlite3.OperationalError):
        patch.setattr(module, "MIGRATIONS", (*MIGRATIONS, broken))
        workspace.database()
    assert workspace.scores() == SCORES


def test_scores_come_back_as_they_went_in_by_report_or_all_oldest_first(workspace: Workspace) -> None:
    workspace.add_scores("first", SCORES[:1])
    workspace.add_scores("second", SCORES[1:])
    assert workspace.scores() == SCORES
    assert workspace.scores("first") == SCORES[:1]
    assert workspace.scores("third") == []


def test_scores_of_one_report_are_stored_all_or_none(workspace: Workspace) -> None:
    nameless = Score.model_construct(**{**SCORES[0].model_dump(), "value": None})
    with pytest.raises(sqlite3.IntegrityError):
        workspace.add_scores("r", [SCORES[0], nameless])
    assert workspace.scores() == []


def test_writers_at_the_same_time_lose_nothing(workspace: Workspace) -> None:
    def work(number: int) -> None:
        workspace.add_scores(str(number), SCORES)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(workspace.scores()) == 16


def test_the_workspace_is_where_it_is_told_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIEN_WORKSPACE", raising=False)
    assert Workspace.open().root == Path("mien-out")
    monkeypatch.setenv("MIEN_WORKSPACE", str(tmp_path))
    assert Workspace.open().root == tmp_path
    assert Workspace.open(Path("here")).root == Path("here")
    assert Workspace.open().runs == tmp_path / "runs"
    assert Workspace.open().reports == tmp_path / "reports"


def test_the_home_is_the_cache_folder_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIEN_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert home() == Path("/cache/mien")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert home() == Path.home() / ".cache" / "mien"
    monkeypatch.setenv("MIEN_HOME", "~/mine")
    assert home() == Path.home() / "mine"


def test_an_atomic_write_replaces_the_old_text_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    for text in ("first", "second: é\n"):
        write_atomic(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("seam", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: str, error: BaseException
) -> None:
    path = tmp_path / "file.txt"
    write_atomic(path, "old")

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(seam, fail)
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_that_cannot_be_encoded_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_readable_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"é": [1, None]})
    assert (
        path.read_text(encoding="utf-8")
        == json.dumps({"é": [1, None]}, indent=2, ensure_ascii=False) + "\n"
    )
    assert read_json(path) == {"é": [1, None]}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_disk_that_takes_nothing_gives_one_line_with_what_to_do(tmp_path: Path, number: int) -> None:
    where = tmp_path / "not" / "there" / "yet"
    with pytest.raises(MienError) as caught, disk_errors(where, "2 GB"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith(f"{where}: cannot write ({os.strerror(number)}; ")
    assert caught.value.what.endswith("MiB free).")
    assert caught.value.fix.startswith(
        "Free 2 GB there, or point MIEN_HOME or MIEN_WORKSPACE elsewhere."
    )
    assert "\n" not in str(caught.value)


def test_a_full_disk_that_only_a_text_tells_of_is_known_too(tmp_path: Path) -> None:
    with pytest.raises(MienError, match="No space left on device"), disk_errors(tmp_path, "2 GB"):
        raise RuntimeError("Error while serializing: I/O error: (os error 28)")


def test_a_full_disk_that_torch_keeps_to_itself_is_known_too(tmp_path: Path) -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(MienError, match="No space left on device"), disk_errors(tmp_path, "2 GB"):
        torch.save({"a": torch.zeros(100_000)}, "/dev/full")


def test_a_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o640


def test_a_database_of_a_newer_release_is_refused_and_left_alone(workspace: Workspace) -> None:
    workspace.add_scores("r", SCORES)
    with closing(sqlite3.connect(workspace.root / "mien.db")) as db:
        db.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(MienError, match="from a newer mien") as caught:
        workspace.scores()
    assert "mien.db" in caught.value.what
    assert "Upgrade mien" in caught.value.fix
    with closing(sqlite3.connect(workspace.root / "mien.db")) as db:
        assert db.execute("pragma user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert db.execute("select count(*) from score").fetchone() == (len(SCORES),)


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "no such file"), ValueError("x"), MienError("x", fix="y"), OSError("x")],
)
def test_other_errors_pass_as_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, disk_errors(tmp_path, "2 GB"):
        raise error
    assert caught.value is error
