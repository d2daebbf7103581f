from __future__ import annotations

import numpy as np
import pytest

from mien.evaluate.ocean.items import TRAITS
from mien.evaluate.ocean.reliability import between, of_scales


def test_random_answers_have_no_reliability_and_discriminate_at_chance() -> None:
    tables = list(np.random.default_rng(1).normal(size=(5, 200, 4)))
    scores, checks = of_scales("contrast", tables, "sft")
    found = {each.name: each.value for each in scores}
    alphas = [found[f"ocean/contrast/alpha/{trait}"] for trait in TRAITS]
    assert max(alphas) < 0.7
    assert np.mean(alphas) == pytest.approx(0, abs=0.2)  # its standard error is 0.05
    wins = [found[f"ocean/contrast/discrimination/{trait}"] for trait in TRAITS]
    assert np.mean(wins) == pytest.approx(0.5, abs=0.15)
    assert not any(all(check.passed for check in checks[trait]) for trait in TRAITS)


def test_answers_that_never_vary_have_no_score_and_do_not_pass() -> None:
    scores, checks = of_scales("scene", [np.ones((6, 4))] * 5, "sft")
    assert {each.name.split("/")[2] for each in scores} == {"discrimination"}
    assert not any(check.passed for check in checks["openness"])


def test_formats_that_agree_converge_and_those_of_chance_do_not() -> None:
    chance = np.random.default_rng(0)
    truth = chance.normal(size=(20, 5))
    alike = {s.name: s.value for s in between([truth, truth + 0.1 * chance.normal(size=(20, 5))], "sft")}
    assert alike["ocean/convergent"] > 0.95
    assert alike["ocean/gap"] > 0.6
    apart = {s.name: s.value for s in between([truth, chance.normal(size=(20, 5))], "sft")}
    assert abs(apart["ocean/gap"]) < 0.4


def test_one_format_alone_converges_with_nothing() -> None:
    assert between([np.ones((3, 5))], "sft") == []
