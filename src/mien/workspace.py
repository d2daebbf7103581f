"""Where things lie on disk.

Two places: the *home* (`$MIEN_HOME`, by default the user's cache folder) holds what can be fetched
again, namely base models; the *workspace* (`$MIEN_WORKSPACE`, by default `./mien-out`) holds what
cannot: runs, reports, and `mien.db`, the SQLite table of scores. Migrations are an append-only list.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mien.errors import MienError
from mien.schema import Score

DATABASE = "mien.db"
_CANNOT_WRITE = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT)

_TORCH_CANNOT_WRITE = re.compile(r"unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing")


def home() -> Path:
    """The folder of things that can be fetched again."""
    if folder := os.environ.get("MIEN_HOME"):
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "mien"


@contextmanager
def disk_errors(where: Path, needed: str) -> Iterator[None]:
    """Turn a full or read-only disk under `where` into one clear line."""
    try:
        yield
    except Exception as error:
        number = _errno(error)
        if number not in _CANNOT_WRITE:
            raise
        free = shutil.disk_usage(_existing(where)).free
        raise MienError(
            f"{where}: cannot write ({os.strerror(number)}; {free / 2**20:.0f} MiB free).",
            fix=f"Free {needed} there, or point MIEN_HOME or MIEN_WORKSPACE elsewhere. "
            "What was complete before is untouched.",
        ) from error


def _errno(error: Exception) -> int:
    """The system's error number, or 0.

    safetensors, which is Rust, has it in its text only; torch's writer keeps it to itself.
    """
    if isinstance(error, OSError):
        return error.errno or 0
    if _TORCH_CANNOT_WRITE.search(str(error)):
        return errno.ENOSPC
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else 0


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


@contextmanager
def atomic_file(path: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    """A file to write so that a reader, or a kill, sees the old one or the new one and nothing between.

    Args:
        path: Where it will lie; it is left as it was if anything goes wrong.
        errors: What becomes of text that UTF-8 cannot hold, as for `open`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # Unlike tempfile's, of the umask's mode.
        with partial.open("x", encoding="utf-8", errors=errors, newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, text: str) -> None:
    """Write `text` whole or not at all."""
    with atomic_file(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def _scores_table(db: sqlite3.Connection) -> None:
    db.execute(
        "create table score (id integer primary key, made text not null default current_timestamp,"
        " report text not null, name text not null, system text not null, value real not null,"
        " low real not null, high real not null, n integer not null, method text not null)"
    )


def _promotion_table(db: sqlite3.Connection) -> None:
    db.execute(
        "create table promotion (id integer primary key, made text not null, persona text not null,"
        " base_hash text not null, run text not null, adapter_hash text not null, report text not null,"
        " who text not null, forced integer not null, why text not null, failed text not null)"
    )


def _experiment_tables(db: sqlite3.Connection) -> None:
    db.execute(
        "create table experiment (name text not null, epoch integer not null, arms text not null,"
        " salt text not null, users integer, keep_text integer not null, started text not null,"
        " stopped text, primary key (name, epoch))"
    )
    db.execute("create unique index running on experiment (name) where stopped is null")
    db.execute(
        "create table answer (id text primary key, experiment text not null, epoch integer not null,"
        " arm text not null, person text not null, version text not null, choices integer not null,"
        " made text not null, prompt text, replies text)"
    )
    db.execute("create index answer_of on answer (experiment, epoch)")
    db.execute(
        "create table feedback (answer text not null references answer (id), choice integer not null,"
        " kind text not null, up integer, other text, replaced_by text references answer (id),"
        " made text not null, primary key (answer, choice, kind))"
    )


# Append only: a released migration never changes.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _scores_table,
    _promotion_table,
    _experiment_tables,
)


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    db.execute("pragma journal_mode = wal")
    db.execute("begin immediate")
    done = db.execute("pragma user_version").fetchone()[0]
    if done > len(MIGRATIONS):
        raise MienError(
            f"{path}: from a newer mien (schema {done}; this one knows {len(MIGRATIONS)}).",
            fix="Upgrade mien, or point MIEN_WORKSPACE elsewhere. Nothing was changed.",
        )
    for version, migrate in enumerate(MIGRATIONS[done:], done + 1):
        migrate(db)
        db.execute(f"pragma user_version = {version}")
    db.execute("commit")


@dataclass(frozen=True)
class Workspace:
    """One folder of runs and reports, and the table of scores."""

    root: Path

    @classmethod
    def open(cls, root: Path | None = None) -> Workspace:
        """The workspace at `root`, `$MIEN_WORKSPACE`, or `./mien-out`."""
        return cls(root or Path(os.environ.get("MIEN_WORKSPACE") or "mien-out"))

    @property
    def runs(self) -> Path:
        """The folder with one folder per training run."""
        return self.root / "runs"

    @property
    def reports(self) -> Path:
        """The folder with one folder per evaluation."""
        return self.root / "reports"

    def database(self) -> sqlite3.Connection:
        """`mien.db`, migrated to the newest schema.

        Raises:
            MienError: A newer release has written it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / DATABASE
        db = sqlite3.connect(path, isolation_level=None)
        try:
            _migrate(db, path)
        except BaseException:
            db.close()  # which undoes what was begun and frees the lock
            raise
        return db

    def add_scores(self, report: str, scores: Iterable[Score]) -> None:
        """Store the scores of one report, in place of any it had: all of them, or none."""
        rows = [(report, *score.model_dump().values()) for score in scores]
        with closing(self.database()) as db:
            db.execute("begin")
            db.execute("delete from score where report = ?", (report,))
            db.executemany(
                "insert into score (report, name, system, value, low, high, n, method)"
                " values (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            db.execute("commit")

    def scores(self, report: str | None = None) -> list[Score]:
        """All scores, or those of one report, oldest first."""
        query = "select name, system, value, low, high, n, method from score"
        where, arguments = (" where report = ?", (report,)) if report else ("", ())
        with closing(self.database()) as db:
            rows = db.execute(f"{query}{where} order by id", arguments).fetchall()
        return [Score(**dict(zip(Score.model_fields, row, strict=True))) for row in rows]
