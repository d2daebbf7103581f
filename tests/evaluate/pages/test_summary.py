"""What several voices come to together: every sentence counts what it says it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mien.evaluate.evaluation import Evaluation
from mien.evaluate.pages.document import Document
from mien.evaluate.pages.summary import Summary
from mien.evaluate.roster import SUITES
from tests.evaluate.pages import builders

VOICES = {"witty": builders.GOOD, "warm": builders.FAILED, "calm": builders.GOOD}


def evaluations(voices: Mapping[str, Mapping[str, float]] = VOICES, **changes: Any) -> list[Evaluation]:
    return [builders.evaluation(rates, persona=name, **changes) for name, rates in voices.items()]


def told(voices: Mapping[str, Mapping[str, float]] = VOICES, **changes: Any) -> dict[str, str]:
    lines = Summary(evaluations(voices, **changes), builders.suites()).lines()
    return {head: line.replace("\N{NO-BREAK SPACE}", " ") for head, line in lines.items()}


def test_voices_are_counted_by_their_verdicts_and_heard_from_least_to_most() -> None:
    came = told()["What came of it."]
    assert "The personality arrived: witty and calm." in came
    assert "The personality did not arrive: warm." in came
    assert "5 to 20 % of base" in came and "20 to 85 % of dpo" in came
    assert "“Held” (2 of 3 voices; 20 to 85 %)" in came and "Voice heard" not in came


def test_what_is_lost_is_counted_from_most_voices_to_fewest() -> None:
    gained, lost = {"base": 0.05, "dpo": 0.85}, {"base": 0.95, "dpo": 0.3}
    free = told({"witty": gained, "warm": gained})["What it cost."]
    assert free == "In no voice is anything clearly worse than the untouched base model."
    cost = told({"witty": lost, "warm": lost, "calm": gained})["What it cost."]
    assert cost.startswith("Clearly worse than the untouched base model: “")
    assert "“Held” (2 of 3 voices)" in cost


def test_what_is_level_unread_or_unmeasured_is_said_to_be_not_shown() -> None:
    shown = told(dict.fromkeys(VOICES, builders.FAILED))["What is not shown."]
    assert (
        "In no voice clearly better or worse than the controls: “Held” (20 %) and “Speed” (58.0)."
        in shown
    )
    assert "Not measured: what does a judge say (no judge was named)." in shown
    suites = builders.suites()
    suites["pressure"] = replace(suites["pressure"], unshown=lambda results: "The pressure was light")
    lines = Summary(evaluations(), suites).lines()
    assert "The pressure was light (all voices)." in lines["What is not shown."]


def test_how_sure_it_is_names_the_seed_of_training_and_the_worst_classifier() -> None:
    three = evaluations()
    three[1] = builders.evaluation(builders.FAILED, persona="warm", hearing=builders.hearing(0.7))
    sure = Summary(three, builders.suites()).lines()["How sure this is."]
    assert "every adapter was trained once" in sure and "right on 70\N{NO-BREAK SPACE}% of 96" in sure


def test_one_voice_is_told_by_its_verdict_alone() -> None:
    (one,) = evaluations({"witty": builders.GOOD})
    assert "## In short" not in Document([one], builders.suites()).markdown()
    assert "## In short" in Document(evaluations(), builders.suites()).markdown()


def test_suites_say_for_themselves_what_they_could_not_show() -> None:
    assert [name for name, suite in SUITES.items() if suite.unshown] == ["safety", "ocean"]
