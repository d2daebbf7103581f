"""The report on a data set as a page: the verdict, the checks, the worst rows, and how long texts are.

What is quoted comes from the data set and is untrusted; the template escapes it.
"""

from __future__ import annotations

import math

from markupsafe import Markup

from mien import page
from mien.data.check import Lengths, Report
from mien.page import svg

_WIDTH, _HEIGHT = 320.0, 150.0
_GRADES = {"error": "failed", "warning": "partial"}


def render(report: Report) -> str:
    """The report as one HTML page that loads nothing from anywhere."""
    grade = next((_GRADES[each] for each in ("error", "warning") if report.flagged(each)), "good")
    return page.render(
        "mien.data",
        "check.html",
        report=report,
        grade=grade if report.rows else "failed",
        flagged=[each for each in report.results if each.flagged],
        clean=[each for each in report.results if not each.flagged],
        shown=lambda lengths: Markup(histogram(lengths)),
    )


def histogram(lengths: Lengths) -> str:
    """How many texts are how long: bars over a logarithmic scale of words."""
    starts = [start for start, _ in lengths.bars]
    x = svg.Axis(math.log(starts[0]), math.log(max(starts[-1], starts[0] + 1)), 4, _WIDTH - 4)
    y = svg.Axis(0, max(n for _, n in lengths.bars), _HEIGHT - 20, 8)
    bars = [
        _bar(start, end, n, x, y)
        for (start, n), end in zip(lengths.bars, starts[1:], strict=False)
        if n and end > start
    ]
    ticks = [each for each in _TICKS if starts[0] <= each <= starts[-1]]
    words = [
        svg.faint(f"{each:,}", x.at(math.log(each)), _HEIGHT - 4, text_anchor="middle") for each in ticks
    ]
    title = f"{lengths.role}: {lengths.mean:.0f} words on average, {lengths.longest:,} at most"
    return svg.picture(title, (_WIDTH, _HEIGHT), [*bars, *words])


_TICKS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000)


def _bar(start: int, end: int, n: int, x: svg.Axis, y: svg.Axis) -> str:
    left, right = x.at(math.log(start)), x.at(math.log(end))
    shape = {"x": left, "y": y.at(n), "width": max(1.0, right - left - 1), "height": y.at(0) - y.at(n)}
    mark = svg.tag("rect", **shape, fill="var(--system-2)", fill_opacity=0.8)
    last = end - 1
    return svg.group(f"{start}{f' to {last}' if last > start else ''} words: {n:,} texts", mark)
