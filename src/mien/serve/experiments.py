"""Experiments: a model's name that stands for several, of which each user meets one.

Which one is a function of the user and of a secret of the epoch, so that it needs no table and survives
every restart. Whoever changes the arms begins a new epoch: users are drawn anew, and what they do is
counted apart.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import sqlite3
from bisect import bisect
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import accumulate

from pydantic import Field

from mien.errors import InputError
from mien.schema import Strict
from mien.workspace import DATABASE, Workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", re.ASCII)
_MOST = 1e6
_DIGITS = 13  # of a pseudonym, in hex: as many bits as a float holds


def now() -> str:
    """UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Arm(Strict):
    """One of the models that answer, and how many users meet it, by its share of all weights."""

    name: str = Field(min_length=1)
    weight: float = Field(ge=1 / _MOST, le=_MOST)


class Experiment(Strict):
    """One epoch of an experiment.

    Attributes:
        arms: The first is the one that others are compared with.
        salt: A secret of the epoch, in hex.
        users: Of each arm, after which it is to be decided, as was said beforehand.
        keep_text: Whether prompts and replies are kept.
        started: UTC, ISO 8601, as is `stopped`.
    """

    name: str
    epoch: int = 1
    arms: tuple[Arm, ...]
    salt: str = Field(default_factory=lambda: secrets.token_hex(32), repr=False)
    users: int | None = None
    keep_text: bool = False
    started: str = Field(default_factory=now)
    stopped: str | None = None

    def person(self, key: str, user: str) -> str:
        """The pseudonym of a key's user: 64 hex digits that mean nobody outside of this epoch."""
        said = f"{key}\0{user}".encode("utf-8", "surrogatepass")
        return hmac.digest(bytes.fromhex(self.salt), said, "sha256").hex()

    def arm(self, person: str) -> str:
        """Whom a person meets."""
        ends = list(accumulate(arm.weight for arm in self.arms))
        point = int(person[:_DIGITS], 16) / 16**_DIGITS
        return self.arms[bisect(ends, point * ends[-1])].name

    def share(self, arm: Arm) -> float:
        """How many of all users meet it."""
        return arm.weight / sum(each.weight for each in self.arms)


_COLUMNS = tuple(Experiment.model_fields)


def arms(text: str) -> tuple[Arm, ...]:
    """Arms from `witty:0.5,warm:0.5`; a weight follows the last colon.

    Raises:
        InputError: One has no weight that can be used, or is named twice.
    """
    found = tuple(_arm(each.strip()) for each in text.split(","))
    names = [arm.name for arm in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{twice!r} is named twice.", fix="Name each arm once.")
    return found


def _arm(text: str) -> Arm:
    name, _, number = text.rpartition(":")
    try:
        return Arm(name=name, weight=float(number))
    except ValueError as error:  # pydantic's are such too
        raise InputError(
            f"{text[:80]!r} is no arm.",
            fix=f"Say MODEL:WEIGHT, as in `witty:0.5,warm:0.5`, the weight above 0 and up to {_MOST:g}.",
        ) from error


def start(
    workspace: Workspace,
    name: str,
    arms: Sequence[Arm],
    *,
    users: int | None = None,
    keep_text: bool = False,
) -> Experiment:
    """Begin an experiment, or go on with one.

    The same arms go on with the last epoch, whether it was stopped or not; others begin the next.

    Args:
        workspace: Where it is kept.
        name: The model's name that clients will ask for.
        arms: Who answers.
        users: Of each arm, after which it is to be decided.
        keep_text: Whether to keep prompts and replies.

    Raises:
        InputError: It cannot be called that.
    """
    if not _NAME.fullmatch(name):
        fix = "Use up to 60 letters, digits, `.`, `_` and `-`, the first a letter or a digit."
        raise InputError(f"No experiment can be called {name[:80]!r}.", fix=fix)
    with closing(workspace.database()) as db:
        db.execute("begin immediate")  # undone by the closing if anything goes wrong
        last = _newest(db, name)
        given = {"users": users, "keep_text": keep_text, "stopped": None}
        if last and last.arms == tuple(arms):
            begun = last.model_copy(update=given)
        else:
            _stop(db, name)
            epoch = last.epoch + 1 if last else 1
            begun = Experiment(
                name=name, epoch=epoch, arms=tuple(arms), users=users, keep_text=keep_text
            )
        _write(db, begun)
        db.execute("commit")
    return begun


def stop(workspace: Workspace, name: str) -> Experiment:
    """End an experiment: its name is no model's any more. What users still say is taken.

    Raises:
        InputError: None of that name is running.
    """
    if called(workspace, name).stopped:
        raise InputError(f"{name!r} is stopped already.", fix=f"`mien experiment show {name}` reads it.")
    with closing(workspace.database()) as db:
        _stop(db, name)
    return called(workspace, name)


def experiments(workspace: Workspace) -> list[Experiment]:
    """All epochs of all experiments, oldest first; a workspace without any is left as it is."""
    if not (workspace.root / DATABASE).exists():
        return []
    with closing(workspace.database()) as db:
        return _read(db, "order by started, epoch")


def running(workspace: Workspace) -> dict[str, Experiment]:
    """Those that answer, by name."""
    return {each.name: each for each in experiments(workspace) if each.stopped is None}


def claims(workspace: Workspace) -> dict[str, str]:
    """What arms of a running experiment may name a version by, and which experiment that is."""
    return {
        part.partition(":")[0].rpartition("@")[2]: f"the experiment {name!r} asks for it"
        for name, experiment in running(workspace).items()
        for arm in experiment.arms
        for part in arm.name.split("+")
    }


def called(workspace: Workspace, name: str, epoch: int | None = None) -> Experiment:
    """An experiment's last epoch, or a certain one.

    Raises:
        InputError: There is none.
    """
    mine = [each for each in experiments(workspace) if each.name == name]
    found = [each for each in mine if epoch in (None, each.epoch)]
    if not found:
        what = f"{name!r} has no epoch {epoch}." if mine else f"There is no experiment {name!r}."
        raise InputError(what, fix="See what there is with `mien experiment list`.")
    return found[-1]


def find(db: sqlite3.Connection, name: str, epoch: int) -> Experiment:
    """One that there is."""
    return _read(db, "where name = ? and epoch = ?", name, epoch)[0]


def _newest(db: sqlite3.Connection, name: str) -> Experiment | None:
    found = _read(db, "where name = ? order by epoch desc limit 1", name)
    return found[0] if found else None


def _read(db: sqlite3.Connection, which: str, *values: object) -> list[Experiment]:
    rows = db.execute(f"select {', '.join(_COLUMNS)} from experiment {which}", values)
    named = (dict(zip(_COLUMNS, row, strict=True)) for row in rows)
    return [Experiment.model_validate(row | {"arms": json.loads(row["arms"])}) for row in named]


def _write(db: sqlite3.Connection, experiment: Experiment) -> None:
    row = experiment.model_dump(mode="json")
    values = [*(row | {"arms": json.dumps(row["arms"])}).values()]
    marks = ", ".join("?" * len(_COLUMNS))
    db.execute(f"replace into experiment ({', '.join(_COLUMNS)}) values ({marks})", values)


def _stop(db: sqlite3.Connection, name: str) -> None:
    db.execute("update experiment set stopped = ? where name = ? and stopped is null", (now(), name))
