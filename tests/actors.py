"""Plays all parts of a simulation in good English, and out of part where a test wants it to."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from mien.schema import Message

WORDS = """lantern kettle orchard ferry piano ladder museum parcel canoe violin recipe fence jar stamp
soup meadow chess oven raincoat ticket compass garage mirror library pigeon"""
DEEDS = "paint repair move sell lend clean measure hide borrow replace describe compare"


def sentences(draw: random.Random, count: int = 3) -> str:
    said = []
    for _ in range(count):
        first, second, third = draw.sample(WORDS.split(), 3)
        said.append(
            f"The {first} needs someone to {draw.choice(DEEDS.split())} the {second} near a {third}."
        )
    return " ".join(said)


def answers(messages: Sequence[dict[str, Any]], seed: int) -> str:
    """For the stub server."""
    told, draw = messages[0]["content"], random.Random(f"{seed} {json.dumps(messages)}")
    if draw.random() < 0.02 and messages[0]["role"] == "user":
        return "Assistant: let me answer that for you."
    if "every reply is one JSON object" in told:
        return json.dumps({"answer": sentences(draw, 1)}) if draw.random() < 0.9 else "Certainly!"
    if "every reply is a list" in told and messages[0]["role"] == "system":
        return "\n".join(f"- {sentences(draw, 1)}" for _ in range(3))
    return sentences(draw)


def script(messages: Sequence[Message], seed: int) -> str:
    """For a scripted model."""
    return answers([each.model_dump(mode="json") for each in messages], seed)
