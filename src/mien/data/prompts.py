"""Prompts for teachers: text files with named fields, versioned by hash, that a user may edit.

The packaged ones lie in `prompts/NAME.txt` beside this file. A file of the same name in the folder
`$MIEN_PROMPTS` takes the place of the packaged one. A field is `$name` or `${name}`; a dollar is `$$`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from string import Template

from mien import schema
from mien.errors import InputError

PACKAGED = Path(__file__).with_name("prompts")


@dataclass(frozen=True)
class Prompt:
    """A text with named fields.

    Attributes:
        name: The file's name without its ending.
        text: With its fields unfilled, as the file has it, but for white space at its ends.
        source: The file.
    """

    name: str
    text: str
    source: Path

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in the order of their first use."""
        return tuple(Template(self.text).get_identifiers())

    @property
    def digest(self) -> str:
        """Content hash of the text: the version that caches and data cards name."""
        return schema.digest(self.text)

    def fill(self, **fields: object) -> str:
        """The text with every field filled in.

        Raises:
            InputError: A field is missing, or there is no field of a given name.
        """
        missing = [f"${name}" for name in self.fields if name not in fields]
        unknown = [f"${name}" for name in fields if name not in self.fields]
        if missing or unknown:
            raise InputError(self._mismatch(missing, unknown), fix=self._fields_it_may_have(fields))
        return Template(self.text).substitute(fields)

    def _mismatch(self, missing: list[str], unknown: list[str]) -> str:
        parts = []
        if missing:
            parts.append(f"nothing fills {', '.join(missing)}")
        if unknown:
            parts.append(f"the text lacks {', '.join(unknown)}")
        return f"{self.source}: {'; '.join(parts)}."

    def _fields_it_may_have(self, fields: dict[str, object]) -> str:
        return f"Use exactly these fields in it: {', '.join(f'${name}' for name in fields) or 'none'}."


def prompt(name: str, folder: Path | None = None) -> Prompt:
    """The prompt of that name.

    Args:
        name: Without `.txt`.
        folder: Where a user's own prompts lie; `$MIEN_PROMPTS` if not given.

    Raises:
        InputError: There is none, or its file has a `$` that is no field.
    """
    for place in _folders(folder):
        path = place / f"{name}.txt"
        if path.is_file():
            return _read(path)
    raise InputError(f"There is no prompt {name!r}.", fix=f"There are {', '.join(names(folder))}.")


def names(folder: Path | None = None) -> list[str]:
    """The names of all prompts, packaged or the user's, sorted."""
    return sorted({path.stem for place in _folders(folder) for path in place.glob("*.txt")})


def _folders(folder: Path | None) -> list[Path]:
    """Where to look, in this order.

    Raises:
        InputError: The user's folder is not there.
    """
    given = os.environ.get("MIEN_PROMPTS")
    own = folder or (Path(given).expanduser() if given else None)
    if own and not own.is_dir():
        raise InputError(f"{own}: no such folder of prompts.", fix="Check MIEN_PROMPTS.")
    return [own, PACKAGED] if own else [PACKAGED]


def _read(path: Path) -> Prompt:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason}).", fix="Save it as UTF-8.") from error
    if not text:
        raise InputError(f"{path}: empty.", fix="Write the prompt, or remove the file.")
    for number, line in enumerate(text.splitlines(), 1):
        if not Template(line).is_valid():
            what = f"{path}:{number}: a `$` that begins no field."
            raise InputError(what, fix="Write `$$` for a dollar.")
    return Prompt(path.stem, text, path)
