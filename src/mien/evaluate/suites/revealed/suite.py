"""How it sees itself: which of two adjectives describes it better, by the likelihood of either answer.

Every pair is asked in both orders, and the log-odds of the two are averaged, so that what a place in the
question is worth cancels. A word comes up in many pairs, so a trait is measured word by word, and has
but few. Words differ in how likely they are to be said at all; a subject is therefore read beside the
base, which has the same words in its mouth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations, cycle
from pathlib import Path
from string import Template
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field
from scipy.special import expit

from mien import specfile
from mien.errors import UnableError
from mien.evaluate.finding import Finding, Meaning, Measure
from mien.evaluate.ranking import RANKED, Game, bradley_terry
from mien.evaluate.setting import Setting
from mien.evaluate.subject import LogP, Options, Subject
from mien.evaluate.suites.revealed.figures import NAME, TRAITS, figures, says
from mien.schema import Score, Strict, conversation, digest
from mien.stats import Interval

__all__ = ["MEANINGS", "NAME", "TITLE", "figures", "run", "says"]

TITLE = "How does it see itself?"
_METHOD = "log-odds of a word over another as an answer, mean of both orders"

MEANINGS = {
    **{
        f"revealed/{trait}": Meaning(
            trait.capitalize(),
            f"How much rather it takes a word for high {trait} than its rivals, or leaves one for low,"
            " in log-odds; 0 takes neither. The mean of a few words, which stand for the trait.",
        )
        for trait in TRAITS
    },
    "revealed/first": Meaning(
        "First word preferred",
        "How likely it is to choose whichever word is named first; without a liking for places, a half.",
        0,
        True,
    ),
    "revealed/mass": Meaning(
        "Mass of the two words",
        "How likely it is to answer with one of the two words at all. Where this is low, it would rather"
        " have said something else.",
        1,
        True,
    ),
    "revealed/word/*": Meaning(
        "Strength of a word",
        "How strongly it prefers this word to the others, in log-odds around 0 (Bradley-Terry).",
    ),
}


class Adjective(Strict):
    """A word for one pole of a trait."""

    word: str = Field(pattern=r"^[a-z]+$")
    trait: Literal["openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism"]
    pole: Literal[-1, 1]


class Choosing(Strict):
    """A question that names two words as `$first` and `$second`, and how the answer begins."""

    ask: str
    begin: str


class Adjectives(Strict):
    """The words, and the questions about two of them."""

    words: tuple[Adjective, ...] = Field(min_length=2)
    questions: tuple[Choosing, ...] = Field(min_length=1)


@lru_cache(maxsize=1)
def adjectives() -> Adjectives:
    """The words of this package."""
    return specfile.load(Path(__file__).parents[1] / "data" / "adjectives.yaml", Adjectives)


class Choice(NamedTuple):
    """Two words by one question, in both orders.

    Attributes:
        odds: Log-odds of `one` over `other`, mean of both orders, in nats.
        first: Probability of the word named first, mean of both orders.
        mass: Probability of either word as the answer, mean of both orders.
    """

    one: Adjective
    other: Adjective
    odds: float
    first: float
    mass: float

    @property
    def unit(self) -> str:
        """The pair."""
        return f"{self.one.word}|{self.other.word}"

    def towards(self, trait: str) -> float | None:
        """The log-odds as a choice of high over low; None where it is none between the two."""
        signs = [each.pole if each.trait == trait else 0 for each in (self.one, self.other)]
        lean = signs[0] - signs[1]
        return self.odds * np.sign(lean) if lean else None


def run(subject: Subject, setting: Setting) -> Finding:
    """Ask for a choice between the words of each pair."""
    try:
        choices = _choices(subject, setting)
    except UnableError as error:
        return Finding(suite=NAME, subject=subject.name, missing=(error.what,))
    strengths = bradley_terry([Game(c.unit, c.one.word, c.other.word, expit(c.odds)) for c in choices])
    return Finding(
        suite=NAME,
        subject=subject.name,
        measures=tuple(_measures(choices)),
        scores=tuple(_score(subject, word, found) for word, found in strengths.items()),
        detail={
            "strengths": {word: found.value for word, found in strengths.items()},
            "stated": setting.persona.big_five.model_dump(),
        },
    )


def _score(subject: Subject, word: str, found: Interval) -> Score:
    method = f"{_METHOD}; {RANKED.replace('prompts', 'pairs, for these words')}"
    return Score(name=f"revealed/word/{word}", system=subject.name, method=method, **found._asdict())


def pairs(setting: Setting) -> list[tuple[Adjective, Adjective]]:
    """Who meets whom: all of some words, or each those at some distances around a ring of them."""
    amount = setting.amounts.revealed
    words = sorted(adjectives().words[:: amount.every], key=lambda each: digest(each.word))
    if amount.distances is None:
        return list(combinations(words, 2))
    rings = [(words, words[step:] + words[:step]) for step in amount.distances]
    return [pair for one, other in rings for pair in zip(one, other, strict=True)]


def _choices(subject: Subject, setting: Setting) -> list[Choice]:
    """Every pair in both orders; the ways to ask take turns."""
    asked = list(zip(pairs(setting), cycle(adjectives().questions), strict=False))
    options = [_options(question, *order) for pair, question in asked for order in (pair, pair[::-1])]
    found = setting.logps(subject, options)
    return [
        _choice(*pair, found[2 * place], found[2 * place + 1]) for place, (pair, _) in enumerate(asked)
    ]


def _options(question: Choosing, first: Adjective, second: Adjective) -> Options:
    asked = Template(question.ask).substitute(first=first.word, second=second.word)
    words = (f" {text}" for each in (first, second) for text in (each.word, each.word.capitalize()))
    return Options(conversation(asked), tuple(words), question.begin)


def _choice(
    one: Adjective, other: Adjective, straight: Sequence[LogP], turned: Sequence[LogP]
) -> Choice:
    """Both ways to write a word count for it."""
    rows = np.array([[each.total for each in row] for row in (straight, turned)])
    rows = np.logaddexp(rows[:, ::2], rows[:, 1::2])  # (orders, named first or second)
    (a, b), (b_first, a_second) = rows.tolist()
    odds = ((a - b) + (a_second - b_first)) / 2
    first = (expit(a - b) + expit(b_first - a_second)) / 2
    mass = np.exp(rows).sum(axis=1).clip(max=1.0).mean()
    return Choice(one, other, float(odds), float(first), float(mass))


def _measures(choices: Sequence[Choice]) -> Iterator[Measure]:
    for trait in TRAITS:
        means = {word: float(np.mean(leans)) for word, leans in _leanings(choices, trait).items()}
        if means:
            yield Measure(
                name=f"revealed/{trait}",
                values=tuple(means.values()),
                units=tuple(means),
                method=f"{_METHOD}, turned by its pole; mean over its pairs, one number per word",
            )
    units = tuple(each.unit for each in choices)
    first = "probability of the word that is named first, mean of both orders; for these words"
    mass = "probability of either word as the answer, mean of both orders; for these words"
    yield Measure(
        name="revealed/first", values=tuple(c.first for c in choices), units=units, method=first
    )
    yield Measure(name="revealed/mass", values=tuple(c.mass for c in choices), units=units, method=mass)


def _leanings(choices: Sequence[Choice], trait: str) -> dict[str, list[float]]:
    """By each word of a trait, the choices that were for or against it."""
    found: dict[str, list[float]] = {}
    for choice in choices:
        lean = choice.towards(trait)
        for each in (choice.one, choice.other):
            if lean is not None and each.trait == trait:
                found.setdefault(each.word, []).append(lean)
    return found
