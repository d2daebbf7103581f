"""Dot plots of scores, which most suites show alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from mien.evaluate.compare import Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Meaning
from mien.evaluate.pages import pictures
from mien.evaluate.pages.words import Glossary, direction, is_wide, largest, show


def dots(
    results: Results, names: Iterable[str], meanings: Mapping[str, Meaning], paint: Mapping[str, str]
) -> list[Figure]:
    """One dot plot per measure that any subject has; shares that reach far are on a scale of 0 to 1."""
    glossary = Glossary(meanings)
    found = {
        name: [score for each in results.subjects if (score := results.score(name, each))]
        for name in names
    }
    return [
        Figure(
            glossary.label(name),
            pictures.dot_plot(
                glossary.label(name),
                each,
                paint=paint,
                show=partial(show, glossary[name], largest=largest(results, name)),
                within=(0.0, 1.0) if glossary[name].share and is_wide(each) else None,
            ),
            direction(glossary[name]),
        )
        for name, each in found.items()
        if each
    ]
