"""What can be wrong with a message that a model wrote in somebody's name.

Each check looks for one way in which models, small ones above all, fall out of a conversation: they say
nothing, speak for the other side, read their instructions aloud, or say the same again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence

from mien.data.wording import overlaps, words

_REPEATED = 0.5  # Jaccard of word 3-grams: the same message with a few words changed
_READ_ALOUD = 10  # words in a row that stand in the instructions as well
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
# With a capital, for `user: str` is code.
_LABEL = re.compile(
    r"^[ \t*_#\[(]*(?:User|Human|Assistant|AI|Bot|System|USER|HUMAN|ASSISTANT)[ \t*_\])]*:", re.MULTILINE
)
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL)
_POINT = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s+\S", re.MULTILINE)


def tidy(text: str, label: str = "") -> str:
    """A message without what surrounds it: thoughts, the writer's own label, quotation marks, space.

    Args:
        text: As the model wrote it.
        label: The name under which its writer stands in a transcript.
    """
    text = _THOUGHT.sub("", text).strip()
    if label:
        text = re.sub(rf"^\**{label}\**\s*:\**\s*", "", text, flags=re.IGNORECASE)
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        text = text[1:-1]
    return text.strip()


def fault(
    text: str, *, instructions: str = "", earlier: Sequence[str] = (), musts: Collection[str] = ()
) -> str | None:
    """The first thing that is wrong with a tidied message, in a few words that can be counted.

    Args:
        text: The message.
        instructions: What its writer was told and nobody should hear.
        earlier: The messages before it.
        musts: What it has to be: `json`, `list`.
    """
    if not words(text):
        return "empty"
    if _LABEL.search(text):
        return "speaks for a role"
    if _shares_run(text, instructions):
        return "reads its instructions"
    if any(_same(text, each) for each in earlier):
        return "repeats a message"
    return next((f"no {must}" for must in sorted(musts) if not _IS[must](text)), None)


def _shares_run(text: str, instructions: str) -> bool:
    secret, said = words(instructions), words(text)
    runs = {secret[i : i + _READ_ALOUD] for i in range(len(secret) - _READ_ALOUD + 1)}
    return any(said[i : i + _READ_ALOUD] in runs for i in range(len(said) - _READ_ALOUD + 1))


def _same(text: str, other: str) -> bool:
    return overlaps([text, other], 3).get((0, 1), 0.0) > _REPEATED


def _is_json(text: str) -> bool:
    fenced = _FENCED.fullmatch(text)
    try:
        return isinstance(json.loads(fenced[1] if fenced else text), dict | list)
    except ValueError:
        return False


def _is_list(text: str) -> bool:
    return len(_POINT.findall(text)) > 1


_IS = {"json": _is_json, "list": _is_list}
