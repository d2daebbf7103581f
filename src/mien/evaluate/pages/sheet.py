"""Pictures as files of their own, as a document on a code host needs them.

Such a file is shown as an image: it takes no colours from the page around it, so it brings the theme's,
light and dark, and its own paper.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from mien.evaluate.figure import Figure
from mien.evaluate.pages.panels import Panel, dots, fields, legend
from mien.page import svg

WIDTH = 800.0
_EDGE = 20.0
_GAP = 36.0
_HALF = (WIDTH - 2 * _EDGE - _GAP) / 2
_OPENING = re.compile(r"<svg\b[^>]*>")
_BOX = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_HEIGHT = re.compile(r'\bheight="([\d.]+)')


@cache
def _theme() -> str:
    """The theme's colours and fonts, light and dark."""
    css = (resources.files("mien.page") / "theme.css").read_text(encoding="utf-8")
    return css.split("* {", 1)[0]


def standalone(title: str, height: float, parts: Sequence[str]) -> str:
    """An SVG file: parts on paper, in the theme's colours.

    Args:
        title: What is seen, in words.
        height: In the units of `parts`; the width is `WIDTH`.
        parts: Markup.
    """
    style = f"{_theme()}svg {{ color: var(--ink); font-family: var(--sans); }}"
    paper = svg.tag("rect", width="100%", height="100%", fill="var(--paper)")
    body = svg.tag("title", svg.clean(title)) + svg.tag("style", style) + paper + "".join(parts)
    size = {"width": f"{WIDTH:g}", "height": f"{height:g}", "viewBox": f"0 0 {WIDTH:g} {height:g}"}
    space = {"xmlns": "http://www.w3.org/2000/svg"}
    return svg.tag("svg", body, **space, role="img", font_size=12, **size) + "\n"


class _Placed(NamedTuple):
    """A figure with its words, ready to be put somewhere."""

    height: float
    draw: Callable[[float, float], str]


def sheet(title: str, figures: Sequence[Figure]) -> str:
    """Several figures on one sheet, two in a row; wide ones have a row of their own."""
    parts, y = [], _EDGE
    for row in _rows(figures):
        placed = [_placed(figure, WIDTH - 2 * _EDGE if figure.wide else _HALF) for figure in row]
        parts += [each.draw(_EDGE + place * (_HALF + _GAP), y) for place, each in enumerate(placed)]
        y += max(each.height for each in placed) + 26
    return standalone(title, y, parts)


def _rows(figures: Sequence[Figure]) -> list[list[Figure]]:
    rows: list[list[Figure]] = []
    for figure in figures:
        if rows and not figure.wide and len(rows[-1]) == 1 and not rows[-1][0].wide:
            rows[-1].append(figure)
        else:
            rows.append([figure])
    return rows


def _placed(figure: Figure, width: float) -> _Placed:
    about = textwrap.wrap(figure.about, int(width / 5.8))
    top = 22.0 + 15 * len(about) if figure.title else 0.0
    box, height = _BOX.search(figure.picture), _HEIGHT.search(figure.picture)
    size = tuple(map(float, box.groups())) if box else (width, float(height[1]) if height else 0.0)
    drawn = size[1] * width / size[0]

    def draw(x: float, y: float) -> str:
        words = [svg.text(figure.title, x, y + 11, font_size=13, font_weight=600)]
        words += [svg.faint(line, x, y + 28 + 15 * place) for place, line in enumerate(about)]
        return "".join(words) + _moved(figure.picture, x, y + top, (width, drawn), size)

    return _Placed(top + drawn, draw)


def _moved(picture: str, x: float, y: float, room: tuple[float, float], size: tuple[float, ...]) -> str:
    """A picture of the page as an inner one, at a place."""
    box = f'viewBox="0 0 {size[0]:g} {size[1]:g}"'
    place = f'x="{x:.1f}" y="{y:.1f}" width="{room[0]:.1f}" height="{room[1]:.1f}" {box} font-size="12"'
    return _OPENING.sub(f"<svg {place}>", picture, count=1)


def panels(title: str, found: Sequence[Panel], paint: Mapping[str, str]) -> str:
    """A measure a panel: a row per persona and in it a dot per subject on its 95 % interval."""
    subjects = list(dict.fromkeys(name for panel in found for name in panel.subjects))
    key = svg.picture("Colours", (WIDTH - 2 * _EDGE, 16), [legend(subjects, paint, pitch=100)])
    drawn = [(each, dots(each, paint, width=_HALF, subjects=subjects)) for each in found]
    figures = [Figure(each.title, picture, each.about) for each, picture in drawn]
    return sheet(title, [Figure("", key, wide=True), *figures])


def matrix(title: str, found: Sequence[Panel]) -> str:
    """A measure a panel: personas by subjects, the value in each field, darker where it is higher."""
    return sheet(title, [Figure(each.title, fields(each, width=_HALF), each.about) for each in found])
