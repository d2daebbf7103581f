"""Prompts: files with fields that are all filled in, and that a user may edit."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.data import prompts
from mien.data.prompts import PACKAGED, names, prompt
from mien.errors import InputError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MIEN_PROMPTS", raising=False)
    (tmp_path / "greet.txt").write_text("Greet ${who} in $place for $$5, $who.\n", encoding="utf-8")
    return tmp_path


def test_a_prompt_knows_its_fields_and_is_filled_with_exactly_those(folder: Path) -> None:
    greet = prompt("greet", folder)
    assert (greet.name, greet.fields) == ("greet", ("who", "place"))
    assert greet.fill(who="Ada", place=9) == "Greet Ada in 9 for $5, Ada."
    assert greet.source == folder / "greet.txt"


def test_what_is_filled_in_is_never_read_as_a_field(folder: Path) -> None:
    assert "$place" in prompt("greet", folder).fill(who="$place", place="x")


def test_a_missing_and_an_unknown_field_are_both_told(folder: Path) -> None:
    with pytest.raises(InputError, match=r"nothing fills \$place; the text lacks \$mood") as caught:
        prompt("greet", folder).fill(who="Ada", mood="gay")
    assert str(folder / "greet.txt") in caught.value.what
    assert "$who, $mood" in caught.value.fix


def test_the_digest_is_the_texts_and_not_the_files(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = prompt("greet", folder)
    (folder / "again.txt").write_text(f"\n{first.text}", encoding="utf-8")
    (folder / "other.txt").write_text(f"{first.text} Now.", encoding="utf-8")
    assert prompt("again", folder).digest == first.digest != prompt("other", folder).digest
    assert len(first.digest) == 64


def test_the_users_file_takes_the_place_of_the_packaged_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(prompts, "PACKAGED", folder)
    assert prompt("greet").text.startswith("Greet ${who}")
    (own / "greet.txt").write_text("Hail $who.", encoding="utf-8")
    (own / "part.txt").write_text("Bye.", encoding="utf-8")
    assert prompt("greet", own).text == "Hail $who."
    monkeypatch.setenv("MIEN_PROMPTS", str(own))
    assert prompt("greet").text == "Hail $who."
    assert names() == ["greet", "part"]


def test_a_prompt_that_is_not_there_is_answered_with_those_that_are(folder: Path) -> None:
    with pytest.raises(InputError, match="no prompt 'greed'") as caught:
        prompt("greed", folder)
    assert "greet" in caught.value.fix


def test_a_folder_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIEN_PROMPTS", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere: no such folder"):
        prompt("greet")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"one\ncosts $5\n", r"bad.txt:2: a `\$` that begins no field"),
        (b" \n", "bad.txt: empty"),
        (b"caf\xe9", "bad.txt: not UTF-8"),
    ],
)
def test_a_file_that_is_no_prompt_is_told_by_name(folder: Path, raw: bytes, told: str) -> None:
    (folder / "bad.txt").write_bytes(raw)
    with pytest.raises(InputError, match=told) as caught:
        prompt("bad", folder)
    assert caught.value.fix


def test_every_packaged_prompt_can_be_read_and_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIEN_PROMPTS", raising=False)
    assert PACKAGED.name == "prompts"
    for name in names():
        each = prompt(name)
        assert each.fill(**dict.fromkeys(each.fields, "x"))
