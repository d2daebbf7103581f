"""Scales, numbers, and words that become pictures."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from mien.page import svg
from tests.page.reading import HOSTILE


def test_an_axis_is_linear_clamps_and_has_round_ticks() -> None:
    axis = svg.Axis(0.0, 10.0, 100.0, 200.0)
    assert [axis.at(value) for value in (0, 5, 10, 99, -1)] == [100, 150, 200, 200, 100]
    assert axis.ticks() == [0, 2.5, 5, 7.5, 10]
    assert svg.Axis(0.83, 0.96, 0, 1).ticks() == pytest.approx([0.85, 0.9, 0.95])
    assert svg.Axis(3.0, 3.0, 0, 1).at(3.0) == 0


@pytest.mark.parametrize("values", [[], [0.0], [3.0], [float("nan"), 1.0, 2.0], [-1.0, -1.0]])
def test_a_span_is_never_empty(values: list[float]) -> None:
    low, high = svg.span(values)
    assert low < high


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "0.12"), (12.34, "12.3"), (1234.5, "1234"), (float("inf"), "not finite")]
)
def test_numbers_have_digits_that_suit_their_size(value: float, text: str) -> None:
    assert svg.number(value) == text


def test_words_of_a_picture_are_escaped_and_readable_as_xml() -> None:
    drawn = svg.picture(HOSTILE, (10, 10), [svg.text(HOSTILE + "\x00", 0, 4, class_=HOSTILE)])
    parsed = ElementTree.fromstring(drawn)
    assert parsed[0].text == HOSTILE
    assert parsed[1].text == HOSTILE + " "
    assert parsed[1].get("class") == HOSTILE


def test_a_scale_has_its_values_without_idle_zeros() -> None:
    drawn = svg.scale_below(svg.Axis(0, 1, 0, 100), svg.number, 40)
    words = [each.text for each in ElementTree.fromstring(f"<svg>{drawn}</svg>").iter("text")]
    assert words == ["0", "0.25", "0.5", "0.75", "1"]


def test_a_long_label_is_cut_with_a_mark() -> None:
    assert svg.clip("short") == "short"
    assert svg.clip("a very long label indeed", 8) == "a very …"
