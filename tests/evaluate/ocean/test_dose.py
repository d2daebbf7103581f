from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mien.base.lora import LoraConfig
from mien.evaluate.ocean.dose import DOSES, dosed, held_out, leakage, line, slope, spearman, step
from mien.evaluate.ocean.items import TRAITS, Contrast, contrasts
from mien.evaluate.ocean.psychometrics import Table
from mien.evaluate.setting import Setting
from mien.evaluate.subject import LocalSubject
from tests.evaluate.ocean.people import setting
from tests.models import shake, tiny_base

RISING = np.array(DOSES)
SWITCH = np.array([0.0, 0, 0, 0, 1, 1, 1])
SIZES = np.linspace(0.8, 1.2, 12)[:, None]  # of twelve items' reactions


def test_a_rank_correlation_hardly_tells_a_line_from_a_switch() -> None:
    assert spearman(RISING) == pytest.approx(1)
    assert spearman(SWITCH + 1e-6 * RISING) == pytest.approx(1)


def test_what_is_held_out_does() -> None:
    fits = {
        (name, fit): held_out(fit, SIZES * curve)
        for name, curve in (("line", RISING), ("switch", SWITCH))
        for fit in (line, step)
    }
    values = {key: found.value for key, found in fits.items() if found}
    assert values["line", line] > 0.95 > values["line", step]
    assert values["switch", step] > 0.95 > values["switch", line]


def test_a_line_and_a_step_are_the_nearest_ones() -> None:
    assert line(2 * RISING + 1) == pytest.approx(2 * RISING + 1)
    assert step(SWITCH) == pytest.approx(SWITCH)
    assert slope(2 * RISING + 1) == pytest.approx(2)
    # Three doses on each side of 0.75: the means of a rise are 0.25 and 1.125 if it is cut after three.
    assert sorted(set(step(RISING).round(3))) in ([0.25, 1.125], [0.375, 1.25])


def test_a_flat_curve_has_no_shape() -> None:
    assert held_out(line, np.ones((12, 7))) is None
    assert np.isnan(spearman(np.ones(7)))


def test_leakage_is_what_points_elsewhere() -> None:
    poles = np.array([1.0, 0, 0, 0, 0])
    assert leakage(np.array([2.0, 0, 0, 0, 0]), poles) == pytest.approx(0)
    # Equal slopes on the claimed and one other trait: half of the squared effect goes elsewhere.
    assert leakage(np.array([1.0, 1.0, 0, 0, 0]), poles) == pytest.approx(0.5)
    assert np.isnan(leakage(np.zeros(5), poles))


def test_the_contrary_of_the_claim_is_all_leakage() -> None:
    poles = np.array([1.0, 0, 0, 0, 0])
    assert leakage(np.array([-2.0, 0, 0, 0, 0]), poles) == 1
    assert leakage(np.array([-2.0, 1.0, 0, 0, 0]), poles) == 1


def test_doses_are_multiples_of_the_scale_at_which_a_subject_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[float]()

    def preferences(_: Setting, subject: LocalSubject, items: Sequence[Contrast]) -> Table:
        asked.append(subject.scale)
        return np.full((1, len(items)), subject.scale)

    monkeypatch.setattr("mien.evaluate.ocean.dose.preferences", preferences)
    scores, _ = dosed(setting(tmp_path), LocalSubject("null", tiny_base(), scale=0.6))
    assert asked == pytest.approx([0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9])
    found = next(each for each in scores if each.name == "ocean/dose/slope/openness")
    assert found.value == pytest.approx(0.6)


def test_an_adapter_is_asked_at_every_dose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [each for each in contrasts() if each.id.endswith("-1") or each.id.endswith("-2")]
    monkeypatch.setattr("mien.evaluate.ocean.dose.contrasts", lambda: few)
    base = tiny_base()
    base.adapters.create("strong", LoraConfig(r=2), seed=0)
    shake(base.adapters, "strong")
    scores, curves = dosed(setting(tmp_path), LocalSubject("sft", base, "strong", "hash"))
    assert set(curves) == set(TRAITS)
    assert all(curve[0] == 0 and any(curve[1:]) for curve in curves.values())
    found = next(each for each in scores if each.name == "ocean/dose/slope/openness")
    assert found.value == pytest.approx(np.polyfit(DOSES, curves["openness"], 1)[0])
    leak = next(each for each in scores if each.name == "ocean/dose/leakage")
    assert 0 <= leak.value <= 1
