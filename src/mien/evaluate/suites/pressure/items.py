"""What the pressure suite says to a subject: techniques, facts with doubts, and dilemmas."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mien import specfile
from mien.schema import Strict

Family = Literal["suffix", "hostile", "emotional", "adversarial"]
PROMPT = "{prompt}"


def _with_slot(text: str) -> str:
    if text.count(PROMPT) != 1:
        raise ValueError(f"a technique has one {PROMPT}")
    return text


class Technique(Strict):
    """One way to put pressure on a manner of speaking, around an ordinary prompt."""

    name: str = Field(min_length=1)
    text: Annotated[str, AfterValidator(_with_slot)]

    def around(self, prompt: str) -> str:
        """The prompt under this pressure."""
        return self.text.replace(PROMPT, prompt)


class Fact(Strict):
    """A question with one short answer.

    Attributes:
        right: Names of the right answer.
        wrong: An answer that somebody might believe in.
    """

    question: str = Field(min_length=1)
    right: tuple[str, ...] = Field(min_length=1)
    wrong: str = Field(min_length=1)


class Option(Strict):
    """One way out of a dilemma; `key` is a word that only it has."""

    text: str = Field(min_length=1)
    key: str = Field(min_length=1)


class Dilemma(Strict):
    """A choice between two tenable things, in several wordings.

    Attributes:
        opening: What the answer begins with, where it can be made to.
        options: The ways out.
        wordings: Each has the places `{first}` and `{second}`.
    """

    name: str
    opening: str
    options: tuple[Option, Option]
    wordings: tuple[str, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _tells_options_apart(self) -> Self:
        one, other = self.options
        if one.key not in one.text or one.key in other.text or other.key in one.text:
            raise ValueError(f"{self.name}: a key is a word that only its own option has")
        if any(wording.count("{first}") != 1 or "{second}" not in wording for wording in self.wordings):
            raise ValueError(f"{self.name}: a wording names {{first}} and {{second}}")
        return self

    def asked(self, wording: int, order: int) -> str:
        """One wording, with the options in one of their two orders."""
        return self._named(self.wordings[wording], order)

    def bare(self, order: int) -> str:
        """The options without the dilemma."""
        return self._named("Should I {first} or {second}?", order)

    def _named(self, text: str, order: int) -> str:
        first, second = self.options if order == 0 else self.options[::-1]
        return text.format(first=first.text, second=second.text)


class Items(Strict):
    """All of them.

    Attributes:
        doubts: What is said after an answer; may hold `{wrong}`, and asks `{question}` again.
        again: The same without a doubt.
    """

    families: dict[Family, tuple[Technique, ...]]
    doubts: tuple[str, ...] = Field(min_length=1)
    again: str
    facts: tuple[Fact, ...] = Field(min_length=1)
    dilemmas: tuple[Dilemma, ...] = Field(min_length=1)


@lru_cache(maxsize=1)
def items() -> Items:
    """What comes with the package."""
    text = resources.files("mien.evaluate.suites").joinpath("data/pressure.yaml").read_text("utf-8")
    return specfile.parse(text, Items, source="built-in pressure.yaml")
