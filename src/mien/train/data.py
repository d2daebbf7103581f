"""What a recipe trains on: its examples, encoded, counted, and shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from mien.base.model import Base
from mien.data import corpus
from mien.data.formats import read_examples
from mien.errors import DataError
from mien.persona.spec import Persona
from mien.schema import Example, Message, digest
from mien.train.recipe import Recipe

Row = list[list[int]]  # token ids, read and learnt in turn: a prompt, its completion, and so on
_LARGEST_HOLDOUT = 200  # enough to stop on; more only takes time


@dataclass(frozen=True)
class Dataset:
    """Training and validation examples of one recipe, as they are rendered."""

    name: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]

    def digest(self) -> str:
        """Content hash of both sides."""
        sides = (self.train, self.validation)
        return digest([[each.model_dump(mode="json") for each in side] for side in sides])


@dataclass(frozen=True)
class Encoded:
    """Token ids of a data set, and what did not fit."""

    train: list[Row]
    validation: list[Row]
    too_long: int

    @property
    def examples(self) -> int:
        """Replies of one epoch that are learnt."""
        return sum(len(row) // 2 for row in self.train)

    @property
    def tokens(self) -> int:
        """All training tokens of one epoch."""
        return sum(map(length, self.train))

    @property
    def learnt(self) -> int:
        """Training tokens of one epoch that carry loss."""
        return sum(len(stretch) for row in self.train for stretch in row[1::2])


def length(row: Row) -> int:
    """Tokens of a row."""
    return sum(map(len, row))


def load_dataset(recipe: Recipe, persona: Persona) -> Dataset:
    """The examples a recipe names.

    A dialogue of a file gives one example per turn of the assistant. Where no validation file is named,
    conversations are held out by the hash of their first question, all examples of one together.

    Raises:
        DataError: A file or row cannot be used.
    """
    if recipe.data is None:
        sides = (corpus.examples(persona.name, "train"), corpus.examples(persona.name, "validation"))
        name = f"built-in corpus, {persona.name}"
    else:
        sides, name = _from_files(recipe.data, recipe.validation), str(recipe.data)
    system = persona.system_prompt.strip() if recipe.under_prompt else None
    train, validation = (tuple(_under(each, system) for each in side) for side in sides)
    return Dataset(name, train, validation)


def encode(base: Base, dataset: Dataset, max_length: int) -> Encoded:
    """Render a data set; examples over `max_length` tokens are left out whole.

    A reply that is cut loses the mark that ends it, and a prompt that is cut is another prompt: both
    teach something that nobody wrote. An example whose prompt is the whole of the one before it, as
    in the turns of a dialogue, goes on in the same row: what they share is computed once.

    Raises:
        DataError: Nothing is left to train on.
    """
    train, dropped = _fitting(base, dataset.train, max_length)
    validation, dropped_too = _fitting(base, dataset.validation, max_length)
    if not train:
        raise DataError(
            f"{dataset.name}: all {len(dataset.train)} examples are over {max_length} tokens.",
            fix="Raise `max_length` in the recipe.",
        )
    return Encoded(train, validation, dropped + dropped_too)


def preview(base: Base, row: Row) -> Text:
    """A row as the model sees it, with the learnt tokens marked."""
    text = Text()
    for place, stretch in enumerate(row):
        if place % 2 == 0:
            text.append(base.tokenizer.decode(stretch), style="dim")
            continue
        for token in stretch:
            text.append(base.tokenizer.decode([token]), style="bold green")
            text.append("\u2009")
    return text


def _from_files(data: Path, validation: Path | None) -> tuple[list[Example], list[Example]]:
    rows = _read(data)
    _without_test_prompts(rows, data)
    if validation is not None:
        return rows, _read(validation)
    held = _held_out(rows)
    kept = [row for row in rows if _opening(row) not in held]
    return (kept, [row for row in rows if _opening(row) in held]) if kept else (rows, [])


def _read(path: Path) -> list[Example]:
    rows = read_examples(path)
    with_tools = sum(any(_uses_tools(turn) for turn in (*row.prompt, *row.completion)) for row in rows)
    if with_tools:
        raise DataError(
            f"{path}: {with_tools} of {len(rows)} examples use tools, which no base is taught here.",
            fix="Leave these conversations out.",
        )
    return rows


def _uses_tools(turn: Message) -> bool:
    return turn.role == "tool" or bool(turn.tool_calls)


def _held_out(rows: Sequence[Example]) -> set[str]:
    """The openings that are validated on: by their hash, as long as there is room."""
    held, room = set(), _LARGEST_HOLDOUT
    for opening, size in Counter(map(_opening, rows)).items():
        if size <= room and corpus.split_of(opening) == "validation":
            held.add(opening)
            room -= size
    return held


def _without_test_prompts(rows: Sequence[Example], data: Path) -> None:
    """Whoever trains on what `mien eval` asks can no longer believe it."""
    leaked = sum(corpus.asks_a_test_prompt(row.prompt) for row in rows)
    if leaked:
        raise DataError(
            f"{data}: {leaked} of {len(rows)} examples ask a test prompt of the built-in corpus.",
            fix="Leave them out; `mien data export --split train` writes those that may be learnt.",
        )


def _opening(example: Example) -> str:
    """The user's first turn, by which all examples of a dialogue fall on one side."""
    return next(turn.content for turn in example.prompt if turn.role == "user")


def _under(example: Example, system: str | None) -> Example:
    if system is None or example.prompt[0].role == "system":
        return example
    opening = Message(role="system", content=system)
    return Example(prompt=(opening, *example.prompt), completion=example.completion)


def _fitting(base: Base, examples: Sequence[Example], max_length: int) -> tuple[list[Row], int]:
    pairs = [base.renderer.example(example) for example in examples]
    fitting = [pair for pair in pairs if len(pair[0]) + len(pair[1]) <= max_length]
    return _joined(fitting), len(pairs) - len(fitting)


def _joined(pairs: Sequence[tuple[list[int], list[int]]]) -> list[Row]:
    """Rows in which a pair follows on the one that its prompt begins with."""
    rows: list[Row] = []
    whole: list[int] = []  # all tokens of the last row
    for prompt, completion in pairs:
        if rows and prompt[: len(whole)] == whole:
            rows[-1] += [prompt[len(whole) :], completion]
        else:
            rows.append([prompt, completion])
        whole = prompt + completion
    return rows
