"""Examples, dialogues and preferences: what is read, what is kept, and what is said of the rest."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data.formats import (
    Form,
    Record,
    Row,
    iter_examples,
    iter_records,
    read_examples,
    write_examples,
    write_records,
)
from mien.errors import DataError
from mien.schema import Dialogue, Example, Message, Preference

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Why?"}
ASSISTANT = {"role": "assistant", "content": "Because."}
AGAIN = {"role": "user", "content": "And?"}
SO = {"role": "assistant", "content": "So."}
PLAIN = Example.of("Why?", "Because.")

EXAMPLE = {"prompt": [USER], "completion": [ASSISTANT]}
DIALOGUE = {"messages": [SYSTEM, USER, ASSISTANT, AGAIN, SO]}
PREFERENCE = {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [SO]}
SHAREGPT = {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}
ALPACA = {"instruction": "Why?", "input": "", "output": "Because."}


def write(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def record(folder: Path, row: Any, form: Form = "auto") -> Record:
    (found,) = iter_records(write(folder, row), form=form)
    return found


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("row", "kind", "said"),
    [
        (EXAMPLE, "example", ["Why?", "Because."]),
        (DIALOGUE, "dialogue", ["Be brief.", "Why?", "Because.", "And?", "So."]),
        (PREFERENCE, "preference", ["Why?", "Because."]),
        ({"chosen": [USER, SO], "rejected": [USER, ASSISTANT]}, "preference", ["Why?", "So."]),
        (SHAREGPT, "dialogue", ["Why?", "So."]),
        (ALPACA, "example", ["Why?", "Because."]),
    ],
)
def test_a_row_is_known_by_its_keys(
    tmp_path: Path, row: dict[str, Any], kind: str, said: list[str]
) -> None:
    found = record(tmp_path, row)
    assert (found.number, found.kind, found.extra) == (1, kind, {})
    assert [turn.content for turn in found.messages] == said


@pytest.mark.parametrize(
    ("row", "kind", "extra"),
    [
        # As in HuggingFaceH4/ultrafeedback_binarized, HuggingFaceH4/ultrachat_200k, tatsu-lab/alpaca.
        (
            {
                "prompt": "Why?",
                "prompt_id": "f0",
                "chosen": [USER, ASSISTANT],
                "rejected": [USER, SO],
                "messages": [USER, ASSISTANT],
                "score_chosen": 8.5,
                "score_rejected": 7.5,
            },
            "preference",
            {"prompt_id", "messages", "score_chosen", "score_rejected"},
        ),
        (
            {"prompt": "Why?", "prompt_id": "f0", "messages": [USER, ASSISTANT]},
            "dialogue",
            {"prompt", "prompt_id"},
        ),
        ({**ALPACA, "text": "Below is ..."}, "example", {"text"}),
        ({**EXAMPLE, "tools": [{"type": "function"}], "label": True}, "example", {"tools", "label"}),
        ({**SHAREGPT, "id": "x_0", "tools": "[]"}, "dialogue", {"id", "tools"}),
    ],
)
def test_public_sets_have_more_columns_and_they_are_kept(
    tmp_path: Path, row: dict[str, Any], kind: str, extra: set[str]
) -> None:
    found = record(tmp_path, row)
    assert found.kind == kind
    assert found.extra == {key: row[key] for key in extra}


def test_columns_that_are_null_do_not_say_what_a_row_is(tmp_path: Path) -> None:
    nulls = {"messages": None, "chosen": None, "rejected": None}
    found = record(tmp_path, {**EXAMPLE, **nulls})
    assert (found.kind, found.extra) == ("example", {})


def test_a_file_may_mix_forms_and_be_an_array(tmp_path: Path) -> None:
    rows = [EXAMPLE, SHAREGPT, PREFERENCE, ALPACA]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows, indent=1))
    found = list(iter_records(path))
    assert [each.number for each in found] == [1, 2, 3, 4]
    assert [each.kind for each in found] == ["example", "dialogue", "preference", "example"]


def test_what_was_mended_is_told(tmp_path: Path) -> None:
    row = {"conversations": [*SHAREGPT["conversations"], {"from": "human", "value": "?"}]}
    assert record(tmp_path, row).mended == ("unanswered last turns left out",)
    assert record(tmp_path, SHAREGPT).mended == ()


def test_a_form_may_be_asked_for(tmp_path: Path) -> None:
    both = {**PREFERENCE, **DIALOGUE}
    assert record(tmp_path, both).kind == "preference"
    assert record(tmp_path, both, "dialogues").kind == "dialogue"
    with pytest.raises(DataError, match=r":1: not of the form alpaca \(keys: messages\)"):
        record(tmp_path, DIALOGUE, "alpaca")


def test_a_bad_row_may_be_counted_and_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, EXAMPLE, "{", {"messages": [USER]}, DIALOGUE, {"text": "x"})
    bad: list[DataError] = []
    found = list(iter_records(path, on_error=bad.append))
    assert [each.number for each in found] == [1, 4]
    assert [each.what.removeprefix(str(path))[:3] for each in bad] == [":2:", ":3:", ":5:"]
    assert all(each.fix for each in bad)


@pytest.mark.parametrize(
    ("row", "example"),
    [
        ({"prompt": "Why?", "completion": "Because."}, PLAIN),
        ({"prompt": [USER], "completion": [ASSISTANT]}, PLAIN),
        ({"prompt": [USER], "completion": "Because."}, PLAIN),
        ({"prompt": "Why?", "completion": [ASSISTANT]}, PLAIN),
        ({"messages": [USER, ASSISTANT]}, PLAIN),
        ({"messages": [SYSTEM, USER, ASSISTANT]}, Example.of("Why?", "Because.", system="Be brief.")),
        ({"prompt": "Why?", "completion": "Because.", "id": 7}, PLAIN),
    ],
)
def test_accepted_shapes(tmp_path: Path, row: dict[str, Any], example: Example) -> None:
    assert read_examples(write(tmp_path, row)) == [example]


def test_a_conversation_is_learnt_from_each_turn_of_the_assistant(tmp_path: Path) -> None:
    first, second = read_examples(write(tmp_path, DIALOGUE))
    assert (first.reply, second.reply) == ("Because.", "So.")
    assert [turn.content for turn in first.prompt] == ["Be brief.", "Why?"]
    assert [turn.content for turn in second.prompt] == ["Be brief.", "Why?", "Because.", "And?"]


def test_a_preference_is_no_example(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=":2: a preference, where an example") as caught:
        read_examples(write(tmp_path, EXAMPLE, PREFERENCE))
    assert "--to examples" in caught.value.fix


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "not JSON"),
        ("[1, 2]", "expected an object, got list"),
        ('"text"', "expected an object, got str"),
        ({}, r"no known form \(keys: none\)"),
        ({"text": "Hi"}, r"no known form \(keys: text\)"),
        ({"prompt": "Why?"}, r"no known form \(keys: prompt\)"),
        ({"prompt": "Why?", "chosen": "a"}, r"no known form \(keys: prompt, chosen\)"),
        ({"prompt": None, "completion": "a"}, r"no known form \(keys: prompt \(null\), completion\)"),
        ({"messages": None}, r"no known form \(keys: messages \(null\)\)"),
        ({"messages": "Hello"}, "messages: a list of turns, not str"),
        ({"messages": {"role": "user"}}, "messages: a list of turns, not dict"),
        ({"prompt": "", "completion": "Because."}, "content"),
        ({"prompt": "Why?", "completion": ""}, "content"),
        ({"prompt": [], "completion": [ASSISTANT]}, "prompt"),
        ({"prompt": [USER], "completion": []}, "completion"),
        ({"messages": []}, "messages: 0 turns, which is too short"),
        ({"messages": [USER]}, "messages: 1 turns, which is too short"),
        ({"messages": [ASSISTANT, ASSISTANT]}, "a dialogue has a user"),
        ({"messages": [USER, ASSISTANT, SYSTEM, ASSISTANT]}, "only the first turn may be the system's"),
        ({"prompt": [USER], "completion": [ASSISTANT, ASSISTANT]}, "completion"),
        ({"prompt": [USER, ASSISTANT], "completion": [ASSISTANT]}, "must be the user's"),
        ({"prompt": [USER], "completion": [USER]}, "must be one turn of the assistant"),
        ({"messages": [USER, ASSISTANT, USER]}, "ends with the assistant's turn"),
        ({"prompt": [{"role": "robot", "content": "Hi"}], "completion": "a"}, r"prompt\.0\.role: "),
        ({"prompt": [{"role": "user"}], "completion": "Because."}, "content"),
        ({"prompt": [{"role": "user", "content": 3}], "completion": "Because."}, "content"),
        ({"prompt": ["Why?"], "completion": "Because."}, "dictionary"),
        (
            {"prompt": [USER | {"mood": "low"}], "completion": "Because."},
            r"prompt\.0\.mood: unknown key",
        ),
    ],
)
def test_broken_rows_are_named_by_file_and_line(tmp_path: Path, row: Any, reason: str) -> None:
    path = write(tmp_path, {"prompt": "Why?", "completion": "Because."}, "", row)
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}:3: .*{reason}") as caught:
        read_examples(path)
    assert caught.value.fix


@pytest.mark.parametrize("text", ["", "\n\n  \n", "[]"])
def test_no_rows(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match="no rows"):
        read_examples(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_examples(tmp_path / "absent.jsonl")


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "Why?", "completion": "Because."}, "{")
    assert next(iter_examples(path)) == PLAIN


texts = st.text(min_size=1, max_size=20)
opening = st.lists(st.builds(Message, role=st.just("system"), content=texts), max_size=1)
replies = st.builds(Message, role=st.just("assistant"), content=texts)
questions = st.builds(Message, role=st.just("user"), content=texts)
calls = st.builds(
    Message,
    role=st.just("assistant"),
    content=st.text(max_size=5),
    tool_calls=st.tuples(st.dictionaries(texts, st.text() | st.integers(), min_size=1)),
)
results = st.builds(Message, role=st.just("tool"), content=texts, tool_call_id=texts, name=texts)
exchanges = st.tuples(questions, replies) | st.tuples(questions, calls, results, replies)
conversations = st.builds(
    lambda system, pairs: (*system, *(turn for pair in pairs for turn in pair)),
    opening,
    st.lists(exchanges, min_size=1, max_size=3),
)
numbers = st.none() | st.floats(0, 1)
examples = st.builds(
    lambda before, asked, reply: Example(prompt=(*before, asked), completion=(reply,)),
    conversations | st.just(()),
    questions,
    replies | calls,
)
dialogues = st.builds(Dialogue, messages=conversations)
preferences = st.builds(
    lambda given, other, **sure: Preference(
        prompt=given.prompt, chosen=given.completion, rejected=(other,), **sure
    ),
    examples,
    replies,
    margin=numbers,
    agreement=numbers,
    source=st.none() | texts,
)
kept = st.dictionaries(
    st.sampled_from(["id", "cell", "tools", "ü", "label"]), st.none() | texts | st.lists(st.integers())
)
few = settings(max_examples=40, deadline=None)


@few
@given(st.lists(st.tuples(examples | dialogues | preferences, kept), min_size=1, max_size=4))
def test_what_is_written_is_read_back_with_its_extra_keys(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[Row, dict[str, Any]]]
) -> None:
    path = tmp_path_factory.mktemp("round") / "rows.jsonl"
    rows, extras = zip(*pairs, strict=True)
    assert write_records(path, rows, extras) == len(rows)
    found = list(iter_records(path))
    assert [(each.row, each.extra) for each in found] == pairs
    again = path.with_name("again.jsonl")
    write_records(again, found)
    assert again.read_bytes() == path.read_bytes()


@few
@given(examples)
def test_messages_and_prompt_completion_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, example: Example
) -> None:
    path = tmp_path_factory.mktemp("same") / "rows.jsonl"
    write_records(path, [Dialogue(messages=example.prompt + example.completion)])
    assert read_examples(path)[-1] == example


def test_rows_are_written_under_trls_column_names_and_no_others(tmp_path: Path) -> None:
    sure = {**PREFERENCE, "margin": 0.5, "agreement": 1.0, "source": "study"}
    rows = [EXAMPLE, DIALOGUE, PREFERENCE, sure]
    path = tmp_path / "out.jsonl"
    write_records(path, (each.row for each in iter_records(write(tmp_path, *rows))))
    assert lines(path) == rows


def test_an_extra_key_that_would_change_the_row_is_renamed(tmp_path: Path) -> None:
    source = write(tmp_path, {**ALPACA, "prompt": "...", "chosen": None}, {**DIALOGUE, "prompt": "Why?"})
    path = tmp_path / "out.jsonl"
    write_records(path, iter_records(source))
    first, second = lines(path)
    assert first == {**EXAMPLE, "original_prompt": "..."}
    assert second == {**DIALOGUE, "original_prompt": "Why?"}
    assert [each.kind for each in iter_records(path)] == ["example", "dialogue"]


def test_extra_keys_must_be_as_many_as_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_records(tmp_path / "rows.jsonl", [PLAIN, PLAIN], [{"id": 1}])
    assert list(tmp_path.iterdir()) == []


def test_writing_examples_replaces_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "old")
    write_examples(path, [Example.of("Où?", "Là.")])
    assert path.read_text(encoding="utf-8").count("\n") == 1
    assert "Où?" in path.read_text(encoding="utf-8")


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    row = json.dumps(EXAMPLE | {"id": "x" * 2000})
    path, out = write(tmp_path, *[row] * 5000), tmp_path / "out.jsonl"
    tracemalloc.start()
    assert write_records(out, iter_records(path)) == 5000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 10_000_000
    assert peak < 1_000_000
