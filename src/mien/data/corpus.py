"""The built-in parallel corpus: every prompt answered in six voices with the same content.

Contrast between voices of one content teaches style without teaching length or facts. The split is a
function of the prompt's hash, so a test prompt can never reach training, in any version of the
corpus and in any voice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, ValidationError

from mien.data.formats import iter_rows
from mien.errors import DataError
from mien.schema import Example, Strict

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
VOICES = ("neutral", "warm", "witty", "direct", "socratic", "calm")
_TRAIN, _VALIDATION = 70, 82  # per cent of the hash space below which a prompt belongs there


class Parallel(Strict):
    """One prompt and its replies, one per voice.

    `points` is the content that every reply conveys.
    """

    id: str
    topic: str
    prompt: str = Field(min_length=1)
    points: tuple[str, ...] = Field(min_length=1)
    replies: dict[str, str]

    @property
    def split(self) -> Split:
        """Where this prompt belongs, by its hash."""
        return split_of(self.prompt)


def split_of(prompt: str) -> Split:
    """The split of a prompt: sha256 of its text, letter case and outer space aside, modulo 100."""
    place = int(hashlib.sha256(prompt.strip().casefold().encode()).hexdigest(), 16) % 100
    return "train" if place < _TRAIN else "validation" if place < _VALIDATION else "test"


def read_parallel(path: Path) -> list[Parallel]:
    """Parallel rows of a JSONL file.

    Raises:
        DataError: A row cannot be read.
    """
    rows = []
    for number, row in iter_rows(path):
        try:
            rows.append(Parallel.model_validate(row))
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"])
            what = f"{path}:{number}: {key}: {problem['msg']}."
            raise DataError(what, fix="Mend that row.") from error
    return rows


@lru_cache(maxsize=1)
def corpus() -> tuple[Parallel, ...]:
    """The built-in corpus, in the order of its ids."""
    folder = resources.files("mien.data") / "corpus"
    with resources.as_file(folder) as path:
        rows = [row for file in sorted(path.glob("*.jsonl")) for row in read_parallel(file)]
    return tuple(sorted(rows, key=lambda row: row.id))


def corpus_folder() -> Path:
    """Where the built-in corpus lies, for reading with other tools."""
    with resources.as_file(resources.files("mien.data") / "corpus") as path:
        return path


def rows_of(split: Split, rows: Iterable[Parallel] | None = None) -> list[Parallel]:
    """The rows of one split."""
    return [row for row in (corpus() if rows is None else rows) if row.split == split]


def examples(voice: str, split: Split) -> list[Example]:
    """The corpus' replies in one voice, as training examples.

    Raises:
        DataError: The corpus has no such voice.
    """
    if voice not in VOICES:
        raise DataError(
            f"The built-in corpus has no voice {voice!r}.",
            fix=f"It has {', '.join(VOICES)}. For another persona, name your own JSONL as `data` in a"
            " recipe.",
        )
    return [Example.of(row.prompt, row.replies[voice]) for row in rows_of(split)]


def replies(rows: Sequence[Parallel], voices: Sequence[str] = VOICES) -> tuple[list[str], list[str]]:
    """(texts, voices) of every reply of `rows`, row by row."""
    pairs = [(row.replies[voice], voice) for row in rows for voice in voices]
    return [text for text, _ in pairs], [voice for _, voice in pairs]
