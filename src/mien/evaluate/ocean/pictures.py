"""The Big Five in pictures: shifts from base, what the gate lets through, doses, and perhaps a radar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mien.evaluate.compare import Difference, Results
from mien.evaluate.figure import Figure
from mien.evaluate.ocean.dose import DOSES
from mien.evaluate.ocean.gate import Verdict
from mien.evaluate.ocean.items import TRAITS
from mien.evaluate.ocean.words import FORMATS, is_open, verdicts
from mien.evaluate.pages.words import called
from mien.page import svg
from mien.page.svg import Axis, number, span

_WIDTH = 320.0
_LETTERS = (
    "O, C, E, A and N are openness, conscientiousness, extraversion, agreeableness and neuroticism."
)
_CENTRE, _RIM = (160.0, 136.0), 112.0  # of the radar


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """Those for which there is something to draw."""
    subject = results.subjects[-1]
    drawn = (
        _shifts(results, paint),
        _gate(results, subject),
        _doses(results, subject),
        _radar(results, paint),
    )
    return [each for each in drawn if each]


def _shifts(results: Results, paint: Mapping[str, str]) -> Figure | None:
    rows = [
        (trait, found)
        for trait in TRAITS
        for subject in results.subjects
        if (found := results.difference(f"ocean/contrast/{trait}", subject, "base"))
    ]
    if not rows:
        return None
    axis = Axis(*_around_zero([end for _, d in rows for end in (d.low, d.high)]), 128, 270)
    parts, y, before = [], 0.0, ""
    for trait, found in rows:
        y += 30.0 if trait != before else 16.0
        parts += [svg.text(trait.capitalize(), 0, y + 4)] if trait != before else []
        parts.append(_shift(found, y, axis, paint))
        before = trait
    bottom = y + 14
    zero = svg.line(axis.at(0), 10, axis.at(0), bottom, stroke_opacity=0.5)
    scale = svg.scale_below(axis, number, bottom)
    words = "; ".join(f"{trait}, {d.ours}: {number(d.value)}" for trait, d in rows)
    legend, height = _legend(list(dict.fromkeys(d.ours for _, d in rows)), paint, bottom + 36)
    picture = svg.picture(f"Shift from base. {words}.", (_WIDTH, height), [scale, zero, *parts, legend])
    about = (
        "How much likelier than base each goes on the way of the trait's high pole, in nats per token,"
        " with 95 % intervals over items. No shift is at 0."
    )
    return Figure("Shift from base, by trait", picture, about)


def _around_zero(ends: Sequence[float]) -> tuple[float, float]:
    low, high = span([*ends, 0.0])
    return min(low, 0.0), max(high, 0.0)


def _shift(found: Difference, y: float, axis: Axis, paint: Mapping[str, str]) -> str:
    colour = paint.get(found.ours, "currentColor")
    thick = {"stroke": colour, "stroke_width": 3, "stroke_linecap": "round", "stroke_opacity": 0.55}
    return svg.group(
        f"{found.ours}: {number(found.value)} [{number(found.low)}, {number(found.high)}]",
        svg.line(axis.at(found.low), y, axis.at(found.high), y, **thick),
        svg.tag("circle", cx=axis.at(found.value), cy=y, r=4.5, fill=colour),
        svg.text(number(found.value), _WIDTH, y + 4, text_anchor="end", font_size=11),
    )


def _legend(names: Sequence[str], paint: Mapping[str, str], y: float) -> tuple[str, float]:
    """Names beside their colours, in rows of three; and where it ends."""
    parts = []
    for place, name in enumerate(names):
        x, row = 5 + place % 3 * 108.0, y + place // 3 * 18
        parts.append(svg.tag("circle", cx=x, cy=row - 4, r=4.5, fill=paint.get(name, "currentColor")))
        parts.append(svg.text(svg.clip(name), x + 10, row))
    return "".join(parts), y + (len(names) - 1) // 3 * 18 + 6


def _gate(results: Results, subject: str) -> Figure | None:
    found = verdicts(results, subject)
    if not found:
        return None
    parts = [
        svg.text(trait[0].upper(), 122 + 42.0 * column, 14, text_anchor="middle")
        for column, trait in enumerate(TRAITS)
    ]
    kinds = [kind for kind in FORMATS if any(each.format == kind for each in found)]
    for row, kind in enumerate(kinds):
        parts.append(svg.text(FORMATS[kind].capitalize(), 0, 44 + 36.0 * row))
        own = {each.trait: each for each in found if each.format == kind}
        parts += [_cell(own[trait], 102 + 42.0 * c, 22 + 36.0 * row) for c, trait in enumerate(TRAITS)]
    clear = sum(each.interpretable for each in found)
    title = f"The gate for {subject}: {clear} of {len(found)} scales may be read"
    picture = svg.picture(f"{title}.", (_WIDTH, 26 + 36.0 * len(kinds)), parts)
    about = (
        "Alpha of each scale on this model. Filled: all conditions hold. Empty: not interpretable; point"
        f" at it to see why. A dash was not measured. {_LETTERS}"
    )
    return Figure(title, picture, about)


def _cell(verdict: Verdict, x: float, y: float) -> str:
    alpha = next((check.value for check in verdict.checks if check.name == "alpha"), None)
    shape = {"x": x, "y": y, "width": 40, "height": 34, "rx": 3, "stroke": "currentColor"}
    fill = {"fill": "var(--heat)", "fill_opacity": 0.5} if verdict.interpretable else {"fill": "none"}
    why = "may be read" if verdict.interpretable else "; ".join(verdict.reasons)
    return svg.group(
        f"{verdict.trait}: {why}",
        svg.tag("rect", **shape, **fill, stroke_opacity=0.3),
        svg.text(
            "\N{EN DASH}" if alpha is None else number(alpha), x + 20, y + 21, text_anchor="middle"
        ),
    )


def _doses(results: Results, subject: str) -> Figure | None:
    found = results.finding("ocean", subject)
    detail = found.detail if found else {}
    curves: dict[str, list[float]] = detail.get("doses", {})
    if not curves:
        return None
    x = Axis(DOSES[0], DOSES[-1], 40, 196)
    y = Axis(*_around_zero([each for curve in curves.values() for each in curve]), 190, 14)
    ends = _apart([y.at(curve[-1]) for curve in curves.values()])
    parts = [_grid(x, y)]
    for place, (trait, curve) in enumerate(curves.items()):
        colour = f"var(--system-{2 + place})"
        points = " ".join(f"{x.at(d):.1f},{y.at(v):.1f}" for d, v in zip(DOSES, curve, strict=True))
        parts.append(svg.tag("polyline", points=points, fill="none", stroke=colour, stroke_width=2.5))
        parts.append(svg.tag("circle", cx=206, cy=ends[place], r=4.5, fill=colour))
        parts.append(svg.text(trait.capitalize(), 214, ends[place] + 4))
    words = "; ".join(f"{trait} ends at {number(curve[-1])}" for trait, curve in curves.items())
    picture = svg.picture(f"Traits by scale of the adapter. {words}.", (_WIDTH, 226), parts)
    about = (
        "A line for each trait: its shift in nats per token, by how much of the adapter is in force."
        f" 0 is {called(detail.get('undosed', 'base'))}, 1 the adapter as it is asked everywhere else."
    )
    return Figure(f"More of {subject}, more of what?", picture, about)


def _grid(x: Axis, y: Axis) -> str:
    parts = [svg.faint("scale of the adapter", (x.start + x.end) / 2, 222, text_anchor="middle")]
    for tick in y.ticks():
        parts.append(
            svg.line(x.start, y.at(tick), x.end, y.at(tick), stroke_opacity=0.4 if tick == 0 else 0.14)
        )
        parts.append(svg.faint(svg.trim(number(tick)), 34, y.at(tick) + 4, text_anchor="end"))
    parts += [svg.faint(f"{tick:g}", x.at(tick), 206, text_anchor="middle") for tick in x.ticks(3)]
    return "".join(parts)


def _apart(places: Sequence[float], gap: float = 15.0) -> list[float]:
    """Label heights moved down until each can be read, and the whole centred again."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved, last = list(places), -math.inf
    for i in order:
        moved[i] = last = max(places[i], last + gap)
    shift = sum(moved) / len(moved) - sum(places) / len(places)
    return [each - shift for each in moved]


def _radar(results: Results, paint: Mapping[str, str]) -> Figure | None:
    """Shifts from base of those on whom, as on base, the gate is open for every trait."""
    if not is_open(results, "base", "contrast"):
        return None
    shapes: dict[str, list[float]] = {}
    for subject in results.subjects:
        found = [results.difference(f"ocean/contrast/{trait}", subject, "base") for trait in TRAITS]
        if is_open(results, subject, "contrast") and all(found):
            shapes[subject] = [each.value for each in found if each]
    if not shapes:
        return None
    reach = max(abs(value) for shape in shapes.values() for value in shape) or 1.0
    legend, height = _legend(list(shapes), paint, 268)
    drawn = [_shape(n, [v / reach for v in s], paint, n == [*shapes][-1]) for n, s in shapes.items()]
    parts = [*drawn, _rings(), legend]
    words = "; ".join(f"{name}: {', '.join(map(number, shape))}" for name, shape in shapes.items())
    picture = svg.picture(f"Shift from base. {', '.join(TRAITS)}. {words}.", (_WIDTH, height), parts)
    about = (
        f"The broken ring is base, the outer one {number(reach)} nats per token more, the centre as much"
        f" less. {_LETTERS}"
    )
    return Figure("Big Five signature", picture, about)


def _at(place: int, reach: float) -> tuple[float, float]:
    """Where a shift from -1 (the centre) to 1 (the rim) lies on a trait's ray."""
    angle, radius = 2 * math.pi * place / len(TRAITS), _RIM * (1 + reach) / 2
    return _CENTRE[0] + radius * math.sin(angle), _CENTRE[1] - radius * math.cos(angle)


def _rings() -> str:
    parts = [
        svg.tag(
            "polygon", points=_points([at] * len(TRAITS)), fill="none", stroke="currentColor", **style
        )
        for at, style in (
            (0, {"stroke_dasharray": "3 3", "stroke_opacity": 0.7}),
            (1, {"stroke_opacity": 0.25}),
        )
    ]
    for place, trait in enumerate(TRAITS):
        x, y = _at(place, 1.2)
        parts.append(svg.text(trait[0].upper(), x, y + 4, text_anchor="middle", font_weight=600))
    return "".join(parts)


def _shape(name: str, shape: Sequence[float], paint: Mapping[str, str], last: bool) -> str:
    """One subject's outline; only the last one's, whom the report is about, is filled."""
    colour = paint.get(name, "currentColor")
    style = {"fill": colour, "fill_opacity": 0.18 * last, "stroke": colour, "stroke_width": 2.5}
    return svg.group(name, svg.tag("polygon", points=_points(shape), **style))


def _points(shape: Sequence[float]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in (_at(i, each) for i, each in enumerate(shape)))
