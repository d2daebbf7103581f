"""The ability suite's picture: differences to the controls, and the margin that may be lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mien.evaluate.compare import Difference
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Meaning
from mien.evaluate.pages.words import show, signed
from mien.page import svg

_WIDTH, _LEFT, _RIGHT, _ROW = 320.0, 74.0, 262.0, 34.0
_POINTS = Meaning("points", share=True)


def before_margin(
    differences: Sequence[Difference], margin: float, paint: Mapping[str, str]
) -> list[Figure]:
    """Paired differences with their intervals, and shaded what may be lost; none without differences."""
    if not differences:
        return []
    values = [end for each in differences for end in (each.low, each.high)]
    low, high = svg.span([*values, -1.3 * margin, 0.5 * margin])
    axis = svg.Axis(low, high, _LEFT, _RIGHT)
    bottom = 6 + _ROW * len(differences)
    rows = [_row(each, 26 + _ROW * place, axis, paint) for place, each in enumerate(differences)]
    words = "; ".join(map(_in_words, differences))
    picture = svg.picture(
        f"Questions right, difference to the controls. {words}. Allowed loss {_points(margin)}.",
        (_WIDTH, bottom + 38),
        [_allowed(axis, margin, bottom), _scale(axis, bottom), *rows],
    )
    about = (
        "In points, paired by question. Where a whole line lies in the shade or right of it, no more was"
        " lost than was allowed beforehand."
    )
    return [Figure("Ability against the controls", picture, about)]


def _points(value: float) -> str:
    return show(_POINTS, value, 1.0, unit=False)


def _in_words(each: Difference) -> str:
    interval = f"95 % interval {_points(each.low)} to {_points(each.high)}"
    return f"{each.ours} minus {each.theirs}: {_points(each.value)} points, {interval}, n = {each.n}"


def _allowed(axis: svg.Axis, margin: float, bottom: float) -> str:
    left, right = axis.at(-margin), axis.at(0)
    shape = {"x": left, "y": 4, "width": right - left, "height": bottom - 4}
    return "".join(
        [
            svg.tag("rect", **shape, fill="var(--band)"),
            svg.line(left, 4, left, bottom, stroke_dasharray="3 3"),
            svg.line(right, 4, right, bottom, stroke_opacity=0.6),
            svg.faint("allowed loss", (left + right) / 2, bottom + 32, text_anchor="middle"),
        ]
    )


def _scale(axis: svg.Axis, bottom: float) -> str:
    return svg.scale_below(axis, lambda value: signed(_points(value)), bottom)


def _row(each: Difference, y: float, axis: svg.Axis, paint: Mapping[str, str]) -> str:
    colour = paint.get(each.ours, "currentColor")
    thick = {"stroke": colour, "stroke_width": 3, "stroke_linecap": "round", "stroke_opacity": 0.55}
    return svg.group(
        _in_words(each),
        svg.text(svg.clip(f"to {each.theirs}", 11), 0, y + 4),
        svg.line(axis.at(each.low), y, axis.at(each.high), y, **thick),
        svg.tag("circle", cx=axis.at(each.value), cy=y, r=5.5, fill=colour),
        svg.text(signed(_points(each.value)), _WIDTH, y + 4, text_anchor="end", font_weight=600),
    )
