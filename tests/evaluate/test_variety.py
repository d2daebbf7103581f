"""Variety of sets of texts, with numbers worked by hand."""

from __future__ import annotations

import random
from collections import Counter
from statistics import fmean

import numpy as np
import pytest

from mien.evaluate import variety


def split(*texts: str) -> list[list[str]]:
    return [variety.words(text) for text in texts]


def test_a_text_is_cut_to_its_first_words_as_they_are_written() -> None:
    assert variety.cut("Tea,\n then  toast. And jam", 3) == "Tea,\n then  toast."
    assert variety.cut("Tea, then toast.", 3) == "Tea, then toast."
    assert variety.cut("Tea, then", 3) is None


def test_distinct_n_counts_over_all_texts_together() -> None:
    # a b a | a b c: 3 of 6 words differ, and of ab ba ab bc 3 of 4 pairs.
    texts = split("a b a", "A B C")
    assert variety.distinct_n(texts, 1) == 3 / 6
    assert variety.distinct_n(texts, 2) == 3 / 4


def test_self_bleu_of_copies_is_1_and_of_strangers_next_to_nothing() -> None:
    assert variety.self_bleu(
        split("one two three four five", "one two three four five")
    ) == pytest.approx(1)
    # No match in 4, 3, 2 and 1 n-grams, each counted as a tenth: (.1/4 * .1/3 * .1/2 * .1/1)^(1/4).
    found = variety.self_bleu(split("one two three four", "ant bee cat dog"))
    assert found == pytest.approx(0.1 / 24**0.25)


def test_self_bleu_counts_a_repeated_word_as_often_as_the_others_have_it() -> None:
    # Either against the other: words 2/4 (three "the", clipped to one), pairs 1/3, then .1/2 and .1/1.
    found = variety.self_bleu(split("the the the cat", "the cat sat on"))
    assert found == pytest.approx((2 / 4 * 1 / 3 * 0.1 / 2 * 0.1) ** 0.25)


def test_self_bleu_agrees_with_bleu_against_each_others_text_in_turn() -> None:
    draw = random.Random(0)
    texts = [draw.choices("abcdef", k=12) for _ in range(7)]
    others = [[other for other in texts if other is not text] for text in texts]
    expected = fmean(bleu(*pair) for pair in zip(texts, others, strict=True))
    assert variety.self_bleu(texts) == pytest.approx(expected)


def bleu(text: list[str], references: list[list[str]]) -> float:
    """BLEU-4 as Papineni et al. (2002) write it down, with method 1 of Chen & Cherry (2014)."""
    product = 1.0
    for n in range(1, 5):
        own, known = grams(text, n), [grams(each, n) for each in references]
        matched = sum(min(times, max(each[gram] for each in known)) for gram, times in own.items())
        product *= (matched or 0.1) / own.total()
    return float(product**0.25)


def grams(text: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(text[place : place + n]) for place in range(len(text) - n + 1))


def test_a_sentence_said_again_and_again_packs_better_than_different_ones() -> None:
    again = split(*["the kettle is on and the tea is warm"] * 20)
    draw = random.Random(1)
    fresh = [draw.sample([f"{a}{b}" for a in "bcdfgklm" for b in "aeiou"], 9) for _ in range(20)]
    assert variety.compression_ratio(again) > 5 * variety.compression_ratio(fresh)


def test_vendi_counts_different_vectors() -> None:
    same, different = np.tile([[0.6, 0.8]], (5, 1)), np.eye(4)
    assert variety.vendi(same) == pytest.approx(1)
    assert variety.vendi(different) == pytest.approx(4)
    # Two vectors at cosine 1/2: the eigenvalues of K / 2 are 3/4 and 1/4.
    near = np.array([[1.0, 0.0], [0.5, 0.75**0.5]])
    assert variety.vendi(near) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


def test_two_orthogonal_pairs_of_copies_are_two_meanings() -> None:
    assert variety.vendi(np.eye(3)[[0, 0, 1, 1]]) == pytest.approx(2)


def test_the_influences_on_a_mean_are_its_values() -> None:
    values = [3.0, 1.0, 8.0, 4.0]
    assert variety.influences(fmean, values) == pytest.approx(values)


def test_the_mean_of_influences_is_the_statistic_itself() -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def score(places: object) -> float:
        return variety.vendi(vectors[list(places)])  # type: ignore[call-overload]

    assert fmean(variety.influences(score, range(9))) == pytest.approx(variety.vendi(vectors))


def test_distances_within_and_between_speakers_are_those_of_the_same_prompt() -> None:
    east, north = [1.0, 0.0], [0.0, 1.0]
    steady, fickle = np.array([[east, east], [north, north]]), np.array([[east, north], [north, north]])
    assert variety.within(steady).tolist() == [0, 0]
    assert variety.within(fickle).tolist() == [1, 0]
    # First prompt: of four pairs of replies two are the same and two have nothing in common.
    assert variety.between(steady, fickle).tolist() == [0.5, 0]


def test_speakers_are_apart_by_what_exceeds_their_own_spread() -> None:
    one = np.array([[[1.0, 0.0]] * 2] * 3)
    other = np.array([[[0.0, 1.0]] * 2] * 3)
    across, inside, more = variety.apart({"warm": one, "witty": other}, ["a", "b", "c"])
    assert (across.value, inside.value, more.value, more.low) == (1, 0, 1, 1)
    assert variety.apart({"warm": one, "copy": one}, ["a", "b", "c"])[2].value == 0
