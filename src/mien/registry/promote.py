"""Which adapter speaks for a persona: every promotion with who, when, and why, in the workspace's table.

Nothing is ever taken back or overwritten; whoever wants an earlier adapter promotes it again.
"""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime

from pydantic import Field

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
