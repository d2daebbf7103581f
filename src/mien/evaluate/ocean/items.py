"""The items, the forms they are put in, and the norms: data, read once and checked.

Three formats ask for the same five traits. A *contrast* is a prompt with two ways to go on, one per
pole; a *scene* proposes something that is gone along with or refused; a *statement* is one of the 120
of the IPIP-NEO-120 (Johnson 2014; public domain), rated for how well it describes the reader. All three
share one notion of a key: whether agreeing is the trait's high pole.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, NamedTuple, get_args

import yaml
from pydantic import Field

from mien.evaluate.setting import spread
from mien.schema import Message, Strict, conversation

Trait = Literal["openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism"]
Labels = Literal["digits", "letters", "words"]
TRAITS: tuple[Trait, ...] = get_args(Trait)
_INITIALS: dict[str, Trait] = {trait[0].upper(): trait for trait in TRAITS}
_MARKS: dict[Labels, str] = {"digits": "123456789", "letters": "ABCDEFGHI"}


class Contrast(Strict):
    """A prompt and two continuations of equal content and near-equal length.

    Attributes:
        id: As in `extraversion-3`.
        high: What the trait's high pole says.
        low: What its low pole says.
    """

    id: str
    trait: Trait
    prompt: str = Field(min_length=1)
    high: str = Field(min_length=1)
    low: str = Field(min_length=1)


class Question(Strict):
    """Something with choices.

    Attributes:
        id: As in `ipip-17` or `extraversion-3`.
        key: 1 if agreeing is the trait's high pole, -1 if it is the low one.
        text: The statement or the scene.
        choices: From least to most agreement.
        rated: Whether the choices are a rating scale, the same for every item of the format.
    """

    id: str
    trait: Trait
    key: Literal[-1, 1]
    text: str = Field(min_length=1)
    choices: tuple[str, ...] = Field(min_length=2, max_length=9)
    rated: bool = False

    def blank(self, text: str) -> Question:
        """The same question without its content, for a prior."""
        choices = self.choices if self.rated else (text,) * len(self.choices)
        return self.model_copy(update={"id": text, "text": text, "choices": choices})


class Respondent(Strict):
    """Somebody described, as whom the subject answers.

    Attributes:
        says: In the first person.
        leans: 1 or -1 for the traits that the description means to raise or lower.
    """

    says: str = Field(min_length=1)
    leans: dict[Trait, Literal[-1, 1]]

    def history(self) -> tuple[Message, ...]:
        """The description as the assistant's own earlier turn."""
        said = Message(role="assistant", content=self.says)
        return (*conversation("Tell me about yourself."), said)


class Ending(Strict):
    """How a question ends, and how its reply begins."""

    ask: str
    opening: str


class _Kind(Strict):
    instructions: tuple[str, ...] = Field(min_length=5)
    choices: tuple[str, ...] = ()


class Wordings(Strict):
    """All wordings that forms are made of, and the content-free texts for their priors."""

    statements: _Kind
    scenes: _Kind
    endings: tuple[Ending, ...] = Field(min_length=5)
    blanks: tuple[str, ...] = Field(min_length=1)


class Form(NamedTuple):
    """One way to put a question: everything about it that is not its content.

    Attributes:
        labels: What is answered with.
        falling: Whether the choices stand from most to least agreement.
    """

    instruction: str
    ending: Ending
    labels: Labels
    falling: bool

    def marks(self, choices: tuple[str, ...]) -> tuple[str, ...]:
        """The answers for choices from least to most agreement."""
        if self.labels == "words":
            return choices
        marks = tuple(_MARKS[self.labels][: len(choices)])
        return marks[::-1] if self.falling else marks

    def ask(self, text: str, choices: tuple[str, ...]) -> str:
        """The user's turn."""
        return f'{self.instruction}\n"{text}"\n{self._list(choices)}\n{self.ending.ask}'

    @property
    def prefill(self) -> str:
        """How the reply begins: an opened bracket or quote lets hardly anything but an answer follow."""
        return self.ending.opening + (' "' if self.labels == "words" else " (")

    def _list(self, choices: tuple[str, ...]) -> str:
        listed = choices[::-1] if self.falling else choices
        if self.labels == "words":
            return ", ".join(f'"{choice}"' for choice in listed)
        marks = _MARKS[self.labels]
        return "\n".join(f"({mark}) {choice}" for mark, choice in zip(marks, listed, strict=False))


def forms(kind: Literal["statements", "scenes"], count: int) -> list[Form]:
    """So many forms: label sets in turn, each direction equally often, wordings paired all ways.

    Statements come with three label sets and scenes with two, so that 6 and 4 forms, and multiples of
    them, are balanced. Within 25 forms no instruction meets the same ending twice.
    """
    words = wordings()
    instructions = getattr(words, kind).instructions
    labels = get_args(Labels) if kind == "statements" else get_args(Labels)[:2]
    return [
        Form(
            instruction=instructions[i % 5],
            ending=words.endings[(2 * i + i // 5) % 5],
            labels=labels[i % len(labels)],
            falling=bool(i // len(labels) % 2),
        )
        for i in range(count)
    ]


@lru_cache
def contrasts() -> tuple[Contrast, ...]:
    """The contrasted continuations, a trait at a time."""
    return tuple(
        Contrast(id=f"{trait}-{number}", trait=trait, **each)
        for trait in TRAITS
        for number, each in enumerate(_yaml("contrasts")[trait], 1)
    )


@lru_cache
def scenes() -> tuple[Question, ...]:
    """The scenes, a trait at a time."""
    return tuple(
        Question(
            id=f"{trait}-{number}",
            trait=trait,
            key=1 if each["key"] == "+" else -1,
            text=each["scene"],
            choices=tuple(each["choices"][::-1]),
        )
        for trait in TRAITS
        for number, each in enumerate(_yaml("scenes")[trait], 1)
    )


@lru_cache
def statements() -> tuple[Question, ...]:
    """The items of the IPIP-NEO-120, a trait at a time, in the order of the questionnaire."""
    choices = wordings().statements.choices
    rows = list(csv.DictReader(_read("ipip_neo_120.csv").splitlines()))
    found = (
        Question(
            id=f"ipip-{row['item']}",
            trait=_INITIALS[row["trait"]],
            key=1 if row["key"] == "+" else -1,
            text=row["text"],
            choices=choices,
            rated=True,
        )
        for row in rows
    )
    return tuple(sorted(found, key=lambda each: TRAITS.index(each.trait)))


@lru_cache
def respondents() -> tuple[Respondent, ...]:
    """The described respondents; every second one of them is a balanced half."""
    return tuple(Respondent.model_validate(each) for each in _yaml("respondents"))


@lru_cache
def wordings() -> Wordings:
    """Instructions, endings and content-free texts."""
    return Wordings.model_validate(_yaml("wordings"))


@lru_cache
def norms() -> dict[Trait, tuple[float, float]]:
    """Mean and standard deviation of a trait's 24 statements among adults, each rated 1 to 5.

    The means of the norms of men and of women aged 21 to 40, divided by 24 (see `data/norms.yaml`).
    """
    groups = _yaml("norms").values()
    return {
        trait: (sum(each[trait][0] for each in groups) / 48, sum(each[trait][1] for each in groups) / 48)
        for trait in TRAITS
    }


def t_score(trait: Trait, level: float) -> float:
    """T = 50 + 10 z of a trait's mean item level (1 to 5) among adults."""
    mean, deviation = norms()[trait]
    return 50 + 10 * (level - mean) / deviation


def halved(items: Sequence[Question], per_trait: int | None) -> list[Question]:
    """So many items of each trait, half of them with each key, spread over those there are.

    None means all.
    """
    kept: list[Question] = []
    for trait in TRAITS:
        for key in (1, -1):
            those = [item for item in items if (item.trait, item.key) == (trait, key)]
            kept += spread(those, per_trait and per_trait // 2)
    return kept


def _read(name: str) -> str:
    return (resources.files("mien.evaluate.ocean") / "data" / name).read_text(encoding="utf-8")


def _yaml(name: str) -> Any:
    return yaml.safe_load(_read(f"{name}.yaml"))
