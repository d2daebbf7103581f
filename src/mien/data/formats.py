"""Reads training examples from JSONL: TRL's prompt/completion rows and its conversational rows.

Accepted rows, one JSON object a line:

    {"prompt": "...", "completion": "..."}
    {"prompt": [{"role": "user", "content": "..."}], "completion": [{"role": "assistant", ...}]}
    {"messages": [..., {"role": "assistant", "content": "..."}]}

A `messages` row is learnt from its last turn; every turn before it is the prompt. A row that cannot
be read stops the reading with the file, the line and the reason: half a data set is no data set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mien.errors import DataError
from mien.schema import Example, Message
from mien.workspace import write_atomic

_SHAPES = '{"prompt": ..., "completion": ...} or {"messages": [...]}'


def read_examples(path: Path) -> list[Example]:
    """All examples of a JSONL file.

    Raises:
        DataError: The file is missing or empty, or a row cannot be read.
    """
    examples = list(iter_examples(path))
    if not examples:
        raise DataError(f"{path}: no rows.", fix=f"Put one JSON object a line: {_SHAPES}.")
    return examples


def iter_examples(path: Path) -> Iterator[Example]:
    """The examples of a JSONL file, one at a time."""
    for number, row in iter_rows(path):
        yield _example(row, f"{path}:{number}")


def iter_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not blank."""
    if not path.is_file():
        raise DataError(f"{path}: no such file.", fix="Check the spelling of the path.")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _parse(line, f"{path}:{number}")


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples in TRL's conversational prompt/completion form."""
    rows = (json.dumps(each.model_dump(mode="json"), ensure_ascii=False) for each in examples)
    write_atomic(path, "".join(f"{row}\n" for row in rows))


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8.", fix="Save the file as UTF-8.") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON ({error.msg} at column {error.colno}).",
            fix="Mend or remove that line; nothing has been trained or written.",
        ) from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object, got {type(row).__name__}.", fix=f"Use {_SHAPES}.")
    return row


def _example(row: dict[str, Any], where: str) -> Example:
    try:
        prompt, completion = _sides(row, where)
        return Example(
            prompt=tuple(_messages(prompt, "user")),
            completion=tuple(_messages(completion, "assistant")),
        )
    except (KeyError, TypeError) as error:
        keys = ", ".join(row) or "none"
        message = f"{where}: no prompt and completion (keys: {keys})."
        raise DataError(message, fix=f"Use {_SHAPES}.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ")
        what = f"{where}: {key}: {reason}." if key else f"{where}: {reason}."
        raise DataError(what, fix="Mend that row.") from error


def _sides(row: dict[str, Any], where: str) -> tuple[Any, Any]:
    if "messages" not in row:
        return row["prompt"], row["completion"]
    turns = row["messages"]
    if not isinstance(turns, list):
        kind = type(turns).__name__
        raise DataError(f"{where}: messages: a list of turns, not {kind}.", fix=f"Use {_SHAPES}.")
    return turns[:-1], turns[-1:]


def _messages(side: Any, role: str) -> list[Message]:
    if isinstance(side, str):
        return [Message.model_validate({"role": role, "content": side})]
    return [Message.model_validate(turn) for turn in side]
