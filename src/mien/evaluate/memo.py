"""What was answered stays answered: a store beside the runs, so that an evaluation goes on where it was.

Keys are digests of who was asked what and how, so a changed adapter, prompt, sampling or question is
asked anew, and everything else is read.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mien.errors import MienError, first_line

_CHUNK = 500  # keys a query


class Memo:
    """A table of JSON values by content digest.

    Args:
        path: The SQLite file.

    Raises:
        MienError: It cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute(
                "create table if not exists memo (key text primary key, value text) without rowid"
            )
        except (OSError, sqlite3.Error) as error:
            raise MienError(
                f"{path}: the store of answers cannot be used ({first_line(error)}).",
                fix="Free space there, remove the file, or set MIEN_WORKSPACE elsewhere.",
            ) from error

    def fill(
        self, keys: Sequence[str], make: Callable[[list[int]], Sequence[Any]], *, part: int = 1000
    ) -> list[Any]:
        """A value per key, which is kept.

        Args:
            keys: Digests of what is wanted.
            make: Gives the values of the places in `keys` that are not known yet.
            part: How many values are made, and kept, at a time: what a kill can lose.
        """
        known = self._known(keys)
        first: dict[str, int] = {}
        for place, key in enumerate(keys):
            if key not in known:
                first.setdefault(key, place)
        wanted = list(first.items())
        for start in range(0, len(wanted), part):
            names, places = zip(*wanted[start : start + part], strict=True)
            self._keep(dict(zip(names, make(list(places)), strict=True)))
            known |= self._known(names)
        return [known[key] for key in keys]

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _known(self, keys: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for start in range(0, len(keys), _CHUNK):
            part = keys[start : start + _CHUNK]
            marks = ",".join("?" * len(part))
            rows = self._db.execute(f"select key, value from memo where key in ({marks})", part)
            found |= {key: json.loads(value) for key, value in rows}
        return found

    def _keep(self, values: dict[str, Any]) -> None:
        rows = [(key, json.dumps(value, ensure_ascii=False)) for key, value in values.items()]
        self._db.execute("begin immediate")
        self._db.executemany("insert or ignore into memo values (?, ?)", rows)
        self._db.execute("commit")
