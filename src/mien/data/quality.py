"""Proves what a parallel corpus claims: one content in every voice, and only style between voices.

A corpus earns trust by checks that could fail. Each check here looks for one fault that would let a
model score well for the wrong reason: copies, leaks between splits, voices that differ in length or in
one tell-tale word, content that got lost in one voice. What is found is a `Finding`, with the place;
what is measured is a `Figure`, beside the bound it has to keep.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from mien.data.corpus import SPLITS, VOICES, Parallel, replies
from mien.data.wording import last_sentence, numbers, overlaps, says_number, words
from mien.schema import Strict
from mien.stats import by_prompt

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
Severity = Literal["error", "note"]

WORDS = (35, 90)  # words of a reply, as the corpus was written to
COPIED = 0.2  # Jaccard of word 5-shingles between rows: a sentence or two in common
LEAKED = 0.3  # Jaccard of word 4-grams between prompts of two splits
ECHO = 0.5  # Jaccard of word 5-shingles between voices of one row: shared facts alone stay below
NEAR_PROMPT = 0.9  # cosine between prompts of two splits
SIMILAR_PROMPT = 0.8  # as above, but worth a note only
UNEVEN = 0.15  # of the overall mean length
LENGTH_ACCURACY = 0.30  # chance is 1/6
CATCHWORD_RECALL = 0.60  # share of a voice's replies that have the word
CATCHWORD_PRECISION = 0.90  # share of the replies with the word that are of that voice
NEAREST = 0.98  # share of replies
NUMBERS_KEPT = 0.99  # share
TEST_ROWS = 30  # prompts; with fewer, a share cannot be told from one 20 points off
_ROWS_PER_OPENER = 30  # the writing rule: one reply in so many may begin alike
_MARKS = "?!"

_PERSONA = re.compile(rf"\b(?:{'|'.join(VOICES)})(?:ly|th|er|est|ed|ing|ness|s)?\b", re.IGNORECASE)
_ARTEFACT = re.compile(
    r"[^\x20-\x7e\n]|  |[*#`_~<>{}\[\]|\\]|^\s|\s$|\s[,.;!?]|\n{3}|^[-+] |^\d+\. |&\w+;", re.MULTILINE
)


class Finding(Strict):
    """One fault, or one thing worth knowing (`note`), and where: `row/voice`, `row`, or `corpus`."""

    check: str
    severity: Severity
    where: str
    message: str


class Figure(Strict):
    """One measured quantity of the corpus; without a bound it is there to be known, and passes."""

    name: str
    value: float
    bound: str
    passed: bool
    about: str


class Report(Strict):
    """Everything the checks found and measured."""

    findings: tuple[Finding, ...]
    figures: tuple[Figure, ...]

    @property
    def errors(self) -> list[Finding]:
        """The findings that are faults."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def passed(self) -> bool:
        """No fault was found, and every figure keeps its bound."""
        return not self.errors and all(figure.passed for figure in self.figures)

    def __str__(self) -> str:
        marks = {True: "ok", False: "FAILED"}
        lines = [
            f"{f.name:32} {f.value:8.3f}  {f.bound:9} {marks[f.passed]:6}  {f.about}"
            for f in self.figures
        ]
        return "\n".join(
            [*lines, *(f"{f.severity}: {f.check}: {f.where}: {f.message}" for f in self.findings)]
        )


Results = Iterator[Finding | Figure]


def check(rows: Sequence[Parallel], embed: Embed | None = None) -> Report:
    """Run every check.

    Args:
        rows: The corpus. Rows that lack a voice are reported and left out of the other checks.
        embed: Texts to unit vectors, (texts, size); without it, meaning is not compared.
    """
    whole = [row for row in rows if set(row.replies) == set(VOICES)]
    results = list(_structure(rows))
    if whole:
        results += [result for each in CHECKS for result in each(whole)]
    if whole and embed:
        results += [*_content(whole, embed), *_near_prompts(whole, embed)]
    return Report(
        findings=tuple(result for result in results if isinstance(result, Finding)),
        figures=tuple(result for result in results if isinstance(result, Figure)),
    )


def _structure(rows: Sequence[Parallel]) -> Results:
    if not rows:
        yield _error("structure", "corpus", "no rows")
    for row_id, times in Counter(row.id for row in rows).items():
        if times > 1:
            yield _error("structure", row_id, f"{times} rows have this id")
    for row in rows:
        if missing := [voice for voice in VOICES if voice not in row.replies]:
            yield _error("structure", row.id, f"lacks {', '.join(missing)}")
        if unknown := [voice for voice in row.replies if voice not in VOICES]:
            yield _error("structure", row.id, f"has the unknown {', '.join(unknown)}")
    yield _shown("rows", len(rows), "prompts in the corpus")


def _length_range(rows: Sequence[Parallel]) -> Results:
    for row, voice, text in _each(rows):
        count = len(words(text))
        if not WORDS[0] <= count <= WORDS[1]:
            message = f"{count} words, not {WORDS[0]} to {WORDS[1]}"
            yield _error("length", f"{row.id}/{voice}", message)
    counts = [len(words(text)) for _, _, text in _each(rows)]
    yield _at_least("shortest reply", min(counts), WORDS[0], "words")
    yield _at_most("longest reply", max(counts), WORDS[1], "words")


def _duplicates(rows: Sequence[Parallel]) -> Results:
    columns = {voice: [row.replies[voice] for row in rows] for voice in VOICES}
    worst = 0.0
    for place, texts in {"prompt": [row.prompt for row in rows], **columns}.items():
        for (a, b), share in overlaps(texts, 5).items():
            worst = max(worst, share)
            if share > COPIED:
                message = f"shares {share:.0%} of its 5-shingles with {rows[a].id}"
                yield _error("duplicate", f"{rows[b].id}/{place}", message)
    yield _at_most("copied wording", worst, COPIED, "most 5-shingles two rows share in one voice")


def _contrast(rows: Sequence[Parallel]) -> Results:
    worst = 0.0
    for row in rows:
        for (a, b), share in overlaps([row.replies[voice] for voice in VOICES], 5).items():
            worst = max(worst, share)
            if share > ECHO:
                message = f"shares {share:.0%} of its 5-shingles with {VOICES[a]}"
                yield _error("contrast", f"{row.id}/{VOICES[b]}", message)
    yield _at_most("echo between voices", worst, ECHO, "most 5-shingles two voices of a row share")


def _openers(rows: Sequence[Parallel]) -> Results:
    allowed = max(2, len(rows) // _ROWS_PER_OPENER)
    yield from _repeats(rows, "opener", lambda text: " ".join(words(text)[:3]), 2, allowed)


def _closers(rows: Sequence[Parallel]) -> Results:
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
                find = _error if times > allowed else _note
                yield find(name, f"corpus/{voice}", f"{text!r} {times} times")
    yield _at_most(f"most repeated {name}", worst, allowed, f"replies of a voice with the same {name}")


def _length_balance(rows: Sequence[Parallel]) -> Results:
    counts = np.array([[len(words(row.replies[voice])) for voice in VOICES] for row in rows])
    means = counts.mean(axis=0)
    worst = float(np.abs(means / means.mean() - 1).max())
    about = ", ".join(f"{voice} {mean:.0f}" for voice, mean in zip(VOICES, means, strict=True))
    yield _at_most("uneven length", worst, UNEVEN, f"furthest mean from the overall; words: {about}")
    for index, voice in enumerate(VOICES[1:], 1):
        ties = counts[:, index] == counts[:, 0]
        share = float(((counts[:, index] > counts[:, 0]) + ties / 2).mean())
        yield _shown(f"longer than neutral, {voice}", share, "share of rows; 0.5 is no cue in pairs")


def _length_classifier(rows: Sequence[Parallel]) -> Results:
    """How well a tree tells the voice by the number of words alone, on prompts it has not seen."""
    if len(rows) < 2:
        return
    texts, voices = replies(rows)
    prompts = [row.id for row in rows for _ in VOICES]
    lengths = np.array([[len(words(text))] for text in texts])
    tree = DecisionTreeClassifier(min_samples_leaf=20, random_state=0)
    folds = GroupKFold(min(5, len(set(prompts))))
    guesses = cross_val_predict(tree, lengths, voices, groups=prompts, cv=folds)
    hits = by_prompt((guesses == np.array(voices)).astype(float), prompts)
    about = f"accuracy by length alone [{hits.low:.2f}, {hits.high:.2f}]; chance {1 / len(VOICES):.2f}"
    yield _at_most("length classifier", hits.value, LENGTH_ACCURACY, about)


def _numbers(rows: Sequence[Parallel]) -> Results:
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
                yield _note("number", where, f"{message}, though the prompt has it")
            else:
                yield _error("number", where, message)
    if wanted:
        yield _at_least("numbers kept", kept / wanted, NUMBERS_KEPT, f"of {wanted} in points")


def _persona_names(rows: Sequence[Parallel]) -> Results:
    found = [(row, voice, name) for row, voice, text in _each(rows) for name in _PERSONA.findall(text)]
    for row, voice, name in found:
        yield _error("persona name", f"{row.id}/{voice}", f"says {name!r}")
    yield _at_most("persona names", len(found), 0, "names of voices in replies")


def _catchwords(rows: Sequence[Parallel]) -> Results:
    """No word may give a voice away; function words are held to it too, since none of them has to."""
    for voice, ranked in _telling_words(rows).items():
        recall, word = ranked[0] if ranked else (0.0, "")
        about = f"share of replies with {word!r}, the most telling word"
        yield _at_most(f"catchword, {voice}", recall, CATCHWORD_RECALL, about)
        if recall > CATCHWORD_RECALL:
            yield _error("catchword", f"corpus/{voice}", f"{word!r} is in {recall:.0%} of the replies")
        top = ", ".join(f"{word} {share:.0%}" for share, word in ranked[:5])
        yield _note("catchword", f"corpus/{voice}", f"most telling words: {top or 'none'}")


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


def _marks(rows: Sequence[Parallel]) -> Results:
    """Marks belong to a manner of speaking, so they are measured and not forbidden."""
    for mark in _MARKS:
        shares = {voice: _mean([mark in row.replies[voice] for row in rows]) for voice in VOICES}
        text = ", ".join(f"{voice} {share:.0%}" for voice, share in shares.items())
        yield _note("marks", "corpus", f"replies with {mark!r}: {text}")


def _leaks(rows: Sequence[Parallel]) -> Results:
    worst = 0.0
    for (a, b), share in overlaps([row.prompt for row in rows], 4).items():
        if rows[a].split != rows[b].split:
            worst = max(worst, share)
            if share > LEAKED:
                yield _leak(_error, rows[a], rows[b], f"{share:.0%} of 4-grams shared")
    yield _at_most("prompt leak, wording", worst, LEAKED, "most 4-grams prompts of two splits share")


def _near_prompts(rows: Sequence[Parallel], embed: Embed) -> Results:
    vectors = embed([row.prompt for row in rows])
    cosines = vectors @ vectors.T
    worst = 0.0
    for a, b in combinations(range(len(rows)), 2):
        if rows[a].split != rows[b].split:
            worst = max(worst, float(cosines[a, b]))
            if cosines[a, b] > SIMILAR_PROMPT:
                find = _error if cosines[a, b] > NEAR_PROMPT else _note
                yield _leak(find, rows[a], rows[b], f"cosine {cosines[a, b]:.2f}")
    yield _at_most("prompt leak, meaning", worst, NEAR_PROMPT, "nearest prompts of two splits, cosine")


def _leak(find: Callable[[str, str, str], Finding], a: Parallel, b: Parallel, reason: str) -> Finding:
    return find("leak", b.id, f"its prompt, in {b.split}, is near {a.id}, in {a.split}: {reason}")


def _splits(rows: Sequence[Parallel]) -> Results:
    sizes = Counter(row.split for row in rows)
    for split in SPLITS[:-1]:
        yield _shown(f"rows of {split}", sizes[split], "prompts")
    yield _at_least("rows of test", sizes["test"], TEST_ROWS, "prompts")


def _artefacts(rows: Sequence[Parallel]) -> Results:
    """Traces of machines and editors: markup, curly quotes, emoji, doubled spaces, stray line ends."""
    texts = [(f"{row.id}/{voice}", text) for row, voice, text in _each(rows)]
    texts += [(f"{row.id}/prompt", row.prompt) for row in rows]
    texts += [(f"{row.id}/points", point) for row in rows for point in row.points]
    found = [(where, mark) for where, text in texts for mark in _ARTEFACT.findall(text)]
    for where, mark in found:
        yield _error("artefact", where, f"has {mark!r}")
    yield _at_most("artefacts", len(found), 0, "in prompts, points and replies")


def _content(rows: Sequence[Parallel], embed: Embed) -> Results:
    """Is each reply nearer to its own row's neutral reply than to any other row's?"""
    neutral, prompts = embed([row.replies["neutral"] for row in rows]), [row.id for row in rows]
    hits: list[bool] = []
    for voice in VOICES[1:]:
        cosines = embed([row.replies[voice] for row in rows]) @ neutral.T
        nearest, own = cosines.argmax(axis=1), np.diag(cosines).astype(float)
        hits += (nearest == np.arange(len(rows))).tolist()
        for row, place, cosine in zip(rows, nearest.tolist(), own.tolist(), strict=True):
            if rows[place].id != row.id:
                message = f"nearer to {rows[place].id} than to its own neutral reply ({cosine:.2f})"
                yield _note("content", f"{row.id}/{voice}", message)
        mean = by_prompt(own, prompts)
        yield _shown(f"content, {voice}", mean.value, f"mean cosine [{mean.low:.2f}, {mean.high:.2f}]")
        yield _shown(f"content, {voice}, 5 %", float(np.quantile(own, 0.05)), "5th percentile")
    share = by_prompt(np.array(hits, dtype=float), prompts * (len(VOICES) - 1))
    about = f"nearest neutral reply is the row's own [{share.low:.3f}, {share.high:.3f}]"
    yield _at_least("content kept", share.value, NEAREST, about)


CHECKS: tuple[Callable[[Sequence[Parallel]], Results], ...] = (
    _length_range,
    _length_balance,
    _length_classifier,
    _duplicates,
    _contrast,
    _openers,
    _closers,
    _catchwords,
    _marks,
    _persona_names,
    _numbers,
    _artefacts,
    _leaks,
    _splits,
)


def _each(rows: Sequence[Parallel]) -> Iterator[tuple[Parallel, str, str]]:
    return ((row, voice, row.replies[voice]) for row in rows for voice in VOICES)


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def _error(name: str, where: str, message: str) -> Finding:
    return Finding(check=name, severity="error", where=where, message=message)


def _note(name: str, where: str, message: str) -> Finding:
    return Finding(check=name, severity="note", where=where, message=message)


def _at_most(name: str, value: float, bound: float, about: str) -> Figure:
    return Figure(name=name, value=value, bound=f"<= {bound:g}", passed=value <= bound, about=about)


def _at_least(name: str, value: float, bound: float, about: str) -> Figure:
    return Figure(name=name, value=value, bound=f">= {bound:g}", passed=value >= bound, about=about)


def _shown(name: str, value: float, about: str) -> Figure:
    return Figure(name=name, value=value, bound="", passed=True, about=about)
