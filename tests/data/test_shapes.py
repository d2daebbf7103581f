"""TRL's forms: its column names, texts and turns, prompts that are given and that are shared."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mien.data.shapes import dialogue, example, messages, preference, told
from mien.errors import DataError
from mien.schema import Example, Message, Preference

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Why?"}
AGAIN = {"role": "user", "content": "And?"}
GOOD = {"role": "assistant", "content": "Because."}
BAD = {"role": "assistant", "content": "No idea."}
CALL = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
PREFERENCE = Preference.model_validate({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]})


def contents(found: Any) -> list[str]:
    return [turn.content for turn in found]


@pytest.mark.parametrize("prompt", ["Why?", [USER]])
@pytest.mark.parametrize("completion", ["Because.", [GOOD]])
def test_either_side_of_an_example_is_a_text_or_turns(prompt: Any, completion: Any) -> None:
    read = example({"prompt": prompt, "completion": completion})
    assert read.row == Example.of("Why?", "Because.")
    assert read.used == {"prompt", "completion"}


def test_a_completion_that_is_marked_as_unwanted_is_not_learnt() -> None:
    row = {"prompt": "Why?", "completion": "No idea.", "label": False}
    with pytest.raises(DataError, match=r"^label: false"):
        example(row)
    with pytest.raises(DataError, match=r"^label: false"):
        dialogue({"messages": [USER, BAD], "label": False})
    assert example(row | {"label": True}).row == Example.of("Why?", "No idea.")
    assert example(row | {"label": 0}).row == Example.of("Why?", "No idea.")


def test_tools_are_kept_as_they_are() -> None:
    turns = [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "12:00", "tool_call_id": "1", "name": "clock"},
        GOOD,
    ]
    read = dialogue({"messages": turns})
    assert read.row.model_dump(mode="json") == {"messages": turns}


@pytest.mark.parametrize("content", [{}, {"content": None}])
def test_no_content_beside_a_tool_call_is_an_empty_one(content: dict[str, Any]) -> None:
    (turn,) = messages([{"role": "assistant", "tool_calls": [CALL], **content}], "messages")
    assert (turn.content, turn.tool_calls) == ("", (CALL,))


def test_fields_that_are_null_are_not_set() -> None:
    given = {**GOOD, "tool_calls": None, "tool_call_id": None, "name": None}
    assert messages([given], "messages") == (Message.model_validate(GOOD),)


def test_content_in_parts_is_joined_if_all_of_it_is_text() -> None:
    parts = [{"type": "text", "text": "Be"}, {"type": "text", "text": "cause."}]
    assert contents(messages([{"role": "assistant", "content": parts}], "x")) == ["Because."]
    parts.append({"type": "image"})
    with pytest.raises(DataError, match=r"^x\.0\.content"):
        messages([{"role": "assistant", "content": parts}], "x")


@pytest.mark.parametrize("prompt", ["Why?", [USER]])
@pytest.mark.parametrize("chosen", ["Because.", [GOOD]])
@pytest.mark.parametrize("rejected", ["No idea.", [BAD]])
def test_a_preference_with_its_prompt(prompt: Any, chosen: Any, rejected: Any) -> None:
    assert preference({"prompt": prompt, "chosen": chosen, "rejected": rejected}).row == PREFERENCE


def test_a_preference_says_how_sure_it_is() -> None:
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No idea."}
    read = preference({**row, "margin": 0.5, "agreement": 0.9, "source": "study", "score": 3})
    found = read.row
    assert isinstance(found, Preference)
    assert (found.margin, found.agreement, found.source) == (0.5, 0.9, "study")
    assert "score" not in read.used
    assert preference({**row, "margin": None}).row == PREFERENCE


def test_the_prompt_is_what_both_conversations_begin_with() -> None:
    row = {"chosen": [USER, GOOD], "rejected": [USER, BAD]}
    assert preference(row).row == PREFERENCE
    history = [SYSTEM, USER, GOOD, AGAIN]
    found = preference({"chosen": [*history, GOOD], "rejected": [*history, BAD]}).row
    assert isinstance(found, Preference)
    assert contents(found.prompt) == ["Be brief.", "Why?", "Because.", "And?"]
    assert (contents(found.chosen), contents(found.rejected)) == (["Because."], ["No idea."])


def test_two_equal_conversations_still_end_with_a_reply_each() -> None:
    found = preference({"chosen": [USER, GOOD], "rejected": [USER, GOOD]}).row
    assert isinstance(found, Preference)
    assert found.chosen == found.rejected and contents(found.prompt) == ["Why?"]


@pytest.mark.parametrize("prompt", ["Why?", " Why?\n", [USER]])
def test_a_prompt_may_be_given_beside_whole_conversations(prompt: Any) -> None:
    row = {"prompt": prompt, "chosen": [USER, GOOD], "rejected": [USER, BAD]}
    assert preference(row).row == PREFERENCE


def test_a_prompt_that_is_given_may_add_the_system_message() -> None:
    row = {"prompt": [SYSTEM, USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]}
    found = preference(row).row
    assert isinstance(found, Preference)
    assert contents(found.prompt) == ["Be brief.", "Why?"]


def test_conversations_in_one_string_as_hh_rlhf_writes_them() -> None:
    opening = "\n\nHuman: Why?\n\nAssistant: Because.\n\nHuman: And?\n\nAssistant:"
    found = preference({"chosen": f"{opening} So.", "rejected": f"{opening} No."}).row
    assert isinstance(found, Preference)
    assert contents(found.prompt) == ["Why?", "Because.", "And?"]
    assert (contents(found.chosen), contents(found.rejected)) == (["So."], ["No."])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"chosen": "a", "rejected": "b"}, "prompt: missing"),
        ({"chosen": "x\n\nHuman: a", "rejected": "b"}, "prompt: missing"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "prompt: missing"),
        ({"chosen": [USER, GOOD], "rejected": [AGAIN, BAD]}, "prompt: missing"),
        (
            {"prompt": "Who?", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
            "prompt: is not what `chosen` and `rejected` begin with",
        ),
        (
            {"prompt": [AGAIN], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
            "prompt: is not what `chosen` and `rejected` begin with",
        ),
        (
            {"chosen": [USER, GOOD, AGAIN, GOOD], "rejected": [USER, BAD, AGAIN, BAD]},
            "chosen: 3 turns after the beginning that both share",
        ),
        ({"chosen": [USER, GOOD], "rejected": [USER, BAD, USER]}, "rejected: 2 turns"),
        ({"chosen": 3, "rejected": "b"}, "chosen: a list of turns, not int"),
        ({"prompt": "a", "chosen": "", "rejected": "b"}, r"chosen\.0: a turn needs `content`"),
    ],
)
def test_a_preference_that_cannot_be_understood_is_named_by_its_key(
    row: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=f"^{says}") as caught:
        preference(row)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": [USER], "chosen": [GOOD, GOOD], "rejected": [BAD]}, "chosen: 2 turns, .* too long"),
        ({"prompt": [USER], "chosen": [], "rejected": [BAD]}, "chosen: 0 turns, .* too short"),
        ({"prompt": [USER, GOOD], "chosen": [GOOD], "rejected": [BAD]}, "must be the user's"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "agreement": 2}, "agreement: .*less than"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "margin": "wide"}, "margin: .*number"),
    ],
)
def test_a_preference_that_is_none_is_told_in_one_line(row: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        preference(row)
    assert "\n" not in told(caught.value)
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(told(caught.value))
