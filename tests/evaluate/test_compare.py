"""Trials become scores, differences and effects, alike for every suite."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from mien.evaluate.compare import FEWEST, compared, difference, effect, pairs, score
from mien.evaluate.finding import Finding, Measure
from mien.schema import Score
from mien.stats import by_prompt, wilson, wilson_by_cluster

PROMPTS = ("p", "q", "r", "s")


def measure(*values: float, **changes: Any) -> Measure:
    fields = {"name": "voice/rate", "values": values, "units": PROMPTS[: len(values)], "method": "heard"}
    return Measure(**fields | changes)


def found(subject: str, *values: float) -> Finding:
    return Finding(suite="voice", subject=subject, measures=(measure(*values),))


def test_a_score_is_the_mean_with_an_interval_over_units() -> None:
    made = score(measure(1, 2, 3, 6), "base")
    assert (made.value, made.n) == (3, 4)
    assert (made.low, made.high) == by_prompt([1, 2, 3, 6], PROMPTS)[1:3]
    assert made.method == "heard; 95 % bootstrap over units"


def test_a_share_of_single_trials_gets_wilsons_interval() -> None:
    made = score(measure(1, 0, 1, 1, scale="share"), "base")
    assert (made.value, made.low, made.high, made.n) == wilson(3, 4)
    assert "Wilson" in made.method


def test_a_share_with_several_trials_a_unit_counts_units_as_clusters() -> None:
    made = score(measure(1, 0, 1, 1, units=("p", "p", "q", "q"), scale="share"), "base")
    assert (made.low, made.high) == wilson_by_cluster([1, 2], [2, 2])[1:3]


def test_one_miss_does_not_make_a_share_surer_than_none_does() -> None:
    # Three conversations of five turns: all in the voice, and all but one. A bootstrap would say that
    # the second lies within 0.80 and 1.
    units = ("p",) * 5 + ("q",) * 5 + ("r",) * 5
    whole, one = (
        score(measure(*values, units=units, scale="share"), "sft")
        for values in ((1,) * 15, (1,) * 14 + (0,))
    )
    assert one.low < whole.low < 0.5


def test_a_share_that_is_always_the_same_is_not_certain() -> None:
    # Two prompts, twice right each: as two trials, and not as four.
    made = score(measure(1, 1, 1, 1, units=("p", "p", "q", "q"), scale="share"), "base")
    assert (made.value, made.n) == (1, 4)
    assert (made.low, made.high) == wilson(2, 2)[1:3]
    assert made.method.endswith("Wilson interval over units")


def test_a_perplexity_is_the_exponential_of_the_mean_and_of_its_ends() -> None:
    made = score(measure(1.0, 3.0, scale="exp"), "base")
    assert made.value == pytest.approx(math.exp(2))
    assert (made.low, made.high) == pytest.approx((math.exp(1), math.exp(3)))


def test_a_difference_is_over_the_units_that_both_have() -> None:
    mine, other = measure(1, 1, 1, 0), measure(0, 1, units=("p", "q"))
    made = difference("voice/rate", "sft", "base", mine, other)
    assert made is not None and (made.value, made.n) == (0.5, 2)
    assert difference("voice/rate", "sft", "base", mine, measure(1, units=("other",))) is None
    assert difference("voice/rate", "sft", "base", mine, None) is None


@pytest.mark.parametrize("scale", ["share", "mean"])
def test_a_difference_says_on_which_side_of_nothing_it_lies(scale: str) -> None:
    ones, noughts = (measure(*[value] * FEWEST, units=tuple("pqrstu"), scale=scale) for value in (1, 0))
    for mine, other, on in ((ones, noughts, 1), (noughts, ones, -1), (ones, ones, 0)):
        made = difference("voice/rate", "a", "b", mine, other)
        assert made is not None and made.side == on


def test_few_units_are_on_no_side() -> None:
    # Five that all go one way do so by chance in 2 of 32 cases, six in 2 of 64.
    made = difference("voice/score", "a", "b", measure(4, 5, 6, 7), measure(0, 0, 0, 0))
    assert made is not None and made.low > 0 and made.side == 0


@pytest.mark.parametrize(("scale", "half"), [("mean", 0.0), ("share", 0.46197)])
def test_a_system_copied_from_another_ties_with_it(scale: str, half: float) -> None:
    # Of a share that four units have alike: 1.96 sqrt(2 / 6 / 6).
    same = measure(1, 0, 0, 1, scale=scale)
    made = difference("voice/rate", "copy", "base", same, same)
    assert made is not None and made.side == 0
    assert (made.value, made.low, made.high) == pytest.approx((0, -half, half), abs=1e-5)


def test_an_effect_is_in_standard_deviations_of_the_null_adapters_units() -> None:
    # The null's units are 0, 2, 4, 6: their sd is sqrt(20 / 3) = 2.582. Ours are 5 above: 5 / 2.582.
    made = effect("sft", measure(5, 7, 9, 11), measure(0, 2, 4, 6))
    assert made is not None and made.value == pytest.approx(5 / math.sqrt(20 / 3))
    assert made.low == made.high == pytest.approx(made.value)  # every unit moved by the same


def test_there_is_no_effect_where_the_null_does_not_vary_or_is_not_there() -> None:
    assert effect("sft", measure(5, 7, 9), measure(1, 1, 1)) is None
    assert effect("sft", measure(5, 7, 9), None) is None


def test_everybody_is_compared_with_the_controls_and_with_the_one_before() -> None:
    made = list(pairs(["base", "null", "sft", "dpo"]))
    assert made == [
        ("null", "base"),
        ("sft", "base"),
        ("sft", "null"),
        ("dpo", "base"),
        ("dpo", "null"),
        ("dpo", "sft"),
    ]


def test_results_find_everything_again_by_name() -> None:
    alpha = Score(name="ocean/alpha", system="sft", value=0.5, low=0.4, high=0.6, n=9, method="alpha")
    findings = [found("base", 0, 0, 0, 1), found("null", 0, 0, 1, 0), found("sft", 1, 1, 1, 1)]
    findings.append(Finding(suite="ocean", subject="sft", scores=(alpha,)))
    results = compared("witty", ["base", "null", "sft"], findings)
    assert results.score("voice/rate", "sft") == score(measure(1, 1, 1, 1), "sft")
    assert results.score("ocean/alpha", "sft") == alpha
    assert results.finding("ocean", "sft") == findings[-1]
    gap = results.difference("voice/rate", "sft", "null")
    assert gap is not None and gap.value == 0.75
    over = results.effect("voice/rate", "sft")
    assert over is not None and over.value == pytest.approx(0.75 / 0.5)  # sd of 0, 0, 1, 0 is 0.5
    assert results.effect("voice/rate", "null") is None
    assert results.score("voice/rate", "ppo") is None and results.finding("drift", "sft") is None
    assert type(results).model_validate_json(results.model_dump_json()) == results


def test_a_measure_needs_a_unit_for_every_value() -> None:
    with pytest.raises(ValidationError, match="3 values and 2 units"):
        measure(1, 2, 3, units=("p", "q"))
    with pytest.raises(ValidationError):
        measure()
