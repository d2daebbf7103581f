"""`mien data convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mien.cli.data.convert import convert_command
from mien.data.formats import read_examples
from mien.errors import DataError, InputError

PAIR = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]
SHAREGPT = [
    {"id": "a", "conversations": PAIR},
    {"id": "b", "conversations": [*PAIR, {"from": "human", "value": "And?"}]},
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "sharegpt.json"
    path.write_text(json.dumps(SHAREGPT))
    return path


def convert(*arguments: object) -> Result:
    return CliRunner().invoke(convert_command, [str(each) for each in arguments])


def test_it_prints_what_it_read_changed_and_wrote(source: Path) -> None:
    out = source.with_name("mine.jsonl")
    result = convert(source, out, "--to", "examples")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"Read 2 rows of {source}.",
        "Changed 1 row: unanswered last turns left out.",
        f"Wrote 2 rows to {out}, and its card to {out.with_suffix('.md')}.",
    ]
    assert [each.reply for each in read_examples(out)] == ["Because.", "Because."]


def test_the_card_says_where_the_rows_are_from(source: Path) -> None:
    out = source.with_name("mine.jsonl")
    convert(source, out, "--licence", "cc-by-4.0")
    card = out.with_suffix(".md").read_text()
    assert "license: cc-by-4.0" in card and "language" not in card.partition("# mine")[0]
    assert "| sharegpt.json | sha256 " in card
    assert "- Read 2 rows, wrote 2 rows.\n- Changed 1 row: unanswered last turns left out." in card


def test_what_is_left_out_is_told_with_the_reason(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    turn = {"role": "assistant", "content": "a"}
    preference: dict[str, Any] = {"prompt": "q", "chosen": [turn], "rejected": [turn]}
    rows = [preference, *SHAREGPT, *({"text": "x"} for _ in range(21))]
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    result = convert(source, out, "--to", "preferences", "--skip-bad")
    lines = result.stdout.splitlines()
    assert lines[0] == f"Read 3 rows of {source}."
    assert lines[2] == "Left out 2 rows: dialogue: has no rejected reply."
    assert lines[3] == "Left out 21 rows that cannot be read:"
    assert lines[4] == f"  {source}:4: no known form (keys: text)."
    assert lines[-2] == "  and 1 more."


def test_a_bad_row_stops_it_with_file_and_line(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"prompt": "a", "completion": "b"}\n{"text": "x"}\n')
    result = convert(source, out)
    assert isinstance(result.exception, DataError)
    assert result.exception.what.startswith(f"{source}:2: ") and not out.exists()


def test_what_is_there_already_is_replaced_by_force_only(source: Path) -> None:
    out = source.with_name("mine.jsonl")
    out.write_text("old")
    result = convert(source, out)
    assert isinstance(result.exception, InputError) and "--force" in result.exception.fix
    assert out.read_text() == "old"
    assert convert(source, out, "--force").exit_code == 0
    assert len(read_examples(out)) == 2


def test_the_original_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(SHAREGPT))
    result = convert(path, path, "--force")
    assert isinstance(result.exception, InputError) and "one file" in result.exception.what
    assert json.loads(path.read_text()) == SHAREGPT


def test_notes_in_the_place_of_the_card_are_found_before_anything_is_written(source: Path) -> None:
    source.with_name("mine.md").write_text("# Notes\n")
    result = convert(source, source.with_name("mine.jsonl"))
    assert isinstance(result.exception, InputError)
    assert not source.with_name("mine.jsonl").exists()


def test_what_is_written_is_json_lines_and_called_so(source: Path) -> None:
    result = convert(source, source.with_name("mine.json"))
    assert isinstance(result.exception, InputError) and "mine.jsonl" in result.exception.fix
    result = convert(source.with_name("absent.json"), source.with_name("mine.jsonl"))
    assert isinstance(result.exception, DataError) and "no such file" in result.exception.what
