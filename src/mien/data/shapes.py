"""What a JSON object means as a row of ours, for the forms that TRL reads.

The forms are those of TRL's guide to data sets (https://huggingface.co/docs/trl/dataset_formats):
prompt-completion, conversational language modelling (`messages`), and preferences whose prompt is given
or is what both conversations share. Sides may be strings or lists of turns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from mien.errors import DataError
from mien.schema import Dialogue, Example, Message, Preference, Role

KNOWN = (
    "`prompt` and `completion`, `messages`, `chosen` and `rejected`, `conversations` (ShareGPT), or "
    "`instruction` and `output` (Alpaca)"
)
Messages = tuple[Message, ...]
_MESSAGES = TypeAdapter(Messages)
_SURENESS = ("margin", "agreement", "source")
_MARK = re.compile(r"\n\n(Human|Assistant):")
_MARKED = {"Human": "user", "Assistant": "assistant"}


class Read(NamedTuple):
    """A row as it was understood, the keys that went into it, and what had to be changed."""

    row: Example | Dialogue | Preference
    used: frozenset[str]
    mended: tuple[str, ...] = ()


Shape = Callable[[Mapping[str, Any]], Read]


def example(row: Mapping[str, Any]) -> Read:
    """A prompt and its completion."""
    check_wanted(row)
    prompt = messages(row["prompt"], "prompt", "user")
    completion = messages(row["completion"], "completion", "assistant")
    return Read(Example(prompt=prompt, completion=completion), frozenset({"prompt", "completion"}))


def dialogue(row: Mapping[str, Any]) -> Read:
    """A whole conversation."""
    check_wanted(row)
    if isinstance(row["messages"], str):
        raise DataError("messages: a list of turns, not str.", fix=f"Use {KNOWN}.")
    return Read(Dialogue(messages=messages(row["messages"], "messages")), frozenset({"messages"}))


def check_wanted(row: Mapping[str, Any]) -> None:
    """Refuse a reply that is marked as unwanted, as in TRL's unpaired preferences.

    Raises:
        DataError: The row has `label: false`.
    """
    if row.get("label") is False:
        what = "label: false, so its reply is not to be learnt (an unpaired preference)."
        raise DataError(what, fix="Leave such rows out, or pair them with a wanted reply.")


def preference(row: Mapping[str, Any]) -> Read:
    """One prompt and two replies.

    Where the replies are whole conversations, the prompt is the longest beginning that they share, at
    most up to the last turn of either; a `prompt` that is given as well has to agree with it.
    """
    chosen, rejected = _side(row, "chosen"), _side(row, "rejected")
    given = row.get("prompt")
    if given is None or _is_whole(chosen) or _is_whole(rejected):
        shared = _shared(chosen, rejected)
        chosen, rejected = chosen[len(shared) :], rejected[len(shared) :]
        prompt = _agreed(given, shared)
        _check_one_turn(chosen, rejected)
    else:
        prompt = messages(given, "prompt", "user")
    known = {key: row[key] for key in _SURENESS if row.get(key) is not None}
    found = Preference.model_validate(
        {"prompt": prompt, "chosen": chosen, "rejected": rejected, **known}
    )
    return Read(found, frozenset({"prompt", "chosen", "rejected", *_SURENESS}))


def messages(value: Any, key: str, role: Role = "user") -> Messages:
    """Turns from what a row has under `key`; a bare text is one turn of `role`.

    Content in parts is joined if all of them are text, and null is no content, as beside tool calls.

    Raises:
        DataError: Something in it is no turn; the message begins with its key.
    """
    if isinstance(value, str):
        value = [{"role": role, "content": value}]
    if not isinstance(value, list):
        raise DataError(f"{key}: a list of turns, not {type(value).__name__}.", fix=f"Use {KNOWN}.")
    try:
        return _MESSAGES.validate_python([_with_text(turn) for turn in value])
    except ValidationError as error:
        raise DataError(f"{key}.{told(error)}.", fix="Mend that row.") from error


def told(error: ValidationError) -> str:
    """The first problem that pydantic found, as `key: what`."""
    problem = error.errors()[0]
    reason = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        reason = "unknown key"
    if problem["type"] in ("too_short", "too_long"):
        reason = f"{problem['ctx']['actual_length']} turns, which is {problem['type'].replace('_', ' ')}"
    return ": ".join(filter(None, (".".join(map(str, problem["loc"])), reason)))


def _side(row: Mapping[str, Any], key: str) -> Messages:
    value = row[key]
    if isinstance(value, str) and row.get("prompt") is None:
        value = _marked_turns(value)
    return messages(value, key, "assistant")


def _marked_turns(text: str) -> str | list[dict[str, str]]:
    """The turns of a conversation in one string, as Anthropic's HH-RLHF writes it."""
    before, *parts = _MARK.split(text)
    if before.strip() or not parts:
        return text
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": _MARKED[who], "content": said.strip()} for who, said in pairs]


def _is_whole(side: Messages) -> bool:
    return bool(side) and side[0].role != "assistant"


def _shared(chosen: Messages, rejected: Messages) -> Messages:
    pairs = zip(chosen[:-1], rejected[:-1], strict=False)
    return tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _agreed(given: Any, shared: Messages) -> Messages:
    """The prompt, from `prompt` and from what both replies begin with."""
    if not shared:
        fix = "Give the conversation so far as `prompt`, a text or a list of turns."
        raise DataError("prompt: missing, and `chosen` and `rejected` share no beginning.", fix=fix)
    if given is None:
        return shared
    if isinstance(given, str) and given.strip() in {turn.content.strip() for turn in shared}:
        return shared
    if not isinstance(given, str):
        prompt = messages(given, "prompt")
        if prompt[-len(shared) :] == shared:
            return prompt
    what = "prompt: is not what `chosen` and `rejected` begin with."
    raise DataError(what, fix="Remove `prompt`, or leave only the replies in the other two.")


def _check_one_turn(*sides: Messages) -> None:
    for name, side in zip(("chosen", "rejected"), sides, strict=True):
        if len(side) != 1:
            what = f"{name}: {len(side)} turns after the beginning that both share; one is compared."
            raise DataError(what, fix="End both conversations with the first reply that differs.")


def _with_text(turn: Any) -> Any:
    """The turn with its content as one text, where that can be told."""
    if not isinstance(turn, dict) or isinstance(turn.get("content"), str):
        return turn
    content = turn.get("content")
    if content is None:
        return {**turn, "content": ""}
    if isinstance(content, list) and all(_is_text(part) for part in content):
        return {**turn, "content": "".join(part["text"] for part in content)}
    return turn


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
