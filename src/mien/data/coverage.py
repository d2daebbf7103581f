"""What a set of dialogues covers of its plan, as a page: bars per level, matrices per pair of levels."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from mien import page as pages
from mien.data.cells import Coverage, PairCounts
from mien.data.plan import Plan
from mien.page import svg

_WIDTH = 320.0
_LEFT = 92.0  # of the bars and of the cells: room for names
_ROW, _CELL = 24.0, 26.0
_TALL = 66.0  # room for names that stand aslant above the columns


def page(plan: Plan, coverage: Coverage, title: str) -> str:
    """The page as HTML; it loads nothing and runs no script."""
    return pages.render(
        "mien.data",
        "coverage.html",
        title=title,
        c=coverage,
        plan=plan,
        even=_even(coverage),
        overview=Markup(overview(coverage)),
        bars={name: Markup(bars(name, coverage)) for name in coverage.counts},
        matrices=[(pair, Markup(matrix(pair, coverage))) for pair in _emptiest(coverage)],
        empty_in=_empty_in,
    )


def _even(coverage: Coverage) -> bool:
    """Whether every level is within one of its share."""
    return all(
        abs(count - coverage.shares[name][level]) < 1
        for name, counts in coverage.counts.items()
        for level, count in counts.items()
    )


def _empty_in(pair: PairCounts) -> int:
    return sum(count == 0 for row in pair.counts for count in row)


def _emptiest(coverage: Coverage) -> Sequence[PairCounts]:
    return sorted(coverage.pairs, key=_empty_in, reverse=True)


def bars(name: str, coverage: Coverage) -> str:
    """A dimension: a bar per level, and a tick at its exact share."""
    counts, shares = coverage.counts[name], coverage.shares[name]
    axis = svg.Axis(0, max(1.0, *counts.values(), *shares.values()), _LEFT, _WIDTH - 34)
    rows = [
        _bar(level, count, shares[level], axis, _ROW * place)
        for place, (level, count) in enumerate(counts.items())
    ]
    words = "; ".join(f"{level}: {count} of {shares[level]:.1f}" for level, count in counts.items())
    return svg.picture(f"{name}. {words}.", (_WIDTH, _ROW * len(counts) + 4), rows)


def _bar(level: str, count: int, share: float, axis: svg.Axis, y: float) -> str:
    tick = axis.at(share)
    shape = {"x": _LEFT, "y": y + 5, "width": max(0.5, axis.at(count) - _LEFT), "height": 14, "rx": 2}
    return svg.group(
        f"{level}: {count}, exact share {share:.1f}",
        svg.text(svg.clip(level, 14), 0, y + 16),
        svg.tag("rect", **shape, fill="var(--heat)", fill_opacity=0.55),
        svg.line(tick, y + 2, tick, y + 22, stroke_width=1.5),
        svg.text(str(count), _WIDTH, y + 16, text_anchor="end", font_weight=600),
    )


def matrix(pair: PairCounts, coverage: Coverage) -> str:
    """Two dimensions, the one with more levels down the side: dialogues per pair of levels."""
    down, across = pair.first, pair.second
    counts: Sequence[Sequence[int | None]] = pair.counts
    if len(coverage.counts[down]) < len(coverage.counts[across]):
        down, across, counts = across, down, list(zip(*counts, strict=True))
    rows, columns = list(coverage.counts[down]), list(coverage.counts[across])
    most = max((count or 0 for row in counts for count in row), default=0)
    parts = _heads(columns, _TALL - 8)
    for place, (level, row) in enumerate(zip(rows, counts, strict=True)):
        y = _TALL + _ROW * place
        parts.append(svg.text(svg.clip(level, 14), 0, y + 16))
        for column, count in enumerate(row):
            parts.append(_cell(f"{level}, {columns[column]}", count, most, _x(column), y))
    size = (max(_WIDTH, _x(len(columns)) + 44), _TALL + _ROW * len(rows) + 2)
    return svg.picture(f"{down} by {across}: {_empty_in(pair)} empty.", size, parts)


def _x(column: int) -> float:
    return _LEFT + _CELL * column


def _heads(names: Sequence[str], y: float) -> list[str]:
    places = [(svg.clip(name), _x(column) + _CELL / 2 + 3) for column, name in enumerate(names)]
    return [svg.text(name, x, y, transform=f"rotate(-45 {x:g} {y:g})") for name, x in places]


def _cell(words: str, count: int | None, most: int, x: float, y: float) -> str:
    shape = {"x": x + 1, "y": y + 1, "width": _CELL - 2, "height": _ROW - 2, "rx": 3}
    middle = {"text_anchor": "middle", "font_size": 11}
    if count is None:
        words = f"{words}: never, the plan forbids it"
        return svg.group(words, svg.faint("\N{EN DASH}", x + _CELL / 2, y + 16, text_anchor="middle"))
    empty = {"fill": "none", "stroke": "var(--failed)", "stroke_dasharray": "3 2"}
    heat = {"fill": "var(--heat)", "fill_opacity": 0.08 + 0.5 * count / max(1, most)}
    box = svg.tag("rect", **shape, **(heat if count else empty))
    return svg.group(f"{words}: {count}", box, svg.text(str(count), x + _CELL / 2, y + 16, **middle))


def overview(coverage: Coverage) -> str:
    """All dimensions against each other: how many pairs of their levels no dialogue has."""
    names = list(coverage.counts)
    empty = {(pair.first, pair.second): pair for pair in coverage.pairs}
    parts = _heads(names[:-1], _TALL - 8)
    for row, name in enumerate(names[1:]):
        y = _TALL + _ROW * row
        parts.append(svg.text(svg.clip(name, 14), 0, y + 16))
        for column, other in enumerate(names[: row + 1]):
            parts.append(_gap(empty[other, name], _x(column), y))
    size = (_x(len(names)) + 44, _TALL + _ROW * len(names))
    return svg.picture(f"{len(coverage.empty)} of {coverage.allowed} pairs are empty.", size, parts)


def _gap(pair: PairCounts, x: float, y: float) -> str:
    gaps = _empty_in(pair)
    allowed = sum(count is not None for row in pair.counts for count in row)
    shape = {"x": x + 1, "y": y + 1, "width": _CELL - 2, "height": _ROW - 2, "rx": 3}
    colour, opacity = ("var(--failed)", 0.1 + 0.5 * gaps / allowed) if gaps else ("var(--good)", 0.12)
    figure = svg.text(str(gaps), x + _CELL / 2, y + 16, text_anchor="middle", font_size=11)
    words = f"{pair.first} by {pair.second}: {gaps} of {allowed} pairs are empty"
    return svg.group(words, svg.tag("rect", **shape, fill=colour, fill_opacity=opacity), figure)
