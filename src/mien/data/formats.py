"""Reads and writes what is learnt from: TRL's forms, ShareGPT and Alpaca in, TRL's forms out.

Rows are told apart by their keys, each for itself, so that a file may mix them:

    {"prompt": "..." or [turns], "completion": "..." or [turn]}             an example
    {"messages": [turns]}                                                   a dialogue
    {"prompt": ..., "chosen": ..., "rejected": ...}                         a preference
    {"chosen": [turns], "rejected": [turns]}                                its prompt is what both share
    {"conversations": [{"from": "human", "value": "..."}, ...]}             ShareGPT: a dialogue
    {"instruction": "...", "input": "...", "output": "..."}                 Alpaca: an example

A turn is `{"role": ..., "content": ...}`, with OpenAI's `tool_calls`, `tool_call_id` and `name` where
tools are used. All other keys of a row are kept and written back. A row that cannot be read stops the
reading with file, line and reason, unless the caller would rather count such rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from mien.data import foreign, shapes
from mien.data.rows import Advance, OnError, Raw, iter_raw, iter_rows, refuse, write_rows
from mien.errors import DataError
from mien.schema import Dialogue, Example, Message, Preference, Strict

__all__ = [
    "Form",
    "Kind",
    "Record",
    "Row",
    "as_row",
    "iter_examples",
    "iter_records",
    "iter_rows",
    "read_examples",
    "with_extra",
    "write_examples",
    "write_records",
]

Row = Example | Dialogue | Preference
Kind = Literal["example", "dialogue", "preference"]
Form = Literal["auto", "examples", "dialogues", "preferences", "sharegpt", "alpaca"]


class Record(Strict):
    """One row of a file, as it was understood.

    Attributes:
        number: Its line, or its place in a JSON array, from 1.
        row: What it says.
        extra: The keys of the row that are not ours, such as `id` or `tools`.
        mended: What had to be changed for it to be a row of ours, one phrase each.
    """

    number: int
    row: Row
    extra: dict[str, Any] = Field(default_factory=dict)
    mended: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What it is."""
        return _KINDS[type(self.row)]

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation with the reply, which of a preference is the chosen one."""
        row = self.row
        if isinstance(row, Dialogue):
            return row.messages
        return row.prompt + (row.completion if isinstance(row, Example) else row.chosen)


_KINDS: dict[type[Row], Kind] = {Example: "example", Dialogue: "dialogue", Preference: "preference"}


def iter_records(
    path: Path, *, form: Form = "auto", on_error: OnError = refuse, advance: Advance = lambda _: None
) -> Iterator[Record]:
    """The rows of a JSON Lines file or of a JSON array, one at a time.

    Args:
        path: The file.
        form: What every row must be; `auto` decides for each row by its keys.
        on_error: Called with what is wrong with a row; if it returns, the reading goes on after it.
        advance: Called with the number of bytes that were just read.

    Raises:
        DataError: The file is missing or broken as a whole, or `on_error` raises it.
    """
    for raw in iter_raw(path, on_error=on_error, advance=advance):
        try:
            record = _record(raw, form)
        except DataError as error:
            on_error(error)
        else:
            yield record


def iter_examples(path: Path) -> Iterator[Example]:
    """The examples of a file, one at a time; a dialogue gives one per turn of the assistant."""
    for raw in iter_raw(path):
        record = _record(raw, "auto")
        if isinstance(record.row, Preference):
            raise DataError(
                f"{raw.where}: a preference, where an example or a dialogue is needed.",
                fix="Run `mien data convert IN OUT --to examples` to keep the chosen replies.",
            )
        yield from record.row.examples() if isinstance(record.row, Dialogue) else [record.row]


def read_examples(path: Path) -> list[Example]:
    """All examples of a file; a dialogue gives one per turn of the assistant.

    Raises:
        DataError: The file is missing or empty, or a row cannot be read or is a preference.
    """
    examples = list(iter_examples(path))
    if not examples:
        raise DataError(f"{path}: no rows.", fix=f"Put one JSON object a line: {shapes.KNOWN}.")
    return examples


def write_records(
    path: Path, rows: Iterable[Row | Record], extras: Iterable[Mapping[str, Any]] | None = None
) -> int:
    """Write rows as TRL's conversational JSON Lines, atomically and one at a time.

    Args:
        path: The file, which is replaced if it is there.
        rows: What to write; a `Record` brings its extra keys with it.
        extras: Extra keys, one mapping per row; see `with_extra`.

    Returns:
        How many rows were written.
    """
    pairs = zip(rows, repeat({}) if extras is None else extras, strict=extras is not None)
    return write_rows(path, (_dump(row, extra) for row, extra in pairs))


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples in TRL's conversational prompt/completion form."""
    write_records(path, examples)


def as_row(row: Row) -> dict[str, Any]:
    """A row as TRL has it, without the keys that are not set."""
    return {key: value for key, value in row.model_dump(mode="json").items() if value is not None}


def with_extra(
    row: Mapping[str, Any], extra: Mapping[str, Any], taken: Collection[str] = ()
) -> dict[str, Any]:
    """A row with its extra keys.

    A key that would make the row another one when it is read (the `prompt` of an Alpaca row, say) is
    written as `original_KEY`.
    """
    taken = {*_TELLING, *row, *taken}
    return {**row, **{f"original_{key}" if key in taken else key: extra[key] for key in extra}}


def _record(raw: Raw, form: Form) -> Record:
    try:
        found = _shape(raw.row, form)(raw.row)
        extra = {key: value for key, value in raw.row.items() if _is_extra(key, value, found.used)}
        return Record(number=raw.number, row=found.row, extra=extra, mended=found.mended)
    except ValidationError as error:
        raise DataError(f"{raw.where}: {shapes.told(error)}.", fix="Mend that row.") from error
    except DataError as error:
        raise DataError(f"{raw.where}: {error.what}", fix=error.fix) from error


def _shape(row: Mapping[str, Any], form: Form) -> shapes.Shape:
    """The reader for a row, by its keys that are not null."""
    present = {key for key, value in row.items() if value is not None}
    for name, keys, shape in _SHAPES:
        if form in ("auto", name) and keys <= present:
            return shape
    given = ", ".join(key if key in present else f"{key} (null)" for key in row) or "none"
    what = "no known form" if form == "auto" else f"not of the form {form}"
    raise DataError(f"{what} (keys: {given}).", fix=f"Use {shapes.KNOWN}.")


# The richest first: a set of preferences often has `messages` as well, and one of those a `prompt`.
_SHAPES: tuple[tuple[Form, frozenset[str], shapes.Shape], ...] = (
    ("preferences", frozenset({"chosen", "rejected"}), shapes.preference),
    ("dialogues", frozenset({"messages"}), shapes.dialogue),
    ("examples", frozenset({"prompt", "completion"}), shapes.example),
    ("sharegpt", frozenset({"conversations"}), foreign.sharegpt),
    ("sharegpt", frozenset({"conversation"}), foreign.sharegpt),
    ("alpaca", frozenset({"instruction", "output"}), foreign.alpaca),
)
_TELLING = frozenset().union(*(keys for _, keys, _ in _SHAPES))  # keys that say what a row is


def _is_extra(key: str, value: Any, used: Collection[str]) -> bool:
    """A column that tells forms apart and is null comes from another form's row in the same table."""
    return key not in used and not (value is None and key in _TELLING)


def _dump(row: Row | Record, extra: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(row, Record):
        return _dump(row.row, {**row.extra, **extra})
    return with_extra(as_row(row), extra, type(row).model_fields)
