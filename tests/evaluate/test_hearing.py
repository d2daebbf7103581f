"""Telling voices apart: on topics and prompts never met, without catchphrases, at one length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mien.data.corpus import rows_of
from mien.errors import InputError
from mien.evaluate import hearing as module
from mien.evaluate.hearing import (
    VARIANTS,
    Spoken,
    apart,
    authored,
    cut,
    hearing,
    macro_f1,
    markers,
    masked,
    split,
    told_apart,
)

HEARD = ("neutral", "warm", "direct")
TOPICS = ("advice", "facts", "work")
PHRASES = {"neutral": "perhaps", "warm": "bless", "direct": "period"}
WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "lmnrst"]


def some(spoken: list[Spoken]) -> list[Spoken]:
    return [each for each in spoken if each.voice in HEARD and each.topic in TOPICS]


def planted(style: Callable[[str, list[str]], str]) -> list[Spoken]:
    """Thirty words drawn by lot, made a text of some voice by `style`; 90 prompts on 3 topics."""
    draw = np.random.default_rng(0)
    return [
        Spoken(style(voice, draw.choice(WORDS, 30).tolist()), voice, f"t{n % 3}", f"p{n}")
        for n in range(90)
        for voice in HEARD
    ]


def heard(spoken: list[Spoken]) -> dict[str, float]:
    """Macro-F1 of each way to listen; every third prompt is judged, the others are taught."""
    judged = [each for each in spoken if int(each.prompt[1:]) < 30]
    scores = hearing(judged, spoken, name="f1", folds=2)
    return {score.name.removeprefix("f1").strip("/"): score.value for score in scores}


def test_authored_voices_are_told_apart_on_topics_and_prompts_never_met() -> None:
    judged, taught = some(authored(rows_of("test"))), some(authored(rows_of("train")[::2]))
    scores = hearing(judged, taught, folds=2)
    assert [score.name.removeprefix("hearing/f1") for score in scores] == [
        "",
        "/bag_of_words",
        "/masked",
        "/length_matched",
    ]
    assert scores[0].value > 0.75 and scores[0].n == len(judged)
    assert all("split by topic and prompt" in score.method for score in scores)


def test_voices_that_are_not_there_are_heard_by_chance() -> None:
    # Three voices that draw from one urn: chance is 1/3 for every way to listen.
    found = heard(planted(lambda _, words: " ".join(words) + "."))
    assert all(0.1 < value < 0.6 for value in found.values()), found


def test_a_voice_that_is_a_catchphrase_is_gone_when_it_is_masked() -> None:
    found = heard(planted(lambda voice, words: " ".join([PHRASES[voice], *words, PHRASES[voice]])))
    assert found["bag_of_words"] > 0.8 and found[""] > 0.8
    assert found["masked"] < 0.6


def test_a_voice_that_is_a_length_is_gone_when_it_is_matched() -> None:
    words_of = dict(zip(HEARD, (10, 20, 30), strict=True))
    found = heard(planted(lambda voice, words: " ".join(words[: words_of[voice]])))
    assert found[""] > 0.8 and found["length_matched"] < 0.6


def test_nothing_that_is_judged_has_its_topic_or_its_prompt_among_what_was_taught() -> None:
    spoken = authored(rows_of("train")[:40])
    judged = spoken[:60]
    groups = split(judged)
    assert set.union(*groups) == {each.topic for each in judged}
    assert sum(map(len, groups)) == len(set.union(*groups))
    for topics in groups:
        taught = apart(judged, spoken, topics)
        assert not {each.topic for each in taught} & topics
        assert not {each.prompt for each in taught} & {each.prompt for each in judged}


def test_topics_fall_into_groups_of_about_one_size() -> None:
    # 4, 3, 2 and 1 texts in two groups: 4 + 1 and 3 + 2.
    judged = [
        Spoken("x", "warm", topic, "p")
        for topic, n in zip("abcd", (4, 3, 2, 1), strict=True)
        for _ in range(n)
    ]
    assert split(judged, 2) == [{"a", "d"}, {"b", "c"}]
    assert len(split(judged, 9)) == 4


def test_macro_f1_is_worked_by_hand() -> None:
    # warm: 2 true, 2 heard, 1 hit: F1 = 2*1/4 = 1/2. direct: 2 true, 1 heard, 1 hit: 2*1/3 = 2/3.
    truth = ["warm", "warm", "direct", "direct"]
    verdicts = ["warm", "calm", "warm", "direct"]
    found = macro_f1(truth, verdicts, ["p", "q", "p", "q"])
    assert found.value == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.n == 4


def test_macro_f1_is_scikit_learns() -> None:
    draw = np.random.default_rng(1)
    truth, verdicts = (draw.choice(["a", "b", "c"], 200).tolist() for _ in range(2))
    found = macro_f1(truth, verdicts, [str(n % 40) for n in range(200)])
    assert found.value == pytest.approx(f1_score(truth, verdicts, average="macro"))
    assert found.low < found.value < found.high and found.high - found.low < 0.25


def test_a_perfect_ear_is_sure_of_itself() -> None:
    assert macro_f1(["a", "b"] * 5, ["a", "b"] * 5, list("vvwwxxyyzz"))[:3] == (1, 1, 1)


def test_markers_are_the_words_that_only_one_voice_has() -> None:
    spoken = [
        Spoken(f"{own} the tea is {n} degrees hot", voice, "t", f"p{n}")
        for n in range(8)
        for voice, own in (("warm", "friend"), ("direct", "now"), ("calm", "gently"))
    ]
    found = markers(spoken, most=1)
    assert found == {"warm": ["friend"], "direct": ["now"], "calm": ["gently"]}


def test_markers_of_two_voices_are_of_both() -> None:
    spoken = [
        Spoken(own, voice, "t", "p") for _ in range(4) for voice, own in (("a", "yes"), ("b", "no"))
    ]
    assert markers(spoken, most=1) == {"a": ["yes"], "b": ["no"]}


def test_masked_words_leave_no_gap_whatever_their_case() -> None:
    assert masked("Friend, it's my friend's tea.", {"friend", "it's"}) == ", my friend's tea."


def test_a_text_is_cut_after_so_many_words() -> None:
    assert cut("one two  three four", 3) == "one two three"


def test_all_texts_are_of_one_length_when_length_is_matched() -> None:
    change = next(variant.change for variant in VARIANTS if variant.name == "length_matched")
    texts = ["w " * length for length in (12, 15, 40, 80, *[30] * 16)]
    spoken = [Spoken(text, "warm", "t", "p") for text in texts]
    judged, taught = change(spoken, spoken)
    (length,) = {len(each.text.split()) for each in (*judged, *taught)}
    # Nine of ten reach it: of 20 lengths sorted 12, 15, 30, ..., the 10 % quantile is at 1.9, so 28.
    assert length == 28 and len(judged) == 18


def test_one_voice_or_one_topic_cannot_be_told_apart() -> None:
    same = [Spoken("x", "warm", topic, "p") for topic in "ab"]
    with pytest.raises(InputError, match="cannot be told apart"):
        hearing(same)


def test_without_other_topics_there_is_nothing_to_learn_from() -> None:
    spoken = [Spoken("x", voice, topic, "p") for voice in ("warm", "calm") for topic in "ab"]
    with pytest.raises(InputError, match="Nothing is left to learn from for a"):
        hearing(spoken, spoken, folds=2)


def test_the_voices_of_the_corpus_are_told_apart_once_and_then_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tmp_path))
    few = {"test": rows_of("test")[:12], "train": rows_of("train")[:60]}
    monkeypatch.setattr(module, "rows_of", few.__getitem__)
    monkeypatch.setattr(module, "VARIANTS", [each for each in VARIANTS if each.name == "bag_of_words"])
    (first,) = told_apart([])
    assert (first.name, first.system) == ("hearing/f1/bag_of_words", "authored test replies")
    assert first.value > 1 / 6 and first.n == 72
    monkeypatch.setattr(module, "hearing", None)
    assert told_apart([]) == (first,)
    with pytest.raises(TypeError):
        told_apart([Spoken("what the base says", "neutral", "advice", "p")])  # asked anew
