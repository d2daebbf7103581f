"""Whether the personality arrived, in plain words and by fixed rules; and what each suite came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from mien.evaluate.compare import CONTROLS, NULL, Difference
from mien.evaluate.evaluation import Evaluation
from mien.evaluate.gate import warning
from mien.evaluate.pages.words import (
    PERCENT,
    Glossary,
    called,
    ends,
    is_main,
    largest,
    listed,
    of_suite,
    outcome,
    show,
)
from mien.evaluate.roster import SUITES, Suite
from mien.page.svg import number
from mien.schema import Score

RATE = "voice/rate"
_TRUSTED_EAR = 0.8
_NAMED = 4  # losses that are told by name
Grade = Literal["good", "partial", "failed", "unknown"]


def glossary_of(suites: Mapping[str, Suite]) -> Glossary:
    """All words of some suites."""
    return Glossary({name: word for suite in suites.values() for name, word in suite.meanings.items()})


class Verdict(NamedTuple):
    """What came out, in plain words.

    Attributes:
        warning: What has to be said first, about safety; "" if there is nothing.
    """

    grade: Grade
    headline: str
    sentences: tuple[str, ...]
    warning: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it, the warning first."""
        return (*([self.warning] if self.warning else []), self.headline, *self.sentences)


def verdict(evaluation: Evaluation, suites: Mapping[str, Suite] = SUITES) -> Verdict:
    """Whether the personality arrived, and at what cost.

    "good" needs a clear gain over base, prompt and null where they were measured (the interval of the
    paired difference lies above 0) and a voice that is heard in most replies (the interval lies above
    one half). "failed" is a voice that is heard no more than by guessing, or not clearly more than in
    the base or in the null adapter. Everything between is "partial".
    """
    glossary, rate = glossary_of(suites), evaluation.results.score(RATE, evaluation.judged)
    cost, first = _cost_said(evaluation, glossary), warning(evaluation) or ""
    if rate is None:
        said = "Whether the personality arrived was not measured."
        return Verdict("unknown", said, (cost,), first)
    grade, headline = _grade(evaluation, rate)
    sentences = (_arrival(evaluation, rate, glossary), *_gains(evaluation), cost, *_doubts(evaluation))
    return Verdict(grade, headline, sentences, first)


def _grade(evaluation: Evaluation, rate: Score) -> tuple[Grade, str]:
    sides = {each.theirs: each.side for each in against(evaluation, RATE)}
    if rate.low <= _chance(evaluation) or sides.get("base", 1) <= 0:
        return "failed", "The personality did not arrive."
    if sides.get(NULL, 1) <= 0:
        return "failed", "The personality did not arrive: training on neutral text does as much."
    if sides.get("prompt", 1) < 0:
        return "partial", "Some of the personality arrived, but a system prompt alone does better."
    if sides.get("prompt", 1) == 0:
        return "partial", "The personality arrived, but no more clearly than with a system prompt alone."
    if rate.low <= 0.5:
        return "partial", "The personality arrived in part."
    return "good", "The personality arrived."


def against(evaluation: Evaluation, name: str) -> list[Difference]:
    """The judged subject's differences to the controls, as far as they were measured."""
    ours = evaluation.judged
    found = (evaluation.results.difference(name, ours, each) for each in CONTROLS)
    return [each for each in found if each]


def _chance(evaluation: Evaluation) -> float:
    return 1 / max(1, len(evaluation.hearing.labels))


def _arrival(evaluation: Evaluation, rate: Score, glossary: Glossary) -> str:
    means, who = glossary[RATE]._replace(share=True), called(rate.system, evaluation.adapters)
    return (
        f"In {show(means, rate.value, 1)} of the replies of {who}, the classifier hears the"
        f" {evaluation.persona} voice (95{PERCENT} interval {ends(means, rate, 1)}; guessing would give"
        f" {show(means, _chance(evaluation))})."
    )


def _gains(evaluation: Evaluation) -> list[str]:
    parts = [_gain(each, called(each.theirs)) for each in against(evaluation, RATE)]
    said = [f"That is {listed(parts)}."] if parts else []
    if effect := evaluation.results.effect(RATE, evaluation.judged):
        value, low, high = (number(each) for each in (effect.value, effect.low, effect.high))
        said.append(f"Over the null adapter it is {value} standard deviations ({low} to {high}).")
    return said


def _gain(found: Difference, other: str) -> str:
    value, low, high = (number(100 * each, 100) for each in (found.value, found.low, found.high))
    if found.side > 0:
        return f"{value} points more than {other} gives ({low} to {high})"
    if found.side < 0:
        value, low, high = (number(-100 * e, 100) for e in (found.value, found.high, found.low))
        return f"{value} points fewer than {other} gives ({low} to {high})"
    return f"not clearly different from {other} ({value} points; {low} to {high})"


class Costs(NamedTuple):
    """What got clearly worse than in a control.

    Attributes:
        other: The base, or the first control that was measured.
        measured: All differences to it that have a better side.
        lost: The measures among them that are clearly worse.
    """

    other: str
    measured: tuple[Difference, ...]
    lost: tuple[str, ...]


def costs(evaluation: Evaluation, glossary: Glossary) -> Costs:
    """What got clearly worse than in the base, or in another control if there is no base."""
    names = [name for name in glossary.order(s.name for s in evaluation.results.scores) if is_main(name)]
    other = next((each for each in CONTROLS if each in evaluation.results.subjects[:-1]), "")
    found = [evaluation.results.difference(name, evaluation.judged, other) for name in names]
    known = [each for each in found if each and glossary[each.name].better]
    labels = {glossary[each.name].label: each for each in reversed(known)}  # some stand in two suites
    known = [each for each in known if labels[glossary[each.name].label] is each]
    lost = [each.name for each in known if outcome(glossary[each.name], each) == "worse"]
    return Costs(other, tuple(known), tuple(lost))


def standing(evaluation: Evaluation, name: str, glossary: Glossary) -> Literal["better", "worse", ""]:
    """How a measure compares with the controls: better than all, worse than one, or neither."""
    words = [outcome(glossary[name], each) for each in against(evaluation, name)]
    if "worse" in words:
        return "worse"
    return "better" if words and set(words) == {"better"} else ""


def _cost_said(evaluation: Evaluation, glossary: Glossary) -> str:
    other, known, lost = costs(evaluation, glossary)
    if not known:
        return "What it cost was not measured."
    if not lost:
        return f"In none of {len(known)} measures is it clearly worse than {called(other)}."
    named = [f"{glossary[n].label.lower()} ({_from_to(evaluation, glossary, n, other)})" for n in lost]
    left = len(named) - _NAMED
    more = [f"{left} other{'s' * (left > 1)}"] if left > 0 else []
    which = listed([*named[:_NAMED], *more])
    return f"In {len(lost)} of {len(known)} measures it is clearly worse than {called(other)}: {which}."


def _from_to(evaluation: Evaluation, glossary: Glossary, name: str, other: str) -> str:
    results, most = evaluation.results, largest(evaluation.results, name)
    pair = (results.score(name, each) for each in (other, evaluation.judged))
    return " to ".join(show(glossary[name], each.value, most) for each in pair if each)


def _doubts(evaluation: Evaluation) -> list[str]:
    right = evaluation.hearing.accuracy.value
    if right >= _TRUSTED_EAR:
        return []
    return [
        "Read this with care: the classifier itself names the true voice of only"
        f" {100 * right:.0f}{PERCENT} of texts."
    ]


class Answer(NamedTuple):
    """One suite in a line: what was asked, what was found, how sure it is, and what failed."""

    suite: Suite
    found: str
    sure: str
    failed: str


def answers(evaluation: Evaluation, suites: Mapping[str, Suite]) -> list[Answer]:
    """A line per suite that was run."""
    glossary = glossary_of(suites)
    return [_answer(evaluation, suites[name], glossary) for name in evaluation.suites if name in suites]


def _answer(evaluation: Evaluation, suite: Suite, glossary: Glossary) -> Answer:
    said = suite.says(evaluation.results)
    found = said[0] if said else "Nothing could be measured."
    return Answer(suite, found, _sure(evaluation, suite, glossary), _failed(evaluation, suite, glossary))


def key_measure(evaluation: Evaluation, suite: Suite, glossary: Glossary) -> str | None:
    """The first of a suite's measures that the judged subject has; no part if that can be."""
    mine = (s.name for s in evaluation.results.scores if s.system == evaluation.judged)
    names = glossary.order(of_suite(mine, suite.name))
    return min(names, key=lambda name: not is_main(name), default=None)


def _sure(evaluation: Evaluation, suite: Suite, glossary: Glossary) -> str:
    name = key_measure(evaluation, suite, glossary)
    score = evaluation.results.score(name, evaluation.judged) if name else None
    if score is None or name is None:
        return ""
    means, most = glossary[name], largest(evaluation.results, name)
    value = f"{show(means, score.value, most)} ({ends(means, score, most)})"
    return f"{glossary.label(name)}: {value}, n = {score.n}"


def _failed(evaluation: Evaluation, suite: Suite, glossary: Glossary) -> str:
    worse: dict[str, list[str]] = {}
    results = evaluation.results
    for name in glossary.order(of_suite((s.name for s in results.scores), suite.name)):
        for found in against(evaluation, name) if is_main(name) else ():
            if outcome(glossary[name], found) == "worse":
                worse.setdefault(glossary[name].label.lower(), []).append(found.theirs)
    said = [f"{label} worse than {listed(others)}" for label, others in worse.items()]
    missing = missing_lines(evaluation, suite)
    said += [f"{len(missing)} thing{'s' * (len(missing) > 1)} not measured"] if missing else []
    return "; ".join(said)


def missing_lines(evaluation: Evaluation, suite: Suite) -> dict[str, list[str]]:
    """What a suite could not measure, and on whom."""
    found: dict[str, list[str]] = {}
    for finding in evaluation.results.findings:
        for line in finding.missing if finding.suite == suite.name else ():
            found.setdefault(line, []).append(finding.subject)
    return found
