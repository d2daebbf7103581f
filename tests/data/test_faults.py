"""What can be wrong with a message, and what only looks so."""

from __future__ import annotations

import pytest

from mien.data.faults import fault, tidy

TOLD = "Answer in one paragraph of plain prose, forty words long, and never use any lists at all."


@pytest.mark.parametrize(
    ("text", "label", "left"),
    [
        ("  Hello.\n", "", "Hello."),
        ("User: Hello.", "User", "Hello."),
        ("**User:** Hello.", "User", "Hello."),
        ("assistant : Hello.", "Assistant", "Hello."),
        ("User: Hello.", "Assistant", "User: Hello."),
        ('"Hello."', "", "Hello."),
        ('"Hello," she said, "you."', "", '"Hello," she said, "you."'),
        ("<think>\nA user.\n</think>\nHello.", "", "Hello."),
        ('User: "Hello."', "User", "Hello."),
        ('"', "", '"'),
    ],
)
def test_what_surrounds_a_message_is_taken_off(text: str, label: str, left: str) -> None:
    assert tidy(text, label) == left


@pytest.mark.parametrize("text", ["", "...", "\N{HORIZONTAL ELLIPSIS} !"])
def test_nothing_said(text: str) -> None:
    assert fault(text) == "empty"


@pytest.mark.parametrize(
    "text", ["User: hi", "Fine.\n\nAssistant: and you?", "**AI**: yes", "[Human]: no", "ASSISTANT: yes"]
)
def test_speaking_for_a_role(text: str) -> None:
    assert fault(text) == "speaks for a role"


@pytest.mark.parametrize(
    "text",
    [
        "The user: a person who uses.",
        "def f(\n    user: str,\n    system: str,\n) -> None: ...",
        "I asked the assistant: it refused.",
        '{\n  "User": "hi"\n}',
        "Subject: the lift",
    ],
)
def test_what_only_looks_like_a_role(text: str) -> None:
    assert fault(text) is None


def test_reading_instructions_aloud() -> None:
    aloud = "I was told to answer in one paragraph of plain prose, forty words long, so there."
    assert fault(aloud, instructions=TOLD) == "reads its instructions"
    assert fault("I answer in one paragraph of plain prose.", instructions=TOLD) is None
    assert fault(aloud) is None


def test_saying_the_same_again() -> None:
    said = "The kettle has been broken since Monday, and nobody at the shop answers the telephone."
    again = said.replace("Monday", "Tuesday")
    other = "The shop has answered at last, and the kettle will be sent back on Monday."
    assert fault(again, earlier=["Hello there.", said]) == "repeats a message"
    assert fault(other, earlier=[said]) is None


@pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2]", '```json\n{"a": "b"}\n```', ' {"a": {}}\n'])
def test_json_is_json(text: str) -> None:
    assert fault(text, musts={"json"}) is None


@pytest.mark.parametrize("text", ["Sure.", '{"a": 1', "3 apples", 'Here: {"a": 1}', '"a b"'])
def test_and_nothing_else_is(text: str) -> None:
    assert fault(text, musts={"json"}) == "no json"


def test_a_list_has_two_points() -> None:
    assert fault("- one\n- two", musts={"list"}) is None
    assert fault("Do this:\n1. one\n2) two", musts={"list"}) is None
    assert fault("- one only", musts={"list"}) == "no list"
    assert fault("one, two", musts={"list", "json"}) == "no json"
