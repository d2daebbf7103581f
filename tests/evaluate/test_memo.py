"""What was answered stays answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.errors import MienError
from mien.evaluate.memo import Memo


class Maker:
    """Gives ten times the place, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, places: list[int]) -> list[int]:
        self.asked.append(places)
        return [10 * place for place in places]


def test_what_is_known_is_not_made_again(tmp_path: Path) -> None:
    maker, memo = Maker(), Memo(tmp_path / "answers.db")
    assert memo.fill(["a", "b"], maker) == [0, 10]
    assert memo.fill(["b", "c", "a"], maker) == [10, 10, 0]
    assert maker.asked == [[0, 1], [1]]


def test_a_key_that_is_asked_twice_at_once_is_made_once(tmp_path: Path) -> None:
    maker = Maker()
    assert Memo(tmp_path / "answers.db").fill(["a", "b", "a"], maker) == [0, 10, 0]
    assert maker.asked == [[0, 1]]


def test_each_part_is_kept_as_soon_as_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"

    def breaks(places: list[int]) -> list[int]:
        if places == [2, 3]:
            raise KeyboardInterrupt
        return places

    with pytest.raises(KeyboardInterrupt):
        Memo(path).fill(list("abcd"), breaks, part=2)
    maker = Maker()
    assert Memo(path).fill(list("abcd"), maker) == [0, 1, 20, 30]
    assert maker.asked == [[2, 3]]


def test_more_keys_than_a_query_may_have(tmp_path: Path) -> None:
    keys = [f"key {place}" for place in range(1700)]
    memo = Memo(tmp_path / "answers.db")
    assert memo.fill(keys, Maker()) == memo.fill(keys, lambda _: []) == [10 * i for i in range(1700)]


def test_a_file_that_is_no_store_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    path.write_text("not a database, but long enough to be looked at as one" * 40)
    with pytest.raises(MienError, match=r"answers\.db: the store of answers cannot be used"):
        Memo(path)
