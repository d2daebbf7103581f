"""Rows in another language than the rest.

py3langid decides (Lui & Baldwin 2012). It takes a quarter of a millisecond for a text, so that it is
asked only where English function words do not settle the matter at once.
"""

from __future__ import annotations

from collections import Counter

import py3langid  # type: ignore[import-untyped]

from mien.data.checks.core import KEPT, Check, Fault, Item, Result, Worst, percent, specimen, words

_ENGLISH = frozenset(
    words(
        "the and of to is that it you your for are with this be not have from they which when what there"
        " would their if will can i'm it's don't"
    )
)
_ENOUGH = 0.2  # of the words are function words of English: then it is English
_READ = 200  # characters
_FEWEST = 6  # words; the language of fewer cannot be told
_LANGUAGES = 40  # of which examples are kept
_TAKEN_FOR = {"pcm": "en"}  # Nigerian Pidgin is what short English is most often taken for


class Languages(Check):
    """Rows that are not in the language most rows are in."""

    name = "languages"
    severity = "warning"
    about = "Replies in another language than most (by py3langid, from six words on, code left out)."

    def __init__(self) -> None:
        self.begin()
        self.counts: Counter[str] = Counter()
        self._examples: dict[str, Worst] = {}

    def feed(self, item: Item, source: str) -> None:
        """Count the language of the row's last reply."""
        self.seen += 1
        if not item.replies or len(item.reply_words[-1]) < _FEWEST or "```" in item.replies[-1]:
            return
        language = _language(item.replies[-1], item.reply_words[-1])
        self.counts[language] += 1
        if language not in self._examples and len(self._examples) == _LANGUAGES:
            return
        fault = Fault(language, item.replies[-1][:_READ])
        worst = self._examples.setdefault(language, Worst())
        worst.add(0.0, lambda: specimen(f"{source}:{item.number}", fault))

    def results(self) -> list[Result]:
        """Every language but the commonest."""
        common = self.counts.most_common()
        self.count = sum(times for _, times in common[1:])
        found = [each for name, _ in common[1:] for each in self._examples.get(name, ())]
        (result,) = super().results()
        shares = ", ".join(f"{name} {percent(n / self.counts.total())}" for name, n in common[:4])
        return [
            result.model_copy(update={"told": shares or "none judged", "examples": tuple(found[:KEPT])})
        ]


def _language(text: str, said: list[str]) -> str:
    """ISO 639-1 code of the language of a text."""
    if sum(word in _ENGLISH for word in said[:60]) >= _ENOUGH * min(60, len(said)):
        return "en"
    found = str(py3langid.classify(text[:_READ])[0])
    return _TAKEN_FOR.get(found, found)
