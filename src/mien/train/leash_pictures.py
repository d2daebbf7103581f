"""Pictures of runs on preferences: how far they went and for what, and the course of their training.

A run has one colour and, where there are several, one letter, so that no reader depends on colours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mien.page import svg
from mien.page.svg import Axis, Span

PAINTS = tuple(f"var(--system-{number})" for number in (2, 1, 4, 3, 6, 5))
_HALO = {"paint_order": "stroke", "stroke": "var(--paper)", "stroke_width": 3.5}
_ROUND = (1, 2, 3, 5)  # what a value on the scale of distances begins with


class Point(NamedTuple):
    """One look at a run, as a place in a picture.

    Attributes:
        kl: Nats a reply from the reference.
        value: What is drawn upwards.
        ends: Its interval, if it has one.
        words: Said when it is pointed at.
        kept: Whether this is the checkpoint that was kept.
    """

    kl: float
    value: float
    ends: Span | None
    words: str
    kept: bool


class Trail(NamedTuple):
    """The looks at one run, in the order of its steps; `label` stands at its end."""

    label: str
    colour: str
    points: Sequence[Point]


def trails(title: str, found: Sequence[Trail], *, furthest: float, budget: float | None = None) -> str:
    """A score against the root of the KL divergence: a line per run, its start and what is kept marked.

    The scale of distances is a root's, and says nats: over-optimisation is a curve in d = sqrt(KL)
    (Gao et al., 2210.10760).

    Args:
        title: What is seen, in words.
        found: The runs.
        furthest: The largest KL of the scale, the same for all pictures that are side by side.
        budget: The KL at which these runs are stopped, if it is the same for all.
    """
    points = [point for trail in found for point in trail.points]
    x = Axis(0, 1.04 * math.sqrt(max(furthest, 0.01)), 42, 362)
    y = Axis(*svg.span(end for each in points for end in (each.value, *(each.ends or ()))), 240, 18)
    parts = [svg.levels(x, y), _distances(x, y), *(_trail(each, x, y) for each in found)]
    if budget and math.sqrt(budget) <= x.high:
        parts.insert(0, _budget(x.at(math.sqrt(budget)), y))
    lasts = [(each.label, each.colour, _place(each.points[-1], x, y)) for each in found]
    return svg.picture(title, (380, 290), [*parts, _labels(lasts)])


class Track(NamedTuple):
    """One measure of one run over its steps.

    Attributes:
        label: Stands at its end.
        points: (step, value) in training.
        held: The same on held-out data, drawn as dots.
        dashed: Whether the line is, to be told from another one of this colour.
    """

    label: str
    colour: str
    points: Sequence[tuple[float, float]]
    held: Sequence[tuple[float, float]] = ()
    dashed: bool = False


def course(title: str, tracks: Sequence[Track], steps: float) -> str:
    """A measure over steps: running means, and of a run by itself the bare values too."""
    values = [value for each in tracks for _, value in (*each.points, *each.held)]
    alone = len({each.colour for each in tracks}) == 1
    room = 14 + 7.5 * max(len(each.label) for each in tracks)
    x, y = Axis(0, steps, 42, 330 - room), Axis(*svg.span(values), 140, 12)
    parts = [svg.levels(x, y), _steps(x, y), *(_track(each, x, y, bare=alone) for each in tracks)]
    lasts = [(each.label, each.colour, _last(each, x, y)) for each in tracks]
    return svg.picture(title, (330, 182), [*parts, _labels(lasts)])


def key(marks: Sequence[tuple[str, str]]) -> str:
    """One line that says which run is which: (mark, colour) of each."""
    parts, across = [], 0.0
    for mark, colour in marks:
        parts.append(svg.text(mark, across, 13, fill=colour, font_weight=600))
        across += 6.6 * len(mark) + 26
    return svg.picture("Which run is which", (760, 18), parts)


def running_mean(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each value as the mean of a tenth of all values around it; fewer at both ends."""
    half = len(points) // 20
    found = []
    for place, (step, _) in enumerate(points):
        near = points[max(0, place - half) : place + half + 1]
        found.append((step, sum(value for _, value in near) / len(near)))
    return found


def _distances(x: Axis, y: Axis) -> str:
    """Round divergences below, as far apart as they can be read."""
    parts, before = [], -math.inf
    for kl in _round_values(x.high**2):
        place = x.at(math.sqrt(kl))
        if place - before >= 36:
            parts.append(svg.line(place, y.start, place, y.start + 4, stroke_opacity=0.5))
            parts.append(svg.faint(f"{kl:g}", place, y.start + 17, text_anchor="middle"))
            before = place
    words = "KL from the reference, nats a reply (root scale)"
    middle = (x.start + x.end) / 2
    return "".join([*parts, svg.faint(words, middle, y.start + 38, text_anchor="middle")])


def _round_values(most: float) -> list[float]:
    powers = range(math.floor(math.log10(most)) - 3, math.floor(math.log10(most)) + 1)
    found = [first * 10.0**power for power in powers for first in _ROUND]
    return [0.0, *(value for value in found if value <= most)]


def _budget(place: float, y: Axis) -> str:
    return svg.line(place, y.end - 6, place, y.start, stroke_dasharray="2 4", stroke_opacity=0.6) + (
        svg.faint("budget", place - 4, y.end, text_anchor="end")
    )


def _place(point: Point, x: Axis, y: Axis) -> Span:
    return x.at(math.sqrt(max(0.0, point.kl))), y.at(point.value)


def _trail(trail: Trail, x: Axis, y: Axis) -> str:
    places = [_place(point, x, y) for point in trail.points]
    path = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
    line = {"stroke": trail.colour, "stroke_width": 1.75, "stroke_linejoin": "round", "fill": "none"}
    marks = [
        _mark(point, place, trail.colour, y, first=number == 0)
        for number, (point, place) in enumerate(zip(trail.points, places, strict=True))
    ]
    return svg.tag("polyline", points=path, **line) + "".join(marks)


def _mark(point: Point, place: Span, colour: str, y: Axis, *, first: bool) -> str:
    """A dot, or a square at the start; with a ring if it is kept, and a line that is its interval."""
    across, up = place
    parts = []
    if point.ends:
        low, high = (y.at(end) for end in point.ends)
        parts.append(
            svg.line(across, low, across, high, stroke=colour, stroke_width=5, stroke_opacity=0.16)
        )
    if first:
        shape = {"x": across - 4, "y": up - 4, "width": 8, "height": 8}
        parts.append(svg.tag("rect", **shape, fill="var(--paper)", stroke=colour, stroke_width=1.75))
    else:
        parts.append(svg.tag("circle", cx=across, cy=up, r=3.2, fill=colour))
    if point.kept:
        ring = {"fill": "none", "stroke": colour, "stroke_width": 2}
        parts.append(svg.tag("circle", cx=across, cy=up, r=8.5, **ring))
    return svg.group(point.words, *parts)


def _steps(x: Axis, y: Axis) -> str:
    whole = [tick for tick in x.ticks() if tick == int(tick)]
    texts = [svg.faint(f"{tick:g}", x.at(tick), y.start + 17, text_anchor="middle") for tick in whole]
    words = svg.faint("step", (x.start + x.end) / 2, y.start + 35, text_anchor="middle")
    return "".join([*texts, words])


def _track(track: Track, x: Axis, y: Axis, *, bare: bool) -> str:
    dash = {"stroke_dasharray": "4 3"} if track.dashed else {}
    parts = [_line(running_mean(track.points), track.colour, x, y, stroke_width=1.9, **dash)]
    if bare and running_mean(track.points) != [*track.points]:
        parts.insert(0, _line(track.points, track.colour, x, y, stroke_width=1, stroke_opacity=0.35))
    dot = {"r": 3.2, "fill": "var(--paper)", "stroke": track.colour, "stroke_width": 1.5}
    dots = [svg.tag("circle", cx=x.at(step), cy=y.at(value), **dot) for step, value in track.held]
    return "".join([*parts, *dots])


def _line(points: Iterable[tuple[float, float]], colour: str, x: Axis, y: Axis, **style: object) -> str:
    path = " ".join(f"{x.at(step):.1f},{y.at(value):.1f}" for step, value in points)
    return svg.tag("polyline", points=path, fill="none", stroke=colour, stroke_linejoin="round", **style)


def _last(track: Track, x: Axis, y: Axis) -> Span:
    """Where its label stands: beside the end of the line, beyond all dots."""
    line = running_mean(track.points) or track.held
    return x.at(max(step for step, _ in (*line, *track.held))), y.at(line[-1][1])


def _labels(lasts: Sequence[tuple[str, str, Span]]) -> str:
    """The label of each line at its end, moved until all can be read."""
    heights = svg.spread([place for _, _, place in lasts])
    return "".join(
        svg.text(label, across + 12, height + 4, fill=colour, font_weight=600, **_HALO)
        for (label, colour, (across, _)), height in zip(lasts, heights, strict=True)
    )
