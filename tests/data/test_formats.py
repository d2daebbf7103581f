from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.data.formats import iter_examples, iter_rows, read_examples, write_examples
from mien.errors import DataError
from mien.schema import Example, Message

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Why?"}
ASSISTANT = {"role": "assistant", "content": "Because."}
PLAIN = Example.of("Why?", "Because.")


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


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


def test_a_conversation_is_learnt_from_its_last_turn(tmp_path: Path) -> None:
    turns = [
        USER,
        ASSISTANT,
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "So."},
    ]
    (example,) = read_examples(write(tmp_path, {"messages": turns}))
    assert example.reply == "So."
    assert [turn.content for turn in example.prompt] == ["Why?", "Because.", "And?"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "not JSON"),
        ("[1, 2]", "expected an object, got list"),
        ('"text"', "expected an object, got str"),
        ({}, r"no prompt and completion \(keys: none\)"),
        ({"text": "Hi"}, r"no prompt and completion \(keys: text\)"),
        ({"prompt": "Why?"}, "no prompt and completion"),
        ({"prompt": "Why?", "chosen": "a", "rejected": "b"}, "no prompt and completion"),
        ({"prompt": None, "completion": "Because."}, "no prompt and completion"),
        ({"messages": None}, "messages: a list of turns"),
        ({"prompt": "", "completion": "Because."}, "content"),
        ({"prompt": "Why?", "completion": ""}, "content"),
        ({"prompt": [], "completion": [ASSISTANT]}, "prompt"),
        ({"prompt": [USER], "completion": []}, "completion"),
        ({"messages": []}, "prompt"),
        ({"messages": [ASSISTANT]}, "prompt"),
        ({"messages": [USER]}, "prompt"),
        ({"prompt": [USER], "completion": [ASSISTANT, ASSISTANT]}, "completion"),
        ({"prompt": [USER, ASSISTANT], "completion": [ASSISTANT]}, "must be the user's"),
        ({"prompt": [USER], "completion": [USER]}, "must be one turn of the assistant"),
        ({"messages": [USER, ASSISTANT, USER]}, "must be the user's"),
        ({"prompt": [{"role": "robot", "content": "Hi"}], "completion": "Because."}, "role"),
        ({"prompt": [{"role": "user"}], "completion": "Because."}, "content"),
        ({"prompt": [{"role": "user", "content": 3}], "completion": "Because."}, "content"),
        ({"prompt": ["Why?"], "completion": "Because."}, "dictionary"),
        ({"prompt": [USER | {"mood": "low"}], "completion": "Because."}, "mood"),
    ],
)
def test_broken_rows_are_named_by_file_and_line(tmp_path: Path, row: Any, reason: str) -> None:
    path = write(tmp_path, {"prompt": "Why?", "completion": "Because."}, "", row)
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}:3: .*{reason}") as caught:
        read_examples(path)
    assert caught.value.fix


def test_messages_that_are_a_string_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:1: "):
        read_examples(write(tmp_path, {"messages": "Hello"}))


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"prompt": "caf\xe9", "completion": "Because."}\n'.encode("latin-1"))
    with pytest.raises(DataError, match=r"rows\.jsonl:1: not UTF-8"):
        read_examples(path)


def test_the_place_of_a_json_mistake_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":1: not JSON .* at column 12"):
        read_examples(write(tmp_path, '{"prompt": }'))


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
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


def test_lines_are_counted_with_blank_ones_and_windows_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\r\n\r\n{"b": 2}')
    assert list(iter_rows(path)) == [(1, {"a": 1}), (3, {"b": 2})]


texts = st.text(min_size=1)
turns = st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=texts)
any_examples = st.builds(
    lambda before, asked, reply: Example(
        prompt=(*before, Message(role="user", content=asked)),
        completion=(Message(role="assistant", content=reply),),
    ),
    st.lists(turns, max_size=3),
    texts,
    texts,
)


@given(st.lists(any_examples, min_size=1, max_size=5))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Example]
) -> None:
    path = tmp_path_factory.mktemp("round") / "rows.jsonl"
    write_examples(path, examples)
    assert read_examples(path) == examples


@given(any_examples)
def test_messages_and_prompt_completion_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, example: Example
) -> None:
    turns = [turn.model_dump() for turn in (*example.prompt, *example.completion)]
    path = write(tmp_path_factory.mktemp("same"), {"messages": turns})
    assert read_examples(path) == [example]


def test_writing_replaces_the_file_and_keeps_letters_readable(tmp_path: Path) -> None:
    path = write(tmp_path, "old")
    write_examples(path, [Example.of("Où?", "Là.")])
    assert path.read_text(encoding="utf-8").count("\n") == 1
    assert "Où?" in path.read_text(encoding="utf-8")
