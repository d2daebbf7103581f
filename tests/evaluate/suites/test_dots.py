"""Dot plots: shares that reach far lie on the whole scale, small ones on one where they can be seen."""

from __future__ import annotations

from mien.evaluate.compare import Results
from mien.evaluate.finding import Meaning
from mien.evaluate.suites.dots import dots
from tests.evaluate.pages import builders

MEANINGS = {"a/x": Meaning("X", share=True)}


def drawn(value: float) -> str:
    scores = tuple(builders.score("a/x", name, value, 0.01) for name in ("base", "sft"))
    results = Results(persona="witty", subjects=("base", "sft"), findings=(), scores=scores)
    (figure,) = dots(results, MEANINGS, MEANINGS, {})
    return figure.picture


def test_small_shares_are_not_lost_at_the_edge_of_the_scale() -> None:
    assert "100" in drawn(0.7)
    assert "100" not in drawn(0.02) and "1.0" in drawn(0.02)
