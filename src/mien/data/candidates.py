"""Replies that a model gives for pairs, and what each of them is worth.

Samples of one prompt come from a teacher, in character where a persona is given. Their worth is how much
of the persona's measured voice they keep, which costs nothing, or what a judge says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from mien.chat import Reply, Sampling
from mien.data.formats import Record, iter_records
from mien.data.pairs import Dropped, Prompt, Samples, Score, asked, read_rows
from mien.data.prompts import prompt as prompt_file
from mien.data.rows import iter_raw
from mien.errors import InputError
from mien.persona.spec import Persona
from mien.persona.voice import measure
from mien.schema import Dialogue, Message, Strict

Ask = Callable[[Sequence[Message]], Reply]
JUDGE = "pairs-judge"
JUDGING = Sampling(max_tokens=8, temperature=0)
_LOWEST, _HIGHEST = 1, 10  # what the judge may say
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class Asked(Strict):
    """A prompt that waits for replies."""

    prompt: Prompt


def read_prompts(path: Path) -> list[tuple[Message, ...]]:
    """What is asked in a data set, each prompt once: rows of `prompt` alone, or any form of rows.

    A dialogue asks once per turn of the assistant, with the turns before it.

    Raises:
        DataError: A row cannot be read.
    """
    first = next(iter_raw(path), None)
    if first and first.row.keys() == {"prompt"}:
        asks = [row.prompt for row in read_rows(path, Asked)]
    else:
        asks = [prompt for record in iter_records(path) for prompt in _asks(record)]
    return list({asked(prompt): prompt for prompt in asks}.values())


def _asks(record: Record) -> list[tuple[Message, ...]]:
    row = record.row
    return [each.prompt for each in row.examples()] if isinstance(row, Dialogue) else [row.prompt]


def in_character(prompt: Sequence[Message], persona: Persona | None) -> tuple[Message, ...]:
    """A conversation under the persona's instruction, before that of the conversation if it has one."""
    if persona is None:
        return tuple(prompt)
    first, rest = ("", prompt) if prompt[0].role != "system" else (prompt[0].content, prompt[1:])
    told = "\n\n".join(filter(None, (persona.system_prompt.strip(), first)))
    return (Message(role="system", content=told), *rest)


def sampled(
    prompt: Sequence[Message], ask: Callable[[Sequence[Message], int], Reply], wanted: int
) -> Samples | Dropped:
    """Several replies to one prompt; whatever is empty, cut short or said already is left out.

    Args:
        prompt: The conversation so far, which the samples keep.
        ask: Answers a conversation; the second argument tells one attempt from another.
        wanted: Attempts.
    """
    replies = [ask(prompt, attempt) for attempt in range(wanted)]
    texts = [reply.text.strip() for reply in replies if reply.ended == "stop"]
    different = tuple(dict.fromkeys(filter(None, texts)))
    if len(different) < 2:
        return Dropped("fewer than two samples")
    return Samples(prompt=tuple(prompt), samples=different)


def by_voice(persona: Persona) -> Score:
    """Scores a reply by the share of the persona's voice bands that it keeps.

    Raises:
        InputError: The persona states no bands.
    """
    bands = persona.voice.bands()
    if not bands:
        raise InputError(
            f"The persona {persona.name!r} states no bands of its voice.",
            fix="State some under `voice`, or let a judge score.",
        )

    def score(_: Sequence[Message], reply: str) -> float:
        measures = measure(reply)
        return fmean(low <= measures[name] <= high for name, (low, high) in bands.items())

    return score


def by_judge(persona: Persona, ask: Ask) -> Score:
    """Scores a reply from 1 to 10 by asking a model; what is no such number is not finite.

    Args:
        persona: Whom the reply should suit.
        ask: The judge.
    """
    template = prompt_file(JUDGE)

    def score(conversation: Sequence[Message], reply: str) -> float:
        said = "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in conversation)
        told = template.fill(
            description=persona.description.strip(),
            manner=persona.system_prompt.strip(),
            conversation=said,
            reply=reply,
        )
        return mark(ask((Message(role="user", content=told),)).text)

    return score


def mark(said: str) -> float:
    """The first number that a judge wrote; not a number if it is none from 1 to 10."""
    found = _NUMBER.search(said)
    value = float(found[0]) if found else math.nan
    return value if _LOWEST <= value <= _HIGHEST else math.nan
