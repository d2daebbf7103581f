"""The checks that hold for parallel prose of any kind: replies to prompts, in forms, or in dialogues."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from mien.data.corpus import VOICES, Parallel, replies
from mien.data.quality.findings import Results, at_least, at_most, error, note, shown
from mien.data.wording import last_sentence, numbers, overlaps, says_number, words
from mien.stats import by_prompt

Embed: TypeAlias = Callable[[Sequence[str]], NDArray[np.float32]]
Check: TypeAlias = Callable[[Sequence[Parallel]], Results]

COPIED = 0.2  # Jaccard of word 5-shingles between rows: a sentence or two in common
ECHO = 0.5  # Jaccard of word 5-shingles between voices of one row: shared facts alone stay below
UNEVEN = 0.10  # of the overall mean length
LENGTH_ACCURACY = 0.30  # chance is 1/6
CATCHWORD_RECALL = 0.60  # share of a voice's replies that have the word
CATCHWORD_PRECISION = 0.90  # share of the replies with the word that are of that voice
NUMBERS_KEPT = 0.99  # share
_ROWS_PER_OPENER = 30  # the writing rule: one reply in so many may begin alike
_MARKS = "?!"

_PERSONA = re.compile(rf"\b(?:{'|'.join(VOICES)})(?:ly|th|er|est|ed|ing|ness|s)?\b", re.IGNORECASE)
_ARTEFACT = re.compile(
    r"[^\x20-\x7e\n]|  |[*#`_~<>{}\[\]|\\]|^\s|\s$|\s[,.;!?]|\n{3}|^[-+] |^\d+\. |&\w+;", re.MULTILINE
)


def structure(rows: Sequence[Parallel]) -> Results:
    """Rows there are, each with its own id and with every voice."""
    if not rows:
        yield error("structure", "corpus", "no rows")
    for row_id, times in Counter(row.id for row in rows).items():
        if times > 1:
            yield error("structure", row_id, f"{times} rows have this id")
    for row in rows:
        if missing := [voice for voice in VOICES if voice not in row.replies]:
            yield error("structure", row.id, f"lacks {', '.join(missing)}")
        if unknown := [voice for voice in row.replies if voice not in VOICES]:
            yield error("structure", row.id, f"has the unknown {', '.join(unknown)}")


def complete(rows: Sequence[Parallel]) -> list[Parallel]:
    """The rows that have exactly the voices of the corpus."""
    return [row for row in rows if set(row.replies) == set(VOICES)]


def length_range(rows: Sequence[Parallel], *, limits: tuple[int, int]) -> Results:
    """No reply has fewer or more words than it was written to have."""
    low, high = limits
    for row, voice, text in _each(rows):
        count = len(words(text))
        if not low <= count <= high:
            yield error("length", f"{row.id}/{voice}", f"{count} words, not {low} to {high}")
    counts = [len(words(text)) for _, _, text in _each(rows)]
    yield at_least("shortest reply", min(counts), low, "words")
    yield at_most("longest reply", max(counts), high, "words")


def duplicates(rows: Sequence[Parallel]) -> Results:
    """No two rows share a sentence in one voice, and no two prompts are nearly the same."""
    columns = {voice: [row.replies[voice] for row in rows] for voice in VOICES}
    shared = (
        (share, f"{rows[b].id}/{place}", rows[a].id)
        for place, texts in {"prompt": [row.prompt for row in rows], **columns}.items()
        for (a, b), share in overlaps(texts, 5).items()
    )
    about = "most 5-shingles two rows share in one voice"
    yield from _at_most_shared("duplicate", shared, "copied wording", COPIED, about)


def contrast(rows: Sequence[Parallel]) -> Results:
    """No voice repeats the wording of another."""
    shared = (
        (share, f"{row.id}/{VOICES[b]}", VOICES[a])
        for row in rows
        for (a, b), share in overlaps([row.replies[voice] for voice in VOICES], 5).items()
    )
    about = "most 5-shingles two voices of a row share"
    yield from _at_most_shared("contrast", shared, "echo between voices", ECHO, about)


def _at_most_shared(
    check: str, shared: Iterable[tuple[float, str, str]], name: str, bound: float, about: str
) -> Results:
    """An error for each share above the bound, given with where it is and what it is shared with."""
    worst = 0.0
    for share, where, other in shared:
        worst = max(worst, share)
        if share > bound:
            yield error(check, where, f"shares {share:.0%} of its 5-shingles with {other}")
    yield at_most(name, worst, bound, about)


def openers(rows: Sequence[Parallel]) -> Results:
    """No voice has a favourite beginning."""
    allowed = max(2, len(rows) // _ROWS_PER_OPENER)
    yield from _repeats(rows, "opener", lambda text: " ".join(words(text)[:3]), 2, allowed)


def closers(rows: Sequence[Parallel]) -> Results:
    """No voice has a favourite end."""
    yield from _repeats(rows, "closer", last_sentence, 1, 2)


def _repeats(
    rows: Sequence[Parallel], name: str, part: Callable[[str], str], tolerated: int, allowed: int
) -> Results:
    """Parts of replies that recur within a voice: noted above `tolerated`, a fault above `allowed`."""
    worst = 0
    for voice in VOICES:
        for text, times in Counter(part(row.replies[voice]) for row in rows).most_common():
            worst = max(worst, times)
            if times > tolerated:
                find = error if times > allowed else note
                yield find(name, f"corpus/{voice}", f"{text!r} {times} times")
    yield at_most(f"most repeated {name}", worst, allowed, f"replies of a voice with the same {name}")


def length_balance(rows: Sequence[Parallel]) -> Results:
    """The voices are about as long as each other, on the whole and within a row."""
    counts = np.array([[len(words(row.replies[voice])) for voice in VOICES] for row in rows])
    means = counts.mean(axis=0)
    worst = float(np.abs(means / means.mean() - 1).max())
    about = ", ".join(f"{voice} {mean:.0f}" for voice, mean in zip(VOICES, means, strict=True))
    yield at_most("uneven length", worst, UNEVEN, f"furthest mean from the overall; words: {about}")
    for index, voice in enumerate(VOICES[1:], 1):
        ties = counts[:, index] == counts[:, 0]
        share = float(((counts[:, index] > counts[:, 0]) + ties / 2).mean())
        yield shown(f"longer than neutral, {voice}", share, "share of rows; 0.5 is no cue in pairs")


def length_classifier(rows: Sequence[Parallel]) -> Results:
    """How well a tree tells the voice by the number of words alone, on prompts it has not seen."""
    if len(rows) < 2:
        return
    texts, voices = replies(rows)
    prompts = [group for group in _groups(rows) for _ in VOICES]
    lengths = np.array([[len(words(text))] for text in texts])
    tree = DecisionTreeClassifier(min_samples_leaf=20, random_state=0)
    folds = GroupKFold(min(5, len(set(prompts))))
    guesses = cross_val_predict(tree, lengths, voices, groups=prompts, cv=folds)
    hits = by_prompt((guesses == np.array(voices)).astype(float), prompts)
    about = f"accuracy by length alone [{hits.low:.2f}, {hits.high:.2f}]; chance {1 / len(VOICES):.2f}"
    yield at_most("length classifier", hits.value, LENGTH_ACCURACY, about)


def numbers_kept(rows: Sequence[Parallel]) -> Results:
    """Numbers of the content, in digits, that a voice neither writes nor spells out."""
    wanted = kept = 0
    for row, voice, text in _each(rows):
        shared = numbers(" ".join(row.points)) & numbers(row.replies["neutral"])
        lost = sorted(number for number in shared if not says_number(text, number))
        wanted, kept = wanted + len(shared), kept + len(shared) - len(lost)
        for number in lost:
            # The user who wrote a number may be answered by "your rule" or "that year".
            where, message = f"{row.id}/{voice}", f"{number} is missing"
            if number in numbers(row.prompt):
                yield note("number", where, f"{message}, though the prompt has it")
            else:
                yield error("number", where, message)
    if wanted:
        yield at_least("numbers kept", kept / wanted, NUMBERS_KEPT, f"of {wanted} in points")


def persona_names(rows: Sequence[Parallel]) -> Results:
    """No reply says which voice it is in."""
    found = [(row, voice, name) for row, voice, text in _each(rows) for name in _PERSONA.findall(text)]
    for row, voice, name in found:
        yield error("persona name", f"{row.id}/{voice}", f"says {name!r}")
    yield at_most("persona names", len(found), 0, "names of voices in replies")


def catchwords(rows: Sequence[Parallel]) -> Results:
    """No word may give a voice away; function words are held to it too, since none of them has to."""
    for voice, ranked in _telling_words(rows).items():
        recall, word = ranked[0] if ranked else (0.0, "")
        about = f"share of replies with {word!r}, the most telling word"
        yield at_most(f"catchword, {voice}", recall, CATCHWORD_RECALL, about)
        if recall > CATCHWORD_RECALL:
            yield error("catchword", f"corpus/{voice}", f"{word!r} is in {recall:.0%} of the replies")
        top = ", ".join(f"{word} {share:.0%}" for share, word in ranked[:5])
        yield note("catchword", f"corpus/{voice}", f"most telling words: {top or 'none'}")


def _telling_words(rows: Sequence[Parallel]) -> dict[str, list[tuple[float, str]]]:
    """Per voice: (share of its replies, word) of the words that hardly any other voice uses."""
    holding = {
        voice: Counter(word for row in rows for word in set(words(row.replies[voice])))
        for voice in VOICES
    }
    anywhere: Counter[str] = sum(holding.values(), Counter())
    return {
        voice: [
            (count / len(rows), word)
            for word, count in holding[voice].most_common()
            if count / anywhere[word] >= CATCHWORD_PRECISION
        ]
        for voice in VOICES
    }


def marks(rows: Sequence[Parallel]) -> Results:
    """Marks belong to a manner of speaking, so they are measured and not forbidden."""
    for mark in _MARKS:
        shares = {voice: _mean([mark in row.replies[voice] for row in rows]) for voice in VOICES}
        text = ", ".join(f"{voice} {share:.0%}" for voice, share in shares.items())
        yield note("marks", "corpus", f"replies with {mark!r}: {text}")


def artefacts(rows: Sequence[Parallel], *, pattern: re.Pattern[str] = _ARTEFACT) -> Results:
    """Traces of machines and editors: markup, curly quotes, emoji, doubled spaces, stray line ends."""
    texts = [(f"{row.id}/{voice}", text) for row, voice, text in _each(rows)]
    texts += [(f"{row.id}/prompt", row.prompt) for row in rows]
    texts += [(f"{row.id}/points", point) for row in rows for point in row.points]
    found = [(where, mark) for where, text in texts for mark in pattern.findall(text)]
    for where, mark in found:
        yield error("artefact", where, f"has {mark!r}")
    yield at_most("artefacts", len(found), 0, "in prompts, points and replies")


def content(rows: Sequence[Parallel], embed: Embed, bound: float) -> Results:
    """Is each reply nearer to its own row's neutral reply than to any other row's?

    Args:
        rows: Each with every voice.
        embed: Texts to unit vectors.
        bound: The share of replies for which that has to hold.
    """
    neutral, prompts = embed([row.replies["neutral"] for row in rows]), _groups(rows)
    hits: list[bool] = []
    for voice in VOICES[1:]:
        cosines = embed([row.replies[voice] for row in rows]) @ neutral.T
        nearest, own = cosines.argmax(axis=1), np.diag(cosines).astype(float)
        hits += (nearest == np.arange(len(rows))).tolist()
        for row, place, cosine in zip(rows, nearest.tolist(), own.tolist(), strict=True):
            if rows[place].id != row.id:
                message = f"nearer to {rows[place].id} than to its own neutral reply ({cosine:.2f})"
                yield note("content", f"{row.id}/{voice}", message)
        mean = by_prompt(own, prompts)
        yield shown(f"content, {voice}", mean.value, f"mean cosine [{mean.low:.2f}, {mean.high:.2f}]")
        yield shown(f"content, {voice}, 5 %", float(np.quantile(own, 0.05)), "5th percentile")
    share = by_prompt(np.array(hits, dtype=float), prompts * (len(VOICES) - 1))
    about = f"nearest neutral reply is the row's own [{share.low:.3f}, {share.high:.3f}]"
    yield at_least("content kept", share.value, bound, about)


CHECKS: tuple[Check, ...] = (
    length_balance,
    length_classifier,
    duplicates,
    contrast,
    openers,
    closers,
    catchwords,
    marks,
    persona_names,
)


def _each(rows: Sequence[Parallel]) -> Iterator[tuple[Parallel, str, str]]:
    return ((row, voice, row.replies[voice]) for row in rows for voice in VOICES)


def _groups(rows: Sequence[Parallel]) -> list[str]:
    """What is resampled together: the prompt, and for the turns `id/number` of a dialogue all of it."""
    return [row.id.partition("/")[0] for row in rows]


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values)
