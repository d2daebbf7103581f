"""Pictures with several quantities of several subjects."""

from __future__ import annotations

import re

from mien.evaluate.compare import Results
from mien.evaluate.suites.grouped import cross, grouped_dots, legend, row
from mien.schema import Score

SUBJECTS = ("base", "<b>sft</b>")


def score(system: str, name: str, value: float) -> Score:
    ends = {"low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1)}
    return Score(name=name, system=system, value=value, n=9, method="made up", **ends)


RESULTS = Results(
    persona="witty",
    subjects=SUBJECTS,
    findings=(),
    scores=tuple(score(each, name, 0.3) for each in SUBJECTS for name in ("a", "b")),
)


def test_the_rest_of_a_share_turns_its_interval_round() -> None:
    (first, _) = row(RESULTS, "broke", "a", rest=True).scores
    assert (round(first.low, 6), round(first.value, 6), round(first.high, 6)) == (0.6, 0.7, 0.8)


def test_a_dot_lies_where_its_value_is_on_the_scale() -> None:
    drawn = grouped_dots("T", [row(RESULTS, "held", "a")], {}, within=(0.0, 1.0))
    places = re.findall(r'<circle cx="([\d.]+)" cy="[\d.]+" r="4.50"', drawn)
    assert places[2:] == [f"{14 + 0.3 * (302 - 14):.2f}"] * 2  # after the two of the legend


def test_rows_without_a_score_are_left_out_and_nothing_gives_no_picture() -> None:
    drawn = grouped_dots("T", [row(RESULTS, "held", "a"), row(RESULTS, "unknown", "c")], {})
    assert "held" in drawn and "unknown" not in drawn
    assert grouped_dots("T", [row(RESULTS, "unknown", "c")], {}) == ""
    assert cross("T", [], ("x", "y"), {}) == ""


def test_names_are_escaped_and_in_words_for_those_who_cannot_see() -> None:
    points = list(zip(row(RESULTS, "", "a").scores, row(RESULTS, "", "b").scores, strict=True))
    drawn = cross("T", points, ("complied", "declined"), {"base": "var(--system-0)"})
    assert "<b>" not in drawn and "&lt;b&gt;sft" in drawn
    assert "base: complied 30 % (95 % interval 20" in drawn


def test_a_long_legend_takes_another_line() -> None:
    _, one = legend(["base", "sft"], {})
    drawn, two = legend([f"adapter-{i}" for i in range(5)], {})
    assert two == one + 18
    assert max(map(float, re.findall(r'cx="([\d.]+)"', drawn))) < 320
