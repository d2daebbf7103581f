"""Pictures of many scores at once: rows of dots, and fields that are darker the higher the value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mien.page import svg
from mien.page.svg import Axis, Show
from mien.schema import Score

_STEP = 9.0  # between the dots of one row


class Panel(NamedTuple):
    """One measure over rows (personas, or parts of the measure) and subjects.

    Attributes:
        title: Its label.
        about: Which way is better.
        scores: By row and subject; what was not measured is not there.
        show: Writes a value.
        whole: Whether the scale is 0 to 1.
    """

    title: str
    about: str
    scores: Mapping[str, Mapping[str, Score]]
    show: Show
    whole: bool = False

    @property
    def every(self) -> list[Score]:
        """All its scores."""
        return [score for row in self.scores.values() for score in row.values()]

    @property
    def subjects(self) -> list[str]:
        """All subjects that have one."""
        return list(dict.fromkeys(name for row in self.scores.values() for name in row))


def legend(subjects: Sequence[str], paint: Mapping[str, str], *, pitch: float = 64) -> str:
    """Which colour is whose, in one line."""
    parts = []
    for place, name in enumerate(subjects):
        x = pitch * place
        parts.append(svg.tag("circle", cx=x + 5, cy=8.0, r=4.5, fill=paint.get(name, "currentColor")))
        parts.append(svg.text(svg.clip(name, int(pitch / 7) - 1), x + 14, 12))
    return "".join(parts)


def dots(
    panel: Panel,
    paint: Mapping[str, str],
    *,
    width: float,
    left: float = 70,
    subjects: Sequence[str] | None = None,
) -> str:
    """A row per name, and in it a dot per subject on its 95 % interval.

    Args:
        panel: What is drawn.
        paint: The colour of each subject.
        width: Of the picture.
        left: Room for the names of the rows.
        subjects: In the order of the dots; if not given, they are told by a legend on top.
    """
    order = panel.subjects if subjects is None else subjects
    top = 28.0 if subjects is None else 6.0
    ends = (end for score in panel.every for end in (score.low, score.high))
    axis = Axis(*((0.0, 1.0) if panel.whole else svg.span(ends)), left, width - 20)
    tall = _STEP * len(order) + 12
    bottom = top + tall * len(panel.scores)
    parts = [legend(order, paint) if subjects is None else "", _scale(axis, panel.show, top, bottom)]
    for place, (name, row) in enumerate(panel.scores.items()):
        y = top + tall * place
        parts.append(svg.text(svg.clip(name, int(left / 6.2)), 0, y + tall / 2 + 4))
        parts.append(svg.line(0, y + tall, width - 20, y + tall, stroke_opacity=0.14))
        parts += [
            _dot(row[who], y + 10 + _STEP * line, axis, paint.get(who, "currentColor"), panel.show)
            for line, who in enumerate(order)
            if who in row
        ]
    return svg.picture(_in_words(panel), (width, bottom + 22), parts)


def _scale(axis: Axis, show: Show, top: float, bottom: float) -> str:
    return svg.tag("g", svg.scale_below(axis, show, bottom - top), transform=f"translate(0 {top:g})")


def _in_words(panel: Panel) -> str:
    rows = (
        f"{name}: " + ", ".join(f"{who} {panel.show(score.value)}" for who, score in row.items())
        for name, row in panel.scores.items()
    )
    return f"{panel.title}. {'; '.join(rows)}."


def _told(score: Score, show: Show) -> str:
    return f"{score.system}: {show(score.value)}, {show(score.low)} to {show(score.high)}"


def _dot(score: Score, y: float, axis: Axis, colour: str, show: Show) -> str:
    thick = {"stroke": colour, "stroke_width": 2.5, "stroke_linecap": "round", "stroke_opacity": 0.5}
    return svg.group(
        _told(score, show),
        svg.line(axis.at(score.low), y, axis.at(score.high), y, **thick),
        svg.tag("circle", cx=axis.at(score.value), cy=y, r=3.8, fill=colour),
    )


def fields(panel: Panel, *, width: float, left: float = 70) -> str:
    """Rows by subjects, the value in each field, darker where it is higher."""
    values, subjects = [score.value for score in panel.every], panel.subjects
    ends = (0.0, 1.0) if panel.whole else (min(values), max(values))
    shade, wide = Axis(*ends, 0.05, 0.55), (width - left) / len(subjects)
    parts = [
        svg.faint(svg.clip(name, 9), left + wide * (place + 0.5), 11, text_anchor="middle")
        for place, name in enumerate(subjects)
    ]
    for line, (name, row) in enumerate(panel.scores.items()):
        y = 18.0 + 26 * line
        parts.append(svg.text(svg.clip(name, int(left / 6.2)), 0, y + 16))
        parts += [
            _field(row[who], left + wide * place, y, wide - 2, shade, panel.show)
            for place, who in enumerate(subjects)
            if who in row
        ]
    return svg.picture(_in_words(panel), (width, 20 + 26 * len(panel.scores)), parts)


def _field(score: Score, x: float, y: float, width: float, shade: Axis, show: Show) -> str:
    colour = {"fill": "var(--heat)", "fill_opacity": shade.at(score.value)}
    return svg.group(
        _told(score, show),
        svg.tag("rect", x=x, y=y, width=width, height=24, rx=3, **colour),
        svg.text(show(score.value), x + width / 2, y + 16, text_anchor="middle"),
    )
