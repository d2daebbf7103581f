"""Rows that are there twice, and rows whose prompts belong to a test.

Near-duplicates are found by MinHash (Broder 1997) with locality-sensitive hashing (Indyk & Motwani
1998), both of them rensa's. Of each row about 2 kB are remembered, as measured, and of at most
`REMEMBERED` rows: rows after these are compared with them but not with one another.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from rensa import RMinHash, RMinHashLSH  # type: ignore[import-untyped]

from mien.data.checks.core import Check, Fault, Item, words
from mien.data.formats import Record

REMEMBERED = 500_000
NEAR = 0.8  # Jaccard similarity of word shingles from which two rows are one
LEAKED = 0.6  # the same for prompts, which are short: a word changed costs more
_ROW_SHINGLE, _PROMPT_SHINGLE = 5, 3  # words
_HASHES, _BANDS, _SEED = 128, 16, 20240501
_SHORT_PROMPT = 4  # words; `yes, please` is in every data set


class Nearest:
    """Remembers texts by number, and finds the most similar of them.

    Args:
        threshold: The least Jaccard similarity that counts.
        size: Words a shingle.
    """

    def __init__(self, threshold: float, size: int, bands: int = _BANDS) -> None:
        self.threshold = threshold
        self.size = size
        self._lsh = RMinHashLSH(threshold, _HASHES, bands)
        self._kept: dict[int, RMinHash] = {}

    def find(self, text: list[str]) -> tuple[int, float] | None:
        """The most similar text, as (its number, the estimated similarity), if any is similar enough."""
        return self._find(self._sketch(text))

    def find_or_keep(self, text: list[str], number: int) -> tuple[int, float] | None:
        """As `find`; a text that is like none before it is remembered under `number`."""
        sketch = self._sketch(text)
        found = self._find(sketch)
        if not found and len(self._kept) < REMEMBERED:
            self._lsh.insert(number, sketch)
            self._kept[number] = sketch
        return found

    def _find(self, sketch: RMinHash) -> tuple[int, float] | None:
        near = [(self._kept[key].jaccard(sketch), -key) for key in self._lsh.query(sketch)]
        share, key = max(near, default=(0.0, 0))
        return (-key, share) if share >= self.threshold else None

    def _sketch(self, text: list[str]) -> RMinHash:
        size, last = self.size, max(1, len(text) - self.size + 1)
        sketch = RMinHash(_HASHES, _SEED)
        sketch.update([" ".join(text[start : start + size]) for start in range(last)])
        return sketch


class Duplicates(Check):
    """Rows that say word for word what a row before them says."""

    name = "duplicates"
    severity = "warning"
    about = "The same row again, letter case and white space aside: it counts double in training."

    def __init__(self) -> None:
        self.begin()
        self._lines: dict[int, int] = {}

    def look(self, item: Item) -> Fault | None:
        """Compare with all rows before it, by a hash of 64 bits."""
        said = "\0".join(f"{turn.role}\1{turn.content}" for turn in item.record.messages)
        text = f"{said}\0{item.pair[1]}" if item.pair else said
        key = _key(text)
        first = self._lines.setdefault(key, item.number)
        same = first != item.number
        return Fault(f"as line {first}", item.replies[0] if item.replies else "") if same else None


def _key(text: str) -> int:
    plain = " ".join(text.casefold().split())
    return int.from_bytes(blake2b(plain.encode("utf-8", "replace"), digest_size=8).digest())


class NearDuplicates(Check):
    """Rows whose last question and replies are nearly those of a row before them."""

    name = "near-duplicates"
    severity = "warning"
    about = f"Rows that share about {NEAR:.0%} of their wording with an earlier one (MinHash)."

    def __init__(self) -> None:
        self.begin()
        self._seen = Nearest(NEAR, _ROW_SHINGLE)

    def look(self, item: Item) -> Fault | None:
        """Compare with the rows before it that were not copies themselves."""
        if Duplicates.name in item.faults:
            return None
        text = words(" ".join(item.asked[-1:]))
        for reply in item.reply_words:
            text += reply
        found = self._seen.find_or_keep(text, item.number)
        if not found:
            return None
        quote = item.replies[0] if item.replies else ""
        return Fault(f"about {found[1]:.0%} as line {found[0]}", quote, found[1])


class Leaks(Check):
    """Rows whose prompt is one of those that something will be tested on.

    Args:
        tested: Name of a set of prompts -> its prompts.
    """

    name = "leaks"
    severity = "error"
    about = "Prompts that are meant for testing, here or reworded a little: no test counts after that."

    def __init__(self, tested: Iterable[tuple[str, Iterable[str]]]) -> None:
        self.begin()
        self._places: list[str] = []
        self._exact: dict[int, int] = {}
        self._near = Nearest(LEAKED, _PROMPT_SHINGLE, bands=32)
        for name, prompts in tested:
            for number, prompt in enumerate(prompts, 1):
                self._keep(f"{name}, prompt {number}", prompt)

    def _keep(self, place: str, prompt: str) -> None:
        self._places.append(place)
        self._exact.setdefault(_key(prompt), len(self._places) - 1)
        self._near.find_or_keep(words(prompt), len(self._places) - 1)

    def look(self, item: Item) -> Fault | None:
        """Look for each turn of the user that says enough to be known again."""
        for prompt in item.asked:
            text = words(prompt)
            if len(text) < _SHORT_PROMPT:
                continue
            if (number := self._exact.get(_key(prompt))) is not None:
                return Fault(f"is {self._places[number]}", prompt, 1.0)
            if found := self._near.find(text):
                return Fault(f"about {found[1]:.0%} as {self._places[found[0]]}", prompt, found[1])
        return None


def prompts_of(records: Iterable[Record]) -> Iterable[str]:
    """The turns of the user in rows that something will be tested on."""
    return (turn.content for each in records for turn in each.messages if turn.role == "user")
