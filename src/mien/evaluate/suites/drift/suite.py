"""Does it hold in a long conversation, with a user who is easy and with one who pulls the other way?

Conversations are held turn by turn, and the voice classifier hears every reply. A conversation has
broken at the first of two turns running that are not heard in the intended voice: one stray reply is
noise, and a lone last turn breaks nothing. A reply of which more than half was said before in the same
conversation is an echo and in nobody's voice: a small model that is stuck must not pass for one that
holds. The easy user's questions are asked alone as well, for short replies show less of any voice. What
the persona would say is also probed: the same question is put to copies of the conversation after some
turns, which are then thrown away, so that only the history differs between two answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.wording import ECHOED, REPEATED, echo
from mien.errors import UnableError
from mien.evaluate.classifier import METHOD
from mien.evaluate.compare import Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Finding, Meaning, Measure, Transcript
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Subject
from mien.evaluate.suites.drift import alone
from mien.evaluate.suites.drift import figures as drawn
from mien.evaluate.suites.drift.answers import instructions
from mien.evaluate.suites.drift.course import Course, Detail, Point
from mien.evaluate.suites.drift.says import sentences
from mien.evaluate.suites.drift.talks import Held, Plan, hold
from mien.evaluate.suites.drift.users import Manner, Played, Scene, Scripted, scenes
from mien.evaluate.suites.parts import short
from mien.evaluate.survival import Survival, kaplan_meier
from mien.schema import Message, Score
from mien.stats import by_prompt

NAME = "drift"
TITLE = "Does it hold in a long conversation?"

_MANNERS: dict[Manner, str] = {"neutral": "easy user", "pulled": "user who pulls"}
_WITH: dict[Manner, str] = {"neutral": "an easy user", "pulled": "a user who pulls"}
_PER = 10  # turns: a slope is told as the change over so many
_SHOWN = 8  # turns of a transcript; of longer ones the first and the last

_MEANINGS = {
    "held": Meaning("held", "Replies that are heard in the intended voice, over all turns.", 1, True),
    "score": Meaning("score", "Probability of the intended voice, over all turns.", 1, True),
    "slope": Meaning("slope", f"Change of that probability over {_PER} turns.", 1),
    "lasted": Meaning(
        "turns until it breaks",
        "Turns before two running are not heard in the intended voice; at most all.",
        1,
    ),
    "probe": Meaning(
        "change of the probe",
        "The same question, asked of a copy at the end and before anything was said: by how much the"
        " probability of the intended voice has changed.",
        1,
    ),
    "repeats": Meaning(
        "repeats",
        f"Share of a reply's runs of {REPEATED} words that the conversation has had before.",
        -1,
        True,
    ),
    "half_life": Meaning(
        "half-life", "The turn by which half of the conversations have broken (Kaplan-Meier).", 1
    ),
}
_AFTER: dict[Manner, str] = {"neutral": "", "pulled": "/pulled"}
MEANINGS: dict[str, Meaning] = {
    f"{NAME}/{name}{_AFTER[manner]}": each._replace(label=f"{each.label} with {_WITH[manner]}")
    for manner in _MANNERS
    for name, each in _MEANINGS.items()
} | {
    **alone.MEANINGS,
    f"{NAME}/pull": Meaning(
        "what pulling takes",
        "Probability of the intended voice with the user who pulls, minus that with the easy one.",
        1,
    ),
}


class _Ear(NamedTuple):
    """What was heard in the conversations of one manner.

    Attributes:
        units: One per conversation.
        scores: Probability of the intended voice, 0 for an echo, (conversations, turns).
        right: Whether that voice is the likeliest and it is no echo, (conversations, turns).
        probes: Probability of the intended voice, (conversations, probes).
        repeats: Share of word runs that were said before, (conversations, turns).
    """

    units: tuple[str, ...]
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    probes: NDArray[np.float64]
    repeats: NDArray[np.float64]


def run(subject: Subject, setting: Setting) -> Finding:
    """Hold the conversations of one subject and date where they break."""
    if setting.persona.name not in setting.ear.labels:
        return _nothing(subject, f"The voice classifier does not know {setting.persona.name!r}.")
    amount = setting.amounts.drift
    turns = setting.turns or amount.turns
    user = Played(setting.user) if setting.user else Scripted()
    plan = Plan(turns, probed(turns, amount.probes), user, short(setting, amount.tokens))
    some = scenes(setting, turns, amount.conversations)
    try:
        held = hold(subject, setting, some, plan)
    except UnableError as error:
        return _nothing(subject, error.what)
    return _finding(subject, setting, plan, some, held)


def probed(turns: int, probes: int) -> tuple[int, ...]:
    """After which turns to probe: at both ends and evenly between, with less than two of them never."""
    parts = probes - 1
    return tuple(sorted({round(turns * part / parts) for part in range(probes)})) if parts > 0 else ()


def broken_at(right: Sequence[bool]) -> int | None:
    """The turn, from 1, of the first two running that are not in the voice; None if there are none."""
    pairs = enumerate(pairwise(right), 1)
    return next((turn for turn, two in pairs if not any(two)), None)


def survival(right: NDArray[np.bool_]) -> Survival:
    """Of (conversations, turns): Kaplan-Meier, where those that hold are last seen at the last turn."""
    breaks = [broken_at(row) for row in right.tolist()]
    last = right.shape[1]
    return kaplan_meier([each or last for each in breaks], [each is not None for each in breaks])


def slopes(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares slope per turn of each row of (conversations, turns).

    All have the same turns, so their mean is the slope of all turns pooled, and resampling them is the
    bootstrap clustered by conversation.
    """
    turns = np.arange(scores.shape[1]) - (scores.shape[1] - 1) / 2
    return np.asarray(scores @ turns / (turns @ turns))


def says(results: Results) -> list[str]:
    """What was found, in plain sentences."""
    return sentences(results, _details(results))


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """Score by turn, survival and probes, with either user."""
    return drawn.draw(_details(results), paint)


def _details(results: Results) -> dict[str, Detail]:
    found = {name: results.finding(NAME, name) for name in results.subjects}
    return {name: Detail.model_validate(f.detail) for name, f in found.items() if f and f.detail}


def _nothing(subject: Subject, why: str) -> Finding:
    return Finding(suite=NAME, subject=subject.name, missing=(why,))


def _finding(
    subject: Subject, setting: Setting, plan: Plan, scenes: Sequence[Scene], held: Sequence[Held]
) -> Finding:
    ears = _listen(setting, plan, scenes, held, instructions(subject))
    curves = {manner: survival(ear.right) for manner, ear in ears.items()}
    measures = [m for manner, ear in ears.items() for m in _measures(manner, ear, plan)]
    single, missing = _alone(subject, setting, plan, scenes, held, ears["neutral"])
    detail = Detail(
        turns=plan.turns,
        probed=plan.probed,
        users={manner: _course(ear, curves[manner]) for manner, ear in ears.items()},
    )
    return Finding(
        suite=NAME,
        subject=subject.name,
        measures=(*measures, *single, _pull(ears, plan)),
        scores=tuple(s for manner in ears for s in _half_life(manner, curves[manner], subject, plan)),
        detail=detail.model_dump(mode="json"),
        transcripts=tuple(_transcript(*each) for each in list(zip(scenes, held, strict=True))[:2]),
        missing=missing,
    )


def _alone(
    subject: Subject,
    setting: Setting,
    plan: Plan,
    scenes: Sequence[Scene],
    held: Sequence[Held],
    easy: _Ear,
) -> tuple[list[Measure], tuple[str, ...]]:
    """The easy user's questions outside the conversation, and what is missing of that."""
    both = [each for each in zip(scenes, held, strict=True) if each[0].manner == "neutral"]
    own, talks = [scene for scene, _ in both], [talk for _, talk in both]
    try:
        return alone.measures(subject, setting, own, talks, easy.right, plan.sampling), ()
    except UnableError as error:
        return [], (f"asked alone: {error.what}",)


def _listen(
    setting: Setting,
    plan: Plan,
    scenes: Sequence[Scene],
    held: Sequence[Held],
    given: Sequence[Message],
) -> dict[Manner, _Ear]:
    """Every reply and probe is heard once, all together."""
    mass = setting.ear.judge([text for each in held for text in (*each.replies, *each.probes)])
    intended = setting.ear.labels.index(setting.persona.name)
    shape = (len(held), plan.turns + len(plan.probed))
    scores = mass[:, intended].reshape(shape)
    right = (mass.argmax(axis=1) == intended).reshape(shape)
    repeats = np.array([_repeats(each, given) for each in held])
    own = repeats <= ECHOED
    found: dict[Manner, _Ear] = {}
    for manner in _MANNERS:
        rows = [place for place, scene in enumerate(scenes) if scene.manner == manner]
        found[manner] = _Ear(
            tuple(scenes[place].unit for place in rows),
            (scores[:, : plan.turns] * own)[rows],
            (right[:, : plan.turns] & own)[rows],
            scores[rows, plan.turns :],
            repeats[rows],
        )
    return found


def _repeats(held: Held, given: Sequence[Message]) -> list[float]:
    messages = [*given, *held.messages]
    last = len(given) + 1
    return [echo(text, messages[: last + 2 * turn]) for turn, text in enumerate(held.replies)]


def _measures(manner: Manner, ear: _Ear, plan: Plan) -> list[Measure]:
    turns = plan.turns
    longest = plan.sampling.max_tokens
    how = f"{turns} turns with {_MANNERS[manner]}, replies cut at {longest} tokens, an echo is no voice"
    method = f"{METHOD}; {how}"
    many = np.repeat(ear.units, turns).tolist()
    lasted = [(broken_at(row) or turns + 1) - 1 for row in ear.right.tolist()]
    slope = f"least squares over the turns of each conversation, times {_PER}; {method}"
    until = f"turns before the first of two misses running; {method}"
    rows: list[tuple[str, NDArray[np.float64], Sequence[str], str]] = [
        ("held", ear.right.astype(float).ravel(), many, f"share heard; {method}"),
        ("score", ear.scores.ravel(), many, f"probability; {method}"),
        ("slope", slopes(ear.scores) * _PER, ear.units, slope),
        ("lasted", np.array(lasted, dtype=float), ear.units, until),
        ("repeats", ear.repeats.ravel(), many, f"word {REPEATED}-grams; {turns} turns"),
    ]
    if plan.probed:
        moved = ear.probes[:, -1] - ear.probes[:, 0]
        rows.append(("probe", moved, ear.units, f"forked probe; {method}"))
    return [
        Measure(
            name=f"{NAME}/{name}{_AFTER[manner]}",
            values=tuple(values.tolist()),
            units=tuple(units),
            method=by,
            scale="share" if name == "held" else "mean",
        )
        for name, values, units, by in rows
    ]


def _pull(ears: Mapping[Manner, _Ear], plan: Plan) -> Measure:
    easy, pulled = ears["neutral"], ears["pulled"]
    gaps = (pulled.scores - easy.scores).mean(axis=1)
    method = f"{METHOD}; mean over {plan.turns} turns of the same conversation, pulled minus easy"
    return Measure(name=f"{NAME}/pull", values=tuple(gaps.tolist()), units=easy.units, method=method)


def _half_life(manner: Manner, curve: Survival, subject: Subject, plan: Plan) -> list[Score]:
    """A score where half have broken; where they have not there is no number, and `says` says so."""
    value, low, high = curve.half_life
    if value is None:
        return []
    method = (
        "median of the Kaplan-Meier curve to the first of two misses running; 95 % interval by"
        f" Brookmeyer and Crowley, cut off at {plan.turns} turns; {_MANNERS[manner]}"
    )
    ends = {"low": low or value, "high": high or float(plan.turns)}
    name = f"{NAME}/half_life{_AFTER[manner]}"
    return [Score(name=name, system=subject.name, value=value, **ends, n=curve.n, method=method)]


def _course(ear: _Ear, curve: Survival) -> Course:
    return Course(
        score=tuple(_point(column, ear.units) for column in ear.scores.T),
        held=tuple(float(share) for share in ear.right.mean(axis=0)),
        probes=tuple(_point(column, ear.units) for column in ear.probes.T),
        steps=tuple((step.time, step.share, step.low, step.high) for step in curve.steps),
        broken=sum(step.events for step in curve.steps),
        conversations=curve.n,
        half_life=curve.half_life,
    )


def _point(column: NDArray[np.float64], units: Sequence[str]) -> Point:
    value, low, high, _ = by_prompt(column, units)
    return value, low, high


def _transcript(scene: Scene, held: Held) -> Transcript:
    whole = len(held.replies) <= _SHOWN
    some = held.messages if whole else (*held.messages[:_SHOWN], *held.messages[-_SHOWN:])
    note = "" if whole else f"The first {_SHOWN // 2} turns and the last {_SHOWN // 2}."
    return Transcript(title=f"{scene.unit}, {_MANNERS[scene.manner]}", messages=some, note=note)
