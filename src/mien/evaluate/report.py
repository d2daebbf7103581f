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
from importlib import resources
from typing import Literal, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from mien.evaluate import pictures
from mien.evaluate.results import Evaluation, Reply
from mien.persona.voice import DIMENSIONS, MEASURES, measures_of
from mien.schema import Score

_EXAMPLES = 8
_TRUSTED_JUDGE = 0.8
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
            return pictures.number(value, largest)
        size = abs(value if largest is None else largest)
        text = f"{100 * value:.{0 if size >= 0.1 or size == 0 else 1}f}"
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

    "good" needs a clear gain over every other system that was compared (the interval of the paired
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
    base = difference(evaluation, "voice_rate", "base")
    prompt = difference(evaluation, "voice_rate", "prompt")
    if rate.low <= _chance(evaluation) or (base is not None and base.low <= 0):
        return "failed", "The personality did not arrive."
    if prompt is not None and prompt.high < 0:
        return "partial", "Some of the personality arrived, but a system prompt alone does better."
    if prompt is not None and prompt.low <= 0:
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
    interval = f"{_points(gap.low)} to {_points(gap.high)}"
    if gap.low <= 0 <= gap.high:
        sign = "+" if gap.value > 0 else ""
        return f"not clearly different from {other} ({sign}{_points(gap.value)} points; {interval})"
    way = "more" if gap.value > 0 else "fewer"
    return f"{_points(abs(gap.value))} points {way} than {other} gives ({interval})"


def _points(value: float) -> str:
    return pictures.number(100 * value, 100)


def _costs(evaluation: Evaluation) -> tuple[str, ...]:
    """What got worse than in the base model: fluency or content."""
    subject, first = subject_of(evaluation), evaluation.systems[0]
    words = {
        "repetition": "more repetition",
        "distinct_2": "less variety",
        "content_kept": "less content",
    }
    measured = {name: _change(evaluation, name, first) for name in words}
    known = {name: change for name, change in measured.items() if change is not None}
    if subject == first or not known:
        return ("What it cost in fluency and content was not measured.",)
    worse = [f"{words[name]} ({_from_to(evaluation, name)})" for name, sign in known.items() if sign < 0]
    other = _called(evaluation, first)
    if worse:
        return (f"It has a price against {other}: {_listed(worse)}.",)
    free = _listed([meaning(name).label.lower() for name in known])
    return (f"Against {other}, no clear loss of fluency or content is seen (measured: {free}).",)


def _change(evaluation: Evaluation, name: str, other: str) -> int | None:
    """1 clearly better, -1 clearly worse, 0 unclear, None unknown.

    Without a paired difference, only intervals that do not overlap count as a clear change.
    """
    gap = difference(evaluation, name, other)
    if gap is None:
        ours, theirs = evaluation.score(name, subject_of(evaluation)), evaluation.score(name, other)
        if ours is None or theirs is None:
            return None
        low, high = ours.low - theirs.high, ours.high - theirs.low
    else:
        low, high = gap.low, gap.high
    return meaning(name).better * ((low > 0) - (high < 0))


def _from_to(evaluation: Evaluation, name: str) -> str:
    systems = (evaluation.systems[0], subject_of(evaluation))
    values = [found.value for each in systems if (found := evaluation.score(name, each))]
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


def outcome(gap: Score) -> str:
    """A paired difference in one word."""
    way, better = (gap.low > 0) - (gap.high < 0), meaning(gap.name).better
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
    picture = pictures.band_plot(
        measure.replace("_", " "), evaluation.bands[measure], rows, paint=_paint(evaluation)
    )
    return Markup(picture)


def _dimensions(evaluation: Evaluation) -> dict[str, list[str]]:
    """The measures that have a target, by dimension; measures of no known dimension come last."""
    groups: dict[str, list[str]] = {name: measures_of(name) for name in DIMENSIONS}
    groups["other"] = [measure for measure in evaluation.bands if measure not in MEASURES]
    kept = {name: [m for m in group if m in evaluation.bands] for name, group in groups.items()}
    return {name: group for name, group in kept.items() if group}


def _voices(evaluation: Evaluation) -> list[str]:
    """All voices, the intended one first."""
    heard = (reply.voice for reply in evaluation.replies)
    known = dict.fromkeys([evaluation.persona, *evaluation.judge.labels, *heard])
    return list(known)


def _heard(evaluation: Evaluation) -> Markup:
    counts = {
        name: Counter(r.voice for r in evaluation.replies if r.system == name)
        for name in evaluation.systems
    }
    shares = {
        name: {voice: n / count.total() for voice, n in count.items()}
        for name, count in counts.items()
        if count
    }
    voices = _voices(evaluation)
    return Markup(pictures.stacked(shares, intended=evaluation.persona, voices=voices) if shares else "")


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
    source = resources.files("mien.evaluate").joinpath("report.html").read_text(encoding="utf-8")
    page = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    voices = _voices(evaluation)
    return page.render(
        e=evaluation,
        verdict=verdict(evaluation),
        subject=subject_of(evaluation),
        meaning=meaning,
        names_of=names_of,
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
    shown = Table(title=title, caption=legend, box=SIMPLE, title_justify="left", caption_justify="left")
    shown.add_column("score")
    for system in evaluation.systems:
        shown.add_column(Text(system), justify="right", min_width=14)
    for name in names_of(evaluation.scores):
        arrow = {1: " \u2191", -1: " \u2193", 0: ""}[meaning(name).better]
        cells = [evaluation.score(name, system) for system in evaluation.systems]
        shown.add_row(Text(name + arrow), *[Text(str(cell) if cell else "") for cell in cells])
    return shown
