"""Faults to be planted in good restyled replies, each kind in several forms."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from mien.data.anchors import blocks, names
from mien.data.corpus import VOICES, forms, rows_of
from mien.data.restyle import Checks
from mien.persona.spec import library

PERSONAS = library()
_SPELT = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty")
_NUMBER = re.compile(rf"\b(?:\d+(?:[.,:]\d+)*|{'|'.join(_SPELT)})\b")


class Pair(NamedTuple):
    """A source and its restyled twin, under the prompt that both answer."""

    prompt: str
    source: str
    restyled: str
    voice: str


@lru_cache
def pairs(split: str) -> tuple[Pair, ...]:
    """Every neutral reply of a split with each of its five twins."""
    rows = rows_of(split)  # type: ignore[arg-type]
    return tuple(
        Pair(row.prompt, row.replies["neutral"], row.replies[voice], voice)
        for row in rows
        for voice in VOICES[1:]
    )


def faults(pair: Pair, restyled: str | None = None, checks: Checks | None = None) -> set[str]:
    """The checks that find something."""
    text = pair.restyled if restyled is None else restyled
    found = (checks or Checks()).faults(pair.source, text, PERSONAS[pair.voice], pair.prompt)
    return {fault.check for fault in found}


@lru_cache
def good(split: str) -> tuple[Pair, ...]:
    """The pairs in which the rules find nothing."""
    return tuple(pair for pair in pairs(split) if not faults(pair))


def changed_numbers(pair: Pair) -> Iterator[str]:
    """Each number that both sides have once, in digits or words, made one that neither has.

    "The two of them" is a pair and no number.
    """
    draw, said = random.Random(pair.source), f"{pair.prompt} {pair.source} {pair.restyled}".lower()
    for found in _NUMBER.finditer(pair.restyled):
        once = _times(found[0], pair.source) == _times(found[0], pair.restyled) == 1
        if once and not (found[0] == "two" and "the two" in said):
            new = draw.choice([each for each in _others(found[0], draw) if each not in said])
            yield pair.restyled[: found.start()] + new + pair.restyled[found.end() :]


def _times(number: str, text: str) -> int:
    return [found[0] for found in _NUMBER.finditer(text.lower())].count(number)


def _others(number: str, draw: random.Random) -> list[str]:
    if number in _SPELT:
        return [*_SPELT[1:], "thirteen", "forty"]
    return [_other(number, draw) for _ in range(30)]


def _other(number: str, draw: random.Random) -> str:
    """One digit of it made another."""
    place = draw.choice([place for place, digit in enumerate(number) if digit.isdigit()])
    digit = draw.choice([digit for digit in "123456789" if digit != number[place]])
    return f"{number[:place]}{digit}{number[place + 1 :]}"


def dropped_names(pair: Pair) -> Iterator[str]:
    """Each name of the source taken out of the twin, but for what the user named himself."""
    for name in sorted(names(pair.source)):
        without = re.sub(rf"(?<!\w){name}(?:'s)?(?!\w)", "", pair.restyled)
        if without != pair.restyled and name not in without and name.lower() not in pair.prompt.lower():
            yield without


def unchanged_styles(pair: Pair) -> Iterator[str]:
    """The source with the little done to it that an idle writer would do."""
    parts = re.split(r"(?<=[.?!]) ", pair.source)
    yield pair.source
    yield " ".join([*parts[1:], parts[0]])
    yield " ".join([*parts[:-1], re.split(r"(?<=[.?!]) ", pair.restyled)[-1]])
    yield (
        pair.source.replace(" is not ", " isn't ")
        .replace(", and ", " and ")
        .replace("However, ", "But ")
    )
    yield "Sure! " + pair.source.replace(" should ", " ought to ").replace(" because ", ", as ")


class Coded(NamedTuple):
    """A reply with a block of code, and its twin."""

    source: str
    restyled: str

    def altered(self, alter: Callable[[str], str]) -> str:
        """The twin with something done to its code."""
        (block,) = blocks(self.restyled)
        return self.restyled.replace(block, alter(block))


def coded() -> list[Coded]:
    """Authored prose in two voices around authored code."""
    codes = [row.replies["neutral"] for row in forms() if row.form == "code"]
    return [
        Coded(f"{pair.source}\n\n{block}", f"{pair.restyled}\n\n{block}")
        for block, pair in zip(codes, good("test")[::20], strict=False)
    ]


# What happens to code that a model copies.
ALTERED: tuple[Callable[[str], str], ...] = (
    lambda text: re.sub(r"\n {4}(?=\S)", "\n  ", text, count=1),  # indentation
    lambda text: re.sub(r"\n[^\n]*(?=\n```)", "", text),  # the last line is lost
    lambda text: re.sub(r"```(\w+)\n", r"```\n", text, count=1),  # the language is lost
    lambda text: re.sub(r"(?<=\n)(?=[^\n]*\n```)", "# As above.\n", text),  # a comment is new
    lambda text: re.sub(r"=", " =", text, count=1),  # spacing
    lambda text: re.sub(r"\((\w)", r"(_\1", text, count=1),  # a name
    lambda text: text.replace('"', "'") if '"' in text else text.replace(",", ", ", 1),  # quotes
    lambda text: text.replace("```", ""),  # the fences
)
