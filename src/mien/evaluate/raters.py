"""Who answers a judge's questions: a chat model in JSON, or a local model by its likelihoods."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mien.chat import Sampling
from mien.data.teacher import Teacher, Unfinished
from mien.evaluate.rubric import HIGHEST, LOWEST, Answer, Criterion, Question, read, told
from mien.evaluate.subject import ChatSubject, Likely, LocalSubject, LogP, Options, Subject
from mien.schema import conversation
from mien.show import Show

JUDGING = Sampling(max_tokens=400, temperature=0.5, top_k=None, top_p=1.0, repetition_penalty=1.0)
_LEAST = 1e-12  # of a share: log-odds stay finite
_FAMILIES = {
    "claude": r"claude",
    "cohere": r"command-?[ar]|aya",
    "deepseek": r"deepseek",
    "gemma": r"gemma|gemini",
    "gpt": r"gpt|(?<![a-z0-9])o[134](?![a-z0-9])",
    "granite": r"granite",
    "llama": r"llama|vicuna|alpaca",
    "mistral": r"mistral|mixtral|ministral|magistral",
    "olmo": r"olmo|tulu",
    "phi": r"(?<![a-z])phi(?![a-z])",
    "qwen": r"qwen|qwq",
    "smollm": r"smollm",
    "yi": r"(?<![a-z])yi(?![a-z])",
}


class Asks(Protocol):
    """What a judge needs of an evaluation's setting."""

    @property
    def show(self) -> Show:
        """Is told how it goes."""
        ...

    def logps(self, subject: Subject, asked: Sequence[Options]) -> list[tuple[LogP, ...]]:
        """Log-probabilities of continuations, remembered."""
        ...


class Rater(Protocol):
    """Answers questions of the rubric."""

    @property
    def name(self) -> str:
        """Which model it is."""
        ...

    @property
    def weighs(self) -> bool:
        """Whether it says how sure it is, by likelihoods, instead of a verdict in words."""
        ...

    def answers(self, questions: Sequence[Question], asks: Asks) -> list[Answer]:
        """One answer to each, in order."""
        ...


@dataclass(frozen=True)
class ChatRater:
    """A chat model that is asked for JSON."""

    teacher: Teacher
    weighs: bool = False

    @property
    def name(self) -> str:
        """The model's."""
        return self.teacher.model.name

    def answers(self, questions: Sequence[Question], asks: Asks) -> list[Answer]:
        """As many at once as the model takes; a call that the model refuses is lost, and told as such.

        Raises:
            MienError: What every further call would meet too.
        """

        def one(question: Question) -> Answer:
            asked = conversation(told(question, "json"))
            return read(self.teacher.ask(asked, JUDGING, seed=question.repeat).text, question)

        found = self.teacher.each(questions, one, done=lambda: asks.show.advance(1))
        if self.teacher.stopped:
            raise self.teacher.stopped
        return [
            Answer({}, "lost", said=each.reason) if isinstance(each, Unfinished) else each
            for each in found
        ]


@dataclass(frozen=True)
class LikelyRater:
    """A local model: a mark is the expected value over `1` to `5`, a verdict the odds of `A` and `B`.

    As G-Eval weighs its marks (Liu et al. 2023, arXiv:2303.16634). The mass of all admissible values is
    kept: where it is small, the model would rather have said something else.
    """

    subject: Likely
    weighs: bool = True

    @property
    def name(self) -> str:
        """The model's, and how it is asked."""
        return f"{maker(self.subject) or self.subject.name} by log-probability"

    def answers(self, questions: Sequence[Question], asks: Asks) -> list[Answer]:
        """All criteria of a question share one reading of it."""
        options = [self._options(each) for each in questions]
        return [
            _weighed(question, [each.total for each in found])
            for question, found in zip(questions, asks.logps(self.subject, options), strict=True)
        ]

    def _options(self, question: Question) -> Options:
        texts = (
            text
            for each in question.criteria
            for lead in [_lead(each, question.pairwise)]
            for text in (lead, *(f"{lead} {word}" for word in _words(question)))
        )
        return Options(conversation(told(question, "lines")), tuple(texts))


def _lead(criterion: Criterion, pairwise: bool) -> str:
    """What the answer begins with; after a bare colon small models go on with anything but a mark."""
    return f"{criterion.label}: {'Reply' if pairwise else 'I rate it'}"


def _words(question: Question) -> tuple[str, ...]:
    """What may be answered."""
    return ("A", "B") if question.pairwise else tuple(map(str, range(LOWEST, HIGHEST + 1)))


def _weighed(question: Question, totals: Sequence[float]) -> Answer:
    rows = np.array(totals).reshape(len(question.criteria), -1)
    shares = np.exp(rows[:, 1:] - rows[:, 1:].max(axis=1, keepdims=True))
    shares = np.clip(shares / shares.sum(axis=1, keepdims=True), _LEAST, 1 - _LEAST)
    worth = np.array([1.0, 0.0]) if question.pairwise else np.arange(LOWEST, HIGHEST + 1.0)
    mass = np.minimum(1.0, np.exp(rows[:, 1:] - rows[:, :1]).sum(axis=1))
    names = [each.name for each in question.criteria]
    values, masses = (dict(zip(names, map(float, each), strict=True)) for each in (shares @ worth, mass))
    return Answer(values, mass=masses)


def families(name: str) -> frozenset[str]:
    """The families that a model's name tells of: `Qwen2.5-7B` is of `qwen`."""
    plain = name.lower()
    return frozenset(family for family, told_by in _FAMILIES.items() if re.search(told_by, plain))


def maker(subject: Subject) -> str | None:
    """The model that writes a subject's replies, where that is known."""
    if isinstance(subject, LocalSubject):
        return subject.base.files.name
    return subject.teacher.model.name if isinstance(subject, ChatSubject) else None
