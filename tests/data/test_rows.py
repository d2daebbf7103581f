"""JSON objects off a file and onto it: lines, arrays, what is broken in them, and bounded memory."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data import rows
from mien.data.rows import iter_raw, iter_rows, write_rows
from mien.errors import DataError

keys = st.text(max_size=5)
leaves = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=4)
objects = st.dictionaries(keys, values, max_size=3)
few = settings(max_examples=30, deadline=None)


def put(folder: Path, text: str | bytes) -> Path:
    path = folder / "rows.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def found(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in iter_rows(path)]


def finite(row: Any) -> bool:
    return "Infinity" not in json.dumps(row)


@few
@given(
    st.lists(objects.filter(finite), max_size=4),
    st.sampled_from([None, 0, 2]),
    st.sampled_from([3, 7, 64]),
    st.booleans(),
)
def test_an_array_is_read_as_json_reads_it_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    items: list[dict[str, Any]],
    indent: int | None,
    chunk: int,
    escaped: bool,
) -> None:
    text = f" \n{json.dumps(items, indent=indent, ensure_ascii=escaped)}\n "
    path = put(tmp_path_factory.mktemp("array"), text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_CHUNK", chunk)
        assert found(path) == json.loads(text)


@few
@given(st.lists(objects.filter(finite), min_size=1, max_size=5))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    assert write_rows(path, items) == len(items)
    assert found(path) == items


def test_lines_are_counted_with_blank_ones_and_windows_ends(tmp_path: Path) -> None:
    path = put(tmp_path, b'{"a": 1}\r\n\r\n{"b": 2}')
    assert list(iter_rows(path)) == [(1, {"a": 1}), (3, {"b": 2})]


@pytest.mark.parametrize("text", ['{"a": 1}\n', '[{"a": 1}]'])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, text: str) -> None:
    assert found(put(tmp_path, text.encode("utf-8-sig"))) == [{"a": 1}]


def test_a_json_file_of_lines_is_read_as_lines_and_a_jsonl_file_of_an_array_as_an_array(
    tmp_path: Path,
) -> None:
    lines, array = tmp_path / "a.json", tmp_path / "b.jsonl"
    lines.write_text('{"a": 1}\n{"a": 2}\n')
    array.write_text('[\n{"a": 1},\n{"a": 2}\n]')
    assert found(lines) == found(array) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_json_does_not_have_is_null(tmp_path: Path, word: str) -> None:
    assert found(put(tmp_path, f'{{"a": {word}}}')) == [{"a": None}]
    assert found(put(tmp_path, f'[{{"a": {word}}}]')) == [{"a": None}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1}\n{"a": }\n', r":2: not JSON \(Expecting value at column 7\)"),
        ('{"a": 1}\n{"a": "x\n', ":2: not JSON"),
        ('{"a": 1}\n"text"\n', ":2: expected an object, got str"),
        ('{"a": 1}\n[1]\n', ":2: expected an object, got list"),
        (b'{"a": 1}\n{"a": "caf\xe9"}\n', ":2: not UTF-8"),
        ('{"a": 1}\n' + '{"a":' * 99_999, ":2: n"),
        ('[\n{"a": 1},\n7]', ":3: item 2: expected an object, got int"),
        ('[{"a": 1},\n{"a": }]', r":2: not JSON \(Expecting value\)"),
        ('[{"a": 1},\n{"a": 2]', r":2: not JSON \(Expecting ',' delimiter\)"),
        ('[{"a": 1}\n{"a": 2}]', r":2: not JSON \(Expecting '\]'\)"),
        ('[{"a": 1},\n]', r":2: not JSON \(Expecting value\)"),
        ('[{"a": 1},\n', r":2: not JSON \(Expecting value\)"),
        ('[{"a": 1}\n', r":2: not JSON \(Expecting '\]'\)"),
        ('[{"a": 1}]\n{', r":2: not JSON \(Extra data\)"),
        ('[{"a": 1},\n{"a": "never closed}]', r":2: not JSON \(Unterminated string"),
        (b'[{"a": 1},\n{"a": "caf\xe9"}]', ":2: not UTF-8"),
        ("[" + '{"a":' * 99_999, ":1: not JSON"),
    ],
)
def test_what_is_broken_is_named_by_file_and_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.json{says}") as caught:
        found(put(tmp_path, text))
    assert caught.value.fix


def test_a_bad_line_may_be_counted_and_passed_over(tmp_path: Path) -> None:
    bad: list[DataError] = []
    path = put(tmp_path, b'{"a": 1}\n{\n"x"\n\xff\n{"a": 2}\n')
    assert [raw.number for raw in iter_raw(path, on_error=bad.append)] == [1, 5]
    assert [each.what.split(":")[1] for each in bad] == ["2", "3", "4"]


def test_a_bad_item_may_be_passed_over_but_a_broken_array_ends_the_reading(tmp_path: Path) -> None:
    bad: list[DataError] = []
    raws = iter_raw(put(tmp_path, '[{"a": 1}, 7, {"a": 2}, {'), on_error=bad.append)
    assert [next(raws).number, next(raws).number] == [1, 3]
    with pytest.raises(DataError, match="nothing after it can be read"):
        next(raws)
    assert len(bad) == 1


def test_an_unclosed_quote_does_not_swallow_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_LONGEST", 1 << 20)
    path = put(tmp_path, '[{"a": "' + "x" * (1 << 22))
    seen = 0

    def advance(size: int) -> None:
        nonlocal seen
        seen += size

    with pytest.raises(DataError, match="Unterminated string"):
        list(iter_raw(path, advance=advance))
    assert seen <= 1 << 21


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        found(tmp_path / "absent.jsonl")


@pytest.mark.parametrize("text", ["", "\n \n", "[]", " [ ] \n"])
def test_a_file_without_rows_has_none(tmp_path: Path, text: str) -> None:
    assert found(put(tmp_path, text)) == []


@pytest.mark.parametrize("array", [False, True])
def test_every_byte_is_told_to_the_progress_bar(tmp_path: Path, array: bool) -> None:
    items = [{"a": "é" * 5000} for _ in range(50)]
    text = json.dumps(items) if array else "".join(f"{json.dumps(item)}\n" for item in items)
    path, steps = put(tmp_path, text), list[int]()
    assert len(list(iter_raw(path, advance=steps.append))) == 50
    assert sum(steps) == path.stat().st_size and len(steps) > 10


@pytest.mark.parametrize("array", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, array: bool) -> None:
    row = json.dumps({"messages": "x" * 400})
    path = put(tmp_path, f"[{','.join([row] * 50_000)}]" if array else f"{row}\n" * 50_000)
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    assert sum(1 for _ in iter_rows(path)) == 50_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_writing_replaces_the_file_and_keeps_letters_readable(tmp_path: Path) -> None:
    path = put(tmp_path, "old")
    write_rows(path, [{"a": "Où?\u2028Là."}])
    assert path.read_text(encoding="utf-8") == '{"a": "Où?\u2028Là."}\n'
    assert found(path) == [{"a": "Où?\u2028Là."}]


def test_half_a_surrogate_pair_survives(tmp_path: Path) -> None:
    path = put(tmp_path, r'{"a": "\ud83d", "b": "\ud83d\ude00"}')
    out = tmp_path / "out.jsonl"
    write_rows(out, found(path))
    assert found(out) == [{"a": "\ud83d", "b": "😀"}]


@pytest.mark.parametrize("bad", [math.nan, math.inf, {1, 2}, b"x"])
def test_what_json_does_not_have_is_not_written(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(DataError, match="Row 2 cannot be written"):
        write_rows(tmp_path / "rows.jsonl", [{"a": 1}, {"a": bad}])
    assert list(tmp_path.iterdir()) == []


def test_a_stop_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = put(tmp_path, "old")

    def stopping() -> Iterator[dict[str, Any]]:
        yield {"a": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, stopping())
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
