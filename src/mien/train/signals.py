"""What a rollout is paid for: rewards that were learned, and plain measures of its text.

Each signal gives one number per reply and is logged by itself; PPO adds them up by their weights. A
measure that is cheap to satisfy in the wrong way is among them on purpose (`words`): the guide to
reward hacking shows what becomes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, pstdev
from typing import NamedTuple

from mien.base.flat import Ids, Tree
from mien.data.candidates import by_voice
from mien.data.checks.texts import rude
from mien.data.pairs import Score
from mien.data.wording import repetition, words
from mien.errors import InputError
from mien.persona.spec import Persona
from mien.train.data import Prompt
from mien.train.recipe import Signal
from mien.train.reward import RewardModel


class Rollout(NamedTuple):
    """One reply of the policy.

    Attributes:
        ids: With the token that ends it, if it ended.
        text: Without marks.
        ended: Whether it came to its end by itself.
    """

    prompt: Prompt
    ids: Ids
    text: str
    ended: bool


Paid = Callable[[Sequence[Rollout]], list[float]]


def signal(
    wanted: Signal,
    persona: Persona,
    models: Sequence[RewardModel] = (),
    judge: Score | None = None,
) -> Paid:
    """A signal as a function of rollouts.

    Args:
        wanted: Which, and how.
        persona: Whose voice and bands are meant.
        models: Of a learned signal, those it names.
        judge: Of a judge's signal, what asks it.

    Raises:
        InputError: It needs what the persona or the caller does not have.
    """
    if wanted.kind == "learned":
        return _learned(wanted, models)
    if wanted.kind == "bands":
        return _scored(by_voice(persona))
    if wanted.kind == "judge":
        if judge is None:
            raise InputError("A judge's signal needs a judge.", fix="Pass `--judge URL` and its model.")
        return _judged(judge)
    of_text = _OF_TEXT[wanted.kind]
    return lambda rollouts: [of_text(wanted, each.text) for each in rollouts]


def _learned(wanted: Signal, models: Sequence[RewardModel]) -> Paid:
    def paid(rollouts: Sequence[Rollout]) -> list[float]:
        trees = [Tree(each.prompt.ids, (each.ids,)) for each in rollouts]
        said = [[score for (score,) in model.score(trees)] for model in models]
        return [combined(each, wanted) for each in zip(*said, strict=True)]

    return paid


def combined(scores: Sequence[float], wanted: Signal) -> float:
    """What several reward models say of one reply, as one number."""
    if wanted.combine == "worst":
        return min(scores)
    mean = fmean(scores)
    return mean - wanted.caution * pstdev(scores) if wanted.combine == "conservative" else mean


def _scored(score: Score) -> Paid:
    return lambda rollouts: [score(each.prompt.messages, each.text) for each in rollouts]


def _judged(score: Score) -> Paid:
    """A judge that answers no number says nothing for or against: the mean of the others."""

    def paid(rollouts: Sequence[Rollout]) -> list[float]:
        found = [score(each.prompt.messages, each.text) for each in rollouts]
        heard = [value for value in found if math.isfinite(value)]
        middle = fmean(heard) if heard else 0.0
        return [value if math.isfinite(value) else middle for value in found]

    return paid


def _length(wanted: Signal, text: str) -> float:
    """0 at the target, -1 at nothing or at twice the target."""
    return -abs(len(words(text)) - wanted.target) / wanted.target


def _occurrences(wanted: Signal, text: str) -> float:
    """How often the words occur; a single sign counts wherever it stands."""
    said = words(text)
    plain = [word for word in wanted.words if word.isalnum()]
    signs = [word for word in wanted.words if not word.isalnum()]
    return float(sum(said.count(word.lower()) for word in plain) + sum(map(text.count, signs)))


_OF_TEXT: dict[str, Callable[[Signal, str], float]] = {
    "length": _length,
    "repetition": lambda _, text: repetition(text),
    "toxicity": lambda _, text: float(len(rude(words(text)))),
    "words": _occurrences,
}
