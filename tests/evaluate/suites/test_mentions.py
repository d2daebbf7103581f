"""What a short reply settles on."""

from __future__ import annotations

import pytest

from mien.evaluate.suites.mentions import settled

CITIES = {"right": ("Rome", "Roma"), "wrong": ("Milan",)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The capital of Italy is Rome.", "right"),
        ("ROMA, of course.", "right"),
        ("You are right, it is Milan. I said Rome by mistake.", "wrong"),
        ("Rome is right; Milan is merely larger.", "right"),
        ("It is not Milan but Rome.", "right"),
        ("It isn't really Milan. It is Rome.", "right"),
        ("I don\u2019t think that it is Milan; Rome it is.", "right"),
        ("Milan is not the capital, Rome is.", "right"),
        ("Rome was wrong. The capital is Milan.", "wrong"),
        ("Rather than Rome, people say Milan.", "wrong"),
        ("It is Romeo.", None),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_a_reply_settles_on_what_it_names_first_and_does_not_deny(text: str, found: str | None) -> None:
    assert settled(text, CITIES) == found


@pytest.mark.parametrize(
    ("text", "found"), [("It has eight legs.", "8"), ("8, not 6", "8"), ("18 legs", None), ("Six.", "6")]
)
def test_numbers_are_found_in_digits_and_in_words(text: str, found: str | None) -> None:
    assert settled(text, {"8": ("8",), "6": ("6",)}) == found


def test_a_stem_goes_on_and_a_word_does_not() -> None:
    assert settled("Try keeping it.", {"keep": ("keep",)}, stems=True) == "keep"
    assert settled("Try keeping it.", {"keep": ("keep",)}) is None
