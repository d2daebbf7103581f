"""What texts have in common: runs of words, words at all, and numbers in digits or spelled out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mien.persona.voice import Text
from mien.schema import Message

REPEATED = 4  # words in a row that count as a repetition
ECHOED = 0.5  # share of a reply above which it is an echo and nobody's voice
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@lru_cache(maxsize=8192)
def words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case, without punctuation."""
    return tuple(Text(text).words)


def last_sentence(text: str) -> str:
    """The sentence a text ends on, in lower case."""
    return (Text(text).sentences or [""])[-1].lower()


def repetition(text: str, n: int = REPEATED) -> float:
    """Share of the word n-grams of a text that occurred earlier in it; 0 if it has none."""
    grams = _grams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def echo(text: str, given: Sequence[Message], n: int = REPEATED) -> float:
    """Share of the word n-grams of a text that occur in what the model was given; 0 if it has none.

    A pretrained base may recite its system prompt, which is in the voice that it asks for.
    """
    grams = _grams(text, n)
    heard = {gram for message in given for gram in _grams(message.content, n)}
    return sum(gram in heard for gram in grams) / len(grams) if grams else 0.0


def distinct(text: str, n: int) -> float:
    """Distinct word n-grams over all word n-grams; 1 if it has none."""
    grams = _grams(text, n)
    return len(set(grams)) / len(grams) if grams else 1.0


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.casefold().split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def overlaps(texts: Sequence[str], size: int) -> dict[tuple[int, int], float]:
    """How much of their wording pairs of texts share (Broder 1997).

    Args:
        texts: What to compare, each with each.
        size: Words per shingle.

    Returns:
        Jaccard similarity of the sets of shingles, 0 to 1, of every pair that shares one.
    """
    sets = [_shingles(text, size) for text in texts]
    holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, shingles in enumerate(sets):
        for shingle in shingles:
            holders[shingle].append(index)
    shared = Counter(pair for held in holders.values() for pair in combinations(held, 2))
    return {(a, b): n / (len(sets[a]) + len(sets[b]) - n) for (a, b), n in shared.items()}


def _shingles(text: str, size: int) -> set[tuple[str, ...]]:
    """Runs of `size` words; a shorter text is one run."""
    run = words(text)
    return {run[start : start + size] for start in range(max(1, len(run) - size + 1))}


def bag_of_words(texts: Sequence[str], size: int = 2048) -> NDArray[np.float32]:
    """Texts as hashed word counts: stands in for sentence embeddings where no model may be loaded.

    Hashing after Weinberger et al. 2009. It sees words and not meaning, so that paraphrases lie apart.

    Args:
        texts: Each becomes one row.
        size: Columns; words that fall into one column are not told apart.

    Returns:
        (texts, size), rows of length 1, or 0 for a text without words.
    """
    out = np.zeros((len(texts), size), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in words(text):
            out[row, crc32(word.encode()) % size] += 1
    lengths = np.linalg.norm(out, axis=1, keepdims=True)
    out /= np.where(lengths > 0, lengths, 1)
    return out


def numbers(text: str) -> set[str]:
    """The numbers a text has in digits, without the commas of thousands."""
    return {number.replace(",", "") for number in _NUMBER.findall(text)}


def says_number(text: str, number: str) -> bool:
    """Whether a text has a number, in digits or, if it is a whole one, in words (also as a plural)."""
    if number in numbers(text) or not number.isdigit():
        return number in numbers(text)
    plain = re.sub(r"\ba (?=hundred|thousand)", "one ", text.lower().replace("-", " "))
    return re.search(rf"\b{spelled(int(number))}(?:e?s)?\b", plain) is not None


def spelled(number: int) -> str:
    """A whole number below a million in British words, without hyphens; a larger one in digits."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10 - 2] + (f" {_ONES[number % 10]}" if number % 10 else "")
    if number >= 1_000_000:
        return str(number)
    unit, name, joint = (100, "hundred", " and ") if number < 1000 else (1000, "thousand", " ")
    whole, rest = divmod(number, unit)
    return f"{spelled(whole)} {name}" + (f"{joint}{spelled(rest)}" if rest else "")
