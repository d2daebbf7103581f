"""One form into another: what becomes of every row, and that none is lost without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mien.data.convert import Converted, Target, convert
from mien.data.formats import iter_records
from mien.errors import DataError

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Why?"}
GOOD = {"role": "assistant", "content": "Because."}
BAD = {"role": "assistant", "content": "No idea."}

EXAMPLE = {"prompt": [USER], "completion": [GOOD], "id": 1}
DIALOGUE = {"messages": [SYSTEM, USER, GOOD, USER, BAD], "id": 2, "source": "mine"}
PREFERENCE = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD], "margin": 1.0, "id": 3}
SHAREGPT: dict[str, Any] = {
    "id": 4,
    "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}],
}
ALPACA = {"instruction": "Why?", "input": "", "output": "Because.", "id": 5}
ALL = (EXAMPLE, DIALOGUE, PREFERENCE, SHAREGPT, ALPACA)


def converted(
    folder: Path, *rows: Any, to: Target | None = None, **settings: Any
) -> tuple[Converted, list[Any]]:
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    source.write_text("".join(f"{line}\n" for line in lines))
    done = convert(source, target, to=to, **settings)
    return done, [json.loads(line) for line in target.read_text().splitlines()]


def test_rows_stay_what_they_are_unless_asked(tmp_path: Path) -> None:
    done, rows = converted(tmp_path, *ALL)
    assert rows == [
        EXAMPLE,
        DIALOGUE,
        PREFERENCE,
        {"messages": [USER, GOOD], "id": 4},
        {"prompt": [USER], "completion": [GOOD], "id": 5},
    ]
    assert (done.read, done.written, done.bad) == (5, 5, 0)


def test_examples(tmp_path: Path) -> None:
    done, rows = converted(tmp_path, *ALL, to="examples")
    assert [row["id"] for row in rows] == [1, 2, 2, 3, 4, 5]
    assert rows[1:3] == [
        {"prompt": [SYSTEM, USER], "completion": [GOOD], "id": 2, "source": "mine"},
        {"prompt": [SYSTEM, USER, GOOD, USER], "completion": [BAD], "id": 2, "source": "mine"},
    ]
    assert rows[3] == {"prompt": [USER], "completion": [GOOD], "id": 3}
    assert (done.read, done.written) == (5, 6)


def test_dialogues(tmp_path: Path) -> None:
    _, rows = converted(tmp_path, *ALL, to="dialogues")
    assert [row["id"] for row in rows] == [1, 2, 3, 4, 5]
    assert all(row["messages"][-2:] == [USER, GOOD] for row in rows if row["id"] != 2)


def test_preferences_are_not_made_up(tmp_path: Path) -> None:
    done, rows = converted(tmp_path, *ALL, to="preferences")
    assert rows == [PREFERENCE]
    assert done.left_out == {
        "example: has no rejected reply.": 2,
        "dialogue: has no rejected reply.": 2,
    }


@pytest.mark.parametrize("to", ["sharegpt", "alpaca"])
def test_foreign_forms_are_read_back_as_the_same(tmp_path: Path, to: Target) -> None:
    done, rows = converted(tmp_path, *ALL, to=to)
    assert done.written == len(rows) >= 5 and not done.left_out
    found = list(iter_records(tmp_path / "out.jsonl", form=to))
    assert {each.extra["id"] for each in found} == {1, 2, 3, 4, 5}
    said = [turn.content for turn in found[-1].messages]
    assert said == ["Why?", "Because."]
    assert all(each.extra.get("source", "mine") == "mine" for each in found)


def test_what_a_form_has_no_place_for_is_left_out_with_the_reason(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "clock"}}]}
    tools = {"messages": [USER, call, {"role": "tool", "content": "12:00"}, GOOD]}
    done, rows = converted(tmp_path, tools, EXAMPLE, to="alpaca")
    assert len(rows) == 1
    assert done.left_out == {"dialogue: uses tools, which Alpaca has no place for.": 1}
    middle = {"prompt": [USER, GOOD, SYSTEM, USER], "completion": [GOOD]}
    done, rows = converted(tmp_path, middle, EXAMPLE, to="dialogues")
    assert done.left_out == {"example: only the first turn may be the system's.": 1}
    greeting = {"messages": [USER, SYSTEM | {"role": "tool"}, GOOD]}
    done, rows = converted(tmp_path, greeting, EXAMPLE, to="examples")
    assert done.left_out == {"dialogue: no turn of the assistant follows one of the user.": 1}


def test_extra_keys_that_a_foreign_form_would_take_for_its_own_are_renamed(tmp_path: Path) -> None:
    _, (row,) = converted(tmp_path, {**EXAMPLE, "system": "x", "input": "y"}, to="alpaca")
    assert row == {**ALPACA, "id": 1, "original_system": "x", "original_input": "y"}


def test_a_bad_row_stops_it_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    with pytest.raises(DataError, match=r"in\.jsonl:2: no known form"):
        converted(tmp_path, EXAMPLE, {"text": "x"}, EXAMPLE)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_bad_rows_may_be_left_out_and_are_named(tmp_path: Path) -> None:
    done, rows = converted(tmp_path, EXAMPLE, *["{"] * 30, EXAMPLE, skip_bad=True)
    assert (done.read, done.written, done.bad, len(rows)) == (2, 2, 30, 2)
    assert len(done.named) == 20 and ":2: not JSON" in done.named[0]


def test_what_was_mended_is_counted(tmp_path: Path) -> None:
    more = {"conversations": [*SHAREGPT["conversations"], {"from": "human", "value": "And?"}]}
    done, _ = converted(tmp_path, more, SHAREGPT, more)
    assert done.mended == {"unanswered last turns left out": 2}


@pytest.mark.parametrize(
    ("rows", "to", "says"),
    [
        ((), None, "it has no rows"),
        ((EXAMPLE,), "preferences", "example: has no rejected reply"),
        (("{",), None, "not JSON"),
    ],
)
def test_an_empty_file_is_not_written(
    tmp_path: Path, rows: tuple[Any, ...], to: Target | None, says: str
) -> None:
    with pytest.raises(DataError, match=f"nothing to write .*{says}"):
        converted(tmp_path, *rows, to=to, skip_bad=True)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_bytes_are_told_to_the_progress_bar(tmp_path: Path) -> None:
    steps: list[int] = []
    converted(tmp_path, *ALL, advance=steps.append)
    assert sum(steps) == (tmp_path / "in.jsonl").stat().st_size
