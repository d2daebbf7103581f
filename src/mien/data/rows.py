"""Takes JSON objects off a file one at a time, JSON Lines or one JSON array, and writes JSON Lines.

What a file is, its first character says and not its name: on the Hugging Face hub half of all `.json`
files are JSON Lines. Either is read in a memory that does not grow with the file. `NaN` and `Infinity`,
which JSON does not have and Python writes all the same, are read as null.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mien.errors import DataError
from mien.workspace import atomic_file

OnError = Callable[[DataError], None]
Advance = Callable[[int], None]

_CHUNK = 1 << 16  # bytes read at once
_LONGEST = 1 << 26  # characters of one item; what is longer is an unclosed quote
_LOOKAHEAD = 16  # characters: a mistake nearer to the end may be a word that was cut there
_JSON = json.JSONDecoder(parse_constant=lambda _: None)
_NOT_UTF8 = "Save the file as UTF-8."
_MEND = "Mend or remove it; nothing has been trained or written."


class Raw(NamedTuple):
    """One object of a file: its line, or its place in the array; where that is in words; itself."""

    number: int
    where: str
    row: dict[str, Any]


def refuse(error: DataError) -> None:
    """What is done about a bad row unless something else is asked for: the reading stops."""
    raise error


def iter_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, object) of each line that is not blank, or of each item of an array.

    Raises:
        DataError: The file is missing, or a row of it is no JSON object.
    """
    for raw in iter_raw(path):
        yield raw.number, raw.row


def iter_raw(
    path: Path, *, on_error: OnError = refuse, advance: Advance = lambda _: None
) -> Iterator[Raw]:
    """The objects of a file, one at a time.

    Args:
        path: JSON Lines, or one JSON array.
        on_error: Called with what is wrong with a row; if it returns, the reading goes on after the
            row. What ends the file for any reader, such as a broken array, is always raised.
        advance: Called with the number of bytes that were just read.

    Raises:
        DataError: The file is missing, or `on_error` raises it.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file.", fix="Check the spelling of the path.")
    with path.open("rb") as file:
        values = _items if _is_array(file) else _lines
        for number, where, value in values(file, path, on_error, advance):
            if isinstance(value, dict):
                yield Raw(number, where, value)
            else:
                on_error(_no_object(where, value))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write objects as JSON Lines, one at a time; the file takes its place when it is whole.

    Returns:
        How many rows were written.

    Raises:
        DataError: Something in a row has no place in JSON.
    """
    written = 0
    # Half a surrogate pair, which broken exports have, is escaped as JSON would escape it.
    with atomic_file(path, errors="backslashreplace") as file:
        for row in rows:
            file.write(_line(row, written + 1))
            written += 1
    return written


def _line(row: Mapping[str, Any], number: int) -> str:
    try:
        return f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n"
    except (TypeError, ValueError) as error:
        what = f"Row {number} cannot be written as JSON ({error})."
        raise DataError(what, fix="Make its values texts, numbers, lists and objects.") from error


Values = Iterator[tuple[int, str, Any]]


def _is_array(file: BinaryIO) -> bool:
    head = file.read(_CHUNK).removeprefix(codecs.BOM_UTF8).lstrip()
    file.seek(0)
    return head.startswith(b"[")


def _no_object(where: str, value: Any) -> DataError:
    what = f"{where}: expected an object, got {type(value).__name__}."
    return DataError(what, fix='A row is {"key": value, ...}; mend or remove it.')


def _lines(file: BinaryIO, path: Path, on_error: OnError, advance: Advance) -> Values:
    for number, line in enumerate(file, 1):
        advance(len(line))
        if line.strip():
            where = f"{path}:{number}"
            try:
                value = _parse(line, where)
            except DataError as error:
                on_error(error)
            else:
                yield number, where, value


def _parse(line: bytes, where: str) -> Any:
    try:
        return _JSON.decode(line.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8.", fix=_NOT_UTF8) from error
    except json.JSONDecodeError as error:
        what = f"{where}: not JSON ({error.msg} at column {error.colno})."
        raise DataError(what, fix=_MEND) from error
    except RecursionError as error:
        raise DataError(f"{where}: nested too deep.", fix=_MEND) from error


def _items(file: BinaryIO, path: Path, on_error: OnError, advance: Advance) -> Values:
    array = _Array(file, path, advance)
    for number, (line, value) in enumerate(array.items(), 1):
        yield number, f"{path}:{line}: item {number}", value


class _Array:
    """The items of one JSON array, with a buffer that holds little more than one of them.

    The standard library's decoder reads one value from the beginning of a text, in C. It is given what
    has been read so far; where that ends inside a value, more is read and it is asked again.
    """

    def __init__(self, file: BinaryIO, path: Path, advance: Advance) -> None:
        self.file = file
        self.path = path
        self.advance = advance
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text = ""
        self.at = 0
        self.line = 1

    def items(self) -> Iterator[tuple[int, Any]]:
        """(line it begins on, value) of each item."""
        self._take("[")
        if self._next() != "]":
            yield self._item()
            while self._next() == ",":
                self.at += 1
                yield self._item()
        self._take("]")
        if self._next():
            raise self._broken("Extra data")

    def _item(self) -> tuple[int, Any]:
        self._next()
        line = self.line
        return line, self._value()

    def _more(self) -> bool:
        """Read on; each time twice as much, so that a long item is not parsed too often."""
        self.text, self.at = self.text[self.at :], 0
        chunk = self.file.read(max(_CHUNK, len(self.text)))
        self.advance(len(chunk))
        try:
            self.text += self.decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line = self.line + self.text.count("\n") + error.object.count(b"\n", 0, error.start)
            raise DataError(f"{self.path}:{line}: not UTF-8.", fix=_NOT_UTF8) from error
        return bool(chunk)

    def _next(self) -> str:
        """The next character that is no white space, or none at the end of the file."""
        while True:
            start, length = self.at, len(self.text)
            while self.at < length and self.text[self.at] in " \t\r\n":
                self.at += 1
            self.line += self.text.count("\n", start, self.at)
            if self.at < length:
                return self.text[self.at]
            if not self._more():
                return ""

    def _take(self, mark: str) -> None:
        if self._next() != mark:
            raise self._broken(f"Expecting {mark!r}")
        self.at += 1

    def _value(self) -> Any:
        while True:
            try:
                value, end = _JSON.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if not self._is_cut(error) or not self._more():
                    raise self._broken(error.msg, error.pos) from error
            except RecursionError as error:
                raise self._broken("nested too deep") from error
            else:
                self.line += self.text.count("\n", self.at, end)
                self.at = end
                return value

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the mistake is that the buffer ends here."""
        if len(self.text) - self.at > _LONGEST:
            return False
        return error.msg.startswith("Unterminated string") or error.pos > len(self.text) - _LOOKAHEAD

    def _broken(self, message: str, at: int | None = None) -> DataError:
        line = self.line + self.text.count("\n", self.at, self.at if at is None else at)
        what = f"{self.path}:{line}: not JSON ({message}); nothing after it can be read."
        return DataError(what, fix="Mend the array there; one that was cut off must be fetched again.")
