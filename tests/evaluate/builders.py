"""Made-up but plausible evaluations, adjustable where a test needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mien.evaluate.results import Evaluation, Judge, Reply, TrainingPoint
from mien.persona.voice import DIMENSIONS, MEASURES
from mien.schema import Score
from tests.page.reading import HOSTILE

SYSTEMS = ("base", "prompt", "witty")
VOICES = ("neutral", "warm", "witty", "direct", "socratic", "calm")
GOOD = {"base": 0.04, "prompt": 0.31, "witty": 0.83}
PARTIAL = {"base": 0.04, "prompt": 0.20, "witty": 0.41}
NO_BETTER = {"base": 0.04, "prompt": 0.60, "witty": 0.61}
FAILED = {"base": 0.21, "prompt": 0.22, "witty": 0.22}

VALUES = {
    **{"in_band": (0.41, 0.52, 0.79), "content_kept": (0.78, 0.75, 0.76)},
    **{f"in_band/{name}": (0.40, 0.55, 0.80) for name in DIMENSIONS},
    **{"distinct_2": (0.61, 0.66, 0.74), "repetition": (0.031, 0.027, 0.024)},
    **{"perplexity": (41.2, 33.8, 17.6), "tokens_per_second": (61.0, 58.5, 57.1)},
}
TEXTS = {
    "base": "There are several good ways to make rice less sticky.",
    "prompt": "Rice! It is sticky! Perhaps rinse it first, my friend.",
    "witty": "Rice has spoiled more evenings than burglary. Rinse it, and it will behave.",
}


def score(name: str, system: str, value: float, half: float = 0.05) -> Score:
    """A score whose interval reaches `half` to both sides."""
    ends = {"low": value - half, "high": value + half}
    return Score(name=name, system=system, value=value, n=96, method="bootstrap over prompts", **ends)


def scores(rates: Mapping[str, float]) -> tuple[Score, ...]:
    """All scores of all systems, with the given voice rates."""
    heard = [score("voice_rate", system, rate, 0.04) for system, rate in rates.items()]
    rest = [
        score(name, system, value, 0.06 * value)
        for name, values in VALUES.items()
        for system, value in zip(rates, values, strict=True)
    ]
    return (*heard, *rest)


def differences(found: tuple[Score, ...]) -> tuple[Score, ...]:
    """Witty minus each of the others; the interval is half as wide again as that of a score."""
    value = {(each.name, each.system): each for each in found}
    names = dict.fromkeys(each.name for each in found)
    return tuple(
        score(
            name,
            f"witty - {other}",
            value[name, "witty"].value - value[name, other].value,
            1.5 * (value[name, "witty"].high - value[name, "witty"].value),
        )
        for other in ("prompt", "base")
        for name in names
        if (name, other) in value and (name, "witty") in value
    )


def judge(accuracy: float = 0.94) -> Judge:
    """A classifier that confuses neighbours now and then."""
    size = range(len(VOICES))
    rows = tuple(tuple(28 if i == j else 2 if j == (i + 1) % 6 else 0 for j in size) for i in size)
    return Judge(
        labels=VOICES,
        confusion=rows,
        accuracy=score("accuracy", "judge", accuracy, 0.03),
        macro_f1=accuracy - 0.01,
        topics={"advice": 0.95, "facts": 0.91},
        trained_on=1440,
    )


def reply(system: str, prompt: int, **changes: Any) -> Reply:
    """One reply; the adapter's are heard as witty, the others as neutral."""
    voice = "witty" if system == "witty" else "neutral"
    fields: dict[str, Any] = {
        "system": system,
        "prompt_id": f"p{prompt}",
        "topic": ("advice", "facts")[prompt % 2],
        "prompt": f"Question {prompt}: why is my rice sticky?",
        "seed": 0,
        "text": TEXTS.get(system, "A reply."),
        "tokens": 14,
        "voice": voice,
        "confidence": 0.9,
        "intended": 0.9 if voice == "witty" else 0.05,
        "measures": dict.fromkeys(MEASURES, 1.0),
        "content": 0.7,
        "repetition": 0.0,
    }
    return Reply(**(fields | changes))


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


def evaluation(rates: Mapping[str, float] = GOOD, **changes: Any) -> Evaluation:
    """A whole evaluation of the persona "witty" with the given voice rates and any field replaced."""
    found = scores(rates)
    systems = tuple(rates)
    bands = dict.fromkeys(MEASURES, (0.8, 1.2))
    quantiles = {
        name: dict.fromkeys(bands, (0.2 + i / 4, 0.5 + i / 4, 0.8 + i / 4, 1.0 + i / 4, 1.5 + i / 4))
        for i, name in enumerate([*systems, "authored"])
    }
    fields: dict[str, Any] = {
        "persona": "witty",
        "title": "The dry wit",
        "description": "Speaks in understatement and lets the reader find the joke.",
        "persona_hash": "a1" * 32,
        "base": "SmolLM2-135M-Instruct",
        "base_hash": "b2" * 32,
        "adapter": "runs/witty-sft-0001" if "witty" in systems else None,
        "made": "2025-11-22T21:30:00Z",
        "version": "0.1.0",
        "device": "CPU, 2 cores",
        "seconds": 431.2,
        "sampling": {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 160},
        "seeds": (0, 1),
        "prompts": 12,
        "systems": systems,
        "judge": judge(),
        "scores": found,
        "differences": differences(found),
        "bands": bands,
        "quantiles": quantiles,
        "training": training(),
        "replies": tuple(reply(system, prompt) for prompt in range(12) for system in systems),
        "authored": {f"p{prompt}": "An authored reply, with a raised eyebrow." for prompt in range(12)},
    }
    return Evaluation(**(fields | changes))


def hostile() -> Evaluation:
    """Markup wherever text comes from a model, a file or a user."""
    systems = ("base", HOSTILE)
    plain = evaluation()
    changes = {"text": HOSTILE, "prompt": HOSTILE, "topic": HOSTILE, "voice": HOSTILE}
    return evaluation(
        title=HOSTILE,
        description=HOSTILE,
        persona=HOSTILE,
        systems=systems,
        adapter=HOSTILE,
        device=HOSTILE,
        base=HOSTILE,
        sampling={HOSTILE: 1.0},
        scores=tuple(score(name, each, 0.5) for name in ("voice_rate", HOSTILE) for each in systems),
        differences=(score(HOSTILE, f"{HOSTILE} - base", 0.5),),
        judge=plain.judge.model_copy(update={"labels": (HOSTILE, *VOICES[1:])}),
        bands={HOSTILE: (0.0, 1.0)},
        quantiles={HOSTILE: {HOSTILE: (0.0, 0.1, 0.2, 0.3, 0.4)}},
        replies=tuple(reply(each, 0).model_copy(update=changes) for each in systems),
        authored={"p0": HOSTILE},
    )
