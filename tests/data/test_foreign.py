"""ShareGPT and Alpaca: what they leave open, as it is decided, and what is told of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mien.data.foreign import SPEAKERS, alpaca, sharegpt, to_alpaca, to_sharegpt
from mien.errors import DataError
from mien.schema import Dialogue, Example, Message

ASKED = {"from": "human", "value": "Why?"}
SAID = {"from": "gpt", "value": "Because."}
CALL = {"name": "clock", "arguments": {"zone": "UTC"}}


def turns(*given: tuple[str, str]) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": text} for who, text in given]}


def heard(row: dict[str, Any]) -> list[tuple[str, str]]:
    found = sharegpt(row).row
    assert isinstance(found, Dialogue)
    return [(turn.role, turn.content) for turn in found.messages]


def asked(row: dict[str, Any]) -> Example:
    found = alpaca(row).row
    assert isinstance(found, Example)
    return found


@pytest.mark.parametrize("person", ["human", "user", "Human", "USER"])
@pytest.mark.parametrize("model", ["gpt", "assistant", "bing", "chatgpt", "bard", "GPT"])
def test_speakers_go_by_many_names(person: str, model: str) -> None:
    row = turns((person, "Why?"), (model, "Because."))
    assert heard(row) == [("user", "Why?"), ("assistant", "Because.")]
    assert sharegpt(row).mended == ()


@pytest.mark.parametrize("key", ["conversations", "conversation"])
def test_the_list_of_turns_may_have_either_name(key: str) -> None:
    read = sharegpt({key: [ASKED, SAID], "id": "x"})
    assert key in read.used and "id" not in read.used


def test_turns_may_have_the_keys_of_openai() -> None:
    row = {
        "conversations": [
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "Because."},
        ]
    }
    assert heard(row) == [("user", "Why?"), ("assistant", "Because.")]


def test_the_system_message_may_be_a_turn_or_a_key_or_both() -> None:
    pair = (("human", "Why?"), ("gpt", "Because."))
    rest = [("user", "Why?"), ("assistant", "Because.")]
    assert heard(turns(("system", "Be kind."), *pair)) == [("system", "Be kind."), *rest]
    assert heard({**turns(*pair), "system": "Be kind."}) == [("system", "Be kind."), *rest]
    both = {**turns(("system", "Be brief."), *pair), "system": "Be kind."}
    assert heard(both) == [("system", "Be kind.\n\nBe brief."), *rest]
    assert heard({**turns(*pair), "system": ""}) == rest


def test_a_system_message_in_the_middle_is_refused() -> None:
    row = turns(("human", "Why?"), ("gpt", "Because."), ("system", "Stop."), ("gpt", "So."))
    with pytest.raises(Exception, match="only the first turn may be the system's"):
        sharegpt(row)


def test_a_reply_whose_question_was_cut_off_is_left_out() -> None:
    row = turns(("system", "Be kind."), ("gpt", "Lost."), ("human", "Why?"), ("gpt", "Because."))
    assert heard(row) == [("system", "Be kind."), ("user", "Why?"), ("assistant", "Because.")]
    assert sharegpt(row).mended == ("opening reply without its question left out",)


def test_what_nobody_answered_is_left_out() -> None:
    row = turns(("human", "Why?"), ("gpt", "Because."), ("human", "And?"))
    assert heard(row) == [("user", "Why?"), ("assistant", "Because.")]
    assert sharegpt(row).mended == ("unanswered last turns left out",)


def test_turns_of_one_speaker_in_a_row_become_one() -> None:
    row = turns(("human", "Why?"), ("human", "Tell me."), ("gpt", "Because."), ("gpt", "Truly."))
    assert heard(row) == [("user", "Why?\n\nTell me."), ("assistant", "Because.\n\nTruly.")]
    assert sharegpt(row).mended == ("turns of one speaker joined",)


def test_tools_are_called_and_answer() -> None:
    row = turns(
        ("human", "What time is it?"),
        ("function_call", json.dumps(CALL)),
        ("observation", "12:00"),
        ("tool", "sunny"),
        ("gpt", "Noon."),
        ("gpt", "And sunny."),
    )
    read = sharegpt(row)
    assert isinstance(read.row, Dialogue)
    roles = [turn.role for turn in read.row.messages]
    assert roles == ["user", "assistant", "tool", "tool", "assistant"]
    assert read.row.messages[1].tool_calls == ({"type": "function", "function": CALL},)
    assert read.mended == ("turns of one speaker joined",)


@pytest.mark.parametrize("value", ["call the clock", "[3]", '{"arguments": {}}', None, "[", 3])
def test_a_call_that_is_no_json_is_refused(value: Any) -> None:
    row = {"conversations": [ASKED, {"from": "function_call", "value": value}, SAID]}
    with pytest.raises(DataError, match=r"^conversations\.1\.value: no function call") as caught:
        sharegpt(row)
    assert "arguments" in caught.value.fix


def test_other_keys_of_a_turn_are_left_out_and_told() -> None:
    row = {"conversations": [ASKED | {"weight": 0}, SAID | {"weight": 1, "markdown": None}]}
    assert sharegpt(row).mended == ("keys of turns left out: markdown, weight",)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"conversations": "Why?"}, "conversations: a list of turns, not str"),
        ({"conversations": []}, "conversations: no question with its reply"),
        ({"conversations": [ASKED]}, "conversations: no question with its reply"),
        ({"conversations": [SAID]}, "conversations: no question with its reply"),
        ({"conversations": [SAID, ASKED]}, "conversations: no question with its reply"),
        ({"conversations": ["Why?", SAID]}, r"conversations\.0: a turn, not str"),
        ({"conversation": [ASKED, {"from": "me", "value": "x"}]}, r"conversation\.1\.from: .*\(me\)"),
        ({"conversations": [ASKED, {"value": "x"}]}, r"conversations\.1\.from: .*\(none\)"),
        ({"conversations": [ASKED, {"from": "gpt", "value": ""}]}, r"conversations\.1: .*`content`"),
        ({"conversations": [ASKED, {"from": "gpt"}]}, r"conversations\.1: .*`content`"),
        (
            {"conversations": [ASKED, {"from": "gpt", "value": 3}]},
            r"conversations\.1\.content: .*string",
        ),
        ({"conversations": [ASKED, SAID], "system": 3}, "system: a text, not int"),
    ],
)
def test_what_cannot_be_understood_is_named_by_its_key(row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=f"^{says}") as caught:
        sharegpt(row)
    assert caught.value.fix


def test_every_speaker_is_known_to_the_schema() -> None:
    assert {*SPEAKERS.values()} == {"system", "user", "assistant", "tool"}


def test_an_instruction_with_and_without_input() -> None:
    assert asked({"instruction": "Add.", "output": "3"}) == Example.of("Add.", "3")
    row = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
    assert asked(row) == Example.of("Add.\n\n1 and 2", "3")


@pytest.mark.parametrize("none", [None, "", " ", "<noinput>", "<No Input>", "Noinput", "no input"])
def test_an_input_that_says_there_is_none_is_none(none: str | None) -> None:
    assert asked({"instruction": "Add.", "input": none, "output": "3"}) == Example.of("Add.", "3")


def test_an_instruction_under_a_system_message_and_after_a_history() -> None:
    row = {"instruction": "And 3?", "output": "6", "system": "Be brief.", "history": [["1 and 2?", "3"]]}
    example = asked(row)
    roles = [(turn.role, turn.content) for turn in example.prompt]
    assert roles == [
        ("system", "Be brief."),
        ("user", "1 and 2?"),
        ("assistant", "3"),
        ("user", "And 3?"),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"output": ""}, r"output\.0: a turn needs `content`"),
        ({"output": ["good", "bad"]}, r"output\.0: .*Message"),
        ({"output": 3}, "output: a list of turns, not int"),
        ({"instruction": ""}, r"instruction\.0: a turn needs `content`"),
        ({"instruction": 3}, "instruction: a text, not int"),
        ({"input": ["x"]}, "input: a text, not list"),
        ({"history": [["only asked"]]}, "history: a list of pairs"),
        ({"history": "x"}, "history: a list of pairs"),
        ({"history": [["asked", None]]}, r"history\.1: a turn needs `content`"),
    ],
)
def test_an_instruction_that_cannot_be_understood_is_named_by_its_key(
    change: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=f"^{says}") as caught:
        alpaca({"instruction": "Add.", "output": "3"} | change)
    assert caught.value.fix


def test_sharegpt_goes_out_and_comes_back() -> None:
    call = {"type": "function", "function": CALL}
    dialogue = Dialogue(
        messages=(
            Message(role="system", content="Be kind."),
            Message(role="user", content="What time is it?"),
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", content="12:00"),
            Message(role="assistant", content="Noon."),
        )
    )
    row = to_sharegpt(dialogue.messages)
    assert [turn["from"] for turn in row["conversations"]] == [
        "system",
        "human",
        "function_call",
        "observation",
        "gpt",
    ]
    assert sharegpt(row).row == dialogue


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Add.", "input": "", "output": "3"},
        {"instruction": "Add.", "input": "", "output": "3", "system": "Be brief."},
        {"instruction": "And?", "input": "", "output": "6", "history": [["a", "b"], ["c", "d"]]},
    ],
)
def test_alpaca_comes_in_and_goes_back(row: dict[str, Any]) -> None:
    assert to_alpaca(asked(row)) == row


def test_what_alpaca_has_no_place_for_is_refused() -> None:
    opening = (Message(role="assistant", content="Hi."), Message(role="user", content="Why?"))
    reply = (Message(role="assistant", content="So."),)
    with pytest.raises(DataError, match="questions and answers by turns"):
        to_alpaca(Example(prompt=opening, completion=reply))
    with pytest.raises(DataError, match="uses tools"):
        call = Message(role="assistant", tool_calls=({"function": CALL},))
        to_alpaca(Example(prompt=opening[1:], completion=(call,)))
