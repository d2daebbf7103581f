"""Pictures with several quantities of several subjects, under one legend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mien.evaluate.compare import Results
from mien.evaluate.pages.words import SHARE, show
from mien.page import svg
from mien.page.svg import Axis, Span
from mien.schema import Score

_WIDTH = 320.0
_LETTER, _GAP = 6.4, 24.0  # units a letter of a legend takes, and its dot with the space around
_LINE = 18.0
_ENDS = (14.0, _WIDTH - 18)  # of a scale, with room for its outer figures
_STEP, _HEAD, _AIR = 9.0, 24.0, 7.0  # of a group: between its dots, above them, below them
_ALL: Span = (0.0, 1.0)


class Row(NamedTuple):
    """One quantity of all subjects."""

    label: str
    scores: tuple[Score, ...]


def row(results: Results, label: str, name: str, *, rest: bool = False) -> Row:
    """A measure of every subject that has it; with `rest`, what it lacks of 1."""
    found = (results.score(name, each) for each in results.subjects)
    return Row(label, tuple(_rest(score) if rest else score for score in found if score))


def _rest(score: Score) -> Score:
    ends = {"value": 1 - score.value, "low": 1 - score.high, "high": 1 - score.low}
    return score.model_copy(update=ends)


def grouped_dots(
    title: str, rows: Sequence[Row], paint: Mapping[str, str], *, within: Span = _ALL
) -> str:
    """A group of dots per row, one per subject, on lines that are their 95 % intervals; "" without any.

    Args:
        title: What is shown, in words; the values are appended to it.
        rows: Shares of 1, or differences of them.
        paint: The colour of each subject.
        within: The ends of the scale.
    """
    kept = [each for each in rows if each.scores]
    if not kept:
        return ""
    names = list(dict.fromkeys(score.system for each in kept for score in each.scores))
    key, top = legend(names, paint)
    axis, parts, y = Axis(*within, *_ENDS), list[str](), top
    for each in kept:
        parts.append(svg.text(each.label, 0, y + 13))
        parts += [_dot(s, y + _HEAD + _STEP * i, axis, paint, each) for i, s in enumerate(each.scores)]
        y += _HEAD + _STEP * len(each.scores) + _AIR
    scale = svg.tag("g", svg.scale_below(axis, _percent, y - top), transform=f"translate(0 {top:g})")
    words = "; ".join(_in_words(each) for each in kept)
    return svg.picture(f"{title}. {words}.", (_WIDTH, y + 22), [key, scale, *parts])


def legend(names: Iterable[str], paint: Mapping[str, str]) -> tuple[str, float]:
    """Names with their colours in lines, and how high that is."""
    x, y, parts = 0.0, 0.0, list[str]()
    for name in map(str, names):
        width = _LETTER * len(svg.clip(name)) + _GAP
        if x and x + width > _WIDTH:
            x, y = 0.0, y + _LINE
        parts.append(svg.tag("circle", cx=x + 5, cy=y + 8, r=4.5, fill=paint.get(name, "currentColor")))
        parts.append(svg.text(svg.clip(name), x + 14, y + 12))
        x += width
    return "".join(parts), y + _LINE + 4


def cross(
    title: str,
    points: Sequence[tuple[Score, Score]],
    axes: tuple[str, str],
    paint: Mapping[str, str],
) -> str:
    """Two shares of each subject against each other, each with its 95 % interval; "" without any.

    Args:
        title: What is shown, in words; the values are appended to it.
        points: (across, up) per subject.
        axes: What the two say.
        paint: The colour of each subject.
    """
    if not points:
        return ""
    key, top = legend((across.system for across, _ in points), paint)
    plot = _Square(Axis(*_ALL, 44, _ENDS[1]), Axis(*_ALL, top + 240, top + 26), axes)
    marks = [plot.mark(across, up, paint) for across, up in points]
    words = "; ".join(
        f"{across.system}: {axes[0]} {_interval(across)}, {axes[1]} {_interval(up)}"
        for across, up in points
    )
    return svg.picture(f"{title}. {words}.", (_WIDTH, top + 278), [key, plot.frame(), *marks])


class _Square(NamedTuple):
    x: Axis
    y: Axis
    axes: tuple[str, str]

    def frame(self) -> str:
        """Scales and their names."""
        x, y = self.x, self.y
        parts = [
            svg.faint(self.axes[1], 0, y.end - 10),
            svg.faint(self.axes[0], x.end, y.start + 34, text_anchor="end"),
        ]
        for tick in x.ticks():
            across, up = x.at(tick), y.at(tick)
            parts += [
                svg.line(across, y.start, across, y.end, stroke_opacity=0.14),
                svg.line(x.start, up, x.end, up, stroke_opacity=0.14),
                svg.faint(_percent(tick), across, y.start + 16, text_anchor="middle"),
                svg.faint(_percent(tick), x.start - 8, up + 4, text_anchor="end"),
            ]
        return "".join(parts)

    def mark(self, across: Score, up: Score, paint: Mapping[str, str]) -> str:
        """A dot with a line in either direction."""
        x, y, colour = self.x, self.y, paint.get(across.system, "currentColor")
        thick = {"stroke": colour, "stroke_width": 2.5, "stroke_linecap": "round", "stroke_opacity": 0.5}
        middle = x.at(across.value), y.at(up.value)
        return svg.group(
            f"{across.system}: {self.axes[0]} {_interval(across)}; {self.axes[1]} {_interval(up)}",
            svg.line(x.at(across.low), middle[1], x.at(across.high), middle[1], **thick),
            svg.line(middle[0], y.at(up.low), middle[0], y.at(up.high), **thick),
            svg.tag("circle", cx=middle[0], cy=middle[1], r=5.5, fill=colour),
        )


def _dot(score: Score, y: float, axis: Axis, paint: Mapping[str, str], row: Row) -> str:
    colour = paint.get(score.system, "currentColor")
    thick = {"stroke": colour, "stroke_width": 2.5, "stroke_linecap": "round", "stroke_opacity": 0.5}
    return svg.group(
        f"{row.label}, {score.system}: {_interval(score)}, n = {score.n}",
        svg.line(axis.at(score.low), y, axis.at(score.high), y, **thick),
        svg.tag("circle", cx=axis.at(score.value), cy=y, r=4.5, fill=colour),
    )


def _in_words(row: Row) -> str:
    return f"{row.label}: " + ", ".join(f"{s.system} {_percent(s.value)}" for s in row.scores)


def _interval(score: Score) -> str:
    return f"{_percent(score.value)} (95 % interval {_percent(score.low)} to {_percent(score.high)})"


def _percent(value: float) -> str:
    return show(SHARE, value)
