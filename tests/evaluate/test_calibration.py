"""A judge beside people: the map, its examination on labels it has not seen, and too few labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mien.errors import DataError, InputError
from mien.evaluate.calibration import Curve, HumanLabel, Rated, calibrated, human_marks, read_labels

TONE = "tone_appropriateness"


def rated(count: int, judged: list[float], human: list[float]) -> list[Rated]:
    return [Rated(f"u{n}", TONE, judged[n % len(judged)], human[n % len(human)]) for n in range(count)]


def label(**changes: object) -> HumanLabel:
    return HumanLabel.model_validate(
        {"messages": "Hello?", "reply": "Hello.", "key": TONE, "value": 4, **changes}
    )


def test_a_judge_that_is_always_one_too_kind_is_put_right_on_labels_it_has_not_seen() -> None:
    found = calibrated("j", rated(40, [2, 3, 4, 5], [1, 2, 3, 4]))
    before, after = found.score("error_before", TONE), found.score("error", TONE)
    agreed = found.score("kappa", TONE)
    assert before and after and agreed
    assert (before.value, after.value, agreed.value) == pytest.approx((1, 0, 1), abs=1e-9)
    assert before.n == 20  # every second conversation is held out


def test_a_judge_that_knows_nothing_is_mapped_to_the_mean_and_has_no_kappa_to_speak_of() -> None:
    rng = np.random.default_rng(0)
    noise = [Rated(f"u{n}", TONE, *map(float, rng.integers(1, 6, 2))) for n in range(120)]
    found = calibrated("j", noise)
    agreed, after = found.score("kappa", TONE), found.score("error", TONE)
    before = found.score("error_before", TONE)
    assert agreed and after and before
    assert agreed.low <= 0.1
    assert after.value < before.value  # 1.2 for the mean of 1 to 5, and 1.6 for a guess
    assert set(np.diff(found.curves[TONE].y) >= 0) == {True}


def test_a_judge_who_goes_the_wrong_way_is_not_turned_round() -> None:
    found = calibrated("j", rated(40, [5, 4, 2, 1], [1, 2, 4, 5]))
    assert found.curves[TONE].y == pytest.approx((3,) * 4, abs=0.5)


def test_with_many_labels_the_map_may_bend() -> None:
    found = calibrated("j", rated(80, [1, 2, 3, 4, 5], [1, 1, 1, 5, 5]))
    assert found.curves[TONE](2.5) == pytest.approx(1)
    assert found.curves[TONE](4.5) == pytest.approx(5)


def test_a_curve_is_level_beyond_its_ends() -> None:
    curve = Curve(x=(2, 4), y=(1, 3))
    assert [curve(1), curve(3), curve(5)] == [1, 2, 3]


def test_too_few_labels_calibrate_nothing() -> None:
    with pytest.raises(InputError, match="19 labelled items are too few to calibrate j"):
        calibrated("j", rated(19, [1, 5], [1, 5]))


def test_a_later_label_of_one_rater_counts_and_raters_are_told_how_they_agree() -> None:
    rows = [label(rater="x", value=1), label(rater="x", value=5), label(rater="y")]
    (given,) = human_marks(rows).values()
    assert [each.value for each in given] == [5, 4]
    both = [
        label(messages=f"{n}?", value=1 + n % 5, rater=rater) for n in range(20) for rater in ("x", "y")
    ]
    found = calibrated("j", rated(40, [1, 5], [1, 5]), both)
    people = found.score("people", TONE)
    assert people and people.value == pytest.approx(1)


def test_labels_are_read_from_jsonl_and_those_of_other_personas_left_out(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    rows = [label(), label(persona="witty"), label(persona="calm")]
    file.write_text("\n".join(each.model_dump_json() for each in rows), encoding="utf-8")
    assert read_labels(file, "witty") == rows[:2]


@pytest.mark.parametrize("wrong", [{"key": "charm"}, {"value": 6}, {"reply": ""}])
def test_a_row_that_is_no_label_is_named_by_its_line(wrong: dict[str, object], tmp_path: Path) -> None:
    row = {"messages": "Hello?", "reply": "Hello.", "key": TONE, "value": 4, **wrong}
    file = tmp_path / "labels.jsonl"
    file.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(DataError, match=r"labels\.jsonl:1"):
        read_labels(file, "witty")
