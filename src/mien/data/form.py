"""What replies in a form are made of: what is the same in every voice, and what a voice may write."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mien.data.corpus import Form

FREE_WORDS = 4  # a JSON string of so many words is free text; a shorter one is a name, a date, a choice

_EMAIL = re.compile(
    r"Subject: (?P<subject>\S[^\n]*)\n\n[^\n]+,\n\n(?P<body>\S.*\S)\n\n[^\n]+,\n(?P<name>[^\n]+)",
    re.DOTALL,
)
_ITEM = re.compile(r"^(\d+\.|-) (?=\S)", re.MULTILINE)
_BLOCK = re.compile(r"```(\w+)\n(.*)\n```", re.DOTALL)
_STRING = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
_COMMENTS = {
    "python": r'^[ \t]*""".*?"""|#[^\n]*',
    "javascript": r"//[^\n]*|/\*.*?\*/",
    "sql": r"--[^\n]*|/\*.*?\*/",
    "bash": r"(?<!\S)#[^\n]*",
}
_MARKS = '"#/*-'


class Parts(NamedTuple):
    """A reply in a form: `frame` is to be the same in every voice, `prose` is the voice's own."""

    frame: str
    prose: str


def parts(form: Form, reply: str) -> Parts:
    """A reply taken apart.

    Raises:
        ValueError: It is not of this form; with the reason.
    """
    return _PARTS[form](reply)


def _chat(reply: str) -> Parts:
    return Parts("", reply)


def _email(reply: str) -> Parts:
    """The frame is the name it is signed with; greeting and sign-off are conventions, and no prose."""
    found = _EMAIL.fullmatch(reply)
    if not found:
        raise ValueError(
            "not a subject, a greeting, a body, a sign-off and a name, with blank lines between"
        )
    return Parts(found["name"], f"{found['subject']}\n\n{found['body']}")


def _json(reply: str) -> Parts:
    value = json.loads(reply)  # a JSONDecodeError is a ValueError
    if not isinstance(value, dict):
        raise ValueError("JSON, but no object")
    if reply != json.dumps(value, indent=2, ensure_ascii=False):
        raise ValueError("JSON, but not indented by two spaces")
    free = {key: text for key, text in value.items() if _is_free(text)}
    return Parts(json.dumps(value | dict.fromkeys(free)), "\n\n".join(free.values()))


def _is_free(value: Any) -> bool:
    return isinstance(value, str) and len(value.split()) >= FREE_WORDS


def _list(reply: str) -> Parts:
    """The frame is the marks, and whether a line stands before and after the items."""
    blocks = reply.split("\n\n")
    marks = [[_ITEM.match(line) for line in block.split("\n")] for block in blocks]
    items = [block for block in marks if all(block)]
    if len(items) != 1 or any(len(block) > 1 for block in marks if block not in items):
        raise ValueError("not one list, with at most a line before it and a line after it")
    found = [mark[1] for mark in items[0] if mark]
    if found not in (["-"] * len(found), [f"{n}." for n in range(1, len(found) + 1)]):
        raise ValueError(f"its items are marked {' '.join(found)}")
    place = marks.index(items[0])
    frame = "line\n" * place + " ".join(found) + "\nline" * (len(blocks) - place - 1)
    return Parts(frame, _ITEM.sub("", reply))


def _code(reply: str) -> Parts:
    """The frame is the language, and the code without comments, docstrings and blank lines."""
    found = _BLOCK.fullmatch(reply)
    if not found or found[1] not in _COMMENTS:
        raise ValueError(f"not one fenced block of {', '.join(_COMMENTS)}")
    language, code = found.groups()
    if language == "python":
        _parse(code)
    pattern = re.compile(rf"(?P<said>{_COMMENTS[language]})|{_STRING}", re.MULTILINE | re.DOTALL)
    bare = pattern.sub(lambda match: "" if match["said"] else match[0], code)
    said = (match["said"] or "" for match in pattern.finditer(code))
    lines = (line.rstrip() for line in bare.split("\n"))
    return Parts(
        "\n".join([language, *(line for line in lines if line)]),
        " ".join(word for comment in said for word in comment.strip().strip(_MARKS).split()),
    )


def _parse(code: str) -> None:
    try:
        ast.parse(code)
    except SyntaxError as error:
        raise ValueError(f"not Python: {error.msg}") from error


_PARTS: dict[Form, Callable[[str], Parts]] = {
    "chat": _chat,
    "email": _email,
    "json": _json,
    "list": _list,
    "code": _code,
}
