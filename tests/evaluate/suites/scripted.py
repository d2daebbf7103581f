"""Subjects that do as a test tells them, and the setting they are asked in."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.chat import Sampling
from mien.evaluate.memo import Memo
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, LogP, Options, Progress, Said
from mien.persona.spec import find
from tests.evaluate.amounts import FEW
from tests.seams import Words

Reply = Callable[[Asked], str]
Liking = Callable[[Options], Sequence[float]]
NAMES = "Ann Ben Cleo Dan Eve Fay Gus Hal Ida Jon Kay Leo Mia Ned Ola Pat Rex Sue Tom Una"
DEEDS = "paints sells mends hides washes lends finds draws moves keeps drops weighs"
THINGS = "lamps boats kettles fences pears violins ladders maps ovens coats jars stamps mirrors"


@dataclass(frozen=True)
class Scripted:
    """Answers by a function; its likelihoods cannot be read."""

    name: str
    reply: Reply

    @property
    def key(self) -> str:
        return self.name

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        return [Said(self.reply(each)) for each in asked]


@dataclass(frozen=True)
class Opinionated(Scripted):
    """And finds continuations as likely, in nats a token, as another function says."""

    liking: Liking

    def logps(
        self, asked: Sequence[Options], *, progress: Progress = lambda _: None
    ) -> list[tuple[LogP, ...]]:
        return [tuple(LogP(each, 1) for each in self.liking(options)) for options in asked]


def chatter(seed: str, sentences: int = 14) -> str:
    """Sentences of three words, always the same for a seed."""
    draw = random.Random(seed)
    return " ".join(
        " ".join(draw.choice(words.split()) for words in (NAMES, DEEDS, THINGS)) + "."
        for _ in range(sentences)
    )


def setting(folder: Path, **changes: Any) -> Setting:
    """For the witty persona; word counts stand in for the embedder, and nobody listens."""
    fields: dict[str, Any] = {
        "persona": find("witty"),
        "sampling": Sampling(),
        "ear": None,
        "embedder": Words(),
        "memo": Memo(folder / "answers.db"),
        "amounts": FEW,
    }
    return Setting(**{**fields, **changes})
