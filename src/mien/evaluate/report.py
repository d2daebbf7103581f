"""The evaluation as a page for people (`render`) and as a table for the terminal (`table`).

The page is one file that loads nothing and runs no script; its template is `report.html` beside this
module. Model text is untrusted: the template escapes everything except the pictures, which escape
their own words. The verdict in plain words comes from the numbers by the rules in `verdict`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from markupsafe import Markup
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from mien import page
from mien.evaluate import pictures
from mien.evaluate.results import Evaluation, Reply
from mien.page.svg import number
from mien.persona.voice import DIMENSIONS, MEASURES, measures_of
from mien.schema import Score

_EXAMPLES = 8
_TRUSTED_JUDGE = 0.8
_LOSSES = {"repetition": "more repetition", "distinct_2": "less variety", "content_kept": "less content"}
_PERCENT = "\N{NO-BREAK SPACE}%"

DIMENSION_WORDS = {
    "tone": "how positive and how certain it sounds",
    "pacing": "how long replies and sentences are, and how evenly they run",
    "vocabulary": "how plain and how varied the words are",
    "emotional_range": "how much feeling shows, and how it changes",
    "habits": "whether it asks questions and speaks to the reader",
}


@dataclass(frozen=True)
class Meaning:
    """What a score says to a person who meets it for the first time."""

    label: str
    about: str = ""
    better: Literal[-1, 0, 1] = 0
    share: bool = False

    @property
    def direction(self) -> str:
        """Which way is better, in words; "" if neither is known to be."""
        return {1: "higher is better", -1: "lower is better", 0: ""}[self.better]

    def show(self, value: float, largest: float | None = None, *, unit: bool = True) -> str:
        """A value of this score: shares in per cent, with digits that suit the largest neighbour."""
        if not self.share or not math.isfinite(value):
            return number(value, largest)
        size = abs(value if largest is None else largest)
        digits = 0 if size >= 0.1 or size == 0 else 1
        text = f"{round(100 * value, digits) + 0.0:.{digits}f}"
        return text.replace("-", "\N{MINUS SIGN}") + (_PERCENT if unit else "")


MEANINGS = {
    "voice_rate": Meaning(
        "Voice heard",
        "Out of all replies, how many a trained classifier takes for this persona when it has to choose"
        " among all voices it knows.",
        1,
        True,
    ),
    "in_band": Meaning(
        "On target",
        "Every reply is measured in several ways, such as the length of its sentences. This is how many"
        " of those measures fall within the persona's target range, on average.",
        1,
        True,
    ),
    **{
        f"in_band/{name}": Meaning(
            f"On target: {name.replace('_', ' ')}", f"{words.capitalize()}.", 1, True
        )
        for name, words in DIMENSION_WORDS.items()
    },
    "content_kept": Meaning(
        "Content kept",
        "How close a reply comes in meaning to the authored plain answer to the same prompt; 1 would be"
        " the very same meaning.",
        1,
    ),
    "distinct_2": Meaning(
        "Variety",
        "How many of all pairs of neighbouring words are different. A low share means stock phrases.",
        1,
        True,
    ),
    "repetition": Meaning(
        "Repetition",
        "How much of a reply says again, in the same four words, what it has said before. A model that"
        " has lost its way goes round in circles.",
        -1,
        True,
    ),
    "echo": Meaning(
        "Echo",
        "How much of a reply only recites, four words at a time, what the model was given to read. What"
        " is more than half echo counts as nobody's voice.",
        -1,
        True,
    ),
    "perplexity": Meaning(
        "Perplexity",
        "How surprised the system is by authored replies in this voice that it has never seen:"
        " 10 means as unsure as between 10 equally likely words, 1 means not surprised at all.",
        -1,
    ),
    "tokens_per_second": Meaning(
        "Speed", "Pieces of words written per second on the machine named below.", 1
    ),
}


def meaning(name: str) -> Meaning:
    """What a score means; a name that is not known here is its own label."""
    return MEANINGS.get(name, Meaning(name))


class Verdict(NamedTuple):
    """What came out, in plain words."""

    grade: Literal["good", "partial", "failed", "unknown"]
    headline: str
    sentences: tuple[str, ...]


def subject_of(evaluation: Evaluation) -> str:
    """The system that is judged: the adapter, or the last system if there is none."""
    named = evaluation.persona in evaluation.systems
    return evaluation.persona if named else evaluation.systems[-1]


def difference(evaluation: Evaluation, name: str, other: str) -> Score | None:
    """The judged system minus another one, if that was compared."""
    pair = f"{subject_of(evaluation)} - {other}"
    return next((d for d in evaluation.differences if (d.name, d.system) == (name, pair)), None)


def verdict(evaluation: Evaluation) -> Verdict:
    """Whether the personality arrived, and at what cost.

    "good" needs a clear gain over base and prompt where they were measured (the interval of the
    difference lies above 0) and a voice that is heard in most replies (the interval lies above one
    half). "failed" is a voice that is heard no more than by guessing, or not clearly more than in the
    base model. Everything between is "partial".
    """
    rate = evaluation.score("voice_rate", subject_of(evaluation))
    if rate is None or not math.isfinite(rate.value):
        return Verdict(
            "unknown", "Whether the personality arrived was not measured.", _costs(evaluation)
        )
    grade, headline = _judge(evaluation, rate)
    said = (_arrival(evaluation, rate), *_gains(evaluation), *_costs(evaluation), *_doubts(evaluation))
    return Verdict(grade, headline, said)


def _judge(evaluation: Evaluation, rate: Score) -> tuple[Literal["good", "partial", "failed"], str]:
    gaps = [_gap(evaluation, "voice_rate", other) for other in ("base", "prompt")]
    base, prompt = (_side(*gap) if gap else 1 for gap in gaps)
    if base <= 0 or rate.low <= _chance(evaluation):
        return "failed", "The personality did not arrive."
    if prompt < 0:
        return "partial", "Some of the personality arrived, but a system prompt alone does better."
    if prompt == 0:
        return "partial", "The personality arrived, but no more clearly than with a system prompt alone."
    if rate.low <= 0.5:
        return "partial", "The personality arrived in part."
    return "good", "The personality arrived."


def _chance(evaluation: Evaluation) -> float:
    return 1 / max(1, len(evaluation.judge.labels))


def _called(evaluation: Evaluation, system: str) -> str:
    names = {"base": "the untouched base model", "prompt": "the system prompt alone"}
    return names.get(system, f"the {system} adapter")


def _arrival(evaluation: Evaluation, rate: Score) -> str:
    show, who = meaning("voice_rate").show, _called(evaluation, rate.system)
    return (
        f"In {show(rate.value)} of the replies of {who}, the classifier hears the {evaluation.persona}"
        f" voice (95{_PERCENT} interval {show(rate.low, unit=False)} to {show(rate.high)};"
        f" guessing would give {show(_chance(evaluation))})."
    )


def _gains(evaluation: Evaluation) -> list[str]:
    gaps = {other: difference(evaluation, "voice_rate", other) for other in ("prompt", "base")}
    parts = [_gain(gap, _called(evaluation, other)) for other, gap in gaps.items() if gap]
    return [f"That is {_listed(parts)}."] if parts else []


def _gain(gap: Score, other: str) -> str:
    value, low, high = map(_points, (gap.value, gap.low, gap.high))
    side = _side(gap.low, gap.high)
    if side > 0:
        return f"{value} points more than {other} gives ({low} to {high})"
    if side < 0:
        value, low, high = map(_points, (-gap.value, -gap.high, -gap.low))
        return f"{value} points fewer than {other} gives ({low} to {high})"
    return f"not clearly different from {other} ({value} points; {low} to {high})"


def _points(value: float) -> str:
    return number(100 * value, 100)


def _costs(evaluation: Evaluation) -> tuple[str, ...]:
    """What got worse than in the base model (or else the first other system): fluency or content."""
    others = [each for each in evaluation.systems if each != subject_of(evaluation)]
    first = "base" if "base" in others else next(iter(others), "")
    gaps = {name: _gap(evaluation, name, first) for name in _LOSSES}
    known = {name: _side(*gap) * meaning(name).better for name, gap in gaps.items() if gap}
    if not known:
        return ("What it cost in fluency and content was not measured.",)
    other, lost = _called(evaluation, first), [name for name, side in known.items() if side < 0]
    if lost:
        worse = _listed([f"{_LOSSES[name]} ({_from_to(evaluation, name, first)})" for name in lost])
        return (f"It has a price against {other}: {worse}.",)
    free = _listed([meaning(name).label.lower() for name in known])
    return (f"Against {other}, no clear loss of fluency or content is seen (measured: {free}).",)


def _side(low: float, high: float) -> int:
    """On which side of zero an interval lies; 0 if it holds zero."""
    return (low > 0) - (high < 0)


def _gap(evaluation: Evaluation, name: str, other: str) -> tuple[float, float] | None:
    """The interval of the judged system minus another one; None if either was not measured.

    Without a paired difference it reaches from end to end of both intervals, which claims less.
    """
    if paired := difference(evaluation, name, other):
        return paired.low, paired.high
    ours, theirs = evaluation.score(name, subject_of(evaluation)), evaluation.score(name, other)
    if ours is None or theirs is None or ours is theirs:
        return None
    return ours.low - theirs.high, ours.high - theirs.low


def _from_to(evaluation: Evaluation, name: str, first: str) -> str:
    both = (first, subject_of(evaluation))
    values = [found.value for each in both if (found := evaluation.score(name, each))]
    return " to ".join(meaning(name).show(value, max(values)) for value in values)


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _doubts(evaluation: Evaluation) -> list[str]:
    accuracy = evaluation.judge.accuracy
    if accuracy.value >= _TRUSTED_JUDGE:
        return []
    right = meaning("voice_rate").show(accuracy.value)
    return [f"Read this with care: the classifier itself names the true voice of only {right} of texts."]


def names_of(scores: Iterable[Score]) -> list[str]:
    """Score names: those with a meaning first, in the order of `MEANINGS`, then the others."""
    found = list(dict.fromkeys(score.name for score in scores))
    return [name for name in MEANINGS if name in found] + [n for n in found if n not in MEANINGS]


def _pairs(subject: str, differences: Iterable[Score]) -> list[str]:
    """The comparisons that have a column: those of the judged system, or all if it has none."""
    found = list(dict.fromkeys(gap.system for gap in differences))
    return [pair for pair in found if pair.startswith(f"{subject} - ")] or found


def outcome(gap: Score) -> str:
    """A paired difference in one word."""
    way, better = _side(gap.low, gap.high), meaning(gap.name).better
    if not way:
        return "no clear difference"
    words = {1: "better", -1: "worse"} if better else {1: "higher", -1: "lower"}
    return words[way * (better or 1)]


def _largest(evaluation: Evaluation, name: str) -> float:
    """What decides on the digits of a score, the same for all systems."""
    ends = [abs(score.high) for score in evaluation.scores if score.name == name]
    return max(filter(math.isfinite, ends), default=1.0)


def _paint(evaluation: Evaluation) -> dict[str, str]:
    """Colours by system; the judged adapter comes first, so that every report paints it alike."""
    return pictures.colours([subject_of(evaluation), *evaluation.systems])


def _dots(evaluation: Evaluation, name: str) -> Markup:
    """The picture of one score; "" if it was not measured."""
    found = [each for system in evaluation.systems if (each := evaluation.score(name, system))]
    whole = name == "voice_rate" or name.startswith("in_band")
    picture = pictures.dot_plot(
        meaning(name).label,
        found,
        paint=_paint(evaluation),
        show=partial(meaning(name).show, largest=_largest(evaluation, name)),
        within=(0.0, 1.0) if whole else None,
    )
    return Markup(picture if found else "")


def _bands(evaluation: Evaluation, measure: str) -> Markup:
    order = [*evaluation.systems, pictures.AUTHORED]
    given = {name: evaluation.quantiles.get(name, {}) for name in order}
    rows = {name: row[measure] for name, row in given.items() if measure in row}
    title, band = measure.replace("_", " "), evaluation.bands[measure]
    return Markup(pictures.band_plot(title, band, rows, paint=_paint(evaluation)))


def _dimensions(evaluation: Evaluation) -> dict[str, list[str]]:
    """The measures that have a target, by dimension; measures of no known dimension come last."""
    groups: dict[str, list[str]] = {name: measures_of(name) for name in DIMENSIONS}
    groups["other"] = [measure for measure in evaluation.bands if measure not in MEASURES]
    kept = {name: [m for m in group if m in evaluation.bands] for name, group in groups.items()}
    return {name: group for name, group in kept.items() if group}


def _voices(evaluation: Evaluation) -> list[str]:
    """All voices, the intended one first."""
    heard = (reply.voice for reply in evaluation.replies)
    return list(dict.fromkeys([evaluation.persona, *evaluation.judge.labels, *heard]))


def _heard(evaluation: Evaluation) -> Markup:
    voices, shares = _voices(evaluation), {}
    for name in evaluation.systems:
        count = Counter(reply.voice for reply in evaluation.replies if reply.system == name)
        shares[name] = {voice: n / count.total() for voice, n in count.items()}
    picture = pictures.stacked(shares, intended=evaluation.persona, voices=voices)
    return Markup(picture if evaluation.replies else "")


def _examples(evaluation: Evaluation) -> list[dict[str, Reply]]:
    """Per prompt, the first reply of each system: topics take turns, in the order they came."""
    first: dict[str, dict[str, Reply]] = {}
    for reply in evaluation.replies:
        first.setdefault(reply.prompt_id, {}).setdefault(reply.system, reply)
    turns: Counter[str] = Counter()
    ranked: list[tuple[int, dict[str, Reply]]] = []
    for replies in first.values():
        topic = next(iter(replies.values())).topic
        ranked.append((turns[topic], replies))
        turns[topic] += 1
    return [replies for _, replies in sorted(ranked, key=lambda each: each[0])][:_EXAMPLES]


def render(evaluation: Evaluation) -> str:
    """The report as one HTML page that loads nothing from anywhere.

    Args:
        evaluation: What was measured. Missing scores, differences and training are left out.
    """
    voices = _voices(evaluation)
    return page.render(
        "mien.evaluate",
        "report.html",
        e=evaluation,
        verdict=verdict(evaluation),
        subject=subject_of(evaluation),
        meaning=meaning,
        names_of=names_of,
        pairs_of=partial(_pairs, subject_of(evaluation)),
        outcome=outcome,
        largest=partial(_largest, evaluation),
        dots=partial(_dots, evaluation),
        bands=partial(_bands, evaluation),
        dimensions=_dimensions(evaluation),
        dimension_words=DIMENSION_WORDS,
        measures=MEASURES,
        examples=_examples(evaluation),
        paint=_paint(evaluation),
        voices=voices,
        voice_paint=pictures.voice_colours(voices, evaluation.persona),
        heard=_heard(evaluation),
        curves=Markup(pictures.curves(evaluation.training)),
        confusion=Markup(pictures.confusion(evaluation.judge.labels, evaluation.judge.confusion)),
    )


def table(evaluation: Evaluation) -> Table:
    """The scores for the terminal: a row per score, a column per system."""
    title = Text(f"{evaluation.title} ({evaluation.persona})", style="bold")
    legend = Text("\u2191 higher is better, \u2193 lower is better; [95 % interval]", style="dim")
    shown = Table(title=title, caption=legend, box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    shown.title_justify = shown.caption_justify = "left"
    shown.add_column("score", no_wrap=True)
    for system in evaluation.systems:
        shown.add_column(Text(system), justify="right", no_wrap=True)
    for name in names_of(evaluation.scores):
        arrow = {1: " \u2191", -1: " \u2193", 0: ""}[meaning(name).better]
        cells = [evaluation.score(name, system) for system in evaluation.systems]
        label = "  " + name.rpartition("/")[2].replace("_", " ") if "/" in name else name
        shown.add_row(Text(label + arrow), *[Text(_brief(cell)) for cell in cells])
    return shown


def _brief(score: Score | None) -> str:
    """Value and interval, with as many digits as a column of a narrow terminal has room for."""
    if score is None:
        return ""
    digits = 2 if abs(score.high) < 10 else 1 if abs(score.high) < 100 else 0
    value, low, high = (f"{each:.{digits}f}" for each in (score.value, score.low, score.high))
    return f"{value} [{low}, {high}]"
