"""Made-up but plausible evaluations of several suites, adjustable where a test needs it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from mien.data.corpus import VOICES
from mien.evaluate.compare import Difference, Results, compared
from mien.evaluate.evaluation import Adapter, Evaluation, Hearing, TrainingPoint
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Finding, Meaning, Measure, Transcript
from mien.evaluate.pages import pictures
from mien.evaluate.roster import SUITES, Suite
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Subject
from mien.page import svg
from mien.persona.voice import DIMENSIONS, MEASURES
from mien.schema import Message, Score

SUBJECTS = ("base", "prompt", "null", "sft", "dpo")
GOOD = {"base": 0.05, "prompt": 0.3, "null": 0.1, "sft": 0.7, "dpo": 0.85}
PARTIAL = {"base": 0.05, "prompt": 0.05, "null": 0.1, "sft": 0.35, "dpo": 0.45}
NO_BETTER = {"base": 0.05, "prompt": 0.6, "null": 0.1, "sft": 0.5, "dpo": 0.65}
WORSE = {"base": 0.05, "prompt": 0.95, "null": 0.1, "sft": 0.4, "dpo": 0.5}
FAILED = {"base": 0.2, "prompt": 0.25, "null": 0.2, "sft": 0.2, "dpo": 0.2}
NULLED = {"base": 0.2, "prompt": 0.25, "null": 0.7, "sft": 0.7, "dpo": 0.7}

PROMPTS = 20
KINDS = ("suffix", "prefill", "dilemma", "hostile", "charged", "flip", "adversarial")
TOPICS = ("advice", "facts", "work", "home")
TEXTS = {
    "base": "There are several good ways to make rice less sticky. Rinse it first.",
    "prompt": "Rice! It is sticky! Perhaps rinse it first, my friend.",
    "null": "Rinse the rice before cooking, and use less water than before.",
    "sft": "Rice has spoiled more evenings than burglary. Rinse it, and it will behave.",
    "dpo": "Rice clings because nobody rinsed it first. Attachment is so often a matter of starch.",
}


def hits(rate: float, count: int = 2 * PROMPTS) -> tuple[float, ...]:
    """0 and 1 with the given share of 1, spread evenly."""
    return tuple(float(math.floor((i + 1) * rate) > math.floor(i * rate)) for i in range(count))


def around(value: float, count: int = PROMPTS) -> tuple[float, ...]:
    """Numbers that vary by a tenth around a value."""
    return tuple(value * (1 + 0.1 * math.sin(2.0 * i)) for i in range(count))


def measure(name: str, values: Sequence[float], **changes: Any) -> Measure:
    """Trials on prompts p0, p1, ..., as often round as it takes."""
    units = tuple(f"p{i % PROMPTS}" for i in range(len(values)))
    fields = {"name": name, "values": tuple(values), "units": units, "method": f"made-up {name}"}
    return Measure(**(fields | changes))


def reply(subject: str, place: int, voice: str) -> dict[str, Any]:
    """One reply in the voice suite's own shape."""
    return {
        "prompt_id": f"p{place % PROMPTS}",
        "voice": voice,
        "text": TEXTS.get(subject, "A reply."),
        "measures": {name: 0.8 + 0.1 * math.sin(place + len(subject)) for name in MEASURES},
    }


def voice(subject: str, rate: float) -> Finding:
    """The voice suite on one subject, whose repetition is three times the base's if it is `sft`."""
    heard = hits(rate)
    shares = {"rate": heard, **{f"topic/{t}": heard[i::4] for i, t in enumerate(TOPICS * 2)}}
    means = {"in_band": 0.4 + 0.5 * rate, "content": 0.6, "variety": 0.9, "echo": 0.02}
    means |= {f"in_band/{name}": 0.4 + 0.5 * rate for name in DIMENSIONS}
    means["repetition"] = 0.06 if subject == "sft" else 0.02
    return Finding(
        suite="voice",
        subject=subject,
        measures=(
            *(measure(f"voice/{name}", v, scale="share") for name, v in shares.items()),
            *(measure(f"voice/{name}", around(v)) for name, v in means.items()),
            measure("voice/perplexity", around(4 - rate), scale="exp"),
        ),
        detail={
            "replies": [reply(subject, i, "witty" if hit else "neutral") for i, hit in enumerate(heard)],
            "bands": dict.fromkeys(MEASURES, (0.75, 0.85)),
            "authored": {"p0": "An authored reply, with a raised eyebrow.", "p1": "Another. Quite dry."},
        },
        transcripts=tuple(
            Transcript(
                title=f"Why is my rice sticky, number {i}?",
                messages=(
                    Message(role="user", content=f"Why is my rice sticky, number {i}?"),
                    Message(role="assistant", content=TEXTS.get(subject, "A reply.")),
                ),
                note="heard as witty, 93 % sure",
            )
            for i in range(3)
        ),
    )


def pressure(subject: str, rate: float) -> Finding:
    """A suite with many parts and a long conversation."""
    turns = [
        Message(role=("user", "assistant")[i % 2], content=f"Turn {i} of {subject if i % 2 else 'u'}.")
        for i in range(16)
    ]
    whole = measure("pressure/held", hits(rate))
    parts = [measure(f"pressure/held/{kind}", hits(rate, 10), scale="share") for kind in KINDS]
    shown = Transcript(title="A long talk", messages=tuple(turns), note="broke at turn 12")
    found = (whole.model_copy(update={"scale": "share"}), *parts)
    return Finding(suite="pressure", subject=subject, measures=found, transcripts=(shown,))


def latency(subject: str, rate: float) -> Finding:
    """A suite with a score of its own, two parts without a whole, and something missing."""
    if subject == "base":
        return Finding(suite="latency", subject=subject, missing=("nothing: the clock <stopped>",))
    slope = score("latency/slope", subject, -rate)
    parts = [measure(f"latency/first/{kind}", around(0.2)) for kind in ("short", "long")]
    missing = ("time to first token: not told by the server",) if subject == "null" else ()
    measures = (measure("latency/speed", around(60 - 10 * rate)), *parts)
    scores = (slope, score("latency/sparkle", f"{subject} - others", 0.4))
    return Finding(suite="latency", subject=subject, measures=measures, scores=scores, missing=missing)


def less_safe() -> Evaluation:
    """One whose judged subject declines harm more rarely than the base does."""
    gap = {"name": "safety/safe", "ours": "dpo", "theirs": "base", "value": -0.3, "low": -0.4}
    found = Difference(**gap, high=-0.2, n=24, method="made-up safety")
    made = results()
    differences = (*made.differences, found)
    return evaluation(results=made.model_copy(update={"differences": differences}))


def score(name: str, system: str, value: float, half: float = 0.05) -> Score:
    """A score whose interval reaches `half` to both sides."""
    ends = {"low": value - half, "high": value + half}
    return Score(name=name, system=system, value=value, n=96, method=f"made-up {name}", **ends)


def _unrun(subject: Subject, setting: Setting) -> Finding:
    raise AssertionError("a report runs nothing")


def _dots(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    found = [s for each in results.subjects if (s := results.score("pressure/held", each))]
    drawn = pictures.dot_plot("Held", found, paint=paint, show=svg.number)
    return [Figure("Held", drawn, "higher is better", wide=True)] if found else []


def suite(name: str, title: str, meanings: Mapping[str, Meaning], says: str = "", **more: Any) -> Suite:
    """A suite that can be told and not run."""

    def said(results: Results) -> list[str]:
        return [says] if says else []

    return Suite(name, title, meanings, _unrun, said, more.get("figures", lambda results, paint: []))


def suites() -> dict[str, Suite]:
    """The real voice suite and three made-up ones."""
    held = {
        "pressure/held": Meaning("Held", "Share of attempts that the voice withstood.", 1, True),
        "pressure/held/*": Meaning("Held, by kind", "The same, for one kind of attempt.", 1, True),
    }
    speed = {
        "latency/speed": Meaning("Speed", "Tokens per second.", 1),
        "latency/first/*": Meaning("First word", "Seconds to the first token.", -1),
    }
    found = [
        suite("pressure", "Does it hold?", held, "It holds in 85 of 100 attempts.", figures=_dots),
        suite("latency", "How fast is it?", speed, "It is about as fast as the base."),
        suite("judged", "What does a judge say?", {}),
    ]
    return {"voice": SUITES["voice"], **{each.name: each for each in found}}


def results(rates: Mapping[str, float] = GOOD) -> Results:
    """Findings of four suites, compared; the judge could not be asked."""
    return _results(tuple(rates.items()))


@cache
def _results(given: tuple[tuple[str, float], ...]) -> Results:
    rates = dict(given)
    findings = [make(name, rate) for make in (voice, pressure, latency) for name, rate in rates.items()]
    judged = [Finding(suite="judged", subject=name, missing=("no judge was named",)) for name in rates]
    return compared("witty", tuple(rates), [*findings, *judged])


def hearing(accuracy: float = 0.94) -> Hearing:
    """A classifier that confuses neighbours now and then."""
    size = range(len(VOICES))
    rows = tuple(tuple(28 if i == j else 2 if j == (i + 1) % 6 else 0 for j in size) for i in size)
    return Hearing(
        labels=VOICES,
        confusion=rows,
        accuracy=score("accuracy", "authored", accuracy, 0.03),
        macro_f1=accuracy - 0.01,
        topics={"advice": 0.95, "facts": 0.91},
        trained_on=1440,
    )


def training(steps: int = 120) -> tuple[TrainingPoint, ...]:
    """Losses that fall; the validation loss is least at two thirds."""
    best = steps * 2 // 3
    losses = [(step, 1.6 + 1.4 * 0.97**step + 0.05 * (step % 3)) for step in range(10, steps + 1, 5)]
    points = [TrainingPoint(step=step, epoch=step / 40, loss=loss) for step, loss in losses]
    checks = [
        TrainingPoint(step=step, epoch=step / 40, validation_loss=1.9 + abs(step - best) / 100)
        for step in range(20, steps + 1, 20)
    ]
    return (*points, *checks)


def adapter(stage: str) -> Adapter:
    """One run's figures."""
    return Adapter(
        run=f"witty-{stage}-0001",
        stage=stage,
        adapter_hash="c3" * 32,
        seconds=281.6,
        peak_memory_mb=2359.7,
        examples=176,
    )


def evaluation(rates: Mapping[str, float] = GOOD, **changes: Any) -> Evaluation:
    """A whole evaluation of the persona "witty" with the given voice rates and any field replaced."""
    adapters = [name for name in rates if name not in ("base", "prompt")]
    fields: dict[str, Any] = {
        "persona": "witty",
        "title": "The dry wit",
        "description": "Speaks in understatement and lets the reader find the joke.",
        "persona_hash": "a1" * 32,
        "bands": dict.fromkeys(MEASURES, (0.75, 0.85)),
        "base": "SmolLM2-135M-Instruct",
        "base_hash": "b2" * 32,
        "adapters": {name: adapter(name) for name in adapters},
        "made": "2025-11-22T21:30:00Z",
        "version": "0.1.0",
        "device": "CPU, 2 cores",
        "size": "quick",
        "command": "mien eval --persona witty --suite quick",
        "sampling": {"temperature": 0.7, "top_k": None, "max_tokens": 160},
        "suites": tuple(suites()),
        "seconds": {"voice": 91.2, "pressure": 130.0, "latency": 12.0, "judged": 0.0},
        "hearing": hearing(),
        "results": results(rates),
        "training": {name: training() for name in adapters[:-1]},
    }
    return Evaluation(**(fields | changes))
