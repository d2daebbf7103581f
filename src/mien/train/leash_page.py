"""The leash of one run or several as a page: verdicts, how far and for what, looks, training, replies.

Everything is read from the folders of the runs, finished or not; nothing is computed anew but the
intervals. What a model has said is untrusted, and the template escapes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from markupsafe import Markup
from pydantic import ValidationError

from mien import page
from mien.errors import InputError, first_line
from mien.page.svg import number
from mien.schema import Strict
from mien.stats import Interval, by_prompt
from mien.train.leash import LOOKS, Look, Verdict
from mien.train.leash_pictures import PAINTS, Point, Track, Trail, course, trails
from mien.train.loop import METRICS
from mien.train.ppo import SAMPLES
from mien.train.run import VERDICT
from mien.workspace import read_json

PAGE = "leash.html"
_GRADES = {
    "healthy": ("good", "The leash held."),
    "over-optimised": ("partial", "It went too far."),
    "collapsed": ("failed", "It fell apart."),
    "unwatched": ("unknown", "Not judged."),
}
_UNFINISHED = ("unknown", "Not finished yet.")
_SCALES = ("stage", "signals", "loss", "beta", "length_normalised")  # what a proxy is measured in
_Read = TypeVar("_Read", bound=Strict)


@dataclass(frozen=True)
class Run:
    """What the folder of a run says of it.

    Attributes:
        name: The folder's.
        recipe: As it was resolved.
        looks: In the order of steps.
        verdict: None as long as the run is not finished.
        metrics: A row per step.
        samples: Some rollouts of each round; PPO's.
    """

    name: str
    recipe: Mapping[str, Any]
    looks: tuple[Look, ...]
    verdict: Verdict | None
    metrics: tuple[Mapping[str, float], ...]
    samples: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, folder: Path) -> Run:
        """A run on preferences, from its folder.

        Raises:
            InputError: There is no recipe, nobody has looked at it, or a file is not as it was written.
        """
        looks = [_valid(Look, row, folder / LOOKS) for row in _rows(folder / LOOKS)]
        if not looks or not (folder / "recipe.json").exists():
            raise InputError(
                f"{folder}: no run, or one that nobody has looked at (no {LOOKS} beside a recipe.json).",
                fix="Name a run of `mien train dpo` or `mien train ppo`; the first look is at step 0.",
            )
        verdict = folder / VERDICT
        return cls(
            name=folder.name,
            recipe=read_json(folder / "recipe.json"),
            looks=tuple(looks),
            verdict=_valid(Verdict, read_json(verdict), verdict) if verdict.exists() else None,
            metrics=tuple(_rows(folder / METRICS)),
            samples=tuple(_rows(folder / SAMPLES)),
        )

    @property
    def grade(self) -> str:
        """`good`, `partial`, `failed` or `unknown`: a colour of the page."""
        return self._graded[0]

    @property
    def headline(self) -> str:
        """What became of it, in a few words."""
        return self._graded[1]

    @property
    def _graded(self) -> tuple[str, str]:
        return _GRADES[self.verdict.word] if self.verdict else _UNFINISHED

    @property
    def sentences(self) -> list[str]:
        """The verdict, what is kept, and why it was stopped if it was."""
        last = self.looks[-1]
        if self.verdict is None:
            looks = f"{len(self.looks)} looks" if len(self.looks) > 1 else "One look"
            away = f"at the last, step {last.step}, it is {number(last.kl)} nats a reply away"
            return [f"{looks} so far; {away}."]
        kept = f"The adapter of step {self.verdict.best} is kept."
        if self.verdict.best == self.looks[0].step and last is not self.looks[0]:
            kept = "The adapter that training started from is kept: no later one was better."
        stopped = f"Training was stopped: {self.verdict.stopped}." if self.verdict.stopped else ""
        return list(filter(None, (self.verdict.text, kept, stopped)))

    def kept(self, look: Look) -> bool:
        """Whether the adapter of a look is the run's now."""
        return self.verdict is not None and look.step == self.verdict.best


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a JSONL file; a run that is under way may be writing one more."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    for place, line in enumerate(lines, 1):
        if line.endswith("\n"):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise _broken(f"{path}:{place}", error) from error


def _valid(model: type[_Read], value: Any, path: Path) -> _Read:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _broken(str(path), error) from error


def _broken(where: str, error: Exception) -> InputError:
    fix = "Train the run again, or use the mien that wrote it."
    return InputError(f"{where}: not what a run writes ({first_line(error)}).", fix=fix)


def gold(look: Look) -> Interval | None:
    """The gold score of a look, with its interval over prompts."""
    return by_prompt(look.gold, range(len(look.gold))) if look.gold else None


def differences(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Per run, the keys of its recipe in which it differs from the others, with their values.

    A key that one stage has and another has not tells of the stage alone, and is left out.
    """
    flat = [recipe_of(run) for run in runs]
    alike = len({each["stage"] for each in flat if "stage" in each}) < 2
    keys = [
        key
        for key in dict.fromkeys(key for each in flat for key in each)
        if len({each.get(key) for each in flat}) > 1 and (alike or all(key in each for each in flat))
    ]
    return [{key: each.get(key, "none") for key in keys} for each in flat]


def recipe_of(run: Run) -> dict[str, str]:
    """A recipe with one key a value; those inside others are written with dots."""
    return dict(_flat(run.recipe))


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for place, inner in enumerate(value, 1):
            yield from _flat(inner, f"{key}.{place}")
    else:
        yield key, _said(value)


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def labels(runs: Sequence[Run]) -> list[str]:
    """What each run is called beside the others: where its recipe differs, or else its name."""
    return [
        ", ".join(f"{key} {value}" for key, value in each.items()) or run.name
        for run, each in zip(runs, differences(runs), strict=True)
    ]


class Shown(NamedTuple):
    """A run on the page."""

    run: Run
    label: str
    letter: str  # "" where it is the only one
    colour: str

    @property
    def mark(self) -> str:
        """Letter and label."""
        return f"{self.letter} {self.label}".strip()


def together(runs: Sequence[Run]) -> list[Shown]:
    """The runs with a colour each, and with a letter each where there are several."""
    return [
        Shown(run, label, chr(ord("A") + place) if len(runs) > 1 else "", PAINTS[place % len(PAINTS)])
        for place, (run, label) in enumerate(zip(runs, labels(runs), strict=True))
    ]


def render(runs: Sequence[Run]) -> str:
    """The runs as one HTML page that loads nothing from anywhere."""
    shown = together(runs)
    differing = list(differences(runs)[0])
    return page.render(
        "mien.train",
        "leash.html",
        shown=shown,
        personas=sorted({str(run.recipe.get("persona", "")) for run in runs}),
        differing=differing,
        comparable=not any(key.partition(".")[0] in _SCALES for key in differing),
        curves=curves(shown),
        charts=charts(shown),
        readings=lambda run: readings(run, each=2 if len(runs) == 1 else 1),
        recipes=[recipe_of(run) for run in runs],
        gold=gold,
        number=number,
    )


class Figure(NamedTuple):
    """A picture with its caption."""

    label: str
    note: str
    picture: Markup


def curves(shown: Sequence[Shown]) -> list[Figure]:
    """Gold score and proxy against the distance, on one scale of it."""
    looks = [look for each in shown for look in each.run.looks]
    furthest = max(look.kl for look in looks)
    budgets = {each.run.recipe.get("leash", {}).get("kl_budget") for each in shown}
    budget = budgets.pop() if len(budgets) == 1 else None
    found = []
    for label, note, golden in _PANELS:
        drawn = [_trail(each, golden=golden) for each in shown if each.run.looks[0].gold or not golden]
        if drawn:
            title = f"{label}, against the KL divergence. {_in_words(drawn)}"
            picture = trails(title, drawn, furthest=furthest, budget=budget)
            found.append(Figure(label, note, Markup(picture)))
    return found


_PANELS = (
    ("Gold: what it is worth", "Voice times content times freshness of held-out replies", True),
    ("Proxy: what it was paid for", "On held-out data, before any price for the distance", False),
)


def _trail(shown: Shown, *, golden: bool) -> Trail:
    points = []
    for look in shown.run.looks:
        interval = gold(look)
        value = interval.value if golden and interval else look.proxy
        ends = (interval.low, interval.high) if golden and interval else None
        words = f"{shown.mark}, step {look.step}: {_told(look, interval)}"
        points.append(Point(look.kl, value, ends, words, shown.run.kept(look)))
    return Trail(shown.letter, shown.colour, points)


def _told(look: Look, interval: Interval | None) -> str:
    worth = ""
    if interval:
        value, low, high = (f"{each:.2f}" for each in interval[:3])
        worth = f", gold {value} ({low} to {high})"
    return f"{number(look.kl)} nats a reply away{worth}, proxy {number(look.proxy)}"


def _in_words(drawn: Sequence[Trail]) -> str:
    """Where each line begins and ends."""
    ends = [(each.label or "It", each.points[0].value, each.points[-1].value) for each in drawn]
    return "; ".join(f"{who}: {number(first)} to {number(last)}" for who, first, last in ends) + "."


class _Chart(NamedTuple):
    """What a small picture of training shows: measures, each with what its line is called."""

    label: str
    note: str
    measures: Mapping[str, str]


_CHARTS = (
    _Chart("KL", "nats a reply from the reference, along rollouts", {"kl": ""}),
    _Chart("Price of a nat", "taken off the reward", {"kl_price": ""}),
    _Chart("Entropy", "nats a token", {"entropy": ""}),
    _Chart("Reply length", "tokens", {"reply_tokens": ""}),
    _Chart("Replies that end", "as a share", {"ended": ""}),
    _Chart("Value explained", "share of the variance of returns", {"value_explained": ""}),
    _Chart(
        "Log-probability moved",
        "nats a token; if both fall, that is displacement",
        {"chosen_moved": "chosen", "rejected_moved": "rejected"},
    ),
    _Chart("Margin", "of the implicit reward", {"margin": ""}),
    _Chart("Accuracy", "share of pairs with a positive margin", {"accuracy": ""}),
)


def charts(shown: Sequence[Shown]) -> list[Figure]:
    """The course of training as small pictures: rewards first, one for each signal."""
    names = dict.fromkeys(name for each in shown for row in each.run.metrics for name in row)
    paid = [name for name in names if name.startswith("reward_")]
    rewards = [_Chart(_reward_label(name), "mean of a round", {name: ""}) for name in paid]
    total = [_Chart("Reward", "all signals by their weights", {"reward": ""})] if len(paid) > 1 else []
    found = [_figure(chart, shown) for chart in (*total, *rewards, *_CHARTS)]
    return [figure for figure in found if figure]


def _reward_label(name: str) -> str:
    return f"Reward: {name.removeprefix('reward_')}"


def _figure(chart: _Chart, shown: Sequence[Shown]) -> Figure | None:
    """One small picture; None where no run has measured it, or where it changes in none."""
    tracks = [track for each in shown for track in _tracks(chart, each)]
    if all(len({value for _, value in (*each.points, *each.held)}) < 2 for each in tracks):
        return None
    steps = max(step for track in tracks for step, _ in (*track.points, *track.held))
    held = any(track.held for track in tracks)
    note = chart.note + ("; rings: held out" if held else "")
    return Figure(chart.label, note, Markup(course(_course_words(chart, tracks), tracks, steps)))


def _tracks(chart: _Chart, shown: Shown) -> Iterator[Track]:
    for place, (name, line) in enumerate(chart.measures.items()):
        points, held = _series(shown.run, name), _held(shown.run, name)
        if points or held:
            yield Track(f"{shown.letter} {line}".strip(), shown.colour, points, held, place > 0)


def _course_words(chart: _Chart, tracks: Sequence[Track]) -> str:
    ends = [(track.label or "it", (*track.points, *track.held)) for track in tracks]
    words = [f"{who}: {number(line[0][1])} to {number(line[-1][1])}" for who, line in ends]
    return f"{chart.label} over steps. {'; '.join(words)}."


def _series(run: Run, name: str) -> list[tuple[float, float]]:
    found = [(row["step"], row[name]) for row in run.metrics if name in row]
    return [(step, value) for step, value in found if math.isfinite(value)]


def _held(run: Run, name: str) -> list[tuple[float, float]]:
    return [(look.step, look.more[name]) for look in run.looks if name in look.more]


class Reading(NamedTuple):
    """A rollout to be read."""

    when: str
    step: int
    prompt: str
    reply: str
    figures: Mapping[str, float]


def readings(run: Run, each: int = 1) -> list[list[Reading]]:
    """Rollouts of a run in rows: from its start, its middle and its end, each time so many."""
    steps = sorted({row["step"] for row in run.samples})
    if not steps:
        return []
    times = {steps[0]: "Start", steps[len(steps) // 2]: "Middle", steps[-1]: "End"}
    told = [
        [_reading(when, row) for row in run.samples if row["step"] == step][:each]
        for step, when in times.items()
    ]
    return [list(row) for row in zip(*told, strict=False)]


def _reading(when: str, row: Mapping[str, Any]) -> Reading:
    texts = ("step", "prompt", "reply")
    figures = {name: value for name, value in row.items() if name not in texts}
    return Reading(when, row["step"], row["prompt"], row["reply"], figures)
