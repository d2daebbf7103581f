"""Versions that a running server has in memory, so that nobody removes them meanwhile.

Whoever serves a version keeps a small file in its folder open under a shared lock of the system's
(flock(2)). The kernel lets go of it when the process ends, be it by kill -9. So there is nothing that
could be stale: no process id, no heartbeat, no clock.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mien.errors import AdapterError

# Of its own: on NFS a lock goes with the first handle of a file that its process closes, and the card is
# read now and then.
LOCK = ".served"


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Keep a run's folder from being removed within the block.

    Raises:
        AdapterError: It is gone.
    """
    try:
        file = (run / LOCK).open("ab")
    except FileNotFoundError as error:
        raise AdapterError(f"{run}: no such folder.", fix="Train it again, or copy it back.") from error
    except OSError:  # a folder that is only to be read
        yield
        return
    with file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def unheld(run: Path) -> Iterator[bool]:
    """Whether nobody holds a run's folder; if so, nobody can within the block.

    Where that cannot be told, as on a file system without locks, somebody might.
    """
    try:
        file = (run / LOCK).open("ab")
    except OSError:
        yield False
        return
    with file:
        yield _alone(file.fileno())


def is_held(run: Path) -> bool:
    """Whether somebody may have it in memory; nothing is written."""
    if not (run / LOCK).exists():
        return False
    with unheld(run) as free:
        return not free


def _alone(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
