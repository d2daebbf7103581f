"""What the stub server says where a test wants a judge whose JSON is hardly ever whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

MANNER = ("persona_consistency", "tone_appropriateness", "naturalness")
CONTENT = ("helpfulness",)
PLAIN = "Rinse the rice, simmer it for fifteen minutes, and let it rest for ten."


def answers(messages: Sequence[dict[str, Any]], seed: int) -> str:
    """A rewrite, or marks and verdicts in a form that follows from the length of the prompt."""
    told = messages[-1]["content"]
    if told.startswith("Rewrite"):
        return PLAIN
    names = MANNER if f'"{MANNER[0]}"' in told else CONTENT
    value: Any = "A" if told.startswith("You compare") else 4
    return malformed(dict.fromkeys(names, value), len(told) % 6)


def malformed(row: dict[str, Any], way: int) -> str:
    """Whole, fenced, with a trailing comma, in single quotes, in prose, or nothing of use."""
    text = json.dumps({"reason": "It says so.", **row})
    said = ". ".join(f"{key.replace('_', ' ').capitalize()}: {value}" for key, value in row.items())
    return (
        text,
        f"Here you are:\n```json\n{text}\n```",
        text.replace("}", ",}"),
        str(row),
        f"I have thought about it. {said}.",
        "I would rather not say.",
    )[way]
