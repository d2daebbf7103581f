"""What every check has in common: the row it looks at, the fault it finds, the result it gives."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal, NamedTuple

from mien.data.formats import Record
from mien.schema import Dialogue, Message, Preference, Strict

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
KEPT = 8  # examples of each kind
QUOTED = 240  # characters of an example

_WORD = re.compile(r"\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}]\w+)*")


def words(text: str) -> list[str]:
    """The words of a text in lower case, quicker and plainer than `voice` counts them."""
    return _WORD.findall(text.lower())


class Item:
    """One row as checks look at it; what several of them need is made once.

    Attributes:
        number: Its line, or its place in an array.
        faults: What was found in it so far, by check.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.number = record.number
        self.row = record.row
        self.faults: dict[str, Fault] = {}

    @cached_property
    def pair(self) -> tuple[str, str] | None:
        """The chosen and the rejected reply of a preference."""
        row = self.row
        return (row.chosen[0].content, row.rejected[0].content) if isinstance(row, Preference) else None

    @cached_property
    def prompt(self) -> tuple[Message, ...]:
        """What stands before the last reply."""
        return self.row.messages[:-1] if isinstance(self.row, Dialogue) else self.row.prompt

    @cached_property
    def replies(self) -> tuple[str, ...]:
        """What may be learnt: both replies of a preference, all of a dialogue, the one of an example."""
        if self.pair:
            return self.pair
        last = self.record.messages[-1:]
        turns = self.row.messages if isinstance(self.row, Dialogue) else last
        return tuple(turn.content for turn in turns if turn.role == "assistant" and turn.content)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The turns of the user."""
        return tuple(turn.content for turn in self.record.messages if turn.role == "user")

    @cached_property
    def turns(self) -> tuple[str, ...]:
        """What anybody says, the rejected reply included and system messages not."""
        said = [turn.content for turn in self.record.messages if turn.role != "system" and turn.content]
        return (*said, self.pair[1]) if self.pair else tuple(said)

    @cached_property
    def reply_words(self) -> list[list[str]]:
        """The words of each reply."""
        return [words(reply) for reply in self.replies]


class Fault(NamedTuple):
    """What is wrong with a row, where it shows, and how bad it is beside others of its kind."""

    message: str
    quote: str = ""
    weight: float = 0.0


class Specimen(Strict):
    """A row that shows a fault."""

    where: str
    message: str
    quote: str = ""


class Result(Strict):
    """What one check found.

    Attributes:
        check: Its name.
        about: What it looks for and why that matters, in a sentence.
        severity: How much a fault of this kind matters.
        flagged: Whether there is one.
        told: The finding in a few words.
        count: Rows with the fault.
        of: Rows that were looked at.
        examples: The worst of them.
    """

    check: str
    about: str
    severity: Severity
    flagged: bool
    told: str
    count: int
    of: int
    examples: tuple[Specimen, ...] = ()

    @property
    def share(self) -> float:
        """Rows with the fault among those looked at."""
        return self.count / self.of if self.of else 0.0


class Worst:
    """The few heaviest faults, and of equally heavy ones the first; deterministic and bounded."""

    def __init__(self, kept: int = KEPT) -> None:
        self.kept = kept
        self._heap: list[tuple[float, int, Specimen]] = []
        self._met = 0

    def add(self, weight: float, specimen: Callable[[], Specimen]) -> None:
        """Keep the specimen, which is made only then, if it is among the worst."""
        self._met += 1
        rank = (weight, -self._met)
        if len(self._heap) < self.kept:
            heapq.heappush(self._heap, (*rank, specimen()))
        elif rank > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*rank, specimen()))

    def __iter__(self) -> Iterator[Specimen]:
        return (specimen for *_, specimen in sorted(self._heap, key=lambda e: e[:2], reverse=True))


class Check:
    """A kind of fault, counted over rows.

    Args:
        name: What it is called in tables.
        severity: How much such a fault matters.
        about: What it looks for and why, in a sentence.
        look: Finds the fault in a row, if it has it; a subclass may have a method in its place.
    """

    name = ""
    about = ""
    severity: Severity = "warning"

    def __init__(
        self, name: str, severity: Severity, about: str, look: Callable[[Item], Fault | None]
    ) -> None:
        self.name, self.severity, self.about = name, severity, about
        self.look = look
        self.begin()

    def begin(self) -> None:
        """Start counting."""
        self.seen = self.count = 0
        self.worst = Worst()

    def feed(self, item: Item, source: str) -> None:
        """Look at one row of the file `source`."""
        self.seen += 1
        if fault := self.look(item):
            item.faults[self.name] = fault
            self.note(fault, f"{source}:{item.number}")

    def note(self, fault: Fault, where: str) -> None:
        """Count a fault, and keep it if it is among the worst."""
        self.count += 1
        self.worst.add(fault.weight, lambda: specimen(where, fault))

    def results(self) -> list[Result]:
        """What was found."""
        share = self.count / self.seen if self.seen else 0.0
        told = f"{self.count:,} rows, {percent(share)}" if self.count else "none"
        return [
            Result(
                check=self.name,
                about=self.about,
                severity=self.severity,
                flagged=self.count > 0,
                told=told.replace("1 rows", "1 row") if self.count == 1 else told,
                count=self.count,
                of=self.seen,
                examples=tuple(self.worst),
            )
        ]


def specimen(where: str, fault: Fault) -> Specimen:
    """A fault with its place, its quotation cut to a readable length."""
    quote = fault.quote if len(fault.quote) <= QUOTED else fault.quote[: QUOTED - 1] + "…"
    return Specimen(where=where, message=fault.message, quote=quote)


def percent(share: float) -> str:
    """A share in per cent, with a digit more where it is small."""
    return f"{100 * share:.0f} %" if share >= 0.1 or not share else f"{100 * share:.2g} %"


def around(text: str, start: int, end: int, margin: int = 80) -> str:
    """A piece of a text with what stands around it."""
    left, right = max(0, start - margin), min(len(text), end + margin)
    return ("…" if left else "") + text[left:right] + ("…" if right < len(text) else "")
