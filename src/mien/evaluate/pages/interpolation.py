"""The way from one voice to another, in a sentence and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mien.evaluate.interpolation import Interpolation, Point
from mien.page import svg
from mien.page.svg import Axis, Span
from mien.schema import Score

_SIZE = (440.0, 292.0)
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_CONTENT = "content kept"
_LOOKS = (("var(--system-2)", 4.0), ("var(--system-1)", 0.0))  # of FROM's voice and TO's
_FAINT = 0.55  # of the line that is no voice


def says(found: Interpolation) -> str:
    """Whether both voices move one way, and how far."""
    parts = [
        _said(voice, found.values(side), verb, monotonic=found.monotonic[side])
        for side, (voice, verb) in enumerate(zip(found.voices, ("fall", "rise"), strict=True))
    ]
    whole = "Both voices move one way" if all(found.monotonic) else "Not both voices move one way"
    return f"{whole}: {', '.join(parts)}."


def _said(voice: str, values: Sequence[float], verb: str, *, monotonic: bool) -> str:
    if monotonic:
        return f"{voice} {verb}s at every step ({values[0]:.2f} to {values[-1]:.2f})"
    listed = ", ".join(f"{value:.2f}" for value in values)
    return f"{voice} does not {verb} at every step ({listed})"


class _Line(NamedTuple):
    """One measure over the points.

    Attributes:
        label: Stands at its end.
        colour: As a CSS value.
        scores: One a point.
        corner: How round its marks are, so that nobody depends on colours.
    """

    label: str
    colour: str
    scores: Sequence[Score]
    corner: float = 0.0


def drawn(found: Interpolation) -> str:
    """How likely each voice is heard, with 95 % intervals, and the content kept, over TO's weight."""
    voices = [
        _Line(voice, colour, [point.heard[side] for point in found.points], corner)
        for side, (voice, (colour, corner)) in enumerate(zip(found.voices, _LOOKS, strict=True))
    ]
    content = _Line(_CONTENT, "currentColor", [point.content for point in found.points])
    room = 18 + 7.2 * max(len(line.label) for line in (*voices, content))
    x, y = Axis(0, 1, 34, _SIZE[0] - room), Axis(0, 1, 244, 48)
    parts = [
        svg.text(f"From {found.voices[0]} to {found.voices[1]}", 0, 14, font_size=14, font_weight=600),
        svg.faint("mean probability that a voice is heard (95 % intervals); content: cosine", 0, 31),
        svg.levels(x, y),
        _weights(found.voices, x, y),
        _path(content, found.points, x, y, stroke_dasharray="5 4", stroke_opacity=_FAINT),
        *(_voice(line, found.points, x, y) for line in voices),
        _labels([*voices, content], x, y),
    ]
    return svg.picture(says(found), _SIZE, parts)


def _weights(voices: tuple[str, str], x: Axis, y: Axis) -> str:
    """Round weights below, whether or not a point lies there, and whose they are."""
    parts = []
    for tick in _TICKS:
        place = x.at(tick)
        parts.append(svg.line(place, y.start, place, y.start + 4, stroke_opacity=0.5))
        words = f"{1 - tick:g} : {tick:g}"
        parts.append(svg.faint(words, place, y.start + 18, text_anchor="middle"))
    words, middle = f"weights, {voices[0]} : {voices[1]}", (x.start + x.end) / 2
    return "".join([*parts, svg.faint(words, middle, y.start + 40, text_anchor="middle")])


def _voice(line: _Line, points: Sequence[Point], x: Axis, y: Axis) -> str:
    places = zip(points, line.scores, strict=True)
    marks = (_mark(line, point, score, x, y) for point, score in places)
    return _path(line, points, x, y, stroke_width=2) + "".join(marks)


def _path(line: _Line, points: Sequence[Point], x: Axis, y: Axis, **style: object) -> str:
    places = (_place(point, score, x, y) for point, score in zip(points, line.scores, strict=True))
    path = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
    look = {"fill": "none", "stroke": line.colour, "stroke_linejoin": "round"}
    return svg.tag("polyline", points=path, **look, **style)


def _mark(line: _Line, point: Point, score: Score, x: Axis, y: Axis) -> str:
    across, up = _place(point, score, x, y)
    bar = {"stroke": line.colour, "stroke_width": 5, "stroke_opacity": 0.28}
    box = {"x": across - 3.6, "y": up - 3.6, "width": 7.2, "height": 7.2, "rx": line.corner}
    return svg.group(
        f"{point.ratio}: {line.label} {score}, n = {score.n}",
        svg.line(across, y.at(score.low), across, y.at(score.high), **bar),
        svg.tag("rect", **box, fill=line.colour),
    )


def _place(point: Point, score: Score, x: Axis, y: Axis) -> Span:
    return x.at(point.weights[1]), y.at(score.value)


def _labels(lines: Sequence[_Line], x: Axis, y: Axis) -> str:
    heights = svg.spread([(x.end, y.at(line.scores[-1].value)) for line in lines], gap=15)
    parts = []
    for line, height in zip(lines, heights, strict=True):
        look = {"opacity": 0.75} if line.label == _CONTENT else {"font_weight": 600}
        parts.append(svg.text(line.label, x.end + 12, height + 4, fill=line.colour, **look))
    return "".join(parts)
