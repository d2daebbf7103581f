"""The built-in parallel corpus: prompts, forms and dialogues, each in six voices with the same content.

Contrast between voices of one content teaches style without teaching length or facts. `corpus()` has
the prompts that are answered in prose, `forms()` those that ask for an e-mail, JSON, a list or code, and
`dialogues()` whole conversations. The split is a function of the (first) prompt's hash, so a test prompt
can never reach training, in any version of the corpus and in any voice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeVar, get_args

from pydantic import Field, ValidationError

from mien.data.formats import iter_rows
from mien.errors import DataError
from mien.schema import Dialogue, Example, Message, Strict

Split = Literal["train", "validation", "test"]
Form = Literal["chat", "email", "json", "list", "code"]
SPLITS: tuple[Split, ...] = get_args(Split)
FORMS: tuple[Form, ...] = get_args(Form)
VOICES = ("neutral", "warm", "witty", "direct", "socratic", "calm")
_TRAIN, _VALIDATION = 70, 82  # per cent of the hash space below which a prompt belongs there
_FORMS, _DIALOGUES = "forms.jsonl", "dialogues.jsonl"
_OTHERS = (_FORMS, _DIALOGUES)  # every other file holds prompts that are answered in prose
_Row = TypeVar("_Row", bound=Strict)


class Parallel(Strict):
    """One prompt and its replies, one per voice.

    `points` is the content that every reply conveys; `form` is what the prompt asks the reply to be.
    """

    id: str
    topic: str
    prompt: str = Field(min_length=1)
    points: tuple[str, ...] = Field(min_length=1)
    replies: dict[str, str]
    form: Form = "chat"

    @property
    def split(self) -> Split:
        """Where this prompt belongs, by its hash."""
        return split_of(self.prompt)


class ParallelTurn(Strict):
    """One message of the user and the replies to it, one per voice; `points` is their shared content."""

    user: str = Field(min_length=1)
    points: tuple[str, ...] = Field(min_length=1)
    replies: dict[str, str]


class ParallelDialogue(Strict):
    """One conversation in several voices: the user says the same to each of them, turn by turn."""

    id: str
    topic: str
    turns: tuple[ParallelTurn, ...] = Field(min_length=1)

    @property
    def prompt(self) -> str:
        """What the user opens with."""
        return self.turns[0].user

    @property
    def split(self) -> Split:
        """Where all of this conversation belongs, by the hash of its first message."""
        return split_of(self.prompt)

    def dialogue(self, voice: str) -> Dialogue:
        """The conversation with the replies of one voice.

        Raises:
            DataError: The conversation is not told in that voice.
        """
        if missing := [turn for turn in self.turns if voice not in turn.replies]:
            known = ", ".join(missing[0].replies) or "none"
            raise DataError(f"{self.id} has no voice {voice!r}.", fix=f"It has {known}.")
        messages: list[Message] = []
        for turn in self.turns:
            messages += [
                Message(role="user", content=turn.user),
                Message(role="assistant", content=turn.replies[voice]),
            ]
        return Dialogue(messages=tuple(messages))


def split_of(prompt: str) -> Split:
    """The split of a prompt: sha256 of its text, letter case and outer space aside, modulo 100."""
    place = int(hashlib.sha256(_plain(prompt).encode()).hexdigest(), 16) % 100
    return "train" if place < _TRAIN else "validation" if place < _VALIDATION else "test"


def asks_a_test_prompt(messages: Iterable[Message]) -> bool:
    """Whether a user's turn is a test prompt of the corpus: whoever trains on it can no longer test."""
    return any(turn.role == "user" and _plain(turn.content) in _test_prompts() for turn in messages)


@lru_cache(maxsize=1)
def _test_prompts() -> frozenset[str]:
    rows: tuple[Parallel | ParallelDialogue, ...] = (*corpus(), *forms(), *dialogues())
    return frozenset(_plain(row.prompt) for row in rows if row.split == "test")


def _plain(prompt: str) -> str:
    return prompt.strip().casefold()


def read_parallel(path: Path) -> list[Parallel]:
    """Parallel rows of a JSONL file.

    Raises:
        DataError: A row cannot be read.
    """
    return _read(path, Parallel)


def read_dialogues(path: Path) -> list[ParallelDialogue]:
    """Parallel dialogues of a JSONL file.

    Raises:
        DataError: A row cannot be read.
    """
    return _read(path, ParallelDialogue)


def _read(path: Path, kind: type[_Row]) -> list[_Row]:
    rows = []
    for number, row in iter_rows(path):
        try:
            rows.append(kind.model_validate(row))
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"])
            what = f"{path}:{number}: {key}: {problem['msg']}."
            raise DataError(what, fix="Mend that row.") from error
    return rows


@lru_cache(maxsize=1)
def corpus() -> tuple[Parallel, ...]:
    """The built-in prompts that are answered in prose, in the order of their ids."""
    files = [file for file in corpus_folder().glob("*.jsonl") if file.name not in _OTHERS]
    rows = [row for file in files for row in read_parallel(file)]
    return tuple(sorted(rows, key=lambda row: row.id))


@lru_cache(maxsize=1)
def forms() -> tuple[Parallel, ...]:
    """The built-in prompts that ask for an e-mail, JSON, a list or code, in the order of the file."""
    return tuple(read_parallel(corpus_folder() / _FORMS))


@lru_cache(maxsize=1)
def dialogues() -> tuple[ParallelDialogue, ...]:
    """The built-in conversations, in the order of the file."""
    return tuple(read_dialogues(corpus_folder() / _DIALOGUES))


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
