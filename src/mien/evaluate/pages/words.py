"""What measures say to people: their labels, their values as text, and the order they are told in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from mien.evaluate.compare import CONTROLS, Difference, Results
from mien.evaluate.finding import Meaning
from mien.page.svg import number
from mien.schema import Score

PERCENT = "\N{NO-BREAK SPACE}%"
SHARE = Meaning("", share=True)
_INLINE = 3  # parts of a measure that are told beneath it; more are folded away


def direction(meaning: Meaning) -> str:
    """Which way is better, in words; "" if neither is known to be."""
    return {1: "higher is better", -1: "lower is better", 0: ""}[meaning.better]


def show(meaning: Meaning, value: float, largest: float | None = None, *, unit: bool = True) -> str:
    """A value as text: shares in per cent, with digits that suit the largest neighbour."""
    if not meaning.share or not math.isfinite(value):
        return number(value, largest)
    size = abs(value if largest is None else largest)
    digits = 0 if size >= 0.1 or size == 0 else 1
    text = f"{round(100 * value, digits) + 0.0:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") + (PERCENT if unit else "")


def ends(meaning: Meaning, score: Score | Difference, largest: float | None = None) -> str:
    """An interval as text, as in `79 to 87 %`."""
    low = show(meaning, score.low, largest, unit=False)
    return f"{low} to {show(meaning, score.high, largest)}"


def estimate(meaning: Meaning, score: Score | Difference, largest: float | None = None) -> str:
    """A value with its interval as text, as in `83 % (79 to 87 %)`, all with as many digits."""
    most = max(abs(score.low), abs(score.high)) if largest is None else largest
    return f"{show(meaning, score.value, most)} ({ends(meaning, score, most)})"


def share(score: Score | Difference, largest: float | None = None) -> str:
    """A share of 1 with its interval as text."""
    return estimate(SHARE, score, largest)


def points(found: Score | Difference) -> str:
    """A difference of shares as text, as in `+6 points (-22 to 30)`."""
    most = max(abs(found.low), abs(found.high))
    value, low, high = (
        show(SHARE, each, most, unit=False) for each in (found.value, found.low, found.high)
    )
    return f"{signed(value)} points ({low} to {high})"


def beside(results: Results, name: str, largest: float | None = None) -> str:
    """What the controls have of a share, as in `, against 9 % from the untouched base model`."""
    found = (results.score(name, each) for each in CONTROLS if each != results.subjects[-1])
    told = [f"{show(SHARE, each.value, largest)} from {called(each.system)}" for each in found if each]
    return f", against {listed(told)}" if told else ""


def signed(text: str) -> str:
    """A difference as text, with its sign."""
    return text if text.startswith("\N{MINUS SIGN}") or not text.strip("0.") else f"+{text}"


def listed(parts: Sequence[str]) -> str:
    """Words in a row, as in `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def called(subject: str, adapters: Iterable[str] = ()) -> str:
    """A subject as a sentence names it."""
    controls = {
        "base": "the untouched base model",
        "prompt": "the system prompt alone",
        "null": "the null adapter",
    }
    return controls.get(subject, f"the {subject} adapter" if subject in adapters else subject)


def quantity(name: str) -> str:
    """The measure that a name is or is a part of: `pressure/held` of `pressure/held/suffix`."""
    return "/".join(name.split("/")[:2])


def is_main(name: str) -> bool:
    """Whether a name is a measure's and not a part's."""
    return quantity(name) == name


class Row(NamedTuple):
    """One line of a table.

    Attributes:
        name: Of the measure; "" for a line that only names the parts below it.
        part: Whether it stands below its measure.
    """

    name: str
    label: str
    about: str = ""
    part: bool = False


class Block(NamedTuple):
    """Lines that are told together; those of a block with a title are folded away."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Glossary:
    """Measures in words, as the suites give them.

    Args:
        meanings: By measure; `a/b/*` covers all below `a/b`.
    """

    meanings: Mapping[str, Meaning] = field(default_factory=dict)

    def _entry(self, name: str) -> str | None:
        """The key that covers a name: itself, or else the longest pattern."""
        if name in self.meanings:
            return name
        fits = [key for key in self.meanings if key.endswith("*") and fnmatchcase(name, key)]
        return max(fits, key=len, default=None)

    def __getitem__(self, name: str) -> Meaning:
        """What a measure means; one that no suite explains is its own label."""
        key = self._entry(name)
        return self.meanings[key] if key else Meaning(_plain(name.rpartition("/")[2]))

    def label(self, name: str) -> str:
        """A measure's label on its own, with the part that it is."""
        rest = self._part(name)
        return capitalised(f"{self[name].label}: {rest}" if rest else self[name].label)

    def _part(self, name: str) -> str:
        """What a pattern leaves open; "" for a measure that is named in full or not at all."""
        key = self._entry(name)
        return _plain(name.removeprefix(key[:-1])) if key and key != name else ""

    def order(self, names: Iterable[str]) -> list[str]:
        """Names in the order of the glossary, then the others."""
        places = {key: place for place, key in enumerate(self.meanings)}
        unknown = len(places)
        return sorted(
            dict.fromkeys(names), key=lambda name: places.get(self._entry(name) or "", unknown)
        )

    def main(self, names: Iterable[str]) -> list[str]:
        """The measures among names in their order; their parts, where there are only parts."""
        found = self.order(names)
        return [name for name in found if is_main(name)] or found

    def blocks(self, names: Iterable[str]) -> list[Block]:
        """Names as lines of tables: measures first, each with its few parts, then the many parts."""
        groups: dict[str, list[str]] = {}
        for name in self.order(names):
            groups.setdefault(quantity(name), []).append(name)
        lines, folded = list[Row](), list[Block]()
        for name, group in groups.items():
            parts = [each for each in group if each != name]
            lines += [self._row(name)] if name in group else []
            if len(parts) > _INLINE:
                folded.append(Block(self._head(name, parts), tuple(map(self._row, parts))))
            elif parts and name not in group and not self._part(parts[0]):
                lines += map(self._row, parts)  # each is explained by itself
            elif parts:
                head = [] if name in group else [Row("", self._head(name, parts), self[parts[0]].about)]
                lines += [*head, *(self._row(part)._replace(part=True) for part in parts)]
        return [Block("", tuple(lines)), *folded] if lines else folded

    def _row(self, name: str) -> Row:
        rest = self._part(name)
        if rest:
            return Row(name, capitalised(rest))
        return Row(name, capitalised(self[name].label), self[name].about)

    def _head(self, name: str, parts: Sequence[str]) -> str:
        return capitalised(
            self[parts[0]].label if self._part(parts[0]) else f"{self[name].label}, in parts"
        )


def _plain(name: str) -> str:
    return name.replace("_", " ").replace("/", ", ")


def capitalised(text: str) -> str:
    """Text that begins a line."""
    return text[:1].upper() + text[1:]


def inside(text: str) -> str:
    """Text that goes on in a sentence."""
    return text[:1].lower() + text[1:]


def of_suite(names: Iterable[str], suite: str) -> Iterator[str]:
    """Those names that are a suite's."""
    return (name for name in names if name.split("/")[0] == suite)


def largest(results: Results, name: str) -> float:
    """What decides on the digits of a measure, the same for all subjects."""
    return max((max(abs(s.low), abs(s.high)) for s in results.scores if s.name == name), default=1.0)


def is_wide(scores: Sequence[Score]) -> bool:
    """Whether shares are best seen on a scale from 0 to 1: some reach half of it, and none is below."""
    return min(s.low for s in scores) >= 0 and max(s.high for s in scores) > 0.5


def is_ratio(results: Results, name: str) -> bool:
    """Whether a measure's differences are logarithms of ratios."""
    return any(m.scale == "exp" for f in results.findings for m in f.measures if m.name == name)


def gap(results: Results, meaning: Meaning, found: Difference) -> tuple[str, str]:
    """A difference and its interval as text: points of a share, a ratio in per cent, or plain."""
    if is_ratio(results, found.name):
        value, low, high = (
            number(100 * math.expm1(each), 100) for each in (found.value, found.low, found.high)
        )
        return f"{signed(value)}{PERCENT}", f"{low} to {high}{PERCENT}"
    most = largest(results, found.name)
    value, low, high = (
        show(meaning, each, most, unit=False) for each in (found.value, found.low, found.high)
    )
    return signed(value) + (" points" if meaning.share else ""), f"{low} to {high}"


def outcome(meaning: Meaning, found: Difference) -> str:
    """A paired difference in a word or two."""
    if not found.side:
        return "no clear difference"
    words = {1: "better", -1: "worse"} if meaning.better else {1: "higher", -1: "lower"}
    return words[found.side * (meaning.better or 1)]
