"""The checks of the corpus as a whole: of its prompts, its forms, its dialogues, and of their splits.

A corpus earns trust by checks that could fail. Each check looks for one fault that would let a model
score well for the wrong reason: copies, leaks between splits, voices that differ in length or in one
tell-tale word, content that got lost in one voice, a form that holds in one voice only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import TypeAlias

from mien.data.corpus import SPLITS, VOICES, Parallel, ParallelDialogue, corpus, dialogues, forms
from mien.data.quality import prose
from mien.data.quality.dialogues import check_dialogues
from mien.data.quality.findings import (
    Figure,
    Finding,
    Report,
    Results,
    at_least,
    at_most,
    error,
    note,
    shown,
)
from mien.data.quality.forms import check_forms
from mien.data.quality.prose import Embed
from mien.data.wording import overlaps

WORDS = (35, 90)  # words of a reply, as the prompts were answered
LEAKED = 0.3  # Jaccard of word 4-grams between prompts of two splits
NEAR_PROMPT = 0.9  # cosine between prompts of two splits
SIMILAR_PROMPT = 0.8  # as above, but worth a note only
NEAREST = 0.98  # share of replies that are nearest to their own row's neutral one
TEST_ROWS = 30  # prompts; with fewer, a share cannot be told from one 20 points off

Openings: TypeAlias = Sequence[Parallel | ParallelDialogue]

CHECKS: tuple[prose.Check, ...] = (
    partial(prose.length_range, limits=WORDS),
    *prose.CHECKS,
    prose.numbers_kept,
    prose.artefacts,
)


def check(rows: Sequence[Parallel], embed: Embed | None = None) -> Report:
    """Check prompts that are answered in prose.

    Args:
        rows: The corpus. Rows that lack a voice are reported and left out of the other checks.
        embed: Texts to unit vectors, (texts, size); without it, meaning is not compared.
    """
    return _report([*_check_prompts(rows, embed), *_leaks(prose.complete(rows), embed)])


def check_all(embed: Embed | None = None) -> Report:
    """Check the whole built-in corpus: prompts, forms, dialogues, and the splits across all three."""
    parts: dict[str, Results] = {
        "prompts": _check_prompts(corpus(), embed),
        "forms": check_forms(forms(), embed),
        "dialogues": check_dialogues(dialogues(), embed),
    }
    results = [_named(part, result) for part, found in parts.items() for result in found]
    return _report([*results, *_leaks([*corpus(), *forms(), *dialogues()], embed)])


def to_embed() -> int:
    """How many texts `check_all` embeds, for a progress bar."""
    turns = sum(len(dialogue.turns) for dialogue in dialogues())
    replies = len(VOICES) * (len(corpus()) + len(forms()) + turns)
    return replies + len(corpus()) + len(forms()) + len(dialogues())


def _report(results: Sequence[Finding | Figure]) -> Report:
    return Report(
        findings=tuple(result for result in results if isinstance(result, Finding)),
        figures=tuple(result for result in results if isinstance(result, Figure)),
    )


def _named(part: str, result: Finding | Figure) -> Finding | Figure:
    """The same result, and which part of the corpus it is about."""
    if isinstance(result, Figure):
        return result.model_copy(update={"name": f"{part}: {result.name}"})
    return result.model_copy(update={"where": re.sub(r"^corpus\b", part, result.where)})


def _check_prompts(rows: Sequence[Parallel], embed: Embed | None) -> Results:
    yield from prose.structure(rows)
    yield shown("rows", len(rows), "prompts")
    whole = prose.complete(rows)
    if whole:
        yield from (result for each in CHECKS for result in each(whole))
        yield from _splits(whole)
    if whole and embed:
        yield from prose.content(whole, embed, NEAREST)


def _splits(rows: Sequence[Parallel]) -> Results:
    sizes = Counter(row.split for row in rows)
    for split in SPLITS[:-1]:
        yield shown(f"rows of {split}", sizes[split], "prompts")
    yield at_least("rows of test", sizes["test"], TEST_ROWS, "prompts")


def _leaks(rows: Openings, embed: Embed | None) -> Results:
    """What two prompts in different splits have in common; a dialogue's prompt is its first message."""
    if rows:
        yield from _same_words(rows)
    if rows and embed:
        yield from _same_meaning(rows, embed)


def _same_words(rows: Openings) -> Results:
    worst = 0.0
    for (a, b), share in overlaps([row.prompt for row in rows], 4).items():
        if rows[a].split != rows[b].split:
            worst = max(worst, share)
            if share > LEAKED:
                yield _leak(error, rows[a], rows[b], f"{share:.0%} of 4-grams shared")
    yield at_most("prompt leak, wording", worst, LEAKED, "most 4-grams prompts of two splits share")


def _same_meaning(rows: Openings, embed: Embed) -> Results:
    vectors = embed([row.prompt for row in rows])
    cosines = vectors @ vectors.T
    worst = 0.0
    for a, b in combinations(range(len(rows)), 2):
        if rows[a].split != rows[b].split:
            worst = max(worst, float(cosines[a, b]))
            if cosines[a, b] > SIMILAR_PROMPT:
                find = error if cosines[a, b] > NEAR_PROMPT else note
                yield _leak(find, rows[a], rows[b], f"cosine {cosines[a, b]:.2f}")
    yield at_most("prompt leak, meaning", worst, NEAR_PROMPT, "nearest prompts of two splits, cosine")


def _leak(
    find: Callable[[str, str, str], Finding],
    a: Parallel | ParallelDialogue,
    b: Parallel | ParallelDialogue,
    reason: str,
) -> Finding:
    return find("leak", b.id, f"its prompt, in {b.split}, is near {a.id}, in {a.split}: {reason}")
