"""The pictures that several parts of a report draw.

A subject has one colour everywhere; authored replies are drawn in the colour of the text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mien.evaluate.compare import NULL
from mien.evaluate.evaluation import TrainingPoint
from mien.page import svg
from mien.page.svg import Axis, Show, Span, number, span
from mien.schema import Score

AUTHORED = "authored"
_ADAPTERS = (2, 3, 4, 6)  # places of the theme's colours
_VOICE_COLOURS = 8
_WIDTH = 320.0


def colours(subjects: Sequence[str]) -> dict[str, str]:
    """The colour of each subject, as a CSS value.

    Controls have theirs; the last subject, which a report is about, is painted alike in every report.
    """
    known = {
        "base": "var(--system-0)",
        "prompt": "var(--system-1)",
        NULL: "var(--system-5)",
        AUTHORED: "currentColor",
    }
    others = [name for name in dict.fromkeys([*subjects[-1:], *subjects]) if name not in known]
    return known | {
        name: f"var(--system-{_ADAPTERS[place % len(_ADAPTERS)]})" for place, name in enumerate(others)
    }


def voice_colours(voices: Sequence[str], intended: str) -> dict[str, str]:
    """The colour of each voice, as a CSS value: the intended voice has its persona's."""
    others = [voice for voice in voices if voice != intended]
    found = {name: f"var(--voice-{index % _VOICE_COLOURS})" for index, name in enumerate(others)}
    return found | {intended: "var(--system-2)"}


@dataclass(frozen=True)
class _Plot:
    """What all rows of one plot share."""

    axis: Axis
    paint: Mapping[str, str]
    show: Show


def dot_plot(
    title: str,
    scores: Sequence[Score],
    *,
    paint: Mapping[str, str],
    show: Show,
    within: Span | None = None,
) -> str:
    """A score over subjects: a dot per subject on a line that is its 95 % interval.

    Args:
        title: What is shown, in words; the values are appended to it.
        scores: One per subject.
        paint: The colour of each subject, from `colours`.
        show: Writes a value.
        within: The ends of the scale; by default they come from the intervals.
    """
    kept = [score for score in scores if math.isfinite(score.value)]
    low, high = within or span(end for each in kept for end in (each.value, each.low, each.high))
    plot = _Plot(Axis(low, high, 86, 264), paint, show)
    bottom = 6.0 + 28 * len(kept)
    rows = [_dot_row(each, 20.0 + 28 * row, plot) for row, each in enumerate(kept)]
    words = "; ".join(_in_words(each, show) for each in kept)
    parts = [svg.scale_below(plot.axis, plot.show, bottom), *rows]
    return svg.picture(f"{title}. {words}.", (_WIDTH, bottom + 22), parts)


def _in_words(score: Score, show: Show) -> str:
    interval = f"95 % interval {show(score.low)} to {show(score.high)}"
    return f"{score.system}: {show(score.value)}, {interval}, n = {score.n}"


def _dot_row(score: Score, y: float, plot: _Plot) -> str:
    colour = plot.paint.get(score.system, "currentColor")
    left, right = plot.axis.at(score.low), plot.axis.at(score.high)
    thick = {"stroke": colour, "stroke_width": 3, "stroke_linecap": "round", "stroke_opacity": 0.55}
    return svg.group(
        _in_words(score, plot.show),
        svg.text(svg.clip(score.system), 0, y + 4),
        svg.line(left, y, right, y, **thick),
        svg.tag("circle", cx=plot.axis.at(score.value), cy=y, r=5.5, fill=colour),
        svg.text(plot.show(score.value), _WIDTH, y + 4, text_anchor="end", font_weight=600),
    )


def band_plot(
    title: str,
    band: Span | None,
    rows: Mapping[str, Sequence[float]],
    *,
    paint: Mapping[str, str],
    show: Show = number,
) -> str:
    """A measure over subjects: 10-90 % line, 25-75 % box and median tick, before the target band.

    Args:
        title: What is shown, in words; medians and band are appended to it.
        band: The persona's target, shaded; None leaves the measure free.
        rows: Subject, or "authored", to 10, 25, 50, 75 and 90 per cent of its replies.
        paint: The colour of each subject, from `colours`.
        show: Writes a value.
    """
    ends = span([*(band or ()), *(each for row in rows.values() for each in row)])
    plot = _Plot(Axis(*ends, 86, 268), paint, show)
    bottom = 6.0 + 24 * len(rows)
    boxes = [_box_row(name, rows[name], 18.0 + 24 * row, plot) for row, name in enumerate(rows)]
    words = [f"{name}: median {show(each[2])}" for name, each in rows.items()]
    target = [f"target {show(band[0])} to {show(band[1])}"] if band else []
    shade = _shade(band, plot.axis, bottom) if band else ""
    parts = [shade, svg.scale_below(plot.axis, plot.show, bottom), *boxes]
    return svg.picture(f"{title}. {'; '.join([*target, *words])}.", (_WIDTH, bottom + 22), parts)


def _shade(band: Span, axis: Axis, bottom: float) -> str:
    left, right = axis.at(band[0]), axis.at(band[1])
    middle, width = (left + right) / 2, max(5.0, right - left)
    x = middle - width / 2
    shape = {"x": x, "y": 4, "width": width, "height": bottom - 4, "rx": 2}
    return svg.tag("rect", **shape, fill="var(--band)", stroke="var(--band-edge)")


def _box_row(name: str, row: Sequence[float], y: float, plot: _Plot) -> str:
    colour, show = plot.paint.get(name, "currentColor"), plot.show
    p10, p25, p50, p75, p90 = map(plot.axis.at, row)
    box = {"x": p25, "y": y - 5, "width": max(1.0, p75 - p25), "height": 10, "rx": 2}
    return svg.group(
        f"{name}: median {show(row[2])}, middle half {show(row[1])} to {show(row[3])},"
        f" 10 to 90 % {show(row[0])} to {show(row[4])}",
        svg.text(svg.clip(name), 0, y + 4),
        svg.line(p10, y, p90, y, stroke=colour, stroke_width=1.5),
        svg.tag("rect", **box, fill=colour, fill_opacity=0.45),
        svg.line(p50, y - 7, p50, y + 7, stroke=colour, stroke_width=3, stroke_linecap="round"),
        svg.text(show(row[2]), _WIDTH, y + 4, text_anchor="end", font_weight=600),
    )


_CURVES = (420.0, 250.0)


def curves(points: Sequence[TrainingPoint]) -> str:
    """Training and validation loss per step, with the best validation loss marked; "" without any."""
    training = _finite((point.step, point.loss) for point in points)
    validation = _finite((point.step, point.validation_loss) for point in points)
    lines = {"training": training, "validation": validation}
    kept = {name: line for name, line in lines.items() if line}
    return _draw_curves(kept) if kept else ""


def _finite(line: Iterable[tuple[int, float | None]]) -> list[tuple[int, float]]:
    return [(step, loss) for step, loss in line if loss is not None and math.isfinite(loss)]


def _draw_curves(lines: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    steps = [step for line in lines.values() for step, _ in line]
    x = Axis(min(0, *steps), max(steps), 38, 344)
    y = Axis(*span(loss for line in lines.values() for _, loss in line), 212, 22)
    best = min(lines.get("validation", []), key=lambda point: point[1], default=None)
    ends = _apart([y.at(line[-1][1]) for line in lines.values()])
    parts = [_frame(x, y)]
    parts += [_curve(name, lines[name], x, y, end) for name, end in zip(lines, ends, strict=True)]
    words = [f"{name} ends at {number(line[-1][1])}" for name, line in lines.items()]
    if best:
        parts.append(_best(best, x, y))
        words.append(f"best validation loss {number(best[1])} at step {best[0]}")
    return svg.picture(f"Loss per step. {'; '.join(words)}.", _CURVES, parts)


def _apart(ends: Sequence[float], gap: float = 14) -> list[float]:
    """Two label heights, moved apart until both can be read."""
    if len(ends) < 2 or abs(ends[0] - ends[1]) >= gap:
        return list(ends)
    middle, sign = sum(ends) / 2, 1 if ends[0] >= ends[1] else -1
    return [middle + sign * gap / 2, middle - sign * gap / 2]


def _frame(x: Axis, y: Axis) -> str:
    """Horizontal lines at round losses, and the steps below."""
    parts = [svg.faint("loss", 0, 12), svg.faint("step", x.end + 8, 230)]
    for tick in y.ticks():
        height = y.at(tick)
        parts.append(svg.line(x.start, height, x.end, height, stroke_opacity=0.14))
        parts.append(svg.faint(f"{tick:g}", 30, height + 4, text_anchor="end"))
    whole = (tick for tick in x.ticks() if tick == int(tick))
    parts += [svg.faint(f"{tick:g}", x.at(tick), 230, text_anchor="middle") for tick in whole]
    return "".join(parts)


def _curve(name: str, line: Sequence[tuple[int, float]], x: Axis, y: Axis, label: float) -> str:
    points = " ".join(f"{x.at(step):.1f},{y.at(loss):.1f}" for step, loss in line)
    main = name == "validation"
    colour, width = ("var(--system-2)", 2.5) if main else ("var(--system-0)", 1.25)
    path = {"fill": "none", "stroke": colour, "stroke_width": width, "stroke_linejoin": "round"}
    shape = svg.tag("polyline", points=points, **path)
    return shape + svg.text(name, x.end + 8, label + 4, font_weight=600 if main else 400)


def _best(best: tuple[int, float], x: Axis, y: Axis) -> str:
    at, height = x.at(best[0]), y.at(best[1])
    anchor = "start" if at < 120 else "end" if at > 260 else "middle"
    label = f"best {number(best[1])}, step {best[0]}"
    ring = {"fill": "var(--paper)", "stroke": "var(--system-2)", "stroke_width": 2.5}
    return "".join(
        [
            svg.line(at, y.end - 4, at, y.start, stroke_dasharray="2 3", stroke_opacity=0.5),
            svg.tag("circle", cx=at, cy=height, r=4.5, **ring),
            svg.text(label, at, 12, text_anchor=anchor, font_weight=600),
        ]
    )


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """True voices (rows) against verdicts (columns): counts, darker with their share of the row."""
    cell, left, top = 54.0, 78.0, 44.0
    size = (left + cell * len(labels), top + 36 * len(labels) + 2)
    parts = [svg.faint("heard as", left, 12)]
    parts += [svg.faint("true voice", 0, top - 10)]
    for column, label in enumerate(labels):
        x = left + cell * (column + 0.5)
        parts.append(svg.text(svg.clip(label, 8), x, top - 10, text_anchor="middle"))
    for index, (label, row) in enumerate(zip(labels, matrix, strict=True)):
        parts.append(svg.text(svg.clip(label, 11), 0, top + 36 * index + 22))
        parts += _confusion_row(label, row, labels, left, top + 36 * index)
    right = sum(row[index] for index, row in enumerate(matrix))
    words = f"{right} of {sum(map(sum, matrix))} authored replies were given to their true voice"
    return svg.picture(f"Confusion matrix of the voice classifier. {words}.", size, parts)


def _confusion_row(
    truth: str, row: Sequence[int], labels: Sequence[str], left: float, y: float
) -> list[str]:
    parts = []
    for column, (verdict, count) in enumerate(zip(labels, row, strict=True)):
        x, share = left + 54.0 * column, count / max(1, sum(row))
        shape = {"x": x + 1, "y": y, "width": 52, "height": 34, "rx": 3, "fill": "var(--heat)"}
        cell = svg.tag("rect", **shape, fill_opacity=0.05 + 0.5 * share)
        weight = {"font_weight": 600 if truth == verdict else 400, "opacity": 1 if count else 0.68}
        words = f"{truth} heard as {verdict}: {count} of {sum(row)}"
        figure = svg.text(str(count), x + 27, y + 22, text_anchor="middle", **weight)
        parts.append(svg.group(words, cell, figure))
    return parts


def stacked(rows: Mapping[str, Mapping[str, float]], *, intended: str, voices: Sequence[str]) -> str:
    """A bar per subject: the share of its replies that each voice gets, the intended voice first.

    Args:
        rows: Subject -> voice -> share, 0 to 1.
        intended: The voice that was meant.
        voices: All voices; the rest of the bar keeps their order.

    Its places are per cent of the width, so that letters keep their size on every screen.
    """
    order = sorted(voices, key=lambda voice: voice != intended)
    paint = {voice: voice_colours(voices, intended)[voice] for voice in order}
    bars = "".join(_bar(name, rows[name], 62.0 * index, paint) for index, name in enumerate(rows))
    words = "; ".join(f"{name}: {row.get(intended, 0):.0%} {intended}" for name, row in rows.items())
    body = svg.tag("title", svg.clean(f"Voices the classifier hears. {words}.")) + bars
    size = {"width": "100%", "height": 62 * len(rows), "font_size": 12}
    return svg.tag("svg", body, class_="picture wide", role="img", **size)


def _bar(subject: str, shares: Mapping[str, float], y: float, paint: Mapping[str, str]) -> str:
    parts, start = [svg.text(subject, 0, y + 13, font_weight=600)], 0.0
    for voice in (voice for voice in paint if shares.get(voice, 0) > 0):
        parts.append(_segment(subject, voice, (start, shares[voice]), y + 19, paint[voice]))
        start += shares[voice]
    return "".join(parts)


def _segment(subject: str, voice: str, extent: Span, y: float, colour: str) -> str:
    """One part of a bar; as an inner svg it cuts off a name that is too long for it."""
    start, share = extent
    meant = colour == "var(--system-2)"
    ink = "var(--on-system)" if meant else "currentColor"
    fill = svg.tag("rect", width="100%", height=36, fill=colour, stroke="var(--paper)", stroke_width=1.5)
    parts = [svg.tag("title", svg.clean(f"{subject}: {share:.1%} heard as {voice}")), fill]
    if share >= 0.09:
        parts.append(svg.text(f"{share:.0%}".replace("%", " %"), 7, 15, fill=ink, font_weight=600))
        parts.append(svg.text(voice, 7, 29, fill=ink))
    place = {"x": f"{start:.3%}", "y": y, "width": f"{share:.3%}", "height": 36}
    return svg.tag("svg", "".join(parts), **place)
