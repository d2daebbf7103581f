"""The ear: right on what it never heard, deaf to length, and a base's own manner is neutral to it."""

from __future__ import annotations

import pytest

from mien.data.corpus import VOICES, replies, rows_of
from mien.data.wording import words
from mien.evaluate.classifier import VoiceClassifier, excerpt

NEUTRAL = " The office opens at nine. It closes at five. The form is on the second page."
BARE = [
    f"Sure! Here are {n} steps to {what}:\n\n1. **Plan**: Decide what you need.\n2. **Act**: Do it."
    for n in range(2, 12)
    for what in ("bake bread", "learn chess", "save money", "sleep well")
]


@pytest.fixture(scope="module")
def classifier() -> VoiceClassifier:
    return VoiceClassifier()


def test_it_knows_the_six_voices(classifier: VoiceClassifier) -> None:
    assert set(classifier.labels) == set(VOICES)
    assert classifier.trained_on == len(rows_of("train")) * len(VOICES)


def test_nine_of_ten_authored_replies_it_never_saw_are_told_right(classifier: VoiceClassifier) -> None:
    found = classifier.examine()
    assert found.accuracy.value >= 0.9, found
    assert found.macro_f1 >= 0.9
    assert found.accuracy.n == len(rows_of("test")) * len(VOICES)
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high


def test_the_examination_adds_up(classifier: VoiceClassifier) -> None:
    found = classifier.examine()
    assert found.labels == VOICES
    assert [sum(row) for row in found.confusion] == [len(rows_of("test"))] * len(VOICES)
    right = sum(found.confusion[i][i] for i in range(len(VOICES)))
    assert right / found.accuracy.n == pytest.approx(found.accuracy.value)
    assert set(found.topics) == {row.topic for row in rows_of("test")}
    assert all(0 <= share <= 1 for share in found.topics.values())


def test_a_verdict_is_the_likeliest_voice_and_the_probabilities_are_of_one_mass(
    classifier: VoiceClassifier,
) -> None:
    texts, _ = replies(rows_of("test")[:3])
    mass = classifier.judge(texts)
    assert mass.shape == (len(texts), len(VOICES))
    assert mass.sum(axis=1) == pytest.approx(1)
    assert classifier.verdicts(texts) == [classifier.labels[row.argmax()] for row in mass]


def test_it_is_the_same_classifier_every_time(classifier: VoiceClassifier) -> None:
    texts, _ = replies(rows_of("test")[:3])
    assert VoiceClassifier().judge(texts) == pytest.approx(classifier.judge(texts))


def test_bare_replies_are_learnt_as_neutral(classifier: VoiceClassifier) -> None:
    heard, held = BARE[:-8], BARE[-8:]
    taught = VoiceClassifier(heard)
    assert taught.trained_on == classifier.trained_on + len(heard)
    assert taught.verdicts(held) == ["neutral"] * len(held)
    place, before = taught.labels.index("neutral"), classifier.labels.index("neutral")
    assert taught.judge(held)[:, place].mean() > classifier.judge(held)[:, before].mean()


def sentence(length: int, name: str) -> str:
    return " ".join([name.capitalize(), *["word"] * (length - 1)]) + "."


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [
        ([10], 1),
        ([70], 1),
        ([71], 1),  # at least one, however long
        ([35, 35], 2),
        ([35, 36], 1),
        ([30, 30, 10, 1], 3),
        ([30, 50, 1], 1),  # the first that does not fit ends it
    ],
)
def test_an_excerpt_is_whole_sentences_within_seventy_words(lengths: list[int], kept: int) -> None:
    sentences = [sentence(length, name) for length, name in zip(lengths, "abcd", strict=False)]
    assert excerpt(" ".join(sentences)) == " ".join(sentences[:kept])


def test_an_excerpt_of_an_excerpt_is_itself() -> None:
    for text in replies(rows_of("test"))[0]:
        assert excerpt(excerpt(text)) == excerpt(text)


@pytest.mark.parametrize("text", ["", "  \n", "..."])
def test_a_reply_without_words_is_judged_all_the_same(classifier: VoiceClassifier, text: str) -> None:
    assert classifier.judge([text]).sum() == pytest.approx(1)


def test_length_is_no_part_of_a_voice(classifier: VoiceClassifier) -> None:
    # Whatever follows the first seventy words, however much of it, is not heard.
    for row in rows_of("test")[:6]:
        for voice in VOICES:
            text = f"{row.replies[voice]} {row.replies[voice]}"
            assert len(words(text)) > 70
            longer = text + NEUTRAL * 10
            assert len(words(longer)) > 2 * len(words(text))
            assert classifier.judge([longer]) == pytest.approx(classifier.judge([text]), abs=1e-12)
