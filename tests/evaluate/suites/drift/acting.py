"""An ear, and subjects that act as a rule says, for conversations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.chat import Sampling
from mien.evaluate.finding import Finding
from mien.evaluate.memo import Memo
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, Progress, Said
from mien.evaluate.suites.drift.users import book
from mien.persona.spec import find
from tests.evaluate.amounts import FEW

IN, OUT = "A dry remark.", "A plain reply."
PROBES = set(book().probes)


class Ear:
    """Hears `witty` in what is dry."""

    labels = ("neutral", "witty")

    def judge(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([[0.1, 0.9] if "dry" in text else [0.8, 0.2] for text in texts])


class Actor:
    """Says what a rule of the turn says it should, and remembers what it was asked."""

    def __init__(self, rule: Callable[[int, Asked], str], name: str = "witty") -> None:
        self.name, self.key, self.rule = name, name, rule
        self.asked: list[Asked] = []

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        self.asked += asked
        return [Said(self.rule(turn(each), each)) for each in asked]


def turn(each: Asked) -> int:
    """Which turn of the assistant is asked for, from 1."""
    return sum(message.role == "user" for message in each.messages)


def until(last: int) -> Actor:
    """In character before a turn and out of it from then on."""
    return Actor(lambda turn, _: IN if turn < last else OUT)


def setting(folder: Path, **changes: Any) -> Setting:
    ear: Any = Ear()
    embedder: Any = None
    fields = {"persona": find("witty"), "sampling": Sampling(), "ear": ear, "embedder": embedder}
    return Setting(**{**fields, "memo": Memo(folder / "answers.db"), "amounts": FEW, **changes})


def values(finding: Finding, name: str) -> tuple[float, ...]:
    return next(measure.values for measure in finding.measures if measure.name == name)
