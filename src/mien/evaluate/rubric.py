"""The rubric: what a judge is asked, and how an answer that is not quite JSON is read all the same.

An answer is read strictly first. One that is no JSON, or not as it was asked for, is repaired: where a
criterion's name is followed by a colon and an admissible value, that is its value, whatever fences,
prose, stray quotes and commas stand around it. What cannot be read so is lost, and counted by whoever
asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from mien import specfile
from mien.data.prompts import prompt
from mien.persona.spec import Persona
from mien.schema import Message, Strict

DATA = Path(__file__).parent / "suites" / "data" / "judge"
LOWEST, HIGHEST = 1, 5
SHARES = {"a": 1.0, "tie": 0.5, "b": 0.0}  # of the win, for the reply that is shown first
Form = Literal["json", "lines"]
State = Literal["whole", "repaired", "partial", "lost"]
_MARK = r"[1-5](?:\.\d+)?(?![\d]|[-\u2013.]\d)"
_VERDICT = r"(?:(?:an?\s+)?tie|(?:reply[\s_]+)?[ab])(?=[\s\"'`*]*(?:[,;.}\n]|$))"


class Criterion(Strict):
    """One question of the rubric.

    Attributes:
        name: The key in an answer.
        label: For people.
        low: What a 1 means.
        high: What a 5 means.
        styleless: Whether it is about content alone, and judged on a reply without its manner.
    """

    name: str = Field(pattern=r"^[a-z_]+$")
    label: str
    question: str
    low: str
    high: str
    styleless: bool = False


class Rubric(Strict):
    """All questions, and the ways to open."""

    criteria: tuple[Criterion, ...] = Field(min_length=1)
    openings: tuple[str, ...] = Field(min_length=1)


@lru_cache(maxsize=1)
def rubric() -> Rubric:
    """Persona consistency, tone appropriateness, helpfulness and naturalness."""
    return specfile.load(DATA / "rubric.yaml", Rubric)


class Question(NamedTuple):
    """What a judge is asked once.

    Attributes:
        messages: The conversation before the reply.
        replies: One to be rated, or two to be compared in this order.
        criteria: By which.
        persona: Whom the reply should sound like; None where no criterion is about that.
        repeat: Which time this is asked, from 0; it decides the wording.
    """

    messages: tuple[Message, ...]
    replies: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    persona: Persona | None = None
    repeat: int = 0

    @property
    def pairwise(self) -> bool:
        """Whether two replies are compared."""
        return len(self.replies) == 2


class Answer(NamedTuple):
    """What a judge answered, as far as it can be read.

    Attributes:
        values: By criterion: 1 to 5, or the share of the win that goes to the reply shown first.
        state: How it could be read; `lost` where there is no value at all.
        mass: By criterion, how likely any admissible value was, where the judge's likelihoods are read.
        said: In its own words.
    """

    values: Mapping[str, float]
    state: State = "whole"
    mass: Mapping[str, float] = {}
    said: str = ""


def told(question: Question, form: Form) -> str:
    """The prompt for a judge: at length for one that answers in JSON, in short for one that is small."""
    kind = "compare" if question.pairwise else "rate"
    names = ("reply_a", "reply_b") if question.pairwise else ("reply",)
    shown = (reply.strip() or "(an empty reply)" for reply in question.replies)
    keys = {"keys": ", ".join(f'"{each.name}"' for each in question.criteria)} if form == "json" else {}
    return prompt(f"{kind}-{form}", DATA).fill(
        opening=rubric().openings[question.repeat % len(rubric().openings)],
        character=_character(question.persona, form),
        conversation=transcript(question.messages),
        questions="\n".join(_asked(each, form, question.pairwise) for each in question.criteria),
        **dict(zip(names, shown, strict=True)),
        **keys,
    )


def transcript(messages: Sequence[Message]) -> str:
    """A conversation as a judge reads it."""
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in messages)


def _character(persona: Persona | None, form: Form) -> str:
    if persona is None:
        return ""
    words = persona.description.strip()
    if form == "lines":
        return f"Character: {words}\n\n"
    return f"<character>\n{words}\nIt was told: {persona.system_prompt.strip()}\n</character>\n\n"


def _asked(criterion: Criterion, form: Form, pairwise: bool) -> str:
    scale = f" 1: {criterion.low}. 5: {criterion.high}." if form == "json" and not pairwise else ""
    return f"- {criterion.label}: {criterion.question}{scale}"


def read(text: str, question: Question) -> Answer:
    """The values in an answer, repaired if need be."""
    names = [each.name for each in question.criteria]
    whole = _strictly(text, names, question.pairwise)
    if len(whole) == len(names):
        return Answer(whole, "whole", said=text)
    values = {name: _loosely(text, name, question.pairwise) for name in names}
    found = {name: value for name, value in values.items() if value is not None}
    state: State = "repaired" if len(found) == len(names) else "partial" if found else "lost"
    return Answer(found, state, said=text)


def _strictly(text: str, names: Sequence[str], pairwise: bool) -> dict[str, float]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(row, dict):
        return {}
    values = {name: _admitted(row.get(name), pairwise) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _admitted(value: Any, pairwise: bool) -> float | None:
    if pairwise:
        return SHARES.get(value.strip().lower()) if isinstance(value, str) else None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and LOWEST <= value <= HIGHEST else None


def _loosely(text: str, name: str, pairwise: bool) -> float | None:
    """The last value that the text gives a criterion: what comes before may be thinking aloud."""
    key = name.replace("_", r"[\s_-]*")
    value = _VERDICT if pairwise else _MARK
    nested = r"(?:\{\s*[\"'`]?\w+[\"'`]?\s*[:=]\s*)?"
    found = re.findall(rf"{key}[\s\"'`*_]*[:=][\s\"'`*]*{nested}[\"'`*]*({value})", text, re.IGNORECASE)
    if not found:
        return None
    said = found[-1].lower().split()[-1].rpartition("_")[2]
    return SHARES[said] if pairwise else _admitted(float(said), pairwise)
