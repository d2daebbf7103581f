"""The store of answered calls: what a job was told stays told, whatever becomes of the job."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.chat import Reply
from mien.errors import MienError, first_line
from mien.workspace import home

_SCHEMA = 1  # raised by the release that changes it


class Calls:
    """The store of answered calls: SQLite, by content digest; threads and processes may share it.

    Args:
        path: The file; `calls.db` in the home if not given.

    Raises:
        MienError: It cannot be written there, or a newer release wrote it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or home() / "calls.db"
        self._lock = threading.Lock()
        with self._trouble():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._prepare()

    def get(self, key: str) -> Reply | None:
        """What was answered under a key, or None."""
        with self._lock, self._trouble():
            row = self._db.execute("select reply from call where key = ?", (key,)).fetchone()
        return Reply.model_validate_json(row[0]) if row else None

    def put(self, key: str, model: str, reply: Reply) -> None:
        """Keep an answer; when this returns, it is on the disk. The first one under a key stays."""
        row = (key, model, reply.model_dump_json())
        with self._lock, self._trouble():
            self._db.execute("insert or ignore into call (key, model, reply) values (?, ?, ?)", row)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _prepare(self) -> None:
        if self._db.execute("pragma user_version").fetchone()[0] > _SCHEMA:
            self._db.close()
            raise MienError(
                f"{self.path}: written by a newer mien.", fix="Upgrade mien, or set MIEN_HOME elsewhere."
            )
        self._db.execute("pragma journal_mode = wal")
        self._db.execute(
            "create table if not exists call (key text primary key, model text not null, reply text"
            " not null, made text not null default current_timestamp) without rowid"
        )
        self._db.execute(f"pragma user_version = {_SCHEMA}")

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise MienError(
                f"{self.path}: the store of answered calls cannot be used ({first_line(error)}).",
                fix="Free space there, mend or move the file, or set MIEN_HOME elsewhere.",
            ) from error
