"""The diversity suite's picture and words: how far systems, and personas, are from each other."""

from __future__ import annotations

from collections.abc import Sequence

from mien.evaluate.compare import Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Meaning
from mien.evaluate.pages.words import called, estimate
from mien.page import svg
from mien.schema import Score

NAME = "diversity"
_PLAIN = Meaning("")
_CELL, _ROW, _LEFT, _TOP = 54.0, 36.0, 78.0, 26.0


def between_says(scores: Sequence[Score]) -> list[str]:
    """How far personas are from each other, in a sentence per system.

    Args:
        scores: Three for each system, as `between_personas` makes them.
    """
    return [_between(*scores[place : place + 3]) for place in range(0, len(scores) - len(scores) % 3, 3)]


def _between(between: Score, within: Score, more: Score) -> str:
    meant = (
        "so the personas differ by more than chance"
        if more.low > 0
        else "so it is not shown that the personas differ by more than chance"
    )
    return (
        f"In meaning, the replies of two personas to one prompt lie {estimate(_PLAIN, between)} apart by"
        f" {called(between.system)}, two tries of one persona {estimate(_PLAIN, within)}. That is"
        f" {estimate(_PLAIN, more)} more between them than within, {meant}."
    )


def distances(results: Results, within: str, apart: str) -> list[Figure]:
    """A table of distances between replies to the same prompts; none if fewer than two were compared.

    Args:
        results: Of the suite.
        within: The measure of two replies of one subject.
        apart: What comes before a subject's name in the measure of the distance to it.
    """
    names = [each for each in results.subjects if results.score(within, each)]
    cells = {
        (row, column): found
        for place, row in enumerate(names)
        for column in names[: place + 1]
        if (found := results.score(within if row == column else f"{apart}/{column}", row))
    }
    if len(names) < 2 or len(cells) == len(names):
        return []
    about = (
        "1 minus the cosine in meaning: 0 is the same, 1 has nothing in common. On the diagonal, two"
        " tries of one system; one that differs from it by more than that has a stronger colour."
    )
    return [Figure("How far apart the replies are", _table(names, cells), about)]


def _table(names: list[str], cells: dict[tuple[str, str], Score]) -> str:
    most = max(score.value for score in cells.values()) or 1.0
    heads = [
        svg.text(svg.clip(name, 8), _LEFT + _CELL * (place + 0.5), 16, text_anchor="middle")
        for place, name in enumerate(names)
    ]
    sides = [
        svg.text(svg.clip(name, 11), 0, _TOP + _ROW * place + 22) for place, name in enumerate(names)
    ]
    body = [
        _cell(row, column, score, (names.index(column), names.index(row)), score.value / most)
        for (row, column), score in cells.items()
    ]
    size = (max(320.0, _LEFT + _CELL * len(names)), _TOP + _ROW * len(names) + 2)
    words = "; ".join(_in_words(*pair, score) for pair, score in cells.items())
    return svg.picture(
        f"Distances between replies to the same prompts. {words}.", size, heads + sides + body
    )


def _in_words(row: str, column: str, score: Score) -> str:
    who = f"two tries of {row}" if row == column else f"{row} and {column}"
    return f"{who}: {score.value:.2f}, 95 % interval {score.low:.2f} to {score.high:.2f}"


def _cell(row: str, column: str, score: Score, place: tuple[int, int], share: float) -> str:
    x, y = _LEFT + _CELL * place[0], _TOP + _ROW * place[1]
    shape = {"x": x + 1, "y": y, "width": 52, "height": 34, "rx": 3, "fill": "var(--heat)"}
    return svg.group(
        _in_words(row, column, score),
        svg.tag("rect", **shape, fill_opacity=0.05 + 0.45 * share),
        svg.text(f"{score.value:.2f}", x + 27, y + 22, text_anchor="middle", font_weight=600),
    )
