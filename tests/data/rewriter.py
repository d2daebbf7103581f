"""Restyles the built-in corpus by heart: a teacher that answers with the authored reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from mien.data.corpus import VOICES, corpus, dialogues
from mien.persona.spec import library
from mien.schema import Message

_REPLY = re.compile(r"<reply>\n(.*?)\n</reply>", re.DOTALL)


@cache
def known() -> dict[tuple[str, str], str]:
    """The authored reply by (neutral reply, voice)."""
    rows = [row.replies for row in corpus()]
    rows += [turn.replies for dialogue in dialogues() for turn in dialogue.turns]
    return {(row["neutral"], voice): row[voice] for row in rows for voice in VOICES}


def rewritten(told: str) -> str:
    """What a prompt of the restyler asks for; the reply itself where nobody has written another."""
    found = _REPLY.search(told)
    assert found
    voice = next(name for name, each in library().items() if each.system_prompt.strip() in told)
    return known().get((found[1], voice), found[1])


def answers(messages: Sequence[dict[str, Any]], seed: int) -> str:
    """For the stub server."""
    return rewritten(messages[-1]["content"])


def script(messages: Sequence[Message], seed: int) -> str:
    """For a scripted model."""
    return rewritten(messages[-1].content)
