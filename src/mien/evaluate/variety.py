"""How varied a set of texts is, and how far apart sets are: the maths, free of any subject.

Every figure here belongs to a set and falls or rises with the size of it and with the length of its
texts, so texts are cut to one length first. What leaving out one prompt does to the figure says how much
it may be trusted: `influences` turns that into one number per prompt whose mean is the figure, so that a
set statistic gets its interval, and its paired difference to another subject, as any mean does. Drawing
prompts with replacement would not do here: a text that is drawn twice is itself a lack of variety.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.stats import Interval, by_prompt

Item = TypeVar("Item")
Words = Sequence[str]
Vectors = NDArray[np.float64]
_LONGEST = 4  # words of an n-gram of BLEU


def cut(text: str, length: int) -> str | None:
    """The first `length` words of a text as they are written; None if it has fewer."""
    found = re.match(rf"\s*(?:\S+\s+){{{length - 1}}}\S+", text)
    return found[0] if found else None


def words(text: str) -> Words:
    """What n-grams are made of: words in lower case, with their punctuation."""
    return text.casefold().split()


def distinct_n(texts: Sequence[Words], n: int) -> float:
    """Distinct n-grams of all texts together over all their n-grams (Li et al. 2016, arXiv:1510.03055).

    Raises:
        ValueError: No text has `n` words.
    """
    grams = [gram for text in texts for gram in _grams(text, n)]
    if not grams:
        raise ValueError(f"no text has {n} words")
    return len(set(grams)) / len(grams)


def self_bleu(texts: Sequence[Words]) -> float:
    """Mean BLEU-4 of each text against all the others (Zhu et al. 2018, arXiv:1802.01886).

    The texts are of one length, so that no brevity is punished. An order without a match counts as a
    tenth of one (Chen & Cherry 2014, method 1), as it does in the reference program.

    Raises:
        ValueError: Fewer than two texts.
    """
    if len(texts) < 2:
        raise ValueError("self-BLEU needs two texts or more")
    orders = range(1, min(_LONGEST, *map(len, texts)) + 1)
    logs = np.mean([_log_precisions(texts, n) for n in orders], axis=0)
    return float(np.exp(logs).mean())


def compression_ratio(texts: Sequence[Words]) -> float:
    """Bytes of all texts over their bytes when packed with zlib: the more, the more they repeat.

    Shaib et al. 2024 (arXiv:2403.00553), who find it to say most of what the others say.
    """
    plain = "\n".join(" ".join(text) for text in texts).encode()
    return len(plain) / len(zlib.compress(plain, 9))


def vendi(vectors: Vectors) -> float:
    """Vendi score: the effective number of different texts, 1 to as many as there are.

    The exponential of the entropy of the eigenvalues of K / n, K being the texts' cosines
    (Friedman & Dieng 2023, TMLR, arXiv:2210.02410).

    Args:
        vectors: (texts, size), each of length 1.
    """
    kernel = vectors @ vectors.T / len(vectors)
    shares = np.linalg.eigvalsh(kernel)
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def influences(statistic: Callable[[Sequence[Item]], float], items: Sequence[Item]) -> list[float]:
    """One number per item: their mean is the statistic of all, their spread how far it can be trusted.

    The jackknife's pseudo-values (Tukey 1958; Efron & Tibshirani 1993, ch. 11), moved together so that
    their mean is the statistic as it is defined and not as it would be at another size.

    Args:
        statistic: Of a set.
        items: What is left out one at a time; three or more.
    """
    whole, n = statistic(items), len(items)
    without = np.array([statistic([*items[:place], *items[place + 1 :]]) for place in range(n)])
    return [float(each) for each in whole + (n - 1) * (without.mean() - without)]


def within(replies: Vectors) -> Vectors:
    """Mean cosine distance between replies to the same prompt, per prompt.

    Args:
        replies: (prompts, replies, size), each vector of length 1; two replies or more.
    """
    pairs = list(combinations(range(replies.shape[1]), 2))
    near = np.mean([np.einsum("ps,ps->p", replies[:, a], replies[:, b]) for a, b in pairs], axis=0)
    return np.asarray(1 - near, dtype=np.float64)


def between(ours: Vectors, theirs: Vectors) -> Vectors:
    """Mean cosine distance of our replies to their replies to the same prompt, per prompt.

    Args:
        ours: (prompts, replies, size), each vector of length 1.
        theirs: Likewise, of the same prompts.
    """
    return np.asarray(1 - np.einsum("pas,pbs->p", ours, theirs) / ours.shape[1] / theirs.shape[1])


def apart(
    speakers: Mapping[str, Vectors], prompts: Sequence[Hashable]
) -> tuple[Interval, Interval, Interval]:
    """How far several speakers are from each other, and each from itself, over the same prompts.

    Args:
        speakers: (prompts, replies, size) of each, two or more.
        prompts: What the first axis is, for the bootstrap.

    Returns:
        Distance between two speakers, within one, and the first minus the second: speakers differ by
        more than chance where this lies above 0.
    """
    pairs = combinations(speakers.values(), 2)
    across = np.mean([between(ours, theirs) for ours, theirs in pairs], axis=0)
    inside = np.mean([within(each) for each in speakers.values()], axis=0)
    found = (by_prompt(values, prompts) for values in (across, inside, across - inside))
    return next(found), next(found), next(found)


def _grams(words: Words, n: int) -> list[tuple[str, ...]]:
    return [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]


def _log_precisions(texts: Sequence[Words], n: int) -> NDArray[np.float64]:
    """Logarithm of each text's n-gram precision against the others, (texts,)."""
    counts = [Counter(_grams(text, n)) for text in texts]
    most = _two_most(counts)
    logs = []
    for place, own in enumerate(counts):
        matched = sum(min(times, _most_elsewhere(most[gram], place)) for gram, times in own.items())
        logs.append(np.log((matched or 0.1) / own.total()))
    return np.array(logs)


Most = tuple[int, int, int]  # the most times a gram stands in one text, which text, and the next most


def _two_most(counts: Sequence[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], Most]:
    most: dict[tuple[str, ...], Most] = {}
    for place, own in enumerate(counts):
        for gram, times in own.items():
            first, holder, second = most.get(gram, (0, -1, 0))
            if times > first:
                most[gram] = (times, place, first)
            else:
                most[gram] = (first, holder, max(second, times))
    return most


def _most_elsewhere(most: Most, place: int) -> int:
    first, holder, second = most
    return second if holder == place else first
