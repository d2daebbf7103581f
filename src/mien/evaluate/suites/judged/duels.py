"""Replies side by side: the judge compares those of every two subjects, in both orders.

A verdict that changes with the order counts half for each side; likelihoods are averaged over both
orders. So a judge that always favours what stands first moves nothing, and how much it does so is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from scipy.special import expit, logit

from mien.data.corpus import Parallel
from mien.data.wording import words
from mien.errors import UnableError
from mien.evaluate.finding import Finding, Measure
from mien.evaluate.judge import Call, Duel, Judge, Mark
from mien.evaluate.ranking import ELO, EQUAL_LENGTH, RANKED, Game, bradley_terry, equal_length
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Subject
from mien.evaluate.suites.judged.figures import NAME
from mien.evaluate.suites.judged.rows import replies_of, rows_for
from mien.schema import Score, conversation
from mien.stats import Interval

_SURE = 1e-6  # likelihoods nearer to a half than this are a tie


def together(subjects: Sequence[Subject], setting: Setting) -> list[Finding]:
    """Compare the replies of every two subjects; in the quick size, of neighbours around a ring.

    A subject that cannot answer is left out; without a judge, or with one subject, there is nothing.
    """
    judge = setting.judge
    if judge is None:
        return []
    rows = rows_for(setting, setting.amounts.judged.compared)
    replies, findings = _all_replies(subjects, setting, rows)
    pairs = meetings(list(replies), setting)
    if not pairs:
        return findings
    shown = [(*pair, place) for pair in pairs for place in range(len(rows))]
    duels = [
        Duel(conversation(rows[place].prompt), replies[ours][place], replies[theirs][place])
        for ours, theirs, place in shown
    ]
    judged = judge.compare(duels, setting.persona, setting, repeats=setting.amounts.judged.comparisons)
    bouts = [
        Bout(rows[shown[item][2]].id, *shown[item][:2], _gap(duels[item]), criterion, before, after)
        for item, criterion, before, after in _both_orders(judged.marks)
    ]
    calls = [each._replace(item=shown[each.item][2]) for each in judged.calls]
    asked = {
        name: [c for c, d in zip(calls, judged.calls, strict=True) if name in shown[d.item][:2]]
        for name in replies
    }
    found = _Comparison(judge, bouts, _strengths(bouts))
    return [*findings, *(found.finding(name, asked[name]) for name in replies)]


def _all_replies(
    subjects: Sequence[Subject], setting: Setting, rows: Sequence[Parallel]
) -> tuple[dict[str, list[str]], list[Finding]]:
    replies, findings = dict[str, list[str]](), list[Finding]()
    for subject in subjects:
        try:
            replies[subject.name] = replies_of(subject, setting, rows)
        except UnableError as error:
            missing = (f"comparisons: {error.what}",)
            findings.append(Finding(suite=NAME, subject=subject.name, missing=missing))
    return replies, findings


def meetings(names: Sequence[str], setting: Setting) -> list[tuple[str, str]]:
    """Who meets whom: each everybody, or each the next around a ring, which holds all together."""
    everybody = list(combinations(names, 2))
    if setting.amounts.judged.everybody or len(everybody) <= len(names):
        return everybody
    return list(zip(names, [*names[1:], names[0]], strict=True))


def _gap(duel: Duel) -> int:
    return len(words(duel.ours)) - len(words(duel.theirs))


class Bout(NamedTuple):
    """One duel by one criterion, shown in both orders; values are shares of the win, 0 to 1.

    Attributes:
        unit: The prompt.
        gap: Words that ours is longer by.
        before: What ours gets where it is shown first.
        after: What ours gets where it is shown second.
    """

    unit: str
    ours: str
    theirs: str
    gap: int
    criterion: str
    before: float
    after: float

    @property
    def weighed(self) -> bool:
        """Whether the values are likelihoods, and not verdicts in words."""
        return 0 < self.before < 1 and 0 < self.after < 1

    @property
    def won(self) -> float:
        """By ours: 1 or 0, or half if the two orders disagree; likelihoods decide by their mean.

        The mean over both orders takes a liking for a place out (Wang et al. 2023, arXiv:2305.17926).
        """
        if self.weighed:
            return _verdict(float(expit(self.leaning)))
        return (_verdict(self.before) + _verdict(self.after)) / 2

    @property
    def flipped(self) -> bool:
        """Whether the verdict depends on the order."""
        return _verdict(self.before) != _verdict(self.after)

    @property
    def first(self) -> float:
        """What goes to the reply shown first, over both orders."""
        return (_verdict(self.before) + 1 - _verdict(self.after)) / 2

    @property
    def leaning(self) -> float:
        """Log-odds for ours without those for a place, which the two orders have with opposite signs."""
        return float(logit(self.before) + logit(self.after)) / 2

    def turned(self) -> Bout:
        """The same from the other side."""
        return Bout(
            self.unit,
            self.theirs,
            self.ours,
            -self.gap,
            self.criterion,
            1 - self.after,
            1 - self.before,
        )


def _verdict(share: float) -> float:
    return 0.5 if abs(share - 0.5) < _SURE else float(share > 0.5)


def _both_orders(marks: Sequence[Mark]) -> Iterator[tuple[int, str, float, float]]:
    """(duel, criterion, before, after) of every repeat that could be read in both orders."""
    swapped = {(m.item, m.criterion, m.repeat): m.ours for m in marks if m.swapped}
    for mark in marks:
        key = mark[0], mark.criterion, mark.repeat
        if not mark.swapped and key in swapped:
            yield mark.item, mark.criterion, mark.ours, swapped[key]


class _Comparison(NamedTuple):
    """All bouts, told from each subject's side."""

    judge: Judge
    bouts: list[Bout]
    strengths: dict[str, Interval]

    def finding(self, name: str, calls: Sequence[Call]) -> Finding:
        """What the comparisons say of one subject."""
        own = [b if b.ours == name else b.turned() for b in self.bouts if name in (b.ours, b.theirs)]
        return Finding(
            suite=NAME,
            subject=name,
            measures=tuple(self._measures(own)),
            scores=tuple(self._scores(name, own)),
            detail={"wins": _wins(own)},
            missing=tuple(self._missing(calls)),
        )

    def _missing(self, calls: Sequence[Call]) -> Iterator[str]:
        lost, wanted = sum(each.lost for each in calls), sum(each.wanted for each in calls)
        if lost:
            yield f"comparisons: {lost} of {wanted} verdicts of the judge could not be read"
        if not self.strengths:
            yield "strength: what could be read of the comparisons does not connect all systems"

    def _measures(self, own: Sequence[Bout]) -> Iterator[Measure]:
        if not own:
            return
        weighs = self.judge.rater.weighs
        won = f"wins over both orders, {'by mean log-odds' if weighs else 'half where they differ'}"
        yield self._measure("wins", [(each, each.won) for each in own], won)
        for criterion in dict.fromkeys(each.criterion for each in own):
            some = [(each, each.won) for each in own if each.criterion == criterion]
            yield self._measure(f"wins/{criterion}", some, won)
        for other in dict.fromkeys(each.theirs for each in own):
            met = [each for each in own if each.theirs == other]
            yield self._measure(f"against/{other}", [(each, each.won) for each in met], won)
            if weighs:
                lean = "log-odds, mean of both orders, in nats"
                yield self._measure(f"leaning/{other}", [(each, each.leaning) for each in met], lean)
        flips = [(each, float(each.flipped)) for each in own]
        yield self._measure("flips", flips, "verdicts that differ between the two orders")
        yield self._measure(
            "first", [(each, each.first) for each in own], "verdicts for the first place"
        )

    def _measure(self, name: str, trials: Sequence[tuple[Bout, float]], how: str) -> Measure:
        return Measure(
            name=f"judged/{name}",
            values=tuple(value for _, value in trials),
            units=tuple(each.unit for each, _ in trials),
            method=f"{self.judge.method()}: {how}",
        )

    def _scores(self, name: str, own: Sequence[Bout]) -> Iterator[Score]:
        for other in dict.fromkeys(each.theirs for each in own):
            met = [each for each in own if each.theirs == other]
            columns = zip(*((each.won, each.gap, each.unit) for each in met), strict=True)
            found = equal_length(*map(list, columns))
            yield self._score(f"equal_length/{other}", name, found, EQUAL_LENGTH)
        if name in self.strengths:
            value, low, high, n = self.strengths[name]
            points = Interval(ELO * value, ELO * low, ELO * high, n)
            yield self._score("strength", name, points, f"{RANKED}; Elo points around 0")

    def _score(self, name: str, subject: str, found: Interval, how: str) -> Score:
        method = f"{self.judge.method()}: {how}"
        return Score(name=f"judged/{name}", system=subject, method=method, **found._asdict())


def _strengths(bouts: Sequence[Bout]) -> dict[str, Interval]:
    """One game per duel: the mean of its criteria and repeats. None where too little was read."""
    duels: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for each in bouts:
        duels[each.unit, each.ours, each.theirs].append(each.won)
    games = [Game(*key, fmean(won)) for key, won in duels.items()]
    try:
        return bradley_terry(games)
    except ValueError:  # verdicts were lost until nobody, or not everybody, met
        return {}


def _wins(own: Sequence[Bout]) -> Mapping[str, float]:
    """The share won against each other subject, for the table of all."""
    met: defaultdict[str, list[float]] = defaultdict(list)
    for each in own:
        met[each.theirs].append(each.won)
    return {other: fmean(won) for other, won in met.items()}
