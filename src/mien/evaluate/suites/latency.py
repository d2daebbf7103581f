"""What does it cost in time? The first token and the flow of tokens, with the adapter and without it.

Always measured afresh on the machine at hand, never remembered. With and without take turns, so that
whatever else the machine does falls on both. Subjects are timed one after the other, so that between
them only the slowdown is fit to be compared. Time has a long tail, so each figure is a median.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mien.chat import Sampling
from mien.data.corpus import rows_of
from mien.decode.generate import Decoder
from mien.evaluate.compare import Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Finding, Meaning
from mien.evaluate.pages.words import listed
from mien.evaluate.setting import Setting
from mien.evaluate.subject import LocalSubject, Subject
from mien.evaluate.suites.dots import dots
from mien.evaluate.suites.parts import short
from mien.page.svg import number
from mien.schema import Score, conversation

NAME = "latency"
TITLE = "What does it cost in time?"
FIRST, RATE, SLOWDOWN = (f"{NAME}/{each}" for each in ("first_token", "tokens_per_second", "slowdown"))
BATCHES = {"alone": 1, "eight_at_once": 8}
_PEOPLE = {"alone": "for one person", "eight_at_once": "for eight at once"}
_DRAWS = 2000
_METHODS = {
    FIRST: "milliseconds from the question to the first token of the batch",
    RATE: "tokens of the batch per second after the first",
    SLOWDOWN: "time of a step with the adapter over that without it, in turns",
}

MEANINGS = {
    f"{FIRST}/*": Meaning(
        "Milliseconds to the first token",
        "How long it takes until a reply begins, for one person or for eight at once.",
        -1,
    ),
    f"{RATE}/*": Meaning(
        "Tokens per second",
        "How fast replies go on after that, for one person or for eight at once, whose tokens are"
        " counted together.",
        1,
    ),
    f"{SLOWDOWN}/*": Meaning(
        "Slowdown by the adapter",
        "How many times longer a token takes with the adapter than without it; 1 would be no loss.",
        -1,
    ),
}


class Timing(NamedTuple):
    """One batch of replies.

    Attributes:
        first: Seconds to the first token of all of them.
        rate: Tokens per second after that, of all of them together.
        step: Seconds per step after that: the time of a token of each of them.
    """

    first: float
    rate: float
    step: float


def run(subject: Subject, setting: Setting) -> Finding:
    """Time replies of a local subject, alone and in a batch."""
    if not isinstance(subject, LocalSubject):
        why = f"{subject.name}: only what runs on this machine can be timed alike"
        return Finding(suite=NAME, subject=subject.name, missing=(why,))
    amount = setting.amounts.latency
    sampling = short(setting, amount.tokens)
    scores = [
        score
        for part, size in BATCHES.items()
        for score in _scores(subject, part, _repeated(subject, size, sampling, amount.repeats))
    ]
    lengths = [len(ids) for ids, _ in _asked(subject, max(BATCHES.values()))]
    detail = {"machine": subject.base.machine, "prompts": [min(lengths), max(lengths)]}
    return Finding(
        suite=NAME,
        subject=subject.name,
        scores=tuple(scores),
        detail=detail | {"tokens": sampling.max_tokens, "repeats": amount.repeats},
    )


class Turn(NamedTuple):
    """One repeat: the subject as it is, and the same without its adapter if it has one."""

    ours: Timing
    bare: Timing | None


def _repeated(subject: LocalSubject, size: int, sampling: Sampling, repeats: int) -> list[Turn]:
    """So many repeats, after two tokens that warm up and are thrown away."""
    bare = replace(subject, adapter=None) if subject.adapter else None
    for each in (subject, bare):
        if each:
            timed(each, size, sampling.model_copy(update={"max_tokens": 2}))
    return [
        Turn(timed(subject, size, sampling), timed(bare, size, sampling) if bare else None)
        for _ in range(repeats)
    ]


def timed(subject: LocalSubject, size: int, sampling: Sampling) -> Timing:
    """Answer `size` prompts of the corpus together, and take the time of every token."""
    base, asked = subject.base, _asked(subject, size)
    with base.adapters.use(subject.adapter), base.adapters.scaled(subject.adapter, subject.scale):
        start = time.perf_counter()
        made = [
            (time.perf_counter() - start, len(step.said))
            for step in Decoder(base, rows=size).steps(asked, sampling, with_stop=True)
            if step.said
        ]
    return timing(made)


def _asked(subject: LocalSubject, size: int) -> list[tuple[list[int], int]]:
    """The ids of the first test prompts, and the seeds of their replies."""
    told = (conversation(row.prompt, system=subject.system_prompt) for row in rows_of("test")[:size])
    return [(subject.base.renderer.prompt(each), seed) for seed, each in enumerate(told)]


def timing(made: Sequence[tuple[float, int]]) -> Timing:
    """From the seconds at which each step ended, and its tokens.

    Where all replies end with their first token, that step stands for those after it.
    """
    first, later = made[0][0], made[1:]
    seconds = later[-1][0] - first if later else first
    tokens = sum(each for _, each in later) or made[0][1]
    return Timing(first, tokens / seconds, seconds / max(1, len(later)))


def _scores(subject: LocalSubject, part: str, turns: Sequence[Turn]) -> Iterator[Score]:
    """Medians over the repeats."""
    machine = subject.base.machine
    values = {
        FIRST: [1000 * turn.ours.first for turn in turns],
        RATE: [turn.ours.rate for turn in turns],
        SLOWDOWN: [turn.ours.step / turn.bare.step for turn in turns if turn.bare],
    }
    for name, each in values.items():
        if each:
            value, low, high = median(each)
            yield Score(
                name=f"{name}/{part}",
                system=subject.name,
                value=value,
                low=low,
                high=high,
                n=len(each),
                method=f"{_METHODS[name]}; median of {len(each)} repeats, 95 % bootstrap; {machine}",
            )


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """The median with a 95 % percentile bootstrap over the values."""
    numbers = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(0).integers(len(numbers), size=(_DRAWS, len(numbers)))
    low, high = np.quantile(np.median(numbers[picks], axis=1), [0.025, 0.975])
    return float(np.median(numbers)), float(low), float(high)


def says(results: Results) -> list[str]:
    """What the adapter costs, how long one waits, and how fast it goes on."""
    judged = results.subjects[-1]
    told = (_cost(results, judged), *(_pace(results, judged, part) for part in BATCHES))
    finding = results.finding(NAME, judged)
    return [*filter(None, (*told, _where(finding.detail) if finding and finding.detail else ""))]


def _where(detail: Mapping[str, Any]) -> str:
    """What was measured where, and what it depends on besides."""
    shortest, longest = detail["prompts"]
    return (
        f"Measured on {detail['machine']}: medians of {detail['repeats']} repeats of"
        f" {detail['tokens']} tokens, after prompts of {shortest} to {longest} tokens of which none had"
        " been read before. Longer prompts begin later, longer conversations flow more slowly, and other"
        " programs at work, fewer threads or another type of number change all of it."
    )


def _cost(results: Results, judged: str) -> str:
    found = [(part, results.score(f"{SLOWDOWN}/{part}", judged)) for part in BATCHES]
    told = [
        f"{score.value:.2f} times as long ({score.low:.2f} to {score.high:.2f}) {_PEOPLE[part]}"
        for part, score in found
        if score
    ]
    return f"With the adapter a token takes {listed(told)} as without it." if told else ""


def _pace(results: Results, judged: str, part: str) -> str:
    first, rate = (results.score(f"{name}/{part}", judged) for name in (FIRST, RATE))
    if first is None or rate is None:
        return ""
    return (
        f"{_PEOPLE[part].capitalize()}, a reply begins after {number(first.value)} ms"
        f" ({number(first.low)} to {number(first.high)}) and goes on at {number(rate.value)} tokens per"
        f" second ({number(rate.low)} to {number(rate.high)})."
    )


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """All figures, per number of people."""
    names = [f"{name}/{part}" for part in BATCHES for name in (FIRST, RATE, SLOWDOWN)]
    return dots(results, names, MEANINGS, paint)
