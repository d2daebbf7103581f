"""Scripted subjects: one answers at random, one always agrees, one plays whoever it is told to be."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from mien.chat import Sampling
from mien.evaluate.memo import Memo
from mien.evaluate.ocean.items import contrasts, respondents, scenes, statements
from mien.evaluate.setting import Setting
from mien.evaluate.sizes import Amounts
from mien.evaluate.subject import Asked, LogP, Options, Said
from mien.persona.spec import find
from tests.evaluate.amounts import FEW

ITSELF: dict[str, int] = {
    **{"openness": 1, "conscientiousness": -1, "extraversion": 1},
    **{"agreeableness": 1, "neuroticism": -1},
}
Script = Callable[[Options], list[float]]  # a log-probability per continuation


class Scripted:
    """Likelihoods from a function; written answers from another."""

    def __init__(
        self, name: str, script: Script, say: Callable[[Asked], str] = lambda _: "Well."
    ) -> None:
        self.name, self.key = name, name
        self._script, self._say = script, say

    def answer(self, asked: Sequence[Asked], sampling: Sampling, **_: object) -> list[Said]:
        return [Said(self._say(each)) for each in asked]

    def logps(self, asked: Sequence[Options], **_: object) -> list[tuple[LogP, ...]]:
        return [tuple(LogP(value, 1) for value in self._script(each)) for each in asked]


class Silent:
    """A server: it writes, and its likelihoods cannot be read."""

    def __init__(self, say: Callable[[Asked], str]) -> None:
        self.name, self.key, self._say = "server", "server", say

    def answer(self, asked: Sequence[Asked], sampling: Sampling, **_: object) -> list[Said]:
        return [Said(self._say(each)) for each in asked]


def setting(folder: Path, amounts: Amounts = FEW, persona: str = "witty") -> Setting:
    return Setting(
        persona=find(persona),
        sampling=Sampling(),
        ear=None,  # type: ignore[arg-type]
        embedder=None,  # type: ignore[arg-type]
        memo=Memo(folder / "memo.db"),
        amounts=amounts,
    )


def dice(options: Options) -> list[float]:
    """Anything, but the same to the same question."""
    seed = hashlib.sha256(repr(options).encode()).digest()
    chance = random.Random(seed)
    weights = [chance.random() for _ in range(len(options.texts) + 1)]
    return [math.log(weight / sum(weights)) for weight in weights[1:]]


def agrees(options: Options) -> list[float]:
    """The most agreeing choice, whatever is asked."""
    if not options.prefill:
        return [-1.0, -1.0]
    listed = listing(options)
    if listed[0][1] == listed[-1][1]:  # nothing is asked
        return spread(options, {mark: 1 / len(listed) for mark, _ in listed})
    ends = [(0, listed[0]), (1, listed[-1])]
    best = max(ends, key=lambda end: end[1][1].startswith(("very accurate", "Yes")))[1]
    return spread(options, {best[0]: 0.98})


def plays(options: Options) -> list[float]:
    """Answers as described: high or low where the description leans, in the middle elsewhere.

    Where nobody is described, it is itself.
    """
    history = options.messages[1].content if len(options.messages) > 1 else ""
    leans = next((each.leans for each in respondents() if each.says == history), ITSELF)
    text = options.messages[-1].content
    wobble = 0.2 * (dice(options)[0] + 1)
    if not options.prefill:
        item = next(each for each in contrasts() if each.prompt == text)
        return [leans.get(item.trait, 0) + wobble, 0.0]
    listed = listing(options)
    quoted = text.split("\n")[1].strip('"')
    asked = next((each for each in (*scenes(), *statements()) if each.text == quoted), None)
    if asked is None:
        return spread(options, {mark: 1 / len(listed) for mark, _ in listed})
    wanted = asked.key * leans.get(asked.trait, 0)
    steps = len(asked.choices) - 1
    far = {c: 2 * place / steps - 1 - wanted for place, c in enumerate(asked.choices)}
    weights = {mark: math.exp(-4 * far[choice] ** 2) for mark, choice in listed}
    return spread(options, {mark: weight / sum(weights.values()) for mark, weight in weights.items()})


def listing(options: Options) -> list[tuple[str, str]]:
    """Marks and choices, in the order in which they are listed."""
    body = options.messages[-1].content.split("\n")[2:-1]
    if options.prefill.endswith('"'):
        return [(choice.strip('"'), choice.strip('"')) for choice in body[0].split(", ")]
    return [(line[1], line[4:]) for line in body]


def spread(options: Options, shares: dict[str, float]) -> list[float]:
    """Log-probabilities of all spellings, of which the first of each mark gets its share."""
    return [math.log(shares.get(text, 0.0) + 1e-6) for text in options.texts]
