"""What a suite of the evaluation is, and all that there are, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Protocol, cast

from mien.evaluate.compare import Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Finding, Meaning
from mien.evaluate.ocean import suite as ocean
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, Subject
from mien.evaluate.suites import forms, latency
from mien.evaluate.suites.ability import suite as ability
from mien.evaluate.suites.diversity import suite as diversity
from mien.evaluate.suites.drift import suite as drift
from mien.evaluate.suites.judged import suite as judged
from mien.evaluate.suites.pressure import suite as pressure
from mien.evaluate.suites.revealed import suite as revealed
from mien.evaluate.suites.safety import suite as safety
from mien.evaluate.suites.voice import suite as voice
from mien.schema import digest

Together = Callable[[Sequence[Subject], Setting], list[Finding]]
Ahead = Callable[[Setting], Sequence[Asked]]


class Room(Protocol):
    """What a suite's module has. It may have `together`, `ahead` and `unshown` as well, see `Suite`."""

    @property
    def NAME(self) -> str:  # noqa: N802
        """Its name, and the prefix of its measures."""
        ...

    @property
    def TITLE(self) -> str:  # noqa: N802
        """Its question."""
        ...

    @property
    def MEANINGS(self) -> Mapping[str, Meaning]:  # noqa: N802
        """What its measures say to people."""
        ...

    def run(self, subject: Subject, setting: Setting) -> Finding:
        """What it finds out about one subject."""
        ...

    def says(self, results: Results) -> list[str]:
        """What was found, in sentences."""
        ...

    def figures(self, results: Results, paint: Mapping[str, str]) -> list[Figure]:
        """What was found, in pictures."""
        ...


@dataclass(frozen=True)
class Suite:
    """One question of the evaluation: how it is asked, and how its answer is told.

    Attributes:
        name: Short; also the prefix of its measures.
        title: The question, as people would ask it.
        meanings: By measure; `a/b/*` covers all below `a/b`.
        run: Asks one subject.
        says: A few plain sentences, from numbers only.
        figures: Pictures, given a colour per subject.
        together: Asks all subjects at once, where they are compared with each other.
        ahead: What it will ask a subject with the evaluation's own sampling, if it will.
        unshown: What its answer could not show or may not be read for; "" if it is as it should be.
    """

    name: str
    title: str
    meanings: Mapping[str, Meaning]
    run: Callable[[Subject, Setting], Finding]
    says: Callable[[Results], list[str]]
    figures: Callable[[Results, Mapping[str, str]], list[Figure]]
    together: Together | None = None
    ahead: Ahead | None = None
    unshown: Callable[[Results], str] | None = None

    @classmethod
    def of(cls, room: Room) -> Suite:
        """The suite that a module is."""
        together = cast(Together | None, getattr(room, "together", None))
        ahead = cast(Ahead | None, getattr(room, "ahead", None))
        unshown = cast(Callable[[Results], str] | None, getattr(room, "unshown", None))
        own = (room.NAME, room.TITLE, room.MEANINGS, room.run, room.says, room.figures)
        return cls(*own, together=together, ahead=ahead, unshown=unshown)


def roster(rooms: Iterable[Room]) -> dict[str, Suite]:
    """Suites by name."""
    return {suite.name: suite for suite in map(Suite.of, rooms)}


SUITES: dict[str, Suite] = roster(
    [voice, forms, drift, pressure, ability, safety, diversity, judged, revealed, ocean, latency]
)


@lru_cache
def material() -> str:
    """Content hash of everything that suites ask: after an item was changed, all is asked anew."""
    folders = (resources.files(f"mien.evaluate.{room}") / "data" for room in ("suites", "ocean"))
    return digest(sorted(each for folder in folders for each in _contents(folder)))


def _contents(folder: Traversable) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _contents(entry)
        else:
            yield entry.name, sha256(entry.read_bytes()).hexdigest()
