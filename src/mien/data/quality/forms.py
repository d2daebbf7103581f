"""The checks of replies in a form: the form holds in every voice, and the voice within the form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mien.data.corpus import FORMS, Form, Parallel
from mien.data.form import Parts, parts
from mien.data.quality import prose
from mien.data.quality.findings import Figure, Finding, Results, at_most, error, shown
from mien.data.quality.prose import Embed

# Words of prose, as the forms were written: without keys, code, greetings and marks.
WORDS: dict[Form, tuple[int, int]] = {
    "chat": (35, 90),
    "email": (45, 105),
    "json": (35, 90),
    "list": (45, 110),
    "code": (35, 90),
}
NEAREST = 0.98  # share of replies that are nearest to their own row's neutral one
_ARTEFACT = re.compile(r"[^\x20-\x7e\n]|(?<=\S)  |[ \t]$|^\s*\Z|\n{3}|&\w+;", re.MULTILINE)


def check_forms(rows: Sequence[Parallel], embed: Embed | None = None) -> Results:
    """What has to be the same in every voice is; what is left is prose, and checked as prose.

    Rows that lack a voice, and rows with a reply that is not in its form, are reported and left out of
    the checks of prose.
    """
    yield from prose.structure(rows)
    whole = prose.complete(rows)
    broken = list(_broken(whole))
    yield from broken
    yield at_most("broken forms", len(broken), 0, "replies not in their form, or unlike the neutral one")
    for form in FORMS[1:]:
        yield shown(f"rows, {form}", sum(row.form == form for row in rows), "prompts")
    sound = [row for row in whole if not any(each.where.startswith(f"{row.id}/") for each in broken)]
    if sound:
        yield from _prose(sound, embed)


def _broken(rows: Sequence[Parallel]) -> Iterator[Finding]:
    for row in rows:
        frames = {}
        for voice, reply in row.replies.items():
            try:
                frames[voice] = parts(row.form, reply).frame
            except ValueError as problem:
                yield error("form", f"{row.id}/{voice}", f"no {row.form}: {problem}")
        yield from _unlike(row, frames)


def _unlike(row: Parallel, frames: dict[str, str]) -> Iterator[Finding]:
    """Voices whose frame is not the neutral one's, or not the code that the prompt gives."""
    wanted = frames.get("neutral")
    for voice, frame in frames.items():
        if wanted is not None and frame != wanted:
            yield error("frame", f"{row.id}/{voice}", f"has {frame!r}, not {wanted!r}")
        given = row.prompt.partition("\n\n")[2]
        if row.form == "code" and given and given not in frame:
            yield error("frame", f"{row.id}/{voice}", "changes the code of the prompt")


def _prose(rows: Sequence[Parallel], embed: Embed | None) -> Results:
    texts = [_without_frame(row) for row in rows]
    for check in prose.CHECKS:
        yield from check(texts)
    for form in FORMS[1:]:
        if those := [row for row in texts if row.form == form]:
            yield from _lengths(form, those)
    yield from prose.numbers_kept(rows)
    yield from prose.artefacts(rows, pattern=_ARTEFACT)
    if embed:
        yield from prose.content(texts, embed, NEAREST)


def _lengths(form: Form, rows: Sequence[Parallel]) -> Results:
    for result in prose.length_range(rows, limits=WORDS[form]):
        if isinstance(result, Figure):
            result = result.model_copy(update={"name": f"{result.name}, {form}"})
        yield result


def _without_frame(row: Parallel) -> Parallel:
    taken: dict[str, Parts] = {voice: parts(row.form, text) for voice, text in row.replies.items()}
    return row.model_copy(update={"replies": {voice: each.prose for voice, each in taken.items()}})
