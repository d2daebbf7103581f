"""Rows that others write, as rows of ours: ShareGPT's conversations and Alpaca's instructions.

ShareGPT is a habit and not a standard. What it leaves open is decided here, and every change is told:

- A conversation may begin with a reply, its question lost when a page was cut. That reply is left out.
- Several system messages at the beginning become one, and so do turns of one speaker in a row, with a
  blank line between them. Turns of tools stay apart.
- A system message further on is refused: nobody can say which turns it is for.
- What comes after the last reply is left out, being unanswered.
- A turn without text is refused: without the turn it would be another conversation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, dropwhile, takewhile
from typing import Any

from mien.data.shapes import Messages, Read, check_wanted, messages
from mien.errors import DataError
from mien.schema import Dialogue, Example, Message, Role

SPEAKERS: dict[str, Role] = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model"), "assistant"),
    "function_call": "assistant",
    **dict.fromkeys(("tool", "observation", "function_response"), "tool"),
    "system": "system",
}
_SPEAKER: dict[Role, str] = {
    "system": "system",
    "user": "human",
    "assistant": "gpt",
    "tool": "observation",
}
_NO_INPUT = ("", "noinput", "no input", "<noinput>", "<no input>")  # so Alpaca's teacher said "none"


def sharegpt(row: Mapping[str, Any]) -> Read:
    """A conversation of `from` and `value`, under the system message of `system` if the row has one."""
    key = "conversations" if row.get("conversations") is not None else "conversation"
    if not isinstance(row[key], list):
        raise DataError(f"{key}: a list of turns, not {type(row[key]).__name__}.", fix=_USE)
    check_wanted(row)
    turns = [_turn(turn, f"{key}.{place}") for place, turn in enumerate(row[key])]
    said = _system(row) + messages(turns, key)
    answered, mended = _mend(said)
    if len({turn.role for turn in answered} & {"user", "assistant"}) < 2:
        raise DataError(f"{key}: no question with its reply.", fix=_LEAVE)
    ignored = sorted({name for turn in row[key] for name in turn if name not in _KEYS})
    dropped = (f"keys of turns left out: {', '.join(ignored)}",) if ignored else ()
    return Read(Dialogue(messages=answered), frozenset({key, "system"}), (*mended, *dropped))


def alpaca(row: Mapping[str, Any]) -> Read:
    """An instruction with its input, if it has one, below it; `history` holds earlier exchanges."""
    asked = _text(row, "instruction"), _text(row, "input")
    text = "\n\n".join(part for part in asked if part.strip().lower() not in _NO_INPUT)
    prompt = messages(_history(row), "history") + messages(text, "instruction")
    completion = messages(row["output"], "output", "assistant")
    used = frozenset({"instruction", "input", "output", "system", "history"})
    return Read(Example(prompt=_system(row) + prompt, completion=completion), used)


def to_sharegpt(said: Messages) -> dict[str, Any]:
    """A conversation as ShareGPT writes it; calls of tools become JSON."""
    return {"conversations": [turn for message in said for turn in _spoken(message)]}


def to_alpaca(asked: Example) -> dict[str, Any]:
    """An example as Alpaca writes it: the last question as `instruction`, all before it as `history`.

    Raises:
        DataError: What is before it is no series of questions and answers.
    """
    system = [turn.content for turn in asked.prompt[:1] if turn.role == "system"]
    *before, last = asked.prompt[len(system) :]
    if [turn.role for turn in before] != ["user", "assistant"] * (len(before) // 2):
        raise DataError("not questions and answers by turns, and Alpaca has nothing else.", fix=_LEAVE)
    if any(turn.tool_calls for turn in (*before, *asked.completion)):
        raise DataError("uses tools, which Alpaca has no place for.", fix=_LEAVE)
    row: dict[str, Any] = {"instruction": last.content, "input": "", "output": asked.reply}
    said = [turn.content for turn in before]
    history = [list(pair) for pair in zip(said[::2], said[1::2], strict=True)]
    return row | ({"system": system[0]} if system else {}) | ({"history": history} if history else {})


_LEAVE = "Leave that row out."
_USE = 'A turn is {"from": "human" or "gpt", "value": "..."}.'
_KEYS = ("from", "value", "role", "content", "tool_calls", "tool_call_id", "name")


def _turn(turn: Any, key: str) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise DataError(f"{key}: a turn, not {type(turn).__name__}.", fix=_USE)
    if "role" in turn:
        return {name: value for name, value in turn.items() if name in _KEYS}
    speaker = str(turn.get("from")).lower()
    if speaker not in SPEAKERS:
        known = ", ".join(SPEAKERS)
        raise DataError(f"{key}.from: nobody known ({speaker}).", fix=f"Known are {known}.")
    if speaker == "function_call":
        return {"role": "assistant", "tool_calls": _calls(turn.get("value"), f"{key}.value")}
    return {"role": SPEAKERS[speaker], "content": turn.get("value")}


def _calls(value: Any, key: str) -> list[dict[str, Any]]:
    """ShareGPT's function calls, one or a list of them as JSON, in OpenAI's form."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
        calls = found if isinstance(found, list) else [found]
        functions = [{"name": call["name"], "arguments": call.get("arguments", {})} for call in calls]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        fix = 'Write {"name": ..., "arguments": {...}}, or a list of these.'
        raise DataError(f"{key}: no function call in JSON.", fix=fix) from error
    return [{"type": "function", "function": function} for function in functions]


def _spoken(message: Message) -> Iterator[dict[str, str]]:
    """ShareGPT's turns for one of ours, two of them if a call of tools comes with words."""
    if message.content:
        yield {"from": _SPEAKER[message.role], "value": message.content}
    if message.tool_calls:
        calls = [call.get("function", call) for call in message.tool_calls]
        yield {"from": "function_call", "value": json.dumps(calls, ensure_ascii=False)}


def _mend(said: Messages) -> tuple[Messages, tuple[str, ...]]:
    """The conversation from its first question to its last reply, and what was done to it."""
    mended = []
    for what, step in _STEPS:
        before, said = said, step(said)
        if len(said) != len(before):
            mended.append(what)
    return said, tuple(mended)


def _from_first_question(said: Messages) -> Messages:
    opening = tuple(takewhile(lambda turn: turn.role == "system", said))
    rest = dropwhile(lambda turn: turn.role in ("assistant", "tool"), said[len(opening) :])
    return (*opening, *rest)


def _to_last_reply(said: Messages) -> Messages:
    ends = [place for place, turn in enumerate(said, 1) if turn.role == "assistant"]
    return said[: ends[-1]] if ends else ()


def _one_turn_each(said: Messages) -> Messages:
    joined: list[Message] = []
    for turn in said:
        if joined and _speaks_on(joined[-1], turn):
            text = f"{joined.pop().content}\n\n{turn.content}"
            turn = turn.model_copy(update={"content": text})
        joined.append(turn)
    return tuple(joined)


def _speaks_on(before: Message, turn: Message) -> bool:
    uses_tools = turn.role == "tool" or before.tool_calls or turn.tool_calls
    return before.role == turn.role and before.name == turn.name and not uses_tools


_STEPS = (
    ("opening reply without its question left out", _from_first_question),
    ("unanswered last turns left out", _to_last_reply),
    ("turns of one speaker joined", _one_turn_each),
)


def _system(row: Mapping[str, Any]) -> Messages:
    text = _text(row, "system")
    return (Message(role="system", content=text),) if text else ()


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{key}: a text, not {type(value).__name__}.", fix="Mend that row.")
    return value or ""


def _history(row: Mapping[str, Any]) -> list[dict[str, str]]:
    history = row.get("history") or ()
    pairs = [tuple(pair) for pair in history if isinstance(pair, Sequence) and len(pair) == 2]
    if len(pairs) != len(history):
        raise DataError("history: a list of pairs of texts.", fix="Mend that row.")
    said = [text for pair in pairs for text in pair]
    roles = cycle(("user", "assistant"))
    return [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]
