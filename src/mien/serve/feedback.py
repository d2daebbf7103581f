"""What users do about replies, and what has to be kept of a reply so that it can be joined to it.

Of every reply of an experiment a row is written before its first word leaves, so that whoever knows its
id can say something about it, to any server of the workspace. Texts are in it only if whoever began the
experiment wanted them; with them, the rows are what `mien data pairs --from feedback` reads.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from mien.data.pairs import Feedback
from mien.schema import Message, Strict
from mien.serve.experiments import Experiment, find, now
from mien.serve.protocol import Text
from mien.serve.refusals import RefusedError
from mien.workspace import Workspace

Kind = Literal["thumb_up", "thumb_down", "regenerate", "edit"]


class FeedbackRequest(Strict):
    """`POST /v1/feedback`: what a user did about one reply.

    Attributes:
        index: Of the choice that is meant.
        user: As in the request that was answered.
        other: The corrected text, or the reply that came instead.
        replaced_by: The id of the completion that came instead; its first choice is meant.
    """

    completion_id: Text = Field(min_length=1, max_length=200)
    index: int = Field(default=0, ge=0)
    kind: Kind
    user: Text = Field(min_length=1, max_length=512)
    other: Text | None = Field(default=None, min_length=1)
    replaced_by: Text | None = Field(default=None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _what_belongs_to_its_kind(self) -> Self:
        if self.kind == "edit" and self.other is None:
            raise ValueError("other: an edit needs the corrected text")
        if self.kind.startswith("thumb") and self.other is not None:
            raise ValueError("other: a thumb has none")
        if self.kind != "regenerate" and self.replaced_by is not None:
            raise ValueError("replaced_by: only for `regenerate`")
        if self.other is not None and self.replaced_by is not None:
            raise ValueError("replaced_by: leave it out where `other` is given")
        return self


class Taken(Strict):
    """What whoever gave feedback is told."""

    object: Literal["feedback"] = "feedback"
    created: int
    completion_id: str
    index: int
    kind: Kind


class Answered(NamedTuple):
    """A reply of an experiment, as it is noted before it is given.

    Attributes:
        person: The pseudonym of whom it was given to.
        version: Of the weights that answered.
    """

    id: str
    experiment: str
    epoch: int
    arm: str
    person: str
    version: str
    choices: int
    made: str


def note(db: sqlite3.Connection, answered: Answered) -> None:
    """Write down who answers whom."""
    marks = ", ".join("?" * len(answered))
    db.execute(f"insert into answer ({', '.join(Answered._fields)}) values ({marks})", answered)


def keep(
    db: sqlite3.Connection, completion: str, prompt: Sequence[Message], replies: Sequence[str | None]
) -> None:
    """Write down what was said; None for a reply that has no end."""
    said = json.dumps([message.model_dump(mode="json") for message in prompt], ensure_ascii=False)
    row = (said, json.dumps(replies, ensure_ascii=False), completion)
    db.execute("update answer set prompt = ?, replies = ? where id = ?", row)


def give(db: sqlite3.Connection, key: str, given: FeedbackRequest) -> None:
    """Write down what a user did; of two thumbs, wishes or edits about one reply the later one counts.

    Args:
        db: The workspace's.
        key: The name of the key that asks; empty where none is needed.
        given: What was done.

    Raises:
        RefusedError: No such reply was given to this user of this key.
    """
    experiment, choices = _own(db, key, given, "completion_id")
    if given.index >= choices:
        raise RefusedError(400, f"That reply has {choices} choices.", "invalid_request", param="index")
    if given.replaced_by:
        if given.replaced_by == given.completion_id:
            message = "A reply cannot come instead of itself."
            raise RefusedError(400, message, "invalid_request", param="replaced_by")
        _own(db, key, given, "replaced_by")
    thumb = given.kind.startswith("thumb")
    db.execute(
        "replace into feedback (answer, choice, kind, up, other, replaced_by, made)"
        " values (?, ?, ?, ?, ?, ?, ?)",
        (
            given.completion_id,
            given.index,
            "thumb" if thumb else given.kind,
            given.kind == "thumb_up" if thumb else None,
            given.other if experiment.keep_text else None,
            given.replaced_by,
            now(),
        ),
    )


def _own(db: sqlite3.Connection, key: str, given: FeedbackRequest, param: str) -> tuple[Experiment, int]:
    """The experiment that a reply belongs to, and how many choices it has."""
    which = "select experiment, epoch, person, choices from answer where id = ?"
    row = db.execute(which, (getattr(given, param),)).fetchone()
    if row:
        name, epoch, person, choices = row
        experiment = find(db, name, epoch)
        if experiment.person(key, given.user) == person:
            return experiment, choices
    message = f"`{param}`: no reply of an experiment to this user of this key."
    raise RefusedError(404, message, "completion_not_found", param=param)


def collected(
    workspace: Workspace, name: str, *, epoch: int | None = None, arm: str | None = None
) -> tuple[list[Feedback], Counter[str]]:
    """What users did, as `mien data pairs --from feedback` reads it; and what is left out, by reason.

    Args:
        workspace: Where it is kept.
        name: Of the experiment.
        epoch: Only of this one; by default of all.
        arm: Only about replies of this one; by default of all.
    """
    rows, dropped = [], Counter[str]()
    with closing(workspace.database()) as db:
        db.row_factory = sqlite3.Row
        found = db.execute(
            "select f.*, a.person, a.prompt, a.replies, b.prompt as other_prompt,"
            " b.replies as other_replies from feedback f join answer a on a.id = f.answer"
            " left join answer b on b.id = f.replaced_by where a.experiment = ?"
            " and a.epoch = ifnull(?, a.epoch) and a.arm = ifnull(?, a.arm) order by f.made",
            (name, epoch, arm),
        ).fetchall()
    for row in found:
        made = _row(row)
        if isinstance(made, str):
            dropped[made] += 1
        else:
            rows.append(made)
    return rows, dropped


def _row(row: sqlite3.Row) -> Feedback | str:
    """A row for training, or why there is none."""
    if row["prompt"] is None:
        return "texts were not kept"
    reply, other = json.loads(row["replies"])[row["choice"]], _other(row)
    if not reply:
        return "the reply is empty or was cut short"
    if row["kind"] != "thumb" and not other:
        return "the other text is not known"
    thumb: Kind = "thumb_up" if row["up"] else "thumb_down"
    return Feedback(
        prompt=json.loads(row["prompt"]),
        reply=reply,
        kind=thumb if row["kind"] == "thumb" else row["kind"],
        other=other,
        user=row["person"],
        made=row["made"],
    )


def _other(row: sqlite3.Row) -> str | None:
    """The corrected text, or the reply that came instead if it answers the same."""
    same = row["other_prompt"] == row["prompt"]
    found: str | None = json.loads(row["other_replies"])[0] if same else row["other"]
    return found
