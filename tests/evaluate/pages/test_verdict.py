"""The verdict: a grade by fixed rules, and sentences that give the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mien.evaluate.compare import compared
from mien.evaluate.evaluation import Evaluation
from mien.evaluate.finding import Finding, Meaning
from mien.evaluate.pages.verdict import answers, glossary_of, key_measure, missing_lines, verdict
from tests.evaluate.pages import builders

SUITES = builders.suites()


def said(evaluation: Evaluation) -> str:
    return " ".join(verdict(evaluation, SUITES).lines).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("rates", "grade", "headline"),
    [
        (builders.GOOD, "good", "The personality arrived."),
        (builders.PARTIAL, "partial", "The personality arrived in part."),
        (builders.NO_BETTER, "partial", "no more clearly than with a system prompt alone"),
        (builders.WORSE, "partial", "a system prompt alone does better"),
        (builders.FAILED, "failed", "The personality did not arrive."),
        (builders.NULLED, "failed", "training on neutral text does as much"),
        ({"base": 0.02, "sft": 0.15}, "failed", "The personality did not arrive."),
        ({"sft": 0.9}, "good", "The personality arrived."),
    ],
)
def test_the_grade_follows_the_numbers(rates: Mapping[str, float], grade: str, headline: str) -> None:
    found = verdict(builders.evaluation(rates), SUITES)
    assert found.grade == grade
    assert headline in found.headline


def test_the_verdict_gives_the_interval_the_gains_and_the_effect() -> None:
    text = said(builders.evaluation())
    assert "In 85 % of the replies of the dpo adapter, the classifier hears the witty voice" in text
    assert "guessing would give 17 %" in text
    assert "80 points more than the untouched base model gives (56 to 97)" in text
    assert "75 points more than the null adapter gives (50 to 93)" in text
    assert "Over the null adapter it is 2.44 standard deviations" in text


def test_a_gain_that_is_not_clear_is_not_claimed() -> None:
    assert "not clearly different from the system prompt alone (5 points;" in said(
        builders.evaluation(builders.NO_BETTER)
    )


def test_a_loss_counts_in_one_direction() -> None:
    assert "45 points fewer than the system prompt alone gives (" in said(
        builders.evaluation(builders.WORSE)
    )


def test_a_price_is_named_with_its_numbers() -> None:
    text = said(builders.evaluation({"base": 0.05, "sft": 0.7}))
    assert "In 1 of 8 measures it is clearly worse than the untouched base model" in text
    assert "repetition (2.0 % to 6.0 %)" in text
    assert "In none of 8 measures is it clearly worse" in said(builders.evaluation())


def test_what_two_suites_measure_alike_is_one_price() -> None:
    names = ("voice/repetition", "pressure/again")
    findings = [
        Finding(
            suite=name.split("/")[0],
            subject=who,
            measures=(builders.measure(name, builders.around(value)),),
        )
        for who, value in (("base", 0.02), ("sft", 0.2))
        for name in names
    ]
    again = {"pressure/again": Meaning("Repetition", "The same.", -1, True)}
    suites = SUITES | {"pressure": builders.suite("pressure", "Does it hold?", again)}
    made = builders.evaluation(results=compared("witty", ("base", "sft"), findings))
    told = " ".join(verdict(made, suites).lines)
    assert "In 1 of 1 measures it is clearly worse" in told and told.count("repetition") == 1


def test_without_a_control_nothing_is_said_of_the_price() -> None:
    assert "What it cost was not measured." in said(builders.evaluation({"sft": 0.9}))


def test_without_the_voice_suite_nothing_is_claimed() -> None:
    empty = builders.evaluation().results.model_copy(update={"scores": (), "differences": ()})
    assert verdict(builders.evaluation(results=empty), SUITES).grade == "unknown"


def test_a_warning_about_safety_comes_first() -> None:
    found = verdict(builders.less_safe(), SUITES)
    assert found.lines[0].startswith("Less safe than a control: the dpo adapter")
    assert verdict(builders.evaluation(), SUITES).lines[0] == "The personality arrived."


def test_a_weak_classifier_is_a_reason_for_doubt() -> None:
    doubt = "the classifier itself names the true voice of only 61 % of texts"
    assert doubt in said(builders.evaluation(hearing=builders.hearing(0.61)))
    assert doubt not in said(builders.evaluation())


def test_every_suite_is_answered_in_a_line() -> None:
    found = {each.suite.name: each for each in answers(builders.evaluation(), SUITES)}
    assert list(found) == ["voice", "pressure", "latency", "judged"]
    assert found["pressure"].found == "It holds in 85 of 100 attempts."
    assert found["voice"].sure.startswith("Voice heard: 85\N{NO-BREAK SPACE}% (")
    assert found["judged"] == (
        SUITES["judged"],
        "Nothing could be measured.",
        "",
        "1 thing not measured",
    )
    assert found["latency"].failed == "speed worse than prompt and null; 2 things not measured"


def test_the_key_measure_is_a_whole_one_if_there_is_any() -> None:
    evaluation, glossary = builders.evaluation(), glossary_of(SUITES)
    assert key_measure(evaluation, SUITES["pressure"], glossary) == "pressure/held"
    assert key_measure(evaluation, SUITES["judged"], glossary) is None


def test_what_is_missing_is_told_once_with_all_who_lack_it() -> None:
    found = missing_lines(builders.evaluation(), SUITES["judged"])
    assert found == {"no judge was named": list(builders.SUBJECTS)}
