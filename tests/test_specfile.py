"""Reading YAML into strict models: what a typing error is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien import specfile
from mien.errors import InputError, SpecError
from mien.persona import Persona
from mien.schema import Strict


class Wheel(Strict):
    """Something nested."""

    spokes: int = 0
    rim: str = "steel"


class Cart(Strict):
    """Something with things in it."""

    owner: str
    weight: float = 1
    wheel: Wheel = Wheel()
    spare: Wheel | None = None
    wheels: tuple[Wheel, ...] = ()


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(SpecError) as error:
        specfile.parse(text, Cart, source="cart.yaml")
    return error.value.problems


def complaint(text: str) -> str:
    with pytest.raises(InputError) as error:
        specfile.parse(text, Cart, source="cart.yaml")
    assert error.value.fix
    return error.value.what


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cart.yaml"
    path.write_text("owner: Ynés\nwheel: {spokes: 8}\nwheels: [{rim: oak}]\n", encoding="utf-8")
    cart = specfile.load(path, Cart)
    assert (cart.owner, cart.wheel.spokes, cart.wheels[0].rim) == ("Ynés", 8, "oak")


def test_all_mistakes_come_at_once() -> None:
    assert set(problems("weigth: 3\nwheel: {spokes: many}\n")) == {
        "owner: missing",
        "weigth: unknown key; did you mean `weight`?",
        "wheel.spokes: input should be a valid integer, unable to parse string as an integer"
        " (got 'many')",
    }


def test_the_message_counts_them_names_the_file_and_says_what_to_do() -> None:
    with pytest.raises(SpecError) as error:
        specfile.parse("weigth: 3\n", Cart, source="cart.yaml")
    assert str(error.value) == (
        "cart.yaml has 2 mistakes:\n"
        "  cart.yaml: owner: missing\n"
        "  cart.yaml: weigth: unknown key; did you mean `weight`?\n"
        " See `mien cart schema`."
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("wheel: {spoke: 8}", "wheel.spoke: unknown key; did you mean `spokes`?"),
        ("spare: {rimm: oak}", "spare.rimm: unknown key; did you mean `rim`?"),
        ("wheels: [{}, {spoks: 8}]", "wheels.1.spoks: unknown key; did you mean `spokes`?"),
        ("wheel: {colour: red}", "wheel.colour: unknown key; known keys: spokes, rim"),
    ],
)
def test_unknown_keys_are_matched_with_their_siblings(text: str, problem: str) -> None:
    assert problems(f"owner: me\n{text}\n") == (problem,)


def test_a_word_that_yaml_takes_for_a_truth_value_is_shown() -> None:
    assert problems("owner: no\n") == ("owner: input should be a valid string (got False)",)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("owner: me\nweight: [1\nwheel: 2\n", 3),  # the bracket is missed here
        ("owner: me\n\tweight: 2\n", 2),  # a tab
        ("owner: a: b\n", 1),
        ("owner: me\nwheel:\n  spokes: 8\n  spokes: 9\n", 4),  # YAML alone would keep the last
        ("owner: me\nowner: you\n", 2),
    ],
)
def test_bad_yaml_is_located(text: str, line: int) -> None:
    assert complaint(text).startswith(f"cart.yaml:{line}: not valid YAML (")


def test_a_key_given_twice_is_named() -> None:
    assert "owner is given twice" in complaint("owner: me\nowner: you\n")


@pytest.mark.parametrize("text", ["", "just words\n", "- a\n- list\n", "3\n"])
def test_only_a_mapping_will_do(text: str) -> None:
    assert "expected `key: value` lines" in complaint(text)


@pytest.mark.parametrize(
    "text", ["owner: 2026-13-01\n", "owner: \x00\n", "? [a]\n: b\n", "--- a\n--- b\n"]
)
def test_what_yaml_chokes_on_is_an_input_error(text: str) -> None:
    assert complaint(text)


def test_a_missing_file_and_a_file_in_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        specfile.load(tmp_path / "none.yaml", Cart)
    path = tmp_path / "latin.yaml"
    path.write_bytes("owner: Ynés\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        specfile.load(path, Cart)


@given(st.text() | st.text(alphabet="aname:[]{}-&*!|>#\"'?,% \n\t01"))
def test_no_text_raises_anything_but_our_own(text: str) -> None:
    with pytest.raises(InputError):
        specfile.parse(text, Persona, source="any.yaml")
