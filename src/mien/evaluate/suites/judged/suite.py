"""What a judge makes of it: it rates the replies of each subject, and compares those of every two.

Nothing that it says is dropped in silence: what cannot be read is counted. The comparisons are in
`duels`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import pstdev
from typing import Any

from mien.evaluate.finding import Finding, Meaning, Measure, Transcript
from mien.evaluate.judge import Call, Case, Judge, Judged, Mark, kinship
from mien.evaluate.rubric import rubric
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Subject
from mien.evaluate.suites.judged.duels import together
from mien.evaluate.suites.judged.figures import NAME, figures, says
from mien.evaluate.suites.judged.rows import replies_of, rows_for
from mien.schema import Message, conversation

__all__ = ["MEANINGS", "NAME", "TITLE", "figures", "run", "says", "together"]

TITLE = "What does a judge make of it?"
NOBODY = "no judge was named"
_TRANSCRIPTS = 3

MEANINGS = {
    **{
        f"judged/{each.name}": Meaning(
            each.label,
            f"{each.question} From 1 ({each.low}) to 5 ({each.high}), as the judge sees it.",
            1,
        )
        for each in rubric().criteria
    },
    "judged/spread": Meaning(
        "Spread of the marks",
        "By how much the judge's marks for one reply differ when it is asked again in other words: their"
        " standard deviation, in marks.",
    ),
    "judged/whole": Meaning(
        "Answers as asked for",
        "How many of the judge's answers were in the form it was asked for. The others were repaired, or"
        " counted as lost as far as that could not be done.",
        0,
        True,
    ),
    "judged/lost": Meaning(
        "Verdicts lost", "How many of the judge's verdicts could not be read at all.", 0, True
    ),
    "judged/mass": Meaning(
        "Mass of the marks",
        "How likely the judge was to answer with any of the marks it may give. Where this is low, it"
        " would rather have said something else.",
        0,
        True,
    ),
    "judged/wins": Meaning(
        "Comparisons won",
        "Of all comparisons with replies of other systems, how many the judge decides for this one. Each"
        " is made in both orders; if the verdicts differ, each side gets half. Where likelihoods are"
        " read, their mean over both orders decides. In the quick size each system meets only its two"
        " neighbours, so that two systems' shares are not of the same comparisons.",
        0,
        True,
    ),
    "judged/wins/*": Meaning("Comparisons won", "The same, by one criterion.", 0, True),
    "judged/against/*": Meaning("Won against", "The same, against one other system.", 1, True),
    "judged/equal_length/*": Meaning(
        "Won at equal length, against",
        "What would be won if both replies were always equally long: judges like length for its own"
        " sake.",
        1,
        True,
    ),
    "judged/leaning/*": Meaning(
        "Leaning, against",
        "How far the judge's likelihoods lean to this system, in log-odds, after its liking for the"
        " first or second place is taken out; 0 leans to neither.",
        1,
    ),
    "judged/strength": Meaning(
        "Strength",
        "Who beats whom in one figure (Bradley-Terry, on Elo's scale): 100 points more win 64 % of"
        " comparisons. The mean of all systems is 0.",
        1,
    ),
    "judged/flips": Meaning(
        "Verdicts that flip",
        "How many of the judge's verdicts change when the two replies change places.",
        0,
        True,
    ),
    "judged/first": Meaning(
        "First place preferred",
        "How many of its verdicts go to whichever reply is shown first; a fair judge has half.",
        0,
        True,
    ),
}


def run(subject: Subject, setting: Setting) -> Finding:
    """Rate a subject's replies by every criterion, several times over."""
    judge = setting.judge
    if judge is None:
        return Finding(suite=NAME, subject=subject.name, missing=(NOBODY,))
    rows = rows_for(setting, setting.amounts.judged.rated)
    replies = replies_of(subject, setting, rows)
    cases = [Case(conversation(row.prompt), text) for row, text in zip(rows, replies, strict=True)]
    judged = judge.rate(cases, setting.persona, setting, repeats=setting.amounts.judged.ratings)
    units = [row.id for row in rows]
    return Finding(
        suite=NAME,
        subject=subject.name,
        measures=(*_marks(judge, judged, units), *_reading(judge, judged.calls, judged.marks, units)),
        detail={"judge": about(judge, subject)},
        transcripts=tuple(_transcripts(cases, judged)),
        missing=tuple(_missing(judge, judged)),
    )


def about(judge: Judge, subject: Subject) -> dict[str, Any]:
    """What has to be known of a judge wherever it is quoted."""
    calibration = judge.calibration
    return {
        "name": judge.name,
        "calibrated": sorted(calibration.curves) if calibration else [],
        "agreement": [each.model_dump() for each in calibration.scores] if calibration else [],
        "family": sorted(kinship(judge, subject)),
    }


def _marks(judge: Judge, judged: Judged, units: Sequence[str]) -> Iterator[Measure]:
    for criterion in rubric().criteria:
        marks = [each for each in judged.marks if each.criterion == criterion.name]
        if marks:
            yield Measure(
                name=f"judged/{criterion.name}",
                values=tuple(each.value for each in marks),
                units=tuple(units[each.item] for each in marks),
                method=f"{judge.method(criterion.name)}: 1 to 5{_how(judge, marks)}",
            )
    yield from _spread(judge, judged.marks, units)


def _how(judge: Judge, marks: Sequence[Mark]) -> str:
    parts = ["expected value over likelihoods"] if judge.rater.weighs else []
    if plain := sum(each.plain for each in marks):
        parts.append(f"{plain} of {len(marks)} on a rewrite without style")
    parts.append(f"{1 + max(each.repeat for each in marks)} wordings")
    return f", {', '.join(parts)}"


def _spread(judge: Judge, marks: Iterable[Mark], units: Sequence[str]) -> Iterator[Measure]:
    """Per reply and criterion, how the repeats differ."""
    groups: defaultdict[tuple[int, str], list[float]] = defaultdict(list)
    for mark in marks:
        groups[mark.item, mark.criterion].append(mark.value)
    repeated = {key: values for key, values in groups.items() if len(values) > 1}
    if repeated:
        yield Measure(
            name="judged/spread",
            values=tuple(pstdev(values) for values in repeated.values()),
            units=tuple(units[item] for item, _ in repeated),
            method=f"{judge.method()}: standard deviation over repeats, in marks",
        )


def _reading(
    judge: Judge, calls: Sequence[Call], marks: Sequence[Mark], units: Sequence[str]
) -> Iterator[Measure]:
    """How the answers could be read: their likelihood, or their form."""
    if judge.rater.weighs:
        yield Measure(
            name="judged/mass",
            values=tuple(each.mass or 0.0 for each in marks),
            units=tuple(units[each.item] for each in marks),
            method=f"{judge.method()}: probability of all admissible answers together",
        )
        return
    owners = tuple(units[each.item] for each in calls)
    whole = tuple(float(each.state == "whole") for each in calls)
    lost = tuple(each.lost / each.wanted for each in calls)
    form = f"{judge.method()}: answers in the form that was asked for"
    yield Measure(name="judged/whole", values=whole, units=owners, method=form, scale="share")
    told = f"{judge.method()}: verdicts that could not be read"
    yield Measure(name="judged/lost", values=lost, units=owners, method=told)


def _transcripts(cases: Sequence[Case], judged: Judged) -> Iterator[Transcript]:
    for item, case in enumerate(cases[:_TRANSCRIPTS]):
        given = [each for each in judged.marks if each.item == item and not each.repeat]
        note = ", ".join(f"{each.criterion.replace('_', ' ')} {each.value:.1f}" for each in given)
        reply = Message(role="assistant", content=case.reply or "(nothing)")
        yield Transcript(
            title=case.messages[-1].content,
            messages=(*case.messages, reply),
            note=f"The judge: {note or 'nothing that can be read'}.",
        )


def _missing(judge: Judge, judged: Judged) -> Iterator[str]:
    for criterion in rubric().criteria:
        marks = [each for each in judged.marks if each.criterion == criterion.name]
        label = criterion.label.lower()
        if not marks:
            yield f"{label}: none of {len(judged.calls)} answers of the judge can be read"
        elif criterion.styleless and not any(each.plain for each in marks):
            why = "its rewrites failed" if judge.writer else "it cannot rewrite them without style"
            yield f"{label} apart from style: the judge read replies as they are, for {why}"
