from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.data.wording import bag_of_words, last_sentence, numbers, overlaps, says_number, spelled


def test_overlap_is_shared_shingles_over_all_shingles() -> None:
    # Pairs of words: {a b, b c, c d} and {b c, c d, d e} share two of four.
    assert overlaps(["a b c d", "b c d e", "x y z"], 2) == {(0, 1): 0.5}


def test_a_text_shorter_than_a_shingle_is_compared_whole() -> None:
    assert overlaps(["Hello there.", "hello, there", "hello you"], 5) == {(0, 1): 1.0}


@given(st.lists(st.text("abc ", min_size=1), min_size=2, max_size=6), st.integers(1, 4))
def test_overlaps_are_shares_of_ordered_pairs(texts: list[str], size: int) -> None:
    found = overlaps([*texts, texts[0]], size)
    assert found[0, len(texts)] == 1
    assert all(a < b and 0 < share <= 1 for (a, b), share in found.items())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (84, "eighty four"),
        (100, "one hundred"),
        (365, "three hundred and sixty five"),
        (2000, "two thousand"),
        (12_500, "twelve thousand five hundred"),
        (1_000_000, "1000000"),
    ],
)
def test_numbers_in_words(number: int, words: str) -> None:
    assert spelled(number) == words


@pytest.mark.parametrize(
    ("text", "number", "said"),
    [
        ("It costs 1,200 dollars.", "1200", True),
        ("Twelve of them make 84.", "12", True),
        ("Eighty-four, I think.", "84", True),
        ("A hundred ships.", "100", True),
        ("How many sevens fit?", "7", True),
        ("About seventeen.", "7", False),
        ("About 120.", "12", False),
        ("At 12.5 degrees.", "12.5", True),
        ("At twelve and a half.", "12.5", False),
        ("Half past ten, or 10:30.", "10:30", True),
    ],
)
def test_a_number_counts_in_digits_or_words(text: str, number: str, said: bool) -> None:
    assert says_number(text, number) is said


@given(st.integers(0, 999_999))
def test_a_spelled_number_is_recognised(number: int) -> None:
    assert says_number(f"There are {spelled(number)} of them.", str(number))


def test_numbers_lose_the_commas_of_thousands_only() -> None:
    assert numbers("1,000 at 10:30, 2.5 and 7.") == {"1000", "10:30", "2.5", "7"}


def test_last_sentence() -> None:
    assert last_sentence("One. Two? Go home!") == "go home!"
    assert last_sentence("") == ""


def test_bag_of_words_sees_words_and_not_their_order() -> None:
    vectors = bag_of_words(["the cat sat", "Sat the cat?", "boil an egg", ""])
    assert vectors.shape == (4, 2048)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], rtol=1e-6)
    assert vectors[0] @ vectors[1] == pytest.approx(1)
    assert vectors[0] @ vectors[2] == pytest.approx(0)
