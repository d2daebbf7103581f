"""The questions of the ability suite, and the rules that say whether a reply to one passes.

Multiple choice is read off the likelihoods of four answers. Instructions and formats are checked on what
is written, by rules that a program decides alone (after IFEval: Zhou et al. 2023, arXiv:2311.07911).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from mien import specfile
from mien.persona.voice import Text
from mien.schema import Strict

Range = tuple[int, int]
_FENCE = re.compile(r"\A\s*```\w*\s*\n(.*?)\n?```\s*\Z", re.DOTALL)
_NUMBERED, _BULLETED = re.compile(r"\s*(\d+)[.)]\s+\S"), re.compile(r"\s*[-*•]\s+\S")


class Choice(Strict):
    """A question with one right answer among four.

    Attributes:
        ask: The question.
        answer: What is right.
        others: What is not.
        also: Other ways to say what is right, in an open reply.
    """

    ask: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    others: tuple[str, ...] = Field(min_length=3, max_length=3)
    also: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_is_right(self) -> Choice:
        if len({self.answer, *self.others}) < 4:
            raise ValueError(f"{self.ask} has an answer twice")
        return self

    @property
    def options(self) -> tuple[str, ...]:
        """All four, the right one first."""
        return (self.answer, *self.others)

    def told(self, reply: str) -> bool:
        """Whether an open reply has the right answer in it, as whole words."""
        return any(_has(reply, each) for each in (self.answer, *self.also))


class Check(Strict):
    """Rules for a reply; all that are stated must hold. Letter case counts for `letters` alone.

    Attributes:
        contains: Words or phrases that it has.
        without: Words or phrases that it has not.
        starts: How it begins; marks before that do not count.
        ends: How it ends; marks after that do not count.
        exactly: All of it, but for marks around it.
        words: Least and most words.
        sentences: Least and most sentences.
        asks: It ends on a question mark.
        letters: All of them in this case.
        lines: Number of lines that are not empty.
        numbered: Items of a list numbered from 1; a line before or after it does no harm.
        bulleted: Items of a list with bullets, likewise.
        parts: Number of parts between commas, on one line; each of one to three words.
        json_keys: It is a JSON object with these keys and no others; a code fence does no harm.
        json_length: It is a JSON array of this length, likewise.
        pattern: A regular expression that matches all of it.
        holds: One that matches somewhere in it.
        without_pattern: One that matches nowhere in it.
    """

    contains: tuple[str, ...] | None = None
    without: tuple[str, ...] | None = None
    starts: str | None = None
    ends: str | None = None
    exactly: str | None = None
    words: Range | None = None
    sentences: Range | None = None
    asks: Literal[True] | None = None
    letters: Literal["upper", "lower"] | None = None
    lines: int | None = None
    numbered: int | None = None
    bulleted: int | None = None
    parts: int | None = None
    json_keys: tuple[str, ...] | None = None
    json_length: int | None = None
    pattern: str | None = None
    holds: str | None = None
    without_pattern: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Check:
        if not self.rules:
            raise ValueError("a check needs a rule")
        return self

    @property
    def rules(self) -> dict[str, Any]:
        """Those that are stated."""
        return self.model_dump(exclude_none=True)

    def passes(self, reply: str) -> bool:
        """Whether a reply keeps all rules; an empty one keeps none."""
        text = reply.strip()
        return bool(text) and all(_RULES[name](text, wanted) for name, wanted in self.rules.items())


class Task(Strict):
    """Something to write, and what it must be like."""

    ask: str = Field(min_length=1)
    check: Check


class Items(Strict):
    """All questions, by kind."""

    facts: tuple[Choice, ...] = Field(min_length=1)
    arithmetic: tuple[Choice, ...] = Field(min_length=1)
    instructions: tuple[Task, ...] = Field(min_length=1)
    formats: tuple[Task, ...] = Field(min_length=1)

    @field_validator("*")
    @classmethod
    def _none_twice(cls, items: Sequence[Choice | Task], info: ValidationInfo) -> Any:
        if len({each.ask for each in items}) < len(items):
            raise ValueError(f"a question of {info.field_name} is asked twice")
        return items


@lru_cache(maxsize=1)
def items() -> Items:
    """The built-in questions."""
    file = resources.files("mien.evaluate.suites") / "data" / "ability.yaml"
    return specfile.parse(file.read_text(encoding="utf-8"), Items, source="built-in ability.yaml")


def _has(text: str, phrase: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) is not None


def _bare(text: str) -> str:
    """In lower case, without marks at either end."""
    return re.sub(r"\A[\W_]+|[\W_]+\Z", "", text).lower()


def _within(count: int, wanted: Range) -> bool:
    return wanted[0] <= count <= wanted[1]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _numbers(text: str) -> list[int]:
    return [int(found[1]) for line in _lines(text) if (found := _NUMBERED.match(line))]


def _json(text: str) -> Any:
    fenced = _FENCE.match(text)
    try:
        return json.loads(fenced[1] if fenced else text)
    except ValueError:
        return None


def _has_keys(text: str, keys: Sequence[str]) -> bool:
    value = _json(text)
    return isinstance(value, dict) and set(value) == set(keys)


def _has_length(text: str, length: int) -> bool:
    value = _json(text)
    return isinstance(value, list) and len(value) == length


def _starts(text: str, phrase: str) -> bool:
    return re.match(rf"{re.escape(phrase)}(?!\w)", _bare(text)) is not None


def _ends(text: str, phrase: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase)}\Z", _bare(text)) is not None


def _in_case(text: str, case: str) -> bool:
    wanted = text.upper() if case == "upper" else text.lower()
    return text == wanted and any(letter.isalpha() for letter in text)


def _in_parts(text: str, count: int) -> bool:
    parts = [len(part.split()) for part in text.split(",")]
    return len(_lines(text)) == 1 and len(parts) == count and all(1 <= size <= 3 for size in parts)


def _matches(text: str, pattern: str) -> bool:
    return re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL) is not None


def _finds(text: str, pattern: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None


_RULES: dict[str, Callable[[str, Any], bool]] = {
    "contains": lambda text, phrases: all(_has(text, each) for each in phrases),
    "without": lambda text, phrases: not any(_has(text, each) for each in phrases),
    "starts": _starts,
    "ends": _ends,
    "exactly": lambda text, phrase: _bare(text) == phrase,
    "words": lambda text, wanted: _within(len(text.split()), wanted),
    "sentences": lambda text, wanted: _within(len(Text(text).sentences), wanted),
    "asks": lambda text, _: re.search(r"\?[^\w?]*\Z", text) is not None,
    "letters": _in_case,
    "lines": lambda text, count: len(_lines(text)) == count,
    "numbered": lambda text, count: _numbers(text) == list(range(1, count + 1)),
    "bulleted": lambda text, count: sum(bool(_BULLETED.match(each)) for each in _lines(text)) == count,
    "parts": _in_parts,
    "json_keys": _has_keys,
    "json_length": _has_length,
    "pattern": _matches,
    "holds": _finds,
    "without_pattern": lambda text, pattern: not _finds(text, pattern),
}
