"""The nouns: what they accept, what they refuse, and that equal content hashes equally."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from mien.schema import Dialogue, Example, Message, Preference, Score, conversation, digest

USER = {"role": "user", "content": "Hello"}
REPLY = {"role": "assistant", "content": "Hi"}
SCORE = {
    "name": "voice",
    "system": "captain",
    "value": 0.5,
    "low": 0.4,
    "high": 0.6,
    "n": 10,
    "method": "wilson",
}


def test_an_example_of_strings_is_trls_conversational_form() -> None:
    example = Example.of("Hello", "Hi", system="Be brief.")
    assert example.model_dump(mode="json") == {
        "prompt": [{"role": "system", "content": "Be brief."}, USER],
        "completion": [REPLY],
    }
    assert example.reply == "Hi"
    assert Example.model_validate_json(example.model_dump_json()) == example


def test_a_conversation_without_a_system_message_has_none() -> None:
    assert [message.role for message in conversation("Hello")] == ["user"]
    assert [message.role for message in conversation("Hello", system="")] == ["user"]


BAD: list[tuple[type[BaseModel], dict[str, Any], str]] = [
    (Message, {"role": "robot", "content": "x"}, "role"),
    (Message, {"role": "user", "content": ""}, "content"),
    (Message, {**USER, "mood": "glad"}, "mood"),
    (Example, {"prompt": [], "completion": [REPLY]}, "prompt"),
    (Example, {"prompt": [USER], "completion": []}, "completion"),
    (Example, {"prompt": [USER], "completion": [REPLY, REPLY]}, "completion"),
    (Example, {"prompt": [USER, REPLY], "completion": [REPLY]}, "must be the user's"),
    (Example, {"prompt": [USER], "completion": [USER]}, "turn of the assistant"),
    (Preference, {"prompt": [USER], "chosen": [REPLY]}, "rejected"),
    (
        Preference,
        {"prompt": [USER, REPLY], "chosen": [REPLY], "rejected": [REPLY]},
        "must be the user's",
    ),
    (Preference, {"prompt": [USER], "chosen": [USER], "rejected": [REPLY]}, "`chosen` must be"),
    (Preference, {"prompt": [USER], "chosen": [REPLY], "rejected": [USER]}, "`rejected` must be"),
    (
        Preference,
        {"prompt": [USER], "chosen": [REPLY], "rejected": [REPLY], "agreement": 1.1},
        "agreement",
    ),
    (Score, {**SCORE, "n": 0}, "n"),
]


@pytest.mark.parametrize(("noun", "fields", "says"), BAD)
def test_what_is_not_as_it_should_be_is_refused_by_name(
    noun: type[BaseModel], fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        noun.model_validate(fields)


@pytest.mark.parametrize("missing", ["low", "high", "n", "method"])
def test_a_score_without_its_interval_number_and_method_does_not_exist(missing: str) -> None:
    fields = {key: value for key, value in SCORE.items() if key != missing}
    with pytest.raises(ValidationError, match=missing):
        Score.model_validate(fields)


@pytest.mark.parametrize(
    "change",
    [
        {"value": 0.7},
        {"value": 0.3},
        {"low": 0.7, "high": 0.3},
        {"value": math.nan},
        {"low": math.nan},
        {"high": math.nan},
    ],
)
def test_a_score_outside_its_interval_or_not_a_number_does_not_exist(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="does not hold"):
        Score.model_validate(SCORE | change)


def test_a_score_may_leave_its_interval_by_the_noise_of_a_float() -> None:
    Score.model_validate(SCORE | {"value": 0.1 + 0.2, "low": 0.1, "high": 0.3})


def test_a_score_prints_with_its_interval() -> None:
    assert str(Score.model_validate(SCORE)) == "0.50 [0.40, 0.60]"


def test_nouns_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Message.model_validate(USER).content = "other"  # type: ignore[misc]


def test_a_preference_may_say_how_sure_it_is_and_where_it_is_from() -> None:
    fields = {"prompt": [USER], "chosen": [REPLY], "rejected": [REPLY]}
    bare = Preference.model_validate(fields)
    assert (bare.margin, bare.agreement, bare.source) == (None, None, None)
    Preference.model_validate({**fields, "margin": 0.5, "agreement": 0.8, "source": "study"})


def test_the_digest_is_sha256_of_canonical_json() -> None:
    expected = hashlib.sha256('{"a":[1,"é"],"b":null}'.encode()).hexdigest()
    assert digest({"b": None, "a": (1, "é")}) == expected


def test_equal_content_has_an_equal_digest_and_other_content_another() -> None:
    one, same, other = Example.of("a", "b"), Example.of("a", "b"), Example.of("a", "c")
    assert one.digest() == same.digest() != other.digest()
    assert len(one.digest()) == 64


CALL = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "What time is it?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "9:30", "tool_call_id": "1"},
    {"role": "assistant", "content": "Half past nine."},
    {"role": "user", "content": "Thanks."},
    {"role": "assistant", "content": "You are welcome."},
]


def test_a_conversation_with_tools_is_carried_as_it_is_and_what_is_not_set_is_left_out() -> None:
    talk = Dialogue.model_validate({"messages": TALK})
    assert talk.model_dump(mode="json") == {"messages": TALK}
    assert Message(role="user", content="hi").model_dump() == {"role": "user", "content": "hi"}


def test_a_dialogue_gives_an_example_for_each_answer_to_the_user_with_all_before_it() -> None:
    talk = Dialogue.model_validate({"messages": TALK})
    first, last = talk.examples()
    assert first.prompt == talk.messages[:2]
    assert first.completion[0].tool_calls
    assert last.prompt == talk.messages[:6]
    assert last.reply == "You are welcome."


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        (TALK[:2], "ends with the assistant's turn"),
        (TALK[2:5], "has a user"),
        ([*TALK[1:], *TALK], "only the first turn may be the system's"),
        (TALK[:1], "at least 2"),
    ],
)
def test_what_is_no_dialogue_is_refused(messages: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Dialogue.model_validate({"messages": messages})
