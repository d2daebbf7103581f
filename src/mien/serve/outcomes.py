"""What an experiment has found: shares with intervals, differences of arms, and what to make of them.

Users were drawn into the arms, so the user is the unit: what one user does about ten replies is no ten
findings. A difference is decided where its interval leaves 0, if there are enough users, and as many as
were planned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Literal, NamedTuple

from scipy.special import chdtrc

from mien.schema import Score, Strict
from mien.serve.experiments import Experiment
from mien.stats import Interval, difference, wilson_by_cluster
from mien.workspace import Workspace

FEWEST = 20  # users of an arm below which its interval is not trusted
_UNLIKELY = 0.001
_LEAST_EXPECTED = 5  # users of each arm, for the approximation by chi-squared
Measure = Literal["thumbs_up", "regenerated", "edited"]
Verdict = Literal["higher", "lower", "undecided", "too few users", "too early"]
MEASURES: tuple[Measure, ...] = ("thumbs_up", "regenerated", "edited")


class Side(Strict):
    """One arm.

    Attributes:
        share: How many of all users were to meet it.
        users: That met it.
        replies: That they were given.
        versions: Of the weights that answered.
        scores: Shares: of the thumbs those that point up; of the replies those that were asked for
            again, and those that were corrected. A measure that nothing is known of is left out.
        raters: The users that each score is of.
    """

    arm: str
    share: float
    users: int
    replies: int
    versions: tuple[str, ...]
    scores: dict[Measure, Score]
    raters: dict[Measure, int]


class Contrast(Strict):
    """A measure of one arm minus that of the first."""

    measure: Measure
    arm: str
    first: str
    score: Score
    verdict: Verdict


class Readout(Strict):
    """All of one epoch.

    Attributes:
        warnings: What speaks against believing it, in sentences.
    """

    arms: tuple[Side, ...]
    contrasts: tuple[Contrast, ...]
    warnings: tuple[str, ...]


class _User(NamedTuple):
    """What one user was given, and did about it."""

    replies: int
    thumbs: int
    thumbs_up: int
    regenerated: int
    edited: int

    def of(self, measure: Measure) -> tuple[int, int]:
        """Successes and trials."""
        return getattr(self, measure), self.thumbs if measure == "thumbs_up" else self.replies


def read_out(workspace: Workspace, experiment: Experiment) -> Readout:
    """What an epoch has found so far."""
    users = _users(workspace, experiment)
    versions = _versions(workspace, experiment)
    sides = tuple(
        _side(arm.name, experiment.share(arm), users.get(arm.name, []), versions.get(arm.name, ()))
        for arm in experiment.arms
    )
    early = experiment.users is not None and min(side.users for side in sides) < experiment.users
    contrasts = tuple(
        _contrast(measure, side, sides[0], early=early)
        for side in sides[1:]
        for measure in MEASURES
        if measure in side.scores and measure in sides[0].scores
    )
    warnings = tuple(_warnings(experiment, sides, contrasts))
    return Readout(arms=sides, contrasts=contrasts, warnings=warnings)


def _users(workspace: Workspace, experiment: Experiment) -> dict[str, list[_User]]:
    """By arm; counted by the database, so that a row here is a user and not a reply."""
    found: dict[str, list[_User]] = {}
    with closing(workspace.database()) as db:
        rows = db.execute(
            "select arm, sum(choices), ifnull(sum(thumbs), 0), ifnull(sum(ups), 0),"
            " ifnull(sum(regenerated), 0), ifnull(sum(edited), 0) from answer left join"
            " (select answer as id, count(up) as thumbs, sum(up) as ups,"
            " sum(kind = 'regenerate') as regenerated, sum(kind = 'edit') as edited"
            " from feedback group by answer) using (id)"
            " where experiment = ? and epoch = ? group by arm, person",
            (experiment.name, experiment.epoch),
        )
        for arm, *counts in rows:
            found.setdefault(arm, []).append(_User(*counts))
    return found


def _versions(workspace: Workspace, experiment: Experiment) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with closing(workspace.database()) as db:
        query = "select distinct arm, version from answer where experiment = ? and epoch = ?"
        for arm, version in db.execute(query, (experiment.name, experiment.epoch)):
            found.setdefault(arm, []).append(version)
    return found


def _side(arm: str, share: float, users: Sequence[_User], versions: Sequence[str]) -> Side:
    counts = {measure: [pair for user in users if (pair := user.of(measure))[1]] for measure in MEASURES}
    known = {measure: pairs for measure, pairs in counts.items() if pairs}
    return Side(
        arm=arm,
        share=share,
        users=len(users),
        replies=sum(user.replies for user in users),
        versions=tuple(sorted(versions)),
        scores={measure: _score(measure, arm, pairs) for measure, pairs in known.items()},
        raters={measure: len(pairs) for measure, pairs in known.items()},
    )


def _score(measure: Measure, arm: str, pairs: Sequence[tuple[int, int]]) -> Score:
    found = wilson_by_cluster([done for done, _ in pairs], [of for _, of in pairs])
    method = "95 % Wilson interval, clustered by user"
    return Score(name=measure, system=arm, method=method, **found._asdict())


def _contrast(measure: Measure, side: Side, first: Side, *, early: bool) -> Contrast:
    ours, theirs = (_interval(each.scores[measure]) for each in (side, first))
    found = difference(ours, theirs)
    few = min(side.raters[measure], first.raters[measure]) < FEWEST
    return Contrast(
        measure=measure,
        arm=side.arm,
        first=first.arm,
        score=Score(
            name=measure,
            system=f"{side.arm} - {first.arm}",
            method="95 % Newcombe interval of those of the arms",
            **found._asdict(),
        ),
        verdict="too few users" if few else "too early" if early else _verdict(found),
    )


def _interval(score: Score) -> Interval:
    return Interval(score.value, score.low, score.high, score.n)


def _verdict(found: Interval) -> Verdict:
    if found.low > 0:
        return "higher"
    return "lower" if found.high < 0 else "undecided"


def _warnings(
    experiment: Experiment, sides: Sequence[Side], contrasts: Sequence[Contrast]
) -> Iterator[str]:
    if len(sides) > 1 and experiment.users is None:
        yield _peeking(experiment)
    if _uneven(sides):
        yield (
            "The arms have not the users that their weights bring: something loses those of one arm,"
            " and the others cannot be compared with them."
        )
    for side in sides:
        if len(side.versions) > 1:
            yield (
                f"{side.arm} was answered by {len(side.versions)} versions;"
                f" `{side.arm}@RUN` in --arms would have held it to one."
            )
    if len(contrasts) > 1 and any(each.verdict in ("higher", "lower") for each in contrasts):
        yield f"These are {len(contrasts)} comparisons; of 20 about one is clear by chance."


def _peeking(experiment: Experiment) -> str:
    if experiment.stopped:
        return (
            "It was not said beforehand how many users there should be: if it was stopped for what it"
            " showed, the intervals are too narrow."
        )
    return (
        "It is still running, and it was not said beforehand how many users there should be. Who looks"
        " often, and stops when an interval leaves 0, finds differences that are not there: say"
        " `--users N` when you start one."
    )


def _uneven(sides: Sequence[Side]) -> bool:
    """Whether chance alone would hardly have drawn so (sample ratio mismatch; Fabijan et al. 2019)."""
    total = sum(side.users for side in sides)
    expected = [side.share * total for side in sides]
    if len(sides) < 2 or min(expected) < _LEAST_EXPECTED:
        return False
    gaps = ((side.users - wanted) ** 2 / wanted for side, wanted in zip(sides, expected, strict=True))
    return bool(chdtrc(len(sides) - 1, sum(gaps)) < _UNLIKELY)
