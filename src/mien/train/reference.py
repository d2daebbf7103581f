"""What the frozen reference says of each completion: asked once, kept, and shared.

A log-probability under a reference depends on the base, the reference's adapter and the tokens, and on
nothing else. Under this key it lies in the home, so all seeds, losses and runs that start from the
same adapter share it, and with the bare base as reference all personas do.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from mien.base.flat import Flat, Ids, Tree, batches
from mien.base.model import Base
from mien.errors import MienError, first_line
from mien.workspace import home

_BATCH_TOKENS = 2048
_SCHEMA = 1  # raised by the release that changes it
Advance = Callable[[int], None]


class References:
    """The store: SQLite, by content digest. Losing it costs nothing but the time to compute it again.

    Args:
        path: The file; `references.db` in the home if not given.

    Raises:
        MienError: It cannot be used, or a newer release wrote it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or home() / "references.db"

    def get(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """The log-probabilities that are known."""
        with self._open() as db:
            find = "select logp from reference where key = ?"
            found = ((key, db.execute(find, (key,)).fetchone()) for key in keys)
            return {key: row[0] for key, row in found if row}

    def put(self, known: dict[bytes, float]) -> None:
        """Keep some."""
        with self._open() as db, db:
            db.executemany("insert or ignore into reference values (?, ?)", known.items())

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=60)) as db:
                self._prepare(db)
                yield db
        except (sqlite3.Error, OSError) as error:
            raise MienError(
                f"{self.path}: the store of reference log-probabilities cannot be used"
                f" ({first_line(error)}).",
                fix="Remove the file, or set MIEN_HOME elsewhere.",
            ) from error

    def _prepare(self, db: sqlite3.Connection) -> None:
        if db.execute("pragma user_version").fetchone()[0] > _SCHEMA:
            raise MienError(
                f"{self.path}: written by a newer mien.", fix="Upgrade mien, or set MIEN_HOME elsewhere."
            )
        db.execute("pragma journal_mode = wal")
        db.execute(
            "create table if not exists reference (key blob primary key, logp real not null)"
            " without rowid"
        )
        db.execute(f"pragma user_version = {_SCHEMA}")


def reference_logps(
    base: Base,
    adapter: str | None,
    trees: Sequence[Tree],
    *,
    store: References | None = None,
    advance: Advance = lambda _: None,
) -> list[tuple[float, ...]]:
    """Log p of each completion under the reference, in nats, summed over its tokens.

    Args:
        base: The model.
        adapter: The reference, attached to it; None is the bare base.
        trees: Prompts and their completions.
        store: Where known ones are kept; by default in the home.
        advance: Called with the number of trees that were just done.
    """
    store = store or References()
    identity = _identity(base, adapter)
    keys = [[_key(identity, tree.prompt, each) for each in tree.completions] for tree in trees]
    known = store.get(list(dict.fromkeys(key for row in keys for key in row)))
    unknown = [place for place, row in enumerate(keys) if not all(key in known for key in row)]
    advance(len(trees) - len(unknown))
    wanted = iter(unknown)
    for batch in batches((trees[place] for place in unknown), _BATCH_TOKENS):
        asked = [key for _ in batch for key in keys[next(wanted)]]
        store.put(dict(zip(asked, _computed(base, adapter, batch), strict=True)))
        known |= store.get(asked)  # what was there first stays: a resumed run reads the same
        advance(len(batch))
    return [tuple(known[key] for key in row) for row in keys]


@torch.no_grad()
def _computed(base: Base, adapter: str | None, trees: Sequence[Tree]) -> list[float]:
    batch = Flat.branching(trees)
    with base.adapters.use(adapter):
        found: list[float] = batch.sums(-base.nll(batch)).tolist()
    return found


def _identity(base: Base, adapter: str | None) -> str:
    """The base and the adapter by content: what a log-probability depends on beside the tokens."""
    found = hashlib.sha256(f"{base.files.sha256} {base.dtype}".encode())
    if adapter is not None:
        found.update(str(base.adapters.configs[adapter].scale).encode())
        for name, tensor in base.adapters.tensors(adapter).items():
            found.update(name.encode())
            found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def _key(identity: str, prompt: Ids, completion: Ids) -> bytes:
    text = f"{identity} {' '.join(map(str, prompt))} > {' '.join(map(str, completion))}"
    return hashlib.sha256(text.encode()).digest()
