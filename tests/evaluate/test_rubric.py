"""What a judge is asked, and how its answer is read, whole or not."""

from __future__ import annotations

import json

import pytest

from mien.evaluate.rubric import Question, read, rubric, told
from mien.persona.spec import find
from mien.schema import conversation
from tests.evaluate.judging import NAMES, marks
from tests.evaluate.stub_judge import malformed

ASKED = conversation("How do I cook rice?")
RATE = Question(ASKED, ("Rinse it.",), rubric().criteria, find("witty"))
COMPARE = Question(ASKED, ("Rinse it.", "Boil it."), rubric().criteria, find("witty"))
TONE = Question(ASKED, ("Rinse it.",), rubric().criteria[1:2])
VERSUS = Question(ASKED, ("Rinse it.", "Boil it."), rubric().criteria[1:2])
FOURS = dict.fromkeys(NAMES, 4.0)


def test_the_rubric_is_the_one_that_the_issue_of_judging_names() -> None:
    assert NAMES == ("persona_consistency", "tone_appropriateness", "helpfulness", "naturalness")
    assert [each.name for each in rubric().criteria if each.styleless] == ["helpfulness"]


def test_a_judge_reads_character_conversation_and_reply_and_is_told_the_keys() -> None:
    text = told(RATE, "json")
    assert find("witty").description.strip() in text
    assert "User: How do I cook rice?" in text
    assert "<reply>\nRinse it.\n</reply>" in text
    assert all(f'"{name}"' in text for name in NAMES)


def test_the_short_form_is_less_than_half_as_long_and_shows_both_replies_in_order() -> None:
    short = told(COMPARE, "lines")
    assert len(short) < len(told(COMPARE, "json")) / 2
    assert short.index("Reply A: Rinse it.") < short.index("Reply B: Boil it.")


def test_a_repeat_is_asked_in_other_words_and_content_alone_without_the_character() -> None:
    assert told(RATE, "json") != told(RATE._replace(repeat=1), "json")
    assert "<character>" not in told(RATE._replace(persona=None), "json")


def test_an_empty_reply_is_shown_as_one() -> None:
    assert "(an empty reply)" in told(RATE._replace(replies=(" ",)), "lines")


def test_an_answer_as_asked_for_is_whole() -> None:
    assert read(marks(4), RATE)[:2] == (FOURS, "whole")
    assert read(marks("tie"), COMPARE)[:2] == (dict.fromkeys(NAMES, 0.5), "whole")


@pytest.mark.parametrize("way", range(1, 5))
def test_an_answer_that_is_nearly_json_is_repaired_and_counted_as_such(way: int) -> None:
    assert read(malformed(dict.fromkeys(NAMES, 4), way), RATE)[:2] == (FOURS, "repaired")
    verdicts = read(malformed(dict.fromkeys(NAMES, "B"), way), COMPARE)
    assert verdicts[:2] == (dict.fromkeys(NAMES, 0.0), "repaired")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"tone_appropriateness": 4', 4.0),  # cut off
        ("{tone_appropriateness: 2}", 2.0),
        ('{"toneAppropriateness": "5"}', 5.0),
        ('{"tone_appropriateness": {"score": 3, "why": "plain"}}', 3.0),
        ("**Tone appropriateness:** 3.5/5", 3.5),
        ('First thought: {"tone_appropriateness": 1}. No: {"tone_appropriateness": 4}', 4.0),
    ],
)
def test_these_marks_can_be_read_for_certain(text: str, value: float) -> None:
    assert read(text, TONE).values == {"tone_appropriateness": value}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4",
        "[4]",
        "Tone appropriateness (1 to 5): good",
        '{"tone_appropriateness": 7}',
        '{"tone_appropriateness": 10}',
        '{"tone_appropriateness": true}',
        '{"tone_appropriateness": null}',
        '{"tone_appropriateness": "3-4"}',
        "[" * 100_000,
    ],
)
def test_what_gives_no_mark_or_no_certain_one_is_lost_with_its_words_kept(text: str) -> None:
    assert read(text, TONE) == ({}, "lost", {}, text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Tone appropriateness: a tie.", 0.5),
        ('{"tone_appropriateness": "Reply B"}', 0.0),
        ("{'tone_appropriateness': 'reply_a',}", 1.0),
        ('{"tone_appropriateness": "a"}', 1.0),
    ],
)
def test_these_verdicts_can_be_read(text: str, value: float) -> None:
    assert read(text, VERSUS).values == {"tone_appropriateness": value}


@pytest.mark.parametrize(
    "text", ["Tone appropriateness: a bit better is B", "Tone appropriateness: Both"]
)
def test_the_article_a_is_no_verdict(text: str) -> None:
    assert read(text, VERSUS).state == "lost"


def test_what_is_missing_is_missed_and_the_rest_is_kept() -> None:
    row = dict.fromkeys(NAMES[:3], 2)
    assert read(json.dumps(row), RATE)[:2] == (row, "partial")
