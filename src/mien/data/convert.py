"""Rewrites a data set in another form, row by row, and accounts for every row.

What the target form has no place for is left out and counted with the reason; nothing is made up. A
dialogue becomes one example per turn of the assistant, a preference the example of its chosen reply.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import ValidationError

from mien.data.foreign import to_alpaca, to_sharegpt
from mien.data.formats import Form, Record, Row, as_row, iter_records, with_extra
from mien.data.rows import Advance, write_rows
from mien.data.shapes import told
from mien.errors import DataError
from mien.schema import Dialogue, Example, Preference

Target = Literal["examples", "dialogues", "preferences", "sharegpt", "alpaca"]
_LEAVE_OUT = "Leave that row out, or ask for another form."
_LISTED = 20  # bad rows that are named; the others are counted


@dataclass
class Converted:
    """What became of every row of a file.

    Attributes:
        read: Rows that were understood.
        written: Rows that were written.
        bad: Rows that could not be read.
        named: What is wrong with the first of these.
        left_out: Rows that the form has no place for, by reason.
        mended: Rows that had to be changed to be understood, by change.
    """

    read: int = 0
    written: int = 0
    bad: int = 0
    named: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)


def convert(
    source: Path,
    target: Path,
    *,
    to: Target | None = None,
    form: Form = "auto",
    skip_bad: bool = False,
    advance: Advance = lambda _: None,
) -> Converted:
    """Write `source` to `target` in another form, in bounded memory.

    Args:
        source: Any file that `formats.iter_records` reads.
        target: The JSONL file to write; it is left as it was if anything goes wrong.
        to: The form; without it, every row stays the kind that it is, in TRL's form.
        form: What every row of `source` is.
        skip_bad: Leave out rows that cannot be read, and count them.
        advance: Called with the number of bytes that were just read.

    Raises:
        DataError: A row cannot be read and `skip_bad` is not set, or there is no row to write.
    """
    done = Converted()

    def bad(error: DataError) -> None:
        if not skip_bad:
            raise error
        done.bad += 1
        done.named += [error.what] if done.bad <= _LISTED else []

    records = iter_records(source, form=form, on_error=bad, advance=advance)
    done.written = write_rows(target, _some(_converted(records, to, done), source, done))
    return done


def _converted(
    records: Iterable[Record], to: Target | None, done: Converted
) -> Iterator[dict[str, Any]]:
    make, taken = _MAKERS[to], _TAKEN.get(to, ())
    for record in records:
        done.read += 1
        done.mended.update(record.mended)
        try:
            rows = make(record.row)
        except DataError as error:
            done.left_out[f"{record.kind}: {error.what}"] += 1
        else:
            yield from (with_extra(row, record.extra, taken) for row in rows)


def _some(rows: Iterator[dict[str, Any]], source: Path, done: Converted) -> Iterator[dict[str, Any]]:
    """The rows, of which there must be one: an empty file is nobody's aim."""
    first = next(rows, None)
    if first is None:
        reasons = "; ".join([*done.named[:1], *list(done.left_out)[:1]]) or "it has no rows"
        fix = "Choose another form with --to."
        raise DataError(f"{source}: nothing to write ({reasons}).", fix=fix)
    yield first
    yield from rows


def _examples(row: Row) -> list[Example]:
    if isinstance(row, Dialogue):
        return row.examples() or _refused("no turn of the assistant follows one of the user.")
    if isinstance(row, Preference):
        return [Example(prompt=row.prompt, completion=row.chosen)]
    return [row]


def _dialogue(row: Row) -> Dialogue:
    if isinstance(row, Dialogue):
        return row
    (example,) = _examples(row)
    try:
        return Dialogue(messages=example.prompt + example.completion)
    except ValidationError as error:
        raise DataError(f"{told(error)}.", fix=_LEAVE_OUT) from error


def _preference(row: Row) -> Preference:
    return row if isinstance(row, Preference) else _refused("has no rejected reply.")


def _refused(why: str) -> NoReturn:
    raise DataError(why, fix=_LEAVE_OUT)


_MAKERS: dict[Target | None, Callable[[Row], list[dict[str, Any]]]] = {
    None: lambda row: [as_row(row)],
    "examples": lambda row: [as_row(each) for each in _examples(row)],
    "dialogues": lambda row: [as_row(_dialogue(row))],
    "preferences": lambda row: [as_row(_preference(row))],
    "sharegpt": lambda row: [to_sharegpt(_dialogue(row).messages)],
    "alpaca": lambda row: [to_alpaca(each) for each in _examples(row)],
}
# Extra keys that these forms would take for theirs.
_TAKEN: dict[Target | None, tuple[str, ...]] = {
    "sharegpt": ("system",),
    "alpaca": ("system", "input", "history"),
}
