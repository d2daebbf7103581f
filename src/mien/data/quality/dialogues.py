"""The checks of parallel dialogues: every turn as a row of its own, and the whole as a conversation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from mien.data.corpus import SPLITS, Parallel, ParallelDialogue
from mien.data.quality import prose
from mien.data.quality.findings import Results, at_least, at_most, error, shown
from mien.data.quality.prose import Embed

TURNS = (4, 8)
WORDS = (20, 65)  # words of a reply
NEAREST = 0.95  # turns of one dialogue share their subject, so that some lie nearer to a neighbour

CHECKS: tuple[prose.Check, ...] = (
    partial(prose.length_range, limits=WORDS),
    *prose.CHECKS,
    prose.numbers_kept,
    prose.artefacts,
)


def check_dialogues(rows: Sequence[ParallelDialogue], embed: Embed | None = None) -> Results:
    """Four to eight turns, the same content in every voice in each, and no wording said twice."""
    turns = turns_of(rows)
    yield from _lengths(rows)
    yield from prose.structure(turns)
    whole = prose.complete(turns)
    if whole:
        yield from (result for each in CHECKS for result in each(whole))
    if whole and embed:
        yield from prose.content(whole, embed, NEAREST)


def turns_of(rows: Sequence[ParallelDialogue]) -> list[Parallel]:
    """Every turn as a row with the id `dialogue/number`, from 1."""
    return [
        Parallel(
            id=f"{row.id}/{number}",
            topic=row.topic,
            prompt=turn.user,
            points=turn.points,
            replies=turn.replies,
        )
        for row in rows
        for number, turn in enumerate(row.turns, 1)
    ]


def _lengths(rows: Sequence[ParallelDialogue]) -> Results:
    low, high = TURNS
    for row in rows:
        if not low <= len(row.turns) <= high:
            yield error("turns", row.id, f"{len(row.turns)} turns, not {low} to {high}")
    counts = [len(row.turns) for row in rows] or [0]
    yield shown("rows", len(rows), "dialogues")
    yield shown("turns", sum(counts), "messages of the user, each with a reply")
    yield at_least("fewest turns", min(counts), low, "turns of a dialogue")
    yield at_most("most turns", max(counts), high, "turns of a dialogue")
    sizes = Counter(row.split for row in rows)
    for split in SPLITS:
        yield shown(f"rows of {split}", sizes[split], "dialogues")
