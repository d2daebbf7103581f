"""Reads texts to be measured: one a line, or JSONL; from a file or from stdin."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mien.errors import DataError

FIELDS = ("reply", "completion", "text")


def read_texts(file: str) -> list[str]:
    """The texts of `file`, or of stdin for `-`.

    Raises:
        DataError: It cannot be read, or there is no text in it.
    """
    source = "stdin" if file == "-" else file
    lines = [(number, line) for number, line in enumerate(_lines(file, source), 1) if line.strip()]
    if not lines:
        raise DataError(f"{source}: no texts.", fix="Put one text a line.")
    if lines[0][1].lstrip().startswith("{"):
        return [text for number, line in lines for text in _said(line, f"{source}:{number}")]
    return [line.strip() for _, line in lines]


def _lines(file: str, source: str) -> list[str]:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode("utf-8-sig").split("\n")
    except OSError as error:
        fix = "Check the spelling of the path."
        raise DataError(f"{source}: cannot be read ({error.strerror}).", fix=fix) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not UTF-8.", fix="Save it as UTF-8.") from error


def _said(line: str, where: str) -> list[str]:
    """The text of a row; of a dialogue, every turn of the assistant."""
    try:
        row = json.loads(line)
        if "messages" in row:
            turns = [turn for turn in row["messages"] if turn["role"] == "assistant"]
            return [_reply(turn["content"]) for turn in turns]
        return [next(_reply(row[name]) for name in FIELDS if name in row)]
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg}).", fix="Mend that line.") from error
    except (StopIteration, TypeError, KeyError, IndexError) as error:
        fix = f"Name it {', '.join(FIELDS[:-1])} or {FIELDS[-1]}."
        raise DataError(f"{where}: no text in this row.", fix=fix) from error


def _reply(value: Any) -> str:
    """A string, or the last turn of a conversation as TRL writes it."""
    text = value if isinstance(value, str) else value[-1]["content"]
    if not isinstance(text, str) or not text.strip():
        raise TypeError
    return text
