"""Checks any data set, whatever wrote it, and mends what can be mended without asking.

One pass over the file, row by row: every row goes to every check (`mien.data.checks`), and nothing of
it is kept but counts, the worst examples, and some bytes to know a copy by. `check` reports. `fix` does
the same and writes the rows that passed to a new file, with a list of what was left out and why.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from ftfy import fix_encoding

from mien.data.checks.confounds import LENGTH_BOUND, Confounds
from mien.data.checks.copies import Duplicates, Leaks, NearDuplicates, prompts_of
from mien.data.checks.core import SEVERITIES, Check, Fault, Item, Result, Severity
from mien.data.checks.language import Languages
from mien.data.checks.texts import Tokens, text_checks, truncation
from mien.data.corpus import corpus, dialogues, forms
from mien.data.formats import Record, iter_records, write_records
from mien.errors import DataError, InputError
from mien.schema import Dialogue, Example, Message, Preference, Strict

Advance = Callable[[int], None]

DROPPED = ("unreadable", "leaks", "duplicates", "near-duplicates", "blank", "same pair", "chat marks")
_CORPUS = "the built-in corpus' test split"
_STEP = 1.25  # each bar of a histogram is so much wider than the one before it


class Lengths(Strict):
    """How long the texts of one kind are, in words.

    Attributes:
        bars: (from this many words, texts); the next bar's beginning is this one's end.
    """

    role: str
    n: int
    mean: float
    longest: int
    bars: tuple[tuple[int, int], ...]


class Report(Strict):
    """What was found in a data set."""

    file: str
    rows: int
    kinds: dict[str, int]
    mended: dict[str, int]
    results: tuple[Result, ...]
    lengths: tuple[Lengths, ...]

    def flagged(self, severity: Severity) -> list[Result]:
        """The checks of a severity that found something."""
        return [each for each in self.results if each.flagged and each.severity == severity]

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        if not self.rows:
            return "There is no row in it that can be read."
        if errors := self.flagged("error"):
            return f"Not yet fit to train on: {_listed(errors)}."
        if warnings := self.flagged("warning"):
            return f"Fit to train on once you have looked at: {_listed(warnings)}."
        return "Nothing was found that speaks against training on it."

    def fails(self, on: Severity) -> bool:
        """Whether something as grave as `on`, or graver, was found."""
        graver = SEVERITIES[: SEVERITIES.index(on) + 1]
        return not self.rows or any(self.flagged(severity) for severity in graver)


class Removed(Strict):
    """A row that `fix` left out."""

    line: int | None
    check: str
    why: str
    row: dict[str, object] | None = None


class Fixed(Strict):
    """What `fix` has done."""

    written: int
    mended: int
    removed: dict[str, int]


def check(
    path: Path,
    *,
    against: Path | None = None,
    max_length: int | None = None,
    tokens: Tokens | None = None,
    length_bound: float = LENGTH_BOUND,
    advance: Advance = lambda _: None,
) -> Report:
    """Run all checks on a file.

    Args:
        path: In any form that `formats.iter_records` reads.
        against: A data set that something will be tested on; its prompts must not be in `path`.
        max_length: A recipe's, in tokens.
        tokens: Counts the tokens of a conversation; without it they are estimated.
        length_bound: Accuracy above which lengths give the chosen reply away.
        advance: Called with the number of bytes that were just read.

    Raises:
        DataError: The file is missing, or broken as a whole. Single bad rows are counted.
    """
    audit = Audit(path, against, max_length, tokens, length_bound)
    for _ in audit.items(advance):
        pass
    return audit.report()


def fix(
    path: Path,
    out: Path,
    *,
    against: Path | None = None,
    max_length: int | None = None,
    tokens: Tokens | None = None,
    length_bound: float = LENGTH_BOUND,
    advance: Advance = lambda _: None,
) -> tuple[Report, Fixed]:
    """Check, and write what is sound to `out`: without bad rows, copies, leaks and chat marks.

    Of what stays, white space around turns is stripped, and letters broken by a wrong encoding are
    repaired. What was left out is listed in `removed_path(out)`. A row that is a copy of one that was
    left out is left out as well.

    Args:
        path: As for `check`.
        out: Where the rows go; the file must not be there.
        against: As for `check`.
        max_length: As for `check`.
        tokens: As for `check`.
        length_bound: As for `check`.
        advance: As for `check`.

    Returns:
        The report on `path` as it was, and what was done.

    Raises:
        InputError: `out` is there already.
        DataError: As for `check`.
    """
    for each in (out, removed_path(out)):
        if each.exists():
            raise InputError(f"{each}: there already.", fix="Choose another name.")
    audit = Audit(path, against, max_length, tokens, length_bound)
    out.parent.mkdir(parents=True, exist_ok=True)
    with removed_path(out).open("x", encoding="utf-8", errors="backslashreplace") as file:
        sieve = _Sieve(audit, file)
        written = write_records(out, sieve.kept(advance))
    return audit.report(), Fixed(written=written, mended=sieve.mended, removed=dict(sieve.removed))


def removed_path(out: Path) -> Path:
    """Where the rows are listed that `fix` left out: `NAME.removed.jsonl` for `NAME.jsonl`."""
    return out.with_name(f"{out.stem}.removed.jsonl")


class Audit:
    """All checks, on their way through a file."""

    def __init__(
        self,
        path: Path,
        against: Path | None,
        max_length: int | None,
        tokens: Tokens | None,
        length_bound: float,
    ) -> None:
        about = "Rows that are not JSON, or in no form that is known."
        self.path = path
        self.unreadable = Check("unreadable", "error", about, lambda _: None)
        self.checks: list[Check] = [
            self.unreadable,
            Leaks(_tested(against)),
            *text_checks(),
            *([truncation(max_length, tokens)] if max_length else []),
            Duplicates(),
            NearDuplicates(),
            Languages(),
            Confounds(length_bound),
        ]
        self.errors: list[DataError] = []
        self._kinds: Counter[str] = Counter()
        self._mended: Counter[str] = Counter()
        self._lengths: dict[str, _Histogram] = {}

    def items(self, advance: Advance) -> Iterator[Item]:
        """The rows that can be read, each with its faults."""
        source = self.path.name
        for record in iter_records(self.path, on_error=self._cannot_read, advance=advance):
            item = Item(record)
            for each in self.checks:
                each.feed(item, source)
            self._measure(item)
            yield item

    def report(self) -> Report:
        """What was found so far."""
        results = [result for each in self.checks for result in each.results()]
        return Report(
            file=str(self.path),
            rows=self._kinds.total(),
            kinds=dict(self._kinds),
            mended=dict(self._mended),
            results=tuple(sorted(results, key=lambda each: SEVERITIES.index(each.severity))),
            lengths=tuple(each.lengths(role) for role, each in self._lengths.items()),
        )

    def _cannot_read(self, error: DataError) -> None:
        self.errors.append(error)
        self.unreadable.seen += 1
        where, _, why = error.what.partition(": ")
        self.unreadable.note(Fault(why), Path(where).name)

    def _measure(self, item: Item) -> None:
        self._kinds[item.record.kind] += 1
        self._mended.update(item.record.mended)
        roles = ("chosen", "rejected") if item.pair else ("assistant",) * len(item.replies)
        for role, said in zip(roles, item.reply_words, strict=True):
            self._lengths.setdefault(role, _Histogram()).add(len(said))
        for asked in item.asked:
            self._lengths.setdefault("user", _Histogram()).add(len(asked.split()))


def _tested(against: Path | None) -> Iterator[tuple[str, Iterable[str]]]:
    yield _CORPUS, [row.prompt for row in (*corpus(), *forms()) if row.split == "test"]
    yield f"{_CORPUS} (dialogues)", [row.prompt for row in dialogues() if row.split == "test"]
    if against:
        yield against.name, prompts_of(iter_records(against))


class _Histogram:
    """Lengths in bars that widen, so that a few dozen hold any length."""

    def __init__(self) -> None:
        self.n = self.total = self.longest = 0
        self.bars: Counter[int] = Counter()

    def add(self, length: int) -> None:
        self.n, self.total, self.longest = self.n + 1, self.total + length, max(self.longest, length)
        self.bars[int(math.log(max(1, length), _STEP))] += 1

    def lengths(self, role: str) -> Lengths:
        first, last = min(self.bars), max(self.bars)
        bars = tuple((math.ceil(_STEP**place), self.bars[place]) for place in range(first, last + 2))
        mean = self.total / self.n
        return Lengths(role=role, n=self.n, mean=mean, longest=self.longest, bars=bars)


class _Sieve:
    """Lets through what is sound, mended; the rest goes on the list."""

    def __init__(self, audit: Audit, file: IO[str]) -> None:
        self.audit = audit
        self.file = file
        self.mended = 0
        self.removed: Counter[str] = Counter()

    def kept(self, advance: Advance) -> Iterator[Record]:
        for item in self.audit.items(advance):
            self._list_unreadable()
            faults = [(name, item.faults[name]) for name in DROPPED if name in item.faults]
            if faults:
                self._list(item, faults)
            else:
                yield self._mend(item)
        self._list_unreadable()

    def _list(self, item: Item, faults: Sequence[tuple[str, Fault]]) -> None:
        name, why = faults[0][0], "; ".join(f"{name}: {fault.message}" for name, fault in faults)
        row = item.record.row.model_dump(mode="json") | item.record.extra
        self._write(Removed(line=item.number, check=name, why=why, row=row))

    def _list_unreadable(self) -> None:
        for error in self.audit.errors:
            self._write(Removed(line=None, check="unreadable", why=error.what))
        self.audit.errors.clear()

    def _write(self, removed: Removed) -> None:
        self.removed[removed.check] += 1
        self.file.write(json.dumps(removed.model_dump(), ensure_ascii=False) + "\n")

    def _mend(self, item: Item) -> Record:
        broken = "broken letters" in item.faults
        row = item.row
        fields = {name: _tidied(getattr(row, name), broken) for name in _SIDES[type(row)]}
        if all(fields[name] == getattr(row, name) for name in fields):
            return item.record
        self.mended += 1
        return item.record.model_copy(update={"row": row.model_copy(update=fields)})


_SIDES: dict[type, tuple[str, ...]] = {
    Example: ("prompt", "completion"),
    Dialogue: ("messages",),
    Preference: ("prompt", "chosen", "rejected"),
}


def _tidied(turns: Sequence[Message], broken: bool) -> tuple[Message, ...]:
    """Turns without outer white space and, if they are broken, with their letters repaired."""
    texts = ((turn, fix_encoding(turn.content) if broken else turn.content) for turn in turns)
    return tuple(
        turn if text.strip() in ("", turn.content) else turn.model_copy(update={"content": text.strip()})
        for turn, text in texts
    )


def _listed(results: Sequence[Result]) -> str:
    return ", ".join(each.check for each in results)
