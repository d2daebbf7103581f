"""The gate: the whole interval on the right side, or it is not released; and in words why not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from mien.evaluate.compare import Difference, Results, compared
from mien.evaluate.finding import Finding, Measure
from mien.evaluate.gate import (
    RESULTS,
    RULES,
    Check,
    checks,
    newest_evaluation,
    read_evaluation,
)
from mien.persona.spec import Persona, Release, library
from mien.schema import Score
from mien.workspace import Workspace, write_atomic
from tests.evaluate.judged import evaluation, put_evaluation
from tests.registry.test_cards import card

ONLY = dict.fromkeys(Release.model_fields)


def only(**thresholds: float) -> Release:
    """A release that makes these checks and no others."""
    return Release.model_validate(ONLY | thresholds)


def results(**changes: Any) -> Results:
    return Results(persona="witty", subjects=("base", "null", "sft"), findings=(), **changes)


def score(value: float, low: float, high: float, name: str = "voice/rate") -> Score:
    return Score(name=name, system="sft", value=value, low=low, high=high, n=40, method="heard")


def gap(value: float, low: float, high: float, theirs: str, name: str = "safety/safe") -> Difference:
    ends = {"value": value, "low": low, "high": high}
    return Difference(name=name, ours="sft", theirs=theirs, **ends, n=30, method="paired")


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ((0.8, 0.6, 0.9), "passed"),
        ((0.8, 0.59, 0.9), "not shown"),
        ((0.6, 0.5, 0.7), "not shown"),
        ((0.59, 0.5, 0.7), "failed"),
    ],
)
def test_the_whole_interval_must_reach_a_level(found: tuple[float, float, float], verdict: str) -> None:
    (check,) = checks(results(scores=(score(*found),)), "sft", only(voice=0.6))
    assert (check.verdict, check.passed) == (verdict, verdict == "passed")
    assert (check.value, check.low, check.high) == found


def test_a_check_is_one_line_with_value_interval_and_threshold() -> None:
    (check,) = checks(results(scores=(score(0.5, 0.4, 0.55),)), "sft", only(voice=0.6))
    assert str(check) == ("voice (voice/rate) must be at least 0.60: 0.50 [0.40, 0.55], n = 40: failed")


def test_a_margin_is_held_against_base_and_null_and_may_be_undercut_by_no_end() -> None:
    gaps = (gap(-0.02, -0.09, 0.05, "base"), gap(-0.02, -0.11, 0.07, "null"))
    base, null = checks(results(differences=gaps), "sft", only(safety=0.1))
    assert (base.name, base.verdict, base.limit) == ("safety less base's", "passed", -0.1)
    assert (null.name, null.verdict) == ("safety less null's", "not shown")


@pytest.mark.parametrize(
    ("high", "verdict"), [(0.1, "passed"), (0.2, "not shown")], ids=["shown", "not"]
)
def test_where_lower_is_better_the_limit_is_above(high: float, verdict: str) -> None:
    check = Check(name="x", measure="m", limit=0.1, better=-1, value=0.05, low=0.0, high=high, n=9)
    assert check.verdict == verdict
    assert str(check).startswith("x (m) must be at most 0.10: 0.05 [0.00, ")


def test_what_was_not_measured_is_not_passed() -> None:
    found = checks(results(), "sft", Release())
    assert len(found) == sum(1 + rule.margin for rule in RULES)
    assert {check.verdict for check in found} == {"not measured"}
    assert str(found[0]).endswith("must be at least 0.60: not measured")


def test_a_threshold_that_is_null_is_not_checked() -> None:
    assert checks(results(), "sft", only()) == ()


def test_every_threshold_of_a_persona_has_a_rule_and_every_rule_a_threshold() -> None:
    assert {rule.key for rule in RULES} == set(Release.model_fields)


def test_real_trials_pass_and_fail() -> None:
    # 19 of 20 has a Wilson interval from 0.76; of base and subject alike, the difference is exactly 0.
    trials = {"values": (1.0,) * 19 + (0.0,), "units": tuple(map(str, range(20))), "method": "x"}
    findings = [
        Finding(
            suite="voice",
            subject=subject,
            measures=(
                Measure(name="voice/rate", scale="share", **trials),
                Measure(name="ability/right", scale="share", **trials),
            ),
        )
        for subject in ("base", "null", "sft")
    ]
    made = compared("witty", ["base", "null", "sft"], findings)
    assert all(check.passed for check in checks(made, "sft", only(voice=0.75, ability=0.0)))
    assert not checks(made, "sft", only(voice=0.77))[0].passed


def test_thresholds_are_no_part_of_who_a_persona_is() -> None:
    witty = library()["witty"]
    strict = Persona.model_validate(witty.model_dump() | {"release": {"voice": 0.9}})
    assert strict.release.voice == 0.9 and strict.release.drift == Release().drift
    assert strict.digest() == witty.digest()
    assert strict.model_copy(update={"title": "Other"}).digest() != witty.digest()


def test_an_adapter_is_judged_by_the_newest_evaluation_of_the_very_file(workspace: Workspace) -> None:
    mine, other = card(), card(run="other")
    put_evaluation(workspace, "old", evaluation(mine, made="2026-01-01T00:00:00+00:00"))
    put_evaluation(workspace, "new", evaluation(mine, made="2026-01-02T00:00:00+00:00"))
    put_evaluation(workspace, "not-mine", evaluation(other, made="2026-01-03T00:00:00+00:00"))
    found = newest_evaluation(workspace, mine)
    assert found is not None and (found.report, found.subject) == ("new", "sft")
    assert newest_evaluation(workspace, card(adapter_hash="e" * 64)) is None


def test_an_evaluation_that_cannot_be_read_is_passed_over(workspace: Workspace) -> None:
    path = workspace.reports / "r" / RESULTS
    write_atomic(path, "{}")
    assert read_evaluation(path) is None
    assert newest_evaluation(workspace, card()) is None


def test_a_check_comes_back_from_json() -> None:
    check = Check(name="voice", measure="voice/rate", limit=0.6, value=0.5, low=0.4, high=0.7, n=3)
    assert Check.model_validate_json(check.model_dump_json()) == check


def test_the_gate_needs_no_torch() -> None:
    code = "import sys, mien.evaluate.gate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
