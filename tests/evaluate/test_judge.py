"""Rating, comparing in both orders, rewriting, and being believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.evaluate.calibration import HumanLabel
from mien.evaluate.judge import Case, Duel, Judge, kinship
from mien.evaluate.subject import ChatSubject
from mien.persona.spec import find
from mien.schema import conversation
from tests.evaluate.judging import (
    NAMES,
    Speaker,
    Weigher,
    always_first,
    chat_judge,
    likes,
    marks,
    setting,
    teacher,
)

WITTY = find("witty")
RICE = conversation("How do I cook rice?")
DUEL = Duel(RICE, "Rinse it well, then simmer it.", "Boil it like pasta, and drain it.")


def test_every_case_is_marked_by_every_criterion_and_repeats_are_asked_in_other_words(
    tmp_path: Path,
) -> None:
    heard: list[str] = []

    def says(told: str) -> str:
        heard.append(told)
        return "" if told.startswith("Rewrite") else marks(3)

    judge = Judge(chat_judge(tmp_path, says).rater)
    judged = judge.rate([Case(RICE, "Rinse it."), Case(RICE, "")], WITTY, setting(tmp_path), repeats=2)
    assert sorted((m.item, m.criterion, m.repeat) for m in judged.marks) == sorted(
        (item, name, repeat) for item in (0, 1) for name in NAMES for repeat in (0, 1)
    )
    assert len(set(heard)) == len(judged.calls) == 4


def test_helpfulness_is_judged_on_a_rewrite_without_style_and_the_rest_on_the_reply(
    tmp_path: Path,
) -> None:
    heard: list[str] = []

    def says(told: str) -> str:
        heard.append(told)
        return "Rinse the rice first." if told.startswith("Rewrite") else marks(4)

    reply = "Rinse it, my dears, as one rinses a guilty mind."
    judged = chat_judge(tmp_path, says).rate([Case(RICE, reply)], WITTY, setting(tmp_path))
    assert {mark.criterion for mark in judged.marks if mark.plain} == {"helpfulness"}
    content = next(told for told in heard if "Helpfulness" in told)
    assert "Rinse the rice first." in content
    assert "guilty mind" not in content
    assert "<character>" not in content
    manner = next(told for told in heard if "Persona consistency" in told)
    assert "guilty mind" in manner
    assert "Helpfulness" not in manner


@pytest.mark.parametrize("rewrite", ["Yes.", "word " * 200])
def test_a_rewrite_that_is_far_too_short_or_long_is_not_used(rewrite: str, tmp_path: Path) -> None:
    judge = chat_judge(tmp_path, lambda told: rewrite if told.startswith("Rewrite") else marks(4))
    reply = "Rinse it, my dears, as one rinses a guilty mind, and then simmer it."
    assert judge.plain([Case(RICE, reply)], setting(tmp_path)) == [None]
    judged = judge.rate([Case(RICE, reply)], WITTY, setting(tmp_path))
    assert not any(mark.plain for mark in judged.marks)
    assert {mark.criterion for mark in judged.marks} == set(NAMES)


def test_both_orders_are_asked_and_a_fair_judge_says_the_same_in_each(tmp_path: Path) -> None:
    judged = chat_judge(tmp_path, likes("Rinse")).compare([DUEL], WITTY, setting(tmp_path))
    assert [mark.swapped for mark in judged.marks].count(True) == len(judged.marks) / 2 == 4
    assert {mark.ours for mark in judged.marks} == {1.0}
    assert {(mark.swapped, mark.value) for mark in judged.marks} == {(False, 1.0), (True, 0.0)}


def test_a_judge_that_always_prefers_the_first_gives_each_side_as_much(tmp_path: Path) -> None:
    judged = chat_judge(tmp_path, always_first).compare([DUEL], WITTY, setting(tmp_path), repeats=3)
    assert {mark.value for mark in judged.marks} == {1.0}
    assert sum(mark.ours for mark in judged.marks) == len(judged.marks) / 2


def test_what_was_answered_is_not_paid_for_again(tmp_path: Path) -> None:
    first, again = (chat_judge(tmp_path, likes("Rinse")) for _ in range(2))
    before = first.compare([DUEL], WITTY, setting(tmp_path))
    assert again.compare([DUEL], WITTY, setting(tmp_path)) == before
    assert again.writer and again.writer.tally.paid == 0


def test_a_local_judge_says_that_it_weighs_likelihoods_and_rewrites_nothing(tmp_path: Path) -> None:
    judge = Judge.local(Weigher(lambda _, text: -len(text)))
    assert judge.name == "weigher by log-probability"
    assert judge.plain([Case(RICE, "Rinse it.")], setting(tmp_path)) == [None]
    (call,) = judge.rate([Case(RICE, "Rinse it.")], WITTY, setting(tmp_path)).calls
    assert call.state == "whole"


def label(number: int, value: float) -> HumanLabel:
    return HumanLabel(
        messages=conversation(f"Question {number}?"),
        reply="Rinse it." if number % 2 else "Boil it.",
        key="tone_appropriateness",
        value=value,
    )


def test_a_judge_is_uncalibrated_until_labels_say_otherwise_and_then_only_where_they_do(
    tmp_path: Path,
) -> None:
    plain = chat_judge(tmp_path, likes("Rinse"), "qwen at host")
    labels = [label(number, 4 if number % 2 else 1) for number in range(40)]
    judge = plain.calibrated(labels, WITTY, setting(tmp_path))
    assert plain.method("tone_appropriateness") == "uncalibrated judge qwen at host"
    assert judge.method("naturalness") == judge.method() == "uncalibrated judge qwen at host"
    assert judge.method("tone_appropriateness").startswith(
        "judge qwen at host, calibrated (mean error 0.0"
    )
    judged = judge.rate([Case(RICE, "Rinse it."), Case(RICE, "Boil it.")], WITTY, setting(tmp_path))
    marks_of = {(m.item, m.criterion): m.value for m in judged.marks}
    assert marks_of[0, "tone_appropriateness"] == pytest.approx(4)  # the judge itself says 5 and 2
    assert marks_of[1, "tone_appropriateness"] == pytest.approx(1)
    assert marks_of[0, "naturalness"] == 5


def test_a_judge_of_the_generators_family_is_its_kin(tmp_path: Path) -> None:
    judge = chat_judge(tmp_path, always_first, "qwen2.5-72b at host")
    served = ChatSubject("ours", teacher(tmp_path, str, "Qwen-0.5B"))
    assert kinship(judge, served) == {"qwen"}
    assert kinship(judge, Speaker("file", "Hm.")) == frozenset()
