"""What several evaluations come to together: what came of it, what it cost, what is not shown, how sure.

For a reader who stops after the first page. Every sentence is counted from the evaluations by a fixed
rule; none is about one voice only, for those have their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from mien.evaluate.compare import CONTROLS
from mien.evaluate.evaluation import Evaluation
from mien.evaluate.pages.verdict import (
    RATE,
    costs,
    glossary_of,
    key_measure,
    missing_lines,
    standing,
    verdict,
)
from mien.evaluate.pages.words import SHARE, called, capitalised, inside, listed, show
from mien.evaluate.roster import Suite

_NAMED = 8  # losses that are told by name
_FIRST = "the first measure of each question"


def ran(evaluations: Sequence[Evaluation], suites: Mapping[str, Suite]) -> list[Suite]:
    """The suites that an evaluation ran, in their order there."""
    names = dict.fromkeys(name for each in evaluations for name in each.suites)
    return [suites[name] for name in names if name in suites]


def subjects(evaluations: Sequence[Evaluation]) -> list[str]:
    """All subjects: controls first, then the others in their order."""
    every = dict.fromkeys(name for each in evaluations for name in each.results.subjects)
    return [*(name for name in CONTROLS if name in every), *(n for n in every if n not in CONTROLS)]


class Summary:
    """The sentences about all voices.

    Args:
        evaluations: One per persona.
        suites: Those that an evaluation ran are told.
    """

    def __init__(self, evaluations: Sequence[Evaluation], suites: Mapping[str, Suite]) -> None:
        self._evaluations, self._suites = evaluations, suites
        self._glossary, self._ran = glossary_of(suites), ran(evaluations, suites)

    def lines(self) -> dict[str, str]:
        """Paragraphs by their first words; what there is nothing to say of is left out."""
        found = {
            "What came of it.": [*self._arrived(), self._heard(), self._gained()],
            "What it cost.": [self._lost(), self._fell()],
            "What is not shown.": [self._level(), *self._unshown(), *self._unmeasured()],
            "How sure this is.": [self._sure()],
        }
        return {head: " ".join(filter(None, said)) for head, said in found.items() if any(said)}

    def _arrived(self) -> list[str]:
        voices: dict[str, list[str]] = {}
        for each in self._evaluations:
            voices.setdefault(verdict(each, self._suites).headline.rstrip("."), []).append(each.persona)
        return [f"{headline}: {listed(names)}." for headline, names in voices.items()]

    def _heard(self) -> str:
        """The share of replies that is heard as the voice, from the least voice to the most."""
        told = [
            f"{span} of {each}"
            for each in subjects(self._evaluations)
            if (span := self._span(RATE, each))
        ]
        return f"The intended voice is heard in {listed(told)}." if told else ""

    def _span(self, name: str, subject: str | None = None) -> str:
        """From the least voice to the most; of the judged subject unless another is named."""
        found = [
            score
            for each in self._evaluations
            if (score := each.results.score(name, subject or each.judged)) is not None
        ]
        if not found:
            return ""
        means = self._glossary[name]
        size = max(max(abs(score.low), abs(score.high)) for score in found)
        values = [score.value for score in found]
        least, most = show(means, min(values), size), show(means, max(values), size)
        return least if least == most else f"{show(means, min(values), size, unit=False)} to {most}"

    def _gained(self) -> str:
        told = listed(self._on_side("better"))
        return f"By {_FIRST}, clearly better than every control: {told}." if told else ""

    def _fell(self) -> str:
        told = listed(self._on_side("worse"))
        return f"By {_FIRST}, clearly worse than at least one control: {told}." if told else ""

    def _on_side(self, side: str) -> list[str]:
        keys = {name: sides.count(side) for name, sides in self._sides.items() if side in sides}
        return [
            f"{_quoted(self._glossary.label(name))} ({self._often(count)}; {self._span(name)})"
            for name, count in keys.items()
        ]

    def _level(self) -> str:
        """First measures that are clearly better or worse in no voice."""
        told = [
            f"{_quoted(self._glossary.label(name))} ({self._span(name)})"
            for name, sides in self._sides.items()
            if set(sides) == {""}
        ]
        return f"In no voice clearly better or worse than the controls: {listed(told)}." if told else ""

    @cached_property
    def _sides(self) -> dict[str, list[str]]:
        """How first measures that have a better side stand, voice by voice."""
        found: dict[str, list[str]] = {}
        for suite in self._ran:
            for each in self._evaluations:
                name = key_measure(each, suite, self._glossary)
                if name and name != RATE and self._glossary[name].better:
                    found.setdefault(name, []).append(standing(each, name, self._glossary))
        return found

    def _lost(self) -> str:
        """What is clearly worse than in the base, in most voices first."""
        counted, others = dict[str, int](), list[str]()
        for each in self._evaluations:
            found = costs(each, self._glossary)
            others += [called(found.other)] * bool(found.measured)
            for name in found.lost:
                label = _quoted(capitalised(self._glossary[name].label))
                counted[label] = counted.get(label, 0) + 1
        if not others:
            return ""
        other = listed(list(dict.fromkeys(others)))
        if not counted:
            return f"In no voice is anything clearly worse than {other}."
        ranked = sorted(counted.items(), key=lambda pair: -pair[1])
        told = [f"{label} ({self._often(n)})" for label, n in ranked[:_NAMED]]
        left = len(ranked) - _NAMED
        told += [f"{left} other{'s' * (left > 1)}"] if left > 0 else []
        return f"Clearly worse than {other}: {listed(told)}."

    def _unshown(self) -> Iterable[str]:
        """What suites say that they could not show, once with all voices it holds of."""
        voices: dict[str, list[str]] = {}
        for suite in self._ran:
            for each in self._evaluations:
                if suite.unshown and (line := suite.unshown(each.results)):
                    voices.setdefault(line, []).append(each.persona)
        return [f"{line} ({self._who(names)})." for line, names in voices.items()]

    def _unmeasured(self) -> Iterable[str]:
        """Questions that nobody got an answer to."""
        for suite in self._ran:
            ran = [each for each in self._evaluations if suite.name in each.suites]
            if not any(key_measure(each, suite, self._glossary) for each in ran):
                why = listed(list(dict.fromkeys(w for each in ran for w in missing_lines(each, suite))))
                yield f"Not measured: {inside(suite.title)[:-1]}{f' ({why})' * bool(why)}."

    def _sure(self) -> str:
        right = [each.hearing.accuracy for each in self._evaluations]
        worst = min(right, key=lambda score: score.value)
        return (
            "Clearly means that the whole interval lies on one side. Shares heard of different questions"
            " are not to be compared, for some cut replies short. Intervals are over prompts and"
            " conversations: every adapter was trained once, and how much another training would differ"
            f" is in none of them. The classifier is right on {show(SHARE, worst.value, 1)} of"
            f" {worst.n} authored texts that it never saw."
        )

    def _often(self, count: int) -> str:
        every = len(self._evaluations)
        return "all voices" if count == every else f"{count} of {every} voices"

    def _who(self, names: Sequence[str]) -> str:
        return "all voices" if len(names) == len(self._evaluations) else listed(names)


def _quoted(label: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{label}\N{RIGHT DOUBLE QUOTATION MARK}"
