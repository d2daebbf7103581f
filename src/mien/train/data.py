"""What a recipe trains on: its examples, encoded, counted, and shown."""

from __future__ import annotations

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

Pair = tuple[list[int], list[int]]
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

    train: list[Pair]
    validation: list[Pair]
    too_long: int

    @property
    def tokens(self) -> int:
        """All training tokens of one epoch."""
        return sum(len(prompt) + len(completion) for prompt, completion in self.train)

    @property
    def learnt(self) -> int:
        """Training tokens of one epoch that carry loss."""
        return sum(len(completion) for _, completion in self.train)


def load_dataset(recipe: Recipe, persona: Persona) -> Dataset:
    """The examples a recipe names.

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
    teach something that nobody wrote.

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


def preview(base: Base, pair: Pair) -> Text:
    """An example as the model sees it, with the learnt tokens marked."""
    prompt, completion = (base.tokenizer.decode(side) for side in pair)
    text = Text(prompt, style="dim")
    for token in pair[1]:
        text.append(base.tokenizer.decode([token]), style="bold green")
        text.append("\u2009")
    return text if completion else Text(prompt, style="dim")


def _from_files(data: Path, validation: Path | None) -> tuple[list[Example], list[Example]]:
    rows = read_examples(data)
    _without_test_prompts(rows, data)
    if validation is not None:
        return rows, read_examples(validation)
    held = [row for row in rows if corpus.split_of(_question(row)) == "validation"][:_LARGEST_HOLDOUT]
    prompts = {_question(row) for row in held}
    kept = [row for row in rows if _question(row) not in prompts]
    return (kept, held) if kept else (rows, [])


def _without_test_prompts(rows: Sequence[Example], data: Path) -> None:
    """Whoever trains on what `mien eval` asks can no longer believe it."""
    held_out = {row.prompt for row in corpus.rows_of("test")}
    leaked = sum(row.prompt[-1].content in held_out for row in rows)
    if leaked:
        raise DataError(
            f"{data}: {leaked} of {len(rows)} rows ask a test prompt of the built-in corpus.",
            fix="Leave them out; `mien data export --split train` writes those that may be learnt.",
        )


def _question(example: Example) -> str:
    return "\n".join(message.content for message in example.prompt)


def _under(example: Example, system: str | None) -> Example:
    if system is None or example.prompt[0].role == "system":
        return example
    opening = Message(role="system", content=system)
    return Example(prompt=(opening, *example.prompt), completion=example.completion)


def _fitting(base: Base, examples: Sequence[Example], max_length: int) -> tuple[list[Pair], int]:
    pairs = [base.renderer.example(example) for example in examples]
    fitting = [pair for pair in pairs if len(pair[0]) + len(pair[1]) <= max_length]
    return fitting, len(pairs) - len(fitting)
