"""Puts items to a subject, one in a context, and reads the answers from likelihoods.

An answer is an expectation over all options, each option being the sum of its spellings. How much
probability the options have together says whether the question was understood as one (valid mass). What
the subject would answer to the same question without content is divided out (Zhao et al. 2021).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.chat import Sampling
from mien.evaluate.ocean.items import Contrast, Form, Question, Respondent, wordings
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, LogP, Options, Subject
from mien.schema import Message, conversation

LEAST_MASS = 0.75
_LEAST = 1e-9  # of a probability, so that an impossible option has a logarithm
_BRIEFLY = Sampling(max_tokens=12, temperature=0, repetition_penalty=1)


class Sheet(NamedTuple):
    """One question as it is put.

    Attributes:
        history: What was said before, if anything.
    """

    question: Question
    form: Form
    history: tuple[Message, ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation that ends with the question."""
        asked = self.form.ask(self.question.text, self.question.choices)
        return (*self.history, *conversation(asked))

    def options(self) -> Options:
        """All spellings of all answers."""
        texts = tuple(text for spellings in self._spellings() for text in spellings)
        return Options(self.messages, texts, self.form.prefill)

    def shares(self, logps: Sequence[LogP]) -> NDArray[np.float64]:
        """Probability of each choice, from least to most agreement; they sum to the valid mass."""
        each = iter(logps)
        return np.array([sum(np.exp(next(each).total) for _ in row) for row in self._spellings()])

    def blanks(self) -> list[Sheet]:
        """The same question without content, once per content-free text."""
        return [self._replace(question=self.question.blank(text)) for text in wordings().blanks]

    def _spellings(self) -> list[tuple[str, ...]]:
        marks = self.form.marks(self.question.choices)
        return [tuple(dict.fromkeys((mark, mark.lower(), mark.capitalize()))) for mark in marks]


class Answer(NamedTuple):
    """What a subject answers to one sheet.

    Attributes:
        agreement: As it was given: -1 for none, 1 for full.
        level: Of the trait, 1 to 5, the prior divided out and the key applied.
        mass: Valid mass, 0 to 1.
        likeliest: The place of the likeliest choice, before the prior.
    """

    agreement: float
    level: float
    mass: float
    likeliest: int


def answers(setting: Setting, subject: Subject, sheets: Sequence[Sheet]) -> list[Answer]:
    """Read from likelihoods; priors are asked once per form.

    Raises:
        UnableError: The subject's likelihoods cannot be read.
    """
    blanks = [blank for sheet in sheets for blank in sheet.blanks()]
    asked = [*sheets, *blanks]
    logps = setting.logps(subject, [sheet.options() for sheet in asked])
    shares = [sheet.shares(each) for sheet, each in zip(asked, logps, strict=True)]
    mine, free = shares[: len(sheets)], shares[len(sheets) :]
    per = len(wordings().blanks)
    return [
        read(
            sheet.question.key, own, np.mean([_whole(each) for each in free[i * per : (i + 1) * per]], 0)
        )
        for i, (sheet, own) in enumerate(zip(sheets, mine, strict=True))
    ]


def read(key: int, shares: NDArray[np.float64], prior: NDArray[np.float64]) -> Answer:
    """One answer from the probabilities of the choices, (choices,), and their prior, which sums to 1."""
    raw = _whole(shares)
    calibrated = _whole(raw / np.maximum(prior, _LEAST))
    steps = np.linspace(-1, 1, len(shares))
    level = 3 + 2 * key * float(calibrated @ steps)
    return Answer(float(raw @ steps), level, float(min(1.0, shares.sum())), int(shares.argmax()))


def _whole(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    floored = np.maximum(shares, _LEAST)
    return np.asarray(floored / floored.sum())


def preferences(
    setting: Setting,
    subject: Subject,
    items: Sequence[Contrast],
    who: Sequence[Respondent | None] = (None,),
) -> NDArray[np.float64]:
    """How much likelier the high pole goes on than the low one: (respondents, items), nats per token.

    Raises:
        UnableError: The subject's likelihoods cannot be read.
    """
    asked = [
        Options((*(each.history() if each else ()), *conversation(item.prompt)), (item.high, item.low))
        for each in who
        for item in items
    ]
    gaps = [high.mean - low.mean for high, low in setting.logps(subject, asked)]
    return np.array(gaps).reshape(len(who), len(items))


class Spoken(NamedTuple):
    """What a subject wrote, and the place of the choice that it names; None if it names none."""

    text: str
    choice: int | None


def spoken(setting: Setting, subject: Subject, sheets: Sequence[Sheet]) -> list[Spoken]:
    """What the subject answers when it may write what it likes.

    Raises:
        UnableError: The subject cannot answer.
    """
    said = setting.ask(subject, [Asked(sheet.messages) for sheet in sheets], sampling=_BRIEFLY)
    return [
        Spoken(each.text, parsed(sheet, each.text)) for sheet, each in zip(sheets, said, strict=True)
    ]


def parsed(sheet: Sheet, reply: str) -> int | None:
    """Which choice a reply names first: its mark or, failing that, its words."""
    marks = sheet.form.marks(sheet.question.choices)
    for names in (marks, sheet.question.choices):
        places = {name: _place(name, reply) for name in names}
        found = [(place, -len(name), name) for name, place in places.items() if place is not None]
        if found:
            return names.index(min(found)[2])
    return None


def _place(name: str, reply: str) -> int | None:
    flags = 0 if len(name) == 1 else re.IGNORECASE  # "a" is mostly no answer, "A" is
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", reply, flags)
    return found.start() if found else None


def chosen(question: Question, choice: int) -> Answer:
    """The answer of somebody who named a choice."""
    share = np.eye(len(question.choices))[choice]
    return read(question.key, share, np.full(len(share), 1 / len(share)))
