"""Labels of curves that end near each other."""

from __future__ import annotations

from mien.evaluate.suites.drift.figures import apart


def test_labels_keep_apart_and_within_the_picture() -> None:
    assert apart([50, 52, 51], 10, 0, 100) == [50, 70, 60]
    assert apart([98, 99], 10, 0, 100) == [90, 100]
    assert apart([5.0], 10, 12, 100) == [12]
