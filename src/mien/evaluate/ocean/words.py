"""What the report says about the Big Five, in sentences, from numbers only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mien.evaluate.compare import NULL, Difference, Results
from mien.evaluate.finding import Meaning
from mien.evaluate.ocean.gate import Verdict
from mien.evaluate.ocean.items import TRAITS
from mien.evaluate.pages.words import listed, show
from mien.page.svg import number

FORMATS = {"contrast": "contrasts", "scene": "scenes", "statement": "statements"}
_SHARE = Meaning("", share=True)
_FOLLOWS = 0.5  # of a rank correlation: what its whole interval is beyond
_NOTABLE = 0.1  # of acquiescence: a twentieth of the way from "never" to "always agrees"


def verdicts(results: Results, subject: str) -> list[Verdict]:
    """The gate's verdicts on one subject; none if it was not measured."""
    found = results.finding("ocean", subject)
    return [Verdict.model_validate(each) for each in found.detail.get("verdicts", [])] if found else []


def is_open(results: Results, subject: str, kind: str) -> bool:
    """Whether all five traits of one format may be read on a subject."""
    own = [each for each in verdicts(results, subject) if each.format == kind]
    return len(own) == len(TRAITS) and all(each.interpretable for each in own)


def says(results: Results) -> list[str]:
    """Shifts, the persona's claim, the gate, and doses or acquiescence."""
    subject = results.subjects[-1]
    parts = (_shifts(results, subject), _claim(results, subject), _gate(results, subject))
    last = _dose(results, subject) or _acquiescence(results, subject)
    return [each for each in (*parts, last) if each]


def _shifts(results: Results, subject: str) -> str:
    found = {trait: results.difference(f"ocean/contrast/{trait}", subject, "base") for trait in TRAITS}
    known = {trait: each for trait, each in found.items() if each}
    moved = [f"{'more' if d.side > 0 else 'less'} {t} ({_with(d)})" for t, d in known.items() if d.side]
    if not known:
        return ""
    if not moved:
        return f"In how it goes on, {subject} is on no trait surely apart from base."
    rest = "; the others are not surely apart" if len(moved) < len(known) else ""
    return f"In how it goes on, {subject} shows {listed(moved)} than base, in nats per token{rest}."


def _claim(results: Results, subject: str) -> str:
    base = results.difference("ocean/claimed", subject, "base")
    null = results.difference("ocean/claimed", subject, NULL)
    told = [f"{_with(each)} from {each.theirs}" for each in (base, null) if each]
    if not told:
        return ""
    surely = all(each.side > 0 for each in (base, null) if each)
    verdict = "It moves as the persona claims" if surely else "A move as the persona claims is not shown"
    return f"{verdict}: {listed(told)}, weighted by the claim."


def _gate(results: Results, subject: str) -> str:
    own = verdicts(results, subject)
    told = [_told(kind, [each for each in own if each.format == kind]) for kind in FORMATS]
    if not any(told):
        return ""
    start = "May be read as traits" if any(each.interpretable for each in own) else "Not interpretable"
    return f"{start} of {subject}: {'; '.join(each for each in told if each)}."


def _told(kind: str, own: Sequence[Verdict]) -> str:
    """Which scales of one format may be read, and what most of the others fail on."""
    if not own:
        return ""
    read = [each.trait for each in own if each.interpretable]
    failed = [check for each in own for check in each.checks if not check.passed]
    known = Counter(check.name for check in failed if check.value is not None)
    why = listed([name for name, _ in known.most_common(2)]) or "reliability (not measured)"
    if len(read) == len(own):
        return f"all {FORMATS[kind]}"
    return (
        f"{FORMATS[kind]} for {listed(read)} only"
        if read
        else f"no {FORMATS[kind]}, which fail on {why}"
    )


def unshown(results: Results) -> str:
    """The formats of which no trait may be read."""
    own = verdicts(results, results.subjects[-1])
    read = {each.format for each in own if each.interpretable}
    closed = [words for kind, words in FORMATS.items() if kind in {v.format for v in own} - read]
    return f"Traits of the Big Five: the {listed(closed)} do not pass the gate" if closed else ""


def _acquiescence(results: Results, subject: str) -> str:
    names = ("ocean/statement/acquiescence", "ocean/said/acquiescence")
    found = next((s for s in (results.score(name, subject) for name in names) if s), None)
    if found is None:
        return ""
    level = f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
    if abs(found.value) < _NOTABLE or found.low <= 0 <= found.high:
        return f"It hardly agrees with opposites: acquiescence {level}, where 1 is agreeing with all."
    what = "agrees" if found.value > 0 else "disagrees"
    return (
        f"Asked the questionnaire, it {what} with a statement and with its opposite (acquiescence"
        f" {level}): that is a way of answering and not a trait."
    )


def _dose(results: Results, subject: str) -> str:
    found = {trait: results.score(f"ocean/dose/rho/{trait}", subject) for trait in TRAITS}
    if not any(found.values()):
        return ""
    told = [
        f"{'more' if s.value > 0 else 'less'} {trait} ({_shape(results, subject, trait)})"
        for trait, s in found.items()
        if s and (s.low > _FOLLOWS or s.high < -_FOLLOWS)
    ]
    grows = f"More of the adapter is {listed(told)}" if told else "No trait surely follows the adapter"
    leak = results.score("ocean/dose/leakage", subject)
    astray = (
        f"; {show(_SHARE, leak.value)} of its effect points elsewhere than the persona" if leak else ""
    )
    return f"{grows}{astray}."


def _shape(results: Results, subject: str, trait: str) -> str:
    line, step = (results.score(f"ocean/dose/{what}/{trait}", subject) for what in ("line", "step"))
    if line is None or step is None:
        return "shape unknown"
    better = "a line" if line.value >= step.value else "a step"
    return f"{better}: R2 {number(line.value)} against {number(step.value)}"


def _with(found: Difference) -> str:
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]".replace("-", "\N{MINUS SIGN}")
