"""Which adapter speaks for a persona: every promotion with who, when, and why, in the workspace's table.

Nothing is ever taken back or overwritten; whoever wants an earlier adapter promotes it again, or rolls
back to it, which is a promotion too.
"""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime

from pydantic import Field

from mien.errors import AdapterError
from mien.schema import Strict
from mien.workspace import DATABASE, Workspace


class Promotion(Strict):
    """One adapter declared fit to speak for its persona.

    Attributes:
        made: UTC, ISO 8601.
        run: The adapter's run; `adapter_hash` is of its file as it was then.
        report: The evaluation it was judged by, as a folder of the workspace's reports; empty if none.
        who: The user's name on the machine.
        forced: Whether it was promoted though it failed.
        why: What was said in its defence; what is forced needs it.
        failed: The checks that it failed, in words.
    """

    made: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    persona: str
    base_hash: str
    run: str
    adapter_hash: str
    report: str
    who: str
    forced: bool = False
    why: str = ""
    failed: tuple[str, ...] = ()


_COLUMNS = tuple(Promotion.model_fields)


def record(workspace: Workspace, promotion: Promotion) -> None:
    """Add a promotion to the history."""
    row = promotion.model_dump(mode="json")
    values = [*(row | {"failed": json.dumps(row["failed"], ensure_ascii=False)}).values()]
    marks = ", ".join("?" * len(_COLUMNS))
    with closing(workspace.database()) as db:
        db.execute(f"insert into promotion ({', '.join(_COLUMNS)}) values ({marks})", values)


def promotions(workspace: Workspace, persona: str | None = None) -> list[Promotion]:
    """The history, oldest first, of all personas or of one; a workspace without one is left as it is."""
    if not (workspace.root / DATABASE).exists():
        return []
    where, arguments = (" where persona = ?", (persona,)) if persona else ("", ())
    with closing(workspace.database()) as db:
        query = f"select {', '.join(_COLUMNS)} from promotion{where} order by id"
        rows = db.execute(query, arguments).fetchall()
    return [_promotion(dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def _promotion(row: dict[str, object]) -> Promotion:
    return Promotion.model_validate(row | {"failed": json.loads(str(row["failed"]))})


def in_force(workspace: Workspace) -> list[Promotion]:
    """The promotion that was made last, for each persona and base."""
    return [*{(row.persona, row.base_hash): row for row in promotions(workspace)}.values()]


def before_last(workspace: Workspace, persona: str, base_hash: str | None = None) -> Promotion:
    """The promotion that was in force before the one that is now.

    Of the last adapter that is not the one in force, on the same base.

    Args:
        workspace: Where to look.
        persona: Whose.
        base_hash: On this base; by default on that of the last promotion.

    Raises:
        AdapterError: There was none.
    """
    rows = [row for row in promotions(workspace, persona) if base_hash in (None, row.base_hash)]
    last = rows[-1] if rows else None
    for row in reversed(rows):
        if last and row.base_hash == last.base_hash and _file(row) != _file(last):
            return row
    what = f"only {last.run} was ever promoted" if last else "nothing was ever promoted"
    raise AdapterError(
        f"There is nothing to go back to: {what} for {persona!r}.",
        fix="See what there is with `mien adapter list`, and let one speak: `mien adapter promote RUN`.",
    )


def roll_back(workspace: Workspace, to: Promotion, *, who: str, why: str) -> Promotion:
    """Put an earlier promotion in force again, as a new row: judged and forced as it was then."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    again = to.model_copy(update={"made": made, "who": who, "why": why})
    record(workspace, again)
    return again


def _file(row: Promotion) -> tuple[str, str]:
    return row.run, row.adapter_hash
