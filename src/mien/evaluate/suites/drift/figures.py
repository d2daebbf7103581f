"""The pictures of the drift suite: score by turn, conversations that last, and probes early and late."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mien.evaluate.figure import Figure
from mien.evaluate.suites.drift.course import Course, Detail
from mien.evaluate.suites.drift.users import Manner
from mien.page import svg
from mien.page.svg import Axis

_SIZE = (320.0, 196.0)
_TOP, _BOTTOM, _LEFT, _RIGHT = 12.0, 166.0, 34.0, 244.0
_ROW = 26.0
Spot = tuple[float, float]

_USERS: dict[Manner, str] = {"neutral": "an easy user", "pulled": "a user who pulls the other way"}
_TRACKS: dict[Manner, tuple[float, str]] = {"neutral": (-4, "none"), "pulled": (5, "2 3")}
_SCORES = (
    "Mean probability of the intended voice at each turn, with the 95 % interval of the judged subject"
    " over conversations. A persona that holds stays level."
)
_LASTING = (
    "Share of the conversations that have not broken (Kaplan-Meier), with the 95 % band of the judged"
    " subject. A conversation breaks at the first of two turns running that are not in the voice."
)
_PROBES = (
    "The same question before the conversation (ring) and at its end (dot), asked of a copy that is"
    " thrown away. Per subject: the easy user above, the one who pulls below, dotted."
)


@dataclass(frozen=True)
class _Curve:
    """One subject in one picture: its line, and the band around it."""

    name: str
    colour: str
    line: Sequence[Spot]
    band: Sequence[Spot]
    says: str


def draw(details: Mapping[str, Detail], paint: Mapping[str, str]) -> list[Figure]:
    """All pictures; none without any detail.

    Args:
        details: By subject, the judged one last.
        paint: The colour of each subject.
    """
    if not details:
        return []
    figures = []
    for title, about, curve in (
        ("Voice by turn", _SCORES, _scores),
        ("Conversations that hold", _LASTING, _lasting),
    ):
        for manner, words in _USERS.items():
            whole = f"{title}, {words}"
            figures.append(Figure(whole, _plot(whole, details, paint, manner, curve), about))
    if all(detail.probed for detail in details.values()):
        figures.append(Figure("Probes, before and after", _probes(details, paint), _PROBES))
    return figures


def _plot(
    title: str,
    details: Mapping[str, Detail],
    paint: Mapping[str, str],
    manner: Manner,
    curve: Callable[[str, str, Course, int], _Curve],
) -> str:
    turns = max(detail.turns for detail in details.values())
    x, y = Axis(0 if curve is _lasting else 1, turns, _LEFT, _RIGHT), Axis(0, 1, _BOTTOM, _TOP)
    curves = [
        curve(name, paint.get(name, "currentColor"), detail.users[manner], detail.turns)
        for name, detail in details.items()
    ]
    heights = apart([y.at(each.line[-1][1]) for each in curves], 13, _TOP, _BOTTOM)
    parts = [_frame(x, y), _band(curves[-1], x, y)]
    parts += [_line(*each, x, y) for each in zip(curves, heights, strict=True)]
    return svg.picture(f"{title}. {'; '.join(each.says for each in curves)}.", _SIZE, parts)


def _scores(name: str, colour: str, course: Course, turns: int) -> _Curve:
    places = range(1, turns + 1)
    line = [(turn, point[0]) for turn, point in zip(places, course.score, strict=True)]
    low = [(turn, point[1]) for turn, point in zip(places, course.score, strict=True)]
    high = [(turn, point[2]) for turn, point in zip(places, course.score, strict=True)]
    says = f"{name}: {_percent(line[0][1])} at turn 1, {_percent(line[-1][1])} at turn {turns}"
    return _Curve(name, colour, line, [*low, *reversed(high)], says)


def _lasting(name: str, colour: str, course: Course, turns: int) -> _Curve:
    line = _stairs([(turn, share) for turn, share, _, _ in course.steps], turns)
    low = _stairs([(turn, low) for turn, _, low, _ in course.steps], turns)
    high = _stairs([(turn, high) for turn, _, _, high in course.steps], turns)
    says = f"{name}: {course.broken} of {course.conversations} broke"
    return _Curve(name, colour, line, [*low, *reversed(high)], says)


def _stairs(falls: Sequence[Spot], end: float) -> list[Spot]:
    """The corners of a curve that starts at 1 and falls where it is told to."""
    corners, level = [(0.0, 1.0)], 1.0
    for turn, share in falls:
        corners += [(turn, level), (turn, share)]
        level = share
    return [*corners, (end, level)]


def apart(heights: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Heights of labels, moved until all can be read, in the order they have.

    Args:
        heights: Where they would be.
        gap: The least distance between two.
        top: Where the first may be at the least; given up where there are too many.
        bottom: Where the last may be at the most.
    """
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    places = [max(top, height) for height in heights]
    for above, here in pairwise(order):
        places[here] = max(places[here], places[above] + gap)
    limit = bottom
    for here in reversed(order):
        places[here] = min(places[here], limit)
        limit = places[here] - gap
    return places


def _frame(x: Axis, y: Axis) -> str:
    """Levels in per cent, and the turns below."""
    parts = [svg.faint("turn", _RIGHT + 12, _BOTTOM + 17)]
    for level in (0.0, 0.5, 1.0):
        parts.append(svg.line(_LEFT, y.at(level), _RIGHT, y.at(level), stroke_opacity=0.14))
        parts.append(svg.faint(_percent(level), _LEFT - 5, y.at(level) + 4, text_anchor="end"))
    whole = dict.fromkeys([int(x.low), *(int(t) for t in x.ticks(5) if t == int(t) > 0), int(x.high)])
    shown = [turn for turn in whole if turn == x.high or x.at(x.high) - x.at(turn) > 16]
    parts += [svg.faint(str(t), x.at(t), _BOTTOM + 17, text_anchor="middle") for t in shown]
    return "".join(parts)


def _band(each: _Curve, x: Axis, y: Axis) -> str:
    fill = {"fill": each.colour, "fill_opacity": 0.12}
    return svg.tag("polygon", points=_points(each.band, x, y), **fill)


def _line(each: _Curve, height: float, x: Axis, y: Axis) -> str:
    stroke = {"fill": "none", "stroke": each.colour, "stroke_width": 2, "stroke_linejoin": "round"}
    shape = svg.tag("polyline", points=_points(each.line, x, y), **stroke)
    label = svg.text(svg.clip(each.name, 10), _RIGHT + 16, height + 4)
    mark = svg.tag("circle", cx=_RIGHT + 9, cy=height, r=3.5, fill=each.colour)
    return svg.group(each.says, shape, mark, label)


def _points(line: Iterable[Spot], x: Axis, y: Axis) -> str:
    return " ".join(f"{x.at(turn):.1f},{y.at(share):.1f}" for turn, share in line)


def _probes(details: Mapping[str, Detail], paint: Mapping[str, str]) -> str:
    axis, bottom = Axis(0, 1, 86, 300), 8 + _ROW * len(details)
    rows = [
        _probe_row(name, detail, 20 + _ROW * place, axis, paint.get(name, "currentColor"))
        for place, (name, detail) in enumerate(details.items())
    ]
    words = "; ".join(_probe_words(name, detail) for name, detail in details.items())
    title = f"Voice in answers to the probe, before the conversation and at its end. {words}."
    parts = [svg.scale_below(axis, _percent, bottom), *rows]
    return svg.picture(title, (_SIZE[0], bottom + 22), parts)


def _probe_row(name: str, detail: Detail, y: float, axis: Axis, colour: str) -> str:
    parts = [svg.text(svg.clip(name), 0, y + 4)]
    for manner, (below, dash) in _TRACKS.items():
        course, at = detail.users[manner], y + below
        start, end = (axis.at(course.probes[place][0]) for place in (0, -1))
        parts += [
            svg.line(start, at, end, at, stroke=colour, stroke_width=2, stroke_dasharray=dash),
            svg.tag("circle", cx=start, cy=at, r=3.5, fill="var(--paper)", stroke=colour),
            svg.tag("circle", cx=end, cy=at, r=4, fill=colour),
        ]
    return svg.group(_probe_words(name, detail), *parts)


def _probe_words(name: str, detail: Detail) -> str:
    told = [
        f"{_percent(course.probes[0][0])} to {_percent(course.probes[-1][0])} with {_USERS[manner]}"
        for manner, course in detail.users.items()
    ]
    return f"{name}: {', '.join(told)}"


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")
