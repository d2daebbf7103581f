"""Inline SVG that follows the page's theme: scales, lines, words, and the frame of a picture.

No plotting library is used because its pictures carry their own colours: here every colour is a CSS
variable of the theme and every text is `currentColor`. Words that come from data are escaped here, so
that a picture may be put on a page as it is. Each picture says its content in words in its `<title>`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations

Show = Callable[[float], str]
Span = tuple[float, float]

_LABEL_LETTERS = 12


def number(value: float, largest: float | None = None) -> str:
    """A number with as many digits as its size deserves.

    Args:
        value: What is shown.
        largest: The size that decides on digits, so that neighbours get equally many.
    """
    if not math.isfinite(value):
        return "not finite"
    size = abs(value if largest is None else largest)
    digits = next((digits for bound, digits in ((100, 0), (10, 1)) if size >= bound), 2)
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The position of a value; values beyond the axis lie on its end."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, most: int = 4) -> list[float]:
        """At most `most` + 1 round values within the axis."""
        step = _round_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least)) if least > 0 else 1.0
    return next((power * each for each in (1, 2, 2.5, 5) if power * each >= least * 0.999), power * 10)


def span(values: Iterable[float]) -> Span:
    """A range that holds all finite values with some air, from zero if zero is near."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
    if 0 <= low < 0.3 * high or low == high == 0:
        return 0.0, high + air
    return low - air, high + air


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """An element. Attribute values are escaped here; `content` must be markup already."""
    names = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    written = {k: f"{v:.2f}" if isinstance(v, float) else str(v) for k, v in names.items()}
    pairs = "".join(f' {key}="{clean(value)}"' for key, value in written.items())
    return f"<{name}{pairs}>{content}</{name}>"


def clean(words: str) -> str:
    """Words made safe for SVG: escaped, and without the control characters that XML forbids."""
    return escape("".join(letter if letter.isprintable() else " " for letter in words))


def text(content: str, x: float | str, y: float, **attributes: object) -> str:
    """Words at a place, in the colour of the text unless `fill` says otherwise."""
    return tag("text", clean(content), **({"x": x, "y": y, "fill": "currentColor"} | attributes))


def faint(content: str, x: float, y: float, **attributes: object) -> str:
    """Small, faint words: what a scale says."""
    return text(content, x, y, font_size=11, opacity=0.75, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """A line between two places."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, **({"stroke": "currentColor"} | attributes))


def group(title: str, *parts: str) -> str:
    """Parts that say `title` when they are pointed at."""
    return tag("g", tag("title", clean(title)) + "".join(parts))


def picture(title: str, size: tuple[float, float], parts: Iterable[str]) -> str:
    """A whole picture, as wide as its place on the page allows.

    Args:
        title: What is seen, in words; said by screen readers and when it is pointed at.
        size: Width and height, in the units of `parts`.
        parts: Markup.
    """
    body = tag("title", clean(title)) + "".join(parts)
    box = f"0 0 {size[0]:g} {size[1]:g}"
    return tag("svg", body, class_="picture", role="img", viewBox=box, font_size=12)


def clip(label: str, letters: int = _LABEL_LETTERS) -> str:
    """A label short enough for its place."""
    return label if len(label) <= letters else label[: letters - 1] + "…"


def trim(figure: str) -> str:
    """A number without the zeros at its end that say nothing on a scale."""
    return figure.rstrip("0").rstrip(".") if "." in figure else figure


def scale_below(axis: Axis, show: Show, bottom: float) -> str:
    """Faint vertical lines at round values of a horizontal axis, with the values below them."""
    places = [(axis.at(tick), show(tick)) for tick in axis.ticks()]
    lines = [line(x, 4, x, bottom, stroke_opacity=0.14) for x, _ in places]
    texts = [faint(trim(words), x, bottom + 15, text_anchor="middle") for x, words in places]
    return "".join(lines + texts)


def levels(x: Axis, y: Axis) -> str:
    """Faint horizontal lines at round values of a vertical axis, with the values before them."""
    parts = []
    for tick in y.ticks(5):
        height, words = y.at(tick), f"{tick:g}".replace("-", "\N{MINUS SIGN}")
        parts.append(line(x.start, height, x.end, height, stroke_opacity=0.14))
        parts.append(faint(words, x.start - 7, height + 4, text_anchor="end"))
    return "".join(parts)


def spread(places: Sequence[Span], gap: float = 13, width: float = 16) -> list[float]:
    """Heights of labels, moved apart where two that are side by side would overlap."""
    heights = [height for _, height in places]
    order = sorted(range(len(places)), key=heights.__getitem__)
    near = [
        (upper, lower)
        for upper, lower in combinations(order, 2)
        if abs(places[upper][0] - places[lower][0]) < width
    ]
    for _ in range(50):
        for upper, lower in near:
            lack = max(0.0, gap - (heights[lower] - heights[upper]))
            heights[upper] -= lack / 2
            heights[lower] += lack / 2
    return heights
