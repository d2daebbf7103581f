"""What the drift suite found, in sentences made from its numbers."""

from __future__ import annotations

from mien.evaluate.compare import CONTROLS, Difference, Results, side
from mien.evaluate.suites.drift.course import Course, Detail
from mien.schema import Score

_STUCK = 0.2  # share of runs of words said before, above which a reader must be told


def sentences(results: Results, details: dict[str, Detail]) -> list[str]:
    """About the subject that is judged, which is the last one, beside its controls."""
    judged = results.subjects[-1]
    if judged not in details:
        return []
    found = (
        f"{_held(results, judged, details[judged].turns)} {_lost(results, judged)}".strip(),
        _slope(results, judged),
        _breaks(judged, details),
        _pull(results, judged),
        _stuck(results, judged),
    )
    return [sentence for sentence in found if sentence]


def _held(results: Results, judged: str, turns: int) -> str:
    name = "drift/held"
    score = results.score(name, judged)
    if score is None:
        return ""
    gaps = [results.difference(name, judged, each) for each in CONTROLS]
    known = "; ".join([_interval(score), *(_against(gap) for gap in gaps if gap)])
    return (
        f"Over {turns} turns with an easy user, {judged} is heard in the intended voice in"
        f" {_share(score)} of its replies ({known})."
    )


def _lost(results: Results, judged: str) -> str:
    alone, lost = results.score("drift/alone", judged), results.score("drift/lost", judged)
    if alone is None or lost is None:
        return ""
    verdict = {
        1: "the conversation takes from it",
        0: f"nothing that {lost.n} conversations could show to be lost",
        -1: "the conversation adds to it",
    }[side(lost)]
    return (
        f"Where the same is asked alone and answered as shortly, it is heard in {_share(alone)}"
        f" ({_interval(alone)}): {verdict} ({_change(-lost.value, -lost.high, -lost.low)})."
    )


def _against(gap: Difference) -> str:
    return f"against {gap.theirs} {_points(gap)}" + ("" if gap.side else ", which may be chance")


def _slope(results: Results, judged: str) -> str:
    score = results.score("drift/slope", judged)
    if score is None:
        return ""
    verdict = {
        -1: "it drifts out of the voice",
        0: f"no drift that {score.n} conversations could show",
        1: "it grows into the voice",
    }[side(score)]
    return f"In ten turns the probability of that voice changes by {_points(score)}: {verdict}."


def _breaks(judged: str, details: dict[str, Detail]) -> str:
    parts = [
        f"{_broken(details[name].users['neutral'], details[name].turns)} of {name}"
        for name in dict.fromkeys((judged, "prompt"))
        if name in details
    ]
    return f"Two misses running break a conversation: {'; '.join(parts)}."


def _broken(course: Course, turns: int) -> str:
    value, low, high = course.half_life
    if value is None:
        half = f"half-life beyond {turns} turns"
    else:
        end = f"{high:.0f}" if high is not None else f"beyond {turns}"
        half = f"half of them by turn {value:.0f}, 95 % interval {low:.0f} to {end}"
    return f"{course.broken} of {course.conversations} ({half})"


def _pull(results: Results, judged: str) -> str:
    pull, held = results.score("drift/pull", judged), results.score("drift/held/pulled", judged)
    if pull is None or held is None:
        return ""
    verdict = {-1: "takes from", 0: "changes little in", 1: "adds to"}[side(pull)]
    return (
        f"A user who pulls the other way {verdict} its voice ({_points(pull)}); {_share(held)} of the"
        f" replies to that user are in it ({_interval(held)})."
    )


def _stuck(results: Results, judged: str) -> str:
    score = results.score("drift/repeats", judged)
    if score is None or score.value < _STUCK:
        return ""
    return (
        f"It repeats itself: {_share(score)} of its runs of words were said before in the same"
        f" conversation ({_interval(score)}); a reply that is mostly such counts as out of the voice."
    )


def _share(score: Score) -> str:
    return f"{100 * score.value:.0f} %"


def _interval(score: Score) -> str:
    return f"95 % interval {100 * score.low:.0f} to {100 * score.high:.0f} %"


def _points(each: Score | Difference) -> str:
    return _change(each.value, each.low, each.high)


def _change(*ends: float) -> str:
    value, low, high = (_signed(100 * end) for end in ends)
    return f"{value} points, {low} to {high}"


def _signed(value: float) -> str:
    return f"{round(value) + 0:+d}".replace("-", "\N{MINUS SIGN}").replace("+0", "0")
