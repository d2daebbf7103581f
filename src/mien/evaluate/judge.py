"""A model as a judge of replies: it rates one, or compares two, in both orders, as often as is wanted.

Two kinds of rater: a chat model that is asked for JSON (a teacher, which retries and never pays twice),
and a local model whose likelihoods of the possible marks are read. Style is the largest bias of either,
so what is about content alone is judged on a rewrite without style, where somebody can write one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

from mien.chat import Sampling
from mien.data.faults import tidy
from mien.data.prompts import prompt
from mien.data.teacher import Teacher, Unfinished
from mien.data.wording import words
from mien.evaluate.calibration import Calibration, HumanLabel, Rated, calibrated, human_marks
from mien.evaluate.raters import Asks, ChatRater, LikelyRater, Rater, families, maker
from mien.evaluate.rubric import DATA, Criterion, Question, State, rubric, transcript
from mien.evaluate.subject import Likely, Subject
from mien.persona.spec import Persona
from mien.schema import Message, conversation

_WRITING = Sampling(max_tokens=600, temperature=0.0, top_k=None, top_p=1.0, repetition_penalty=1.0)
_SHORTEST, _LONGEST = 0.3, 1.7  # words of a plain rewrite per word of the reply


class Case(NamedTuple):
    """A reply to be rated."""

    messages: tuple[Message, ...]
    reply: str


class Duel(NamedTuple):
    """Two replies to be compared."""

    messages: tuple[Message, ...]
    ours: str
    theirs: str


class Mark(NamedTuple):
    """One verdict on one item by one criterion.

    Attributes:
        item: Its place among the cases or duels.
        value: 1 to 5, calibrated if the judge is; of a duel the share of the win that goes to the
            reply shown first, 0 to 1.
        swapped: Whether theirs was shown first.
        mass: How likely any admissible value was; None where likelihoods are not read.
        plain: Whether the reply was rewritten without its style first.
    """

    item: int
    criterion: str
    value: float
    repeat: int = 0
    swapped: bool = False
    mass: float | None = None
    plain: bool = False

    @property
    def ours(self) -> float:
        """Of a duel: the share of the win that goes to ours."""
        return 1 - self.value if self.swapped else self.value


class Call(NamedTuple):
    """One question to the judge.

    Attributes:
        item: The case or duel that it was about.
        state: How the answer could be read.
        wanted: Verdicts that were asked for.
        lost: Those among them that could not be read.
        said: The answer.
    """

    item: int
    state: State
    wanted: int
    lost: int
    said: str


class Judged(NamedTuple):
    """All verdicts that could be read, and all calls."""

    marks: list[Mark]
    calls: list[Call]


@dataclass(frozen=True)
class Judge:
    """Rates and compares replies.

    Args:
        rater: Who answers.
        writer: Who rewrites a reply without its style; None: nobody, and content is judged on the
            reply as it is.
        calibration: What is known of its agreement with people.
    """

    rater: Rater
    writer: Teacher | None = None
    calibration: Calibration | None = None

    @classmethod
    def behind(cls, teacher: Teacher) -> Judge:
        """Any chat model; it also rewrites."""
        return cls(ChatRater(teacher), teacher)

    @classmethod
    def local(cls, subject: Likely) -> Judge:
        """A local model by its likelihoods; nobody rewrites, for one that small cannot."""
        return cls(LikelyRater(subject))

    @property
    def name(self) -> str:
        """The rater's."""
        return self.rater.name

    def method(self, criterion: str | None = None) -> str:
        """Who judges, and how far that is to be believed: part of every number's method."""
        known = self.calibration.curves if self.calibration else {}
        if criterion is None or criterion not in known or not self.calibration:
            return f"uncalibrated judge {self.name}"
        error, agreed = (self.calibration.score(name, criterion) for name in ("error", "kappa"))
        figures = f"mean error {error.value:.2f}" if error else ""
        figures += f", kappa {agreed.value:.2f}" if agreed else ""
        return f"judge {self.name}, calibrated ({figures} on {error.n if error else 0} held-out labels)"

    def calibrated(self, labels: Sequence[HumanLabel], persona: Persona, asks: Asks) -> Judge:
        """This judge, with its marks mapped to those of people.

        Raises:
            InputError: The labels are too few.
        """
        given = list(human_marks(labels).values())
        cases = [Case(each[0].messages, each[0].reply) for each in given]
        judged = replace(self, calibration=None).rate(cases, persona, asks)
        marks = {(each.item, each.criterion): each.value for each in judged.marks}
        rated = [
            Rated(each[0].unit, each[0].key, marks[item, each[0].key], fmean(one.value for one in each))
            for item, each in enumerate(given)
            if (item, each[0].key) in marks
        ]
        return replace(self, calibration=calibrated(self.name, rated, labels))

    def rate(self, cases: Sequence[Case], persona: Persona, asks: Asks, *, repeats: int = 1) -> Judged:
        """Marks from 1 to 5 for each case by every criterion, `repeats` times."""
        plain = self.plain(cases, asks)
        asked = [
            (
                Question(case.messages, (reply,), criteria, None if bare else persona, repeat),
                _Place(item, bare),
            )
            for repeat in range(repeats)
            for item, case in enumerate(cases)
            for (reply,), criteria, bare in _groups((case.reply,), (plain[item],))
        ]
        judged = self._ask(asked, asks)
        return judged._replace(marks=[self._mapped(mark) for mark in judged.marks])

    def compare(
        self, duels: Sequence[Duel], persona: Persona, asks: Asks, *, repeats: int = 1
    ) -> Judged:
        """Verdicts on each duel by every criterion, in both orders, `repeats` times."""
        cases = [Case(duel.messages, reply) for duel in duels for reply in duel[1:]]
        plain = self.plain(cases, asks)
        asked = [
            (
                Question(duel.messages, replies[::step], criteria, None if bare else persona, repeat),
                place,
            )
            for repeat in range(repeats)
            for item, duel in enumerate(duels)
            for replies, criteria, bare in _groups(duel[1:], tuple(plain[2 * item : 2 * item + 2]))
            for step, place in ((1, _Place(item, bare)), (-1, _Place(item, bare, swapped=True)))
        ]
        return self._ask(asked, asks)

    def plain(self, cases: Sequence[Case], asks: Asks) -> list[str | None]:
        """Each reply without its style; None where there is no rewrite to be had."""
        teacher = self.writer
        if teacher is None:
            return [None] * len(cases)

        def one(case: Case) -> str | None:
            template = prompt("plain", DATA)
            asked = template.fill(conversation=transcript(case.messages), reply=case.reply)
            written = teacher.ask(conversation(asked), _WRITING, seed=0)
            text, size = tidy(written.text, "Assistant"), len(words(case.reply))
            fits = _SHORTEST * size <= len(words(text)) <= _LONGEST * size + 5
            return text if fits and text and written.ended == "stop" else None

        found = teacher.each(cases, one, done=lambda: asks.show.advance(1))
        if teacher.stopped:
            raise teacher.stopped
        return [None if isinstance(each, Unfinished) else each for each in found]

    def _ask(self, asked: Sequence[tuple[Question, _Place]], asks: Asks) -> Judged:
        answers = self.rater.answers([question for question, _ in asked], asks)
        judged = Judged([], [])
        for (question, place), answer in zip(asked, answers, strict=True):
            wanted, got = len(question.criteria), len(answer.values)
            judged.calls.append(Call(place.item, answer.state, wanted, wanted - got, answer.said))
            judged.marks.extend(
                Mark(
                    place.item,
                    name,
                    value,
                    question.repeat,
                    place.swapped,
                    answer.mass.get(name),
                    place.plain,
                )
                for name, value in answer.values.items()
            )
        return judged

    def _mapped(self, mark: Mark) -> Mark:
        curve = self.calibration.curves.get(mark.criterion) if self.calibration else None
        return mark._replace(value=curve(mark.value)) if curve else mark


class _Place(NamedTuple):
    """Where a question belongs."""

    item: int
    plain: bool
    swapped: bool = False


def _groups(
    replies: tuple[str, ...], plain: tuple[str | None, ...]
) -> list[tuple[tuple[str, ...], tuple[Criterion, ...], bool]]:
    """What is asked together: all criteria of the replies as they are, or those of content apart."""
    criteria = rubric().criteria
    bare = tuple(each for each in plain if each is not None)
    if len(bare) < len(replies):
        return [(replies, criteria, False)]
    manner = tuple(each for each in criteria if not each.styleless)
    content = tuple(each for each in criteria if each.styleless)
    return [(replies, manner, False), (bare, content, True)]


def kinship(judge: Judge, subject: Subject) -> frozenset[str]:
    """Families that judge and generator share: a judge likes what sounds like itself."""
    return families(judge.name) & families(maker(subject) or "")
