"""Judges and subjects that say what a test wants, at the seams where real ones stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mien.chat import Sampling, ScriptedModel
from mien.data.teacher import Calls, Teacher
from mien.evaluate.judge import Judge
from mien.evaluate.memo import Memo
from mien.evaluate.rubric import rubric
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, LogP, Options, Progress, Said
from mien.persona.spec import find
from mien.schema import Message
from tests.evaluate.amounts import FEW

NAMES = tuple(each.name for each in rubric().criteria)
Likelihood = Callable[[str, str], float]


class Speaker:
    """Answers every question with the same words, or by a function of the question."""

    def __init__(self, name: str, says: str | Callable[[str], str]) -> None:
        self.name = self.key = name
        self.says = says

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        texts = (each.messages[-1].content for each in asked)
        return [Said(self.says(text) if callable(self.says) else self.says) for text in texts]


class Weigher(Speaker):
    """Finds a continuation as likely as a function of prompt and text says."""

    def __init__(self, likelihood: Likelihood, name: str = "weigher") -> None:
        super().__init__(name, "Hm.")
        self.likelihood = likelihood

    def logps(
        self, asked: Sequence[Options], *, progress: Progress = lambda _: None
    ) -> list[tuple[LogP, ...]]:
        return [
            tuple(LogP(self.likelihood(each.messages[-1].content, text), 3) for text in each.texts)
            for each in asked
        ]


def teacher(folder: Path, says: Callable[[str], str], name: str = "scripted") -> Teacher:
    """A scripted model that hears the last message, behind a teacher."""

    def script(messages: Sequence[Message], seed: int) -> str:
        return says(messages[-1].content)

    model = ScriptedModel(script)
    model.name = name
    return Teacher(model, Calls(folder / f"{name.partition(' ')[0]}.db"), wait=lambda _: None)


def chat_judge(folder: Path, says: Callable[[str], str], name: str = "scripted") -> Judge:
    """A judge in JSON that rewrites as well."""
    return Judge.behind(teacher(folder, says, name))


def marks(value: object) -> str:
    """The same value for every criterion."""
    return json.dumps({"reason": "So it is.", **dict.fromkeys(NAMES, value)})


def between(told: str, tag: str = "reply") -> str:
    """What stands in a tag of a prompt."""
    return told.partition(f"<{tag}>\n")[2].partition(f"\n</{tag}>")[0]


def always_first(told: str) -> str:
    """Prefers whatever is shown first, and finds everything middling."""
    if told.startswith("Rewrite"):
        return between(told)
    return marks("A" if told.startswith("You compare") else 3)


def likes(word: str) -> Callable[[str], str]:
    """Prefers the reply with that word in it; a tie if both or neither have it."""

    def says(told: str) -> str:
        if told.startswith("Rewrite"):
            return between(told)
        if not told.startswith("You compare"):
            return marks(5 if word in between(told) else 2)
        a, b = (word in between(told, f"reply_{letter}") for letter in "ab")
        return marks("tie" if a == b else "A" if a else "B")

    return says


def setting(folder: Path, judge: Judge | None = None, **changes: Any) -> Setting:
    """Without instruments: the judge is the only one here."""
    nothing: Any = None
    fields = {"persona": find("witty"), "sampling": Sampling(), "ear": nothing, "embedder": nothing}
    return Setting(
        **{**fields, "memo": Memo(folder / "answers.db"), "amounts": FEW, "judge": judge, **changes}
    )
