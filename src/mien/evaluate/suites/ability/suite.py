"""What did the personality cost? Questions with an answer that a program can check, content, perplexity.

Four kinds: facts and arithmetic by multiple choice over likelihoods, instructions and formats by rules
for what is written. The claim is one of non-inferiority: the judged subject may lose at most the margin
of the persona's file against base and null adapter, `MARGIN` if that has none, and the whole 95 %
interval of the paired difference must lie above that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from mien.errors import UnableError
from mien.evaluate.compare import Difference, Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Finding, Meaning, Measure, Transcript
from mien.evaluate.gate import AGAINST
from mien.evaluate.pages.words import called, gap, listed, share, show
from mien.evaluate.setting import Setting, spread
from mien.evaluate.subject import Asked, Options, Subject
from mien.evaluate.suites.ability.figures import before_margin
from mien.evaluate.suites.ability.items import Choice, Task, items
from mien.evaluate.suites.dots import dots
from mien.evaluate.suites.held_out import held_out, rows_for
from mien.schema import Message, conversation

NAME = "ability"
TITLE = "What did it cost in ability?"
MARGIN = 0.10  # the share of questions that may be lost; declared before any adapter was measured
CHOSEN, WRITTEN = ("facts", "arithmetic"), ("instructions", "formats")
OPENINGS = ("The answer is", "Answer:", "I would say")
RIGHT, CONTENT, PLAIN = f"{NAME}/right", f"{NAME}/content", f"{NAME}/plain_perplexity"
TO_THE_POINT = f"{NAME}/to_the_point"
_SHOWN = 2  # transcripts of each kind

MEANINGS = {
    RIGHT: Meaning(
        "Questions right",
        "Out of all questions whose answer a program can check, how many were answered right. Pure"
        " chance gets one in four of the facts and sums.",
        1,
        True,
    ),
    f"{RIGHT}/*": Meaning("Questions right, by kind", "The same, for one kind of question.", 1, True),
    CONTENT: Meaning(
        "Content kept",
        "How close a reply comes in meaning to the authored plain answer to the same prompt; 1 would be"
        " the very same meaning.",
        1,
    ),
    TO_THE_POINT: Meaning(
        "To the point",
        "How many replies are closer in meaning to the authored plain answer to their own prompt than to"
        " that of any other prompt.",
        1,
        True,
    ),
    PLAIN: Meaning(
        "Perplexity of plain text",
        "How surprised the system is by authored replies without any personality. A personality is meant"
        " to move away from these; how far is part of its price.",
        -1,
    ),
}


class Verdict(NamedTuple):
    """Whether one subject is not worse than another by more than the margin.

    Attributes:
        difference: Ours minus theirs, paired by question.
        margin: The share of questions that may be lost.
    """

    difference: Difference
    margin: float

    @property
    def outcome(self) -> Literal["not worse", "worse", "open"]:
        """The interval lies above the margin, below it, or holds it."""
        if self.difference.low >= -self.margin:
            return "not worse"
        return "worse" if self.difference.high < -self.margin else "open"


def non_inferior(results: Results, ours: str, theirs: str) -> Verdict | None:
    """Whether `ours` gets as many questions right as `theirs`, but for the declared margin.

    None where the two were not compared.
    """
    found = results.difference(RIGHT, ours, theirs)
    return Verdict(found, _margin(results, ours)) if found else None


def _margin(results: Results, subject: str) -> float:
    """What the persona's file allowed when it was measured, as the release gate goes by it."""
    found = results.finding(NAME, subject)
    return float(found.detail.get("margin", MARGIN)) if found else MARGIN


def run(subject: Subject, setting: Setting) -> Finding:
    """Ask all questions, then see what is left of content and of plain language."""
    allowed = setting.persona.release.ability
    right, transcripts = _written(subject, setting)
    plain, missing = list[Measure](), list[str]()
    try:
        right = _chosen(subject, setting) | right
        plain.append(_plain(subject, setting))
    except UnableError as error:
        missing.append(f"facts, arithmetic and the perplexity of plain text: {error.what}")
    return Finding(
        suite=NAME,
        subject=subject.name,
        measures=(*_right(right), *_content(subject, setting), *plain),
        detail={"margin": MARGIN if allowed is None else allowed},
        transcripts=transcripts,
        missing=tuple(missing),
    )


def ahead(setting: Setting) -> list[Asked]:
    """The tasks that are answered in writing, for a large batch with the questions of other suites."""
    return [_to_write(task, seed) for _, task, seed in _tasks(setting)]


Marks = list[tuple[str, float]]  # question, and 1 if it was answered right


def _chosen(subject: Subject, setting: Setting) -> dict[str, Marks]:
    """Whether the right answer of four is the likeliest per token, by kind."""
    openings = OPENINGS[: setting.amounts.ability.openings]
    asked = [
        (kind, item, opening)
        for kind in CHOSEN
        for item in getattr(items(), kind)
        for opening in openings
    ]
    found = setting.logps(subject, [_options(item, opening) for _, item, opening in asked])
    marks: dict[str, Marks] = {kind: [] for kind in CHOSEN}
    for (kind, item, _), (right, *others) in zip(asked, found, strict=True):
        marks[kind].append((item.ask, float(right.mean > max(each.mean for each in others))))
    return marks


def _options(item: Choice, opening: str) -> Options:
    return Options(conversation(item.ask), tuple(f" {each}" for each in item.options), opening)


def _written(subject: Subject, setting: Setting) -> tuple[dict[str, Marks], tuple[Transcript, ...]]:
    """Whether each reply keeps the rules, by kind, and the first few replies to be read."""
    asked = _tasks(setting)
    said = setting.ask(subject, [_to_write(task, seed) for _, task, seed in asked])
    marks: dict[str, Marks] = {kind: [] for kind in WRITTEN}
    shown: dict[str, list[Transcript]] = {kind: [] for kind in WRITTEN}
    for (kind, task, _), reply in zip(asked, said, strict=True):
        passed = task.check.passes(reply.text)
        marks[kind].append((task.ask, float(passed)))
        shown[kind].append(_transcript(task, reply.text, passed))
    return marks, tuple(each for kind in WRITTEN for each in shown[kind][:_SHOWN])


def _tasks(setting: Setting) -> list[tuple[str, Task, int]]:
    """Kind, task, and the seed of the reply."""
    amount = setting.amounts.ability
    tasks = [(kind, each) for kind in WRITTEN for each in spread(getattr(items(), kind), amount.tasks)]
    return [(*each, seed) for seed in range(amount.seeds) for each in tasks]


def _to_write(task: Task, seed: int) -> Asked:
    return Asked(conversation(task.ask), seed)


def _transcript(task: Task, text: str, passed: bool) -> Transcript:
    return Transcript(
        title=task.ask,
        messages=(*conversation(task.ask), Message(role="assistant", content=text or "(nothing)")),
        note="as asked" if passed else "not as asked",
    )


def _right(marks: Mapping[str, Marks]) -> list[Measure]:
    """All questions together, and each kind."""
    how = {
        RIGHT: "share of questions right, all kinds together",
        **{f"{RIGHT}/{kind}": "likeliest per token of four answers is the right one" for kind in CHOSEN},
        **{f"{RIGHT}/{kind}": "reply keeps the rules, checked by program" for kind in WRITTEN},
    }
    kinds = {f"{RIGHT}/{kind}": marks[kind] for kind in (*CHOSEN, *WRITTEN) if kind in marks}
    parts = {RIGHT: [mark for part in kinds.values() for mark in part]} | kinds
    return [
        Measure(
            name=name,
            values=tuple(value for _, value in part),
            units=tuple(question for question, _ in part),
            method=how[name],
            scale="share",
        )
        for name, part in parts.items()
    ]


def _content(subject: Subject, setting: Setting) -> tuple[Measure, Measure]:
    """How near replies to the corpus' test prompts come to the authored neutral ones."""
    found = held_out(subject, setting, setting.amounts.held_out.seeds)
    neutral = setting.embedder.embed([row.replies["neutral"] for row in found.rows])
    near = setting.embedder.embed([text for texts in found.said for text in texts]) @ neutral.T
    own = near[np.arange(len(near)), np.arange(len(near)) % len(neutral)]
    units = tuple(found.ids * len(found.said))
    how = "cosine of MiniLM embeddings with the authored neutral reply"
    first = (own >= near.max(axis=1)).astype(float)
    return (
        Measure(name=CONTENT, values=tuple(own.tolist()), units=units, method=how),
        Measure(
            name=TO_THE_POINT,
            values=tuple(first.tolist()),
            units=units,
            method=f"{how}, which no other prompt's neutral reply exceeds",
            scale="share",
        ),
    )


def _plain(subject: Subject, setting: Setting) -> Measure:
    rows = rows_for(setting)
    asked = [Options(conversation(row.prompt), (row.replies["neutral"],), whole=True) for row in rows]
    return Measure(
        name=PLAIN,
        values=tuple(-found[0].mean for found in setting.logps(subject, asked)),
        units=tuple(row.id for row in rows),
        method="exp of mean -log p per token of the authored neutral test reply",
        scale="exp",
    )


def says(results: Results) -> list[str]:
    """How much it gets right, whether that is as much as the controls, and what it lost most."""
    judged = results.subjects[-1]
    verdicts = [found for each in AGAINST if (found := non_inferior(results, judged, each))]
    parts = (_level(results, judged), *(sentence(results, each) for each in verdicts))
    return [*filter(None, (*parts, _lost(results, judged)))]


def sentence(results: Results, verdict: Verdict) -> str:
    """A verdict in words."""
    found, means = verdict.difference, MEANINGS[RIGHT]
    value, interval = gap(results, means, found)
    most = f"{100 * verdict.margin:.0f} points"
    meant = {
        "not worse": f"if there is a loss, it is smaller than the {most} that were allowed beforehand",
        "worse": f"the loss is larger than the {most} that were allowed beforehand",
        "open": f"whether the loss stays within the {most} that were allowed beforehand is not shown",
    }
    against = f"Against {called(found.theirs)} that is {value} ({interval})"
    return f"{against}: {meant[verdict.outcome]}."


def _level(results: Results, judged: str) -> str:
    means, found = MEANINGS[RIGHT], results.score(RIGHT, judged)
    if found is None:
        return ""
    others = [
        f"{show(means, score.value)} by {called(each)}"
        for each in results.subjects
        if each != judged and (score := results.score(RIGHT, each)) and score.n == found.n
    ]  # the rate of who was asked other questions as well, as by likelihood, is of another mixture
    told = f"{share(found)} of {found.n} answers are right"
    return f"{told}, against {listed(others)}." if others else f"{told}."


def _lost(results: Results, judged: str) -> str:
    """The kind that lost most against the first control, where that is a clear loss."""
    theirs = next((each for each in AGAINST if each in results.subjects), "")
    found = [
        (kind, lost)
        for kind in (*CHOSEN, *WRITTEN)
        if (lost := results.difference(f"{RIGHT}/{kind}", judged, theirs)) and lost.side < 0
    ]
    if not found:
        return ""
    kind, lost = min(found, key=lambda each: each[1].value)
    value, interval = gap(results, MEANINGS[RIGHT], lost)
    return (
        f"Most is lost on {kind}: {value} ({interval}) against {called(theirs)}. All kinds together hide"
        " that, since what one gains makes up for what another loses."
    )


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """The difference to the controls before the margin, and all scores."""
    judged = results.subjects[-1]
    verdicts = [found for each in AGAINST if (found := non_inferior(results, judged, each))]
    margin = before_margin([each.difference for each in verdicts], _margin(results, judged), paint)
    names = (RIGHT, *(f"{RIGHT}/{kind}" for kind in (*CHOSEN, *WRITTEN)), CONTENT, TO_THE_POINT, PLAIN)
    return [*margin, *dots(results, names, MEANINGS, paint)]
