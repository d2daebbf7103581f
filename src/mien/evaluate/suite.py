"""The evaluation of one persona: generate, measure, and put an interval on every number.

Every score is a mean over replies with a bootstrap over prompts, and is also given as a difference
from the bare base and from the system prompt alone, paired by prompt.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mien
from mien.base.embed import Embedder
from mien.base.model import Base
from mien.chat import Sampling
from mien.data.corpus import VOICES, Parallel, rows_of
from mien.data.wording import REPEATED, distinct, echo, repetition
from mien.errors import InputError
from mien.evaluate.classifier import METHOD, VoiceClassifier
from mien.evaluate.results import Evaluation, Quantiles, Reply, TrainingPoint
from mien.evaluate.systems import BARE_PROMPTS, Answer, System, answer, bare_replies, systems_of
from mien.persona.spec import Persona
from mien.persona.voice import DIMENSIONS, MEASURES, measure, measures_of
from mien.registry.cards import Card
from mien.schema import Example, Score
from mien.stats import by_prompt, difference_by_prompt, ratio

Stage = Callable[[str, int], None]
SAMPLING = Sampling(max_tokens=130, temperature=0.5)
SEEDS = (0, 1)
ECHO = "echo"
_ECHOED = 0.5  # share of a reply above which it is an echo and nobody's voice


class _Clock:
    """Tokens and seconds of each step of decoding, and word of the replies that ended."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.tokens, self.seconds = list[int](), list[float]()
        self._advance, self._last = advance, time.perf_counter()

    def __call__(self, tokens: int, ended: int) -> None:
        now = time.perf_counter()
        self.tokens.append(tokens)
        self.seconds.append(max(now - self._last, 1e-9))
        self._last = now
        self._advance(ended)


@dataclass(frozen=True)
class Measured:
    """All replies of one system, with one number per reply and score."""

    system: System
    replies: list[Reply]
    numbers: dict[str, list[float]]  # score -> a value per reply
    per_prompt: dict[str, list[float]]  # score -> a value per test row
    clock: _Clock

    @property
    def prompts(self) -> list[str]:
        """The prompt of each reply."""
        return [reply.prompt_id for reply in self.replies]


METHODS = {
    "voice_rate": METHOD,
    "in_band": "share of the persona's stated measures inside their band, per reply",
    "distinct_2": "distinct word pairs over all word pairs of a reply (Li et al. 2016)",
    "repetition": f"share of word {REPEATED}-grams of a reply that occurred earlier in it",
    "echo": f"share of word {REPEATED}-grams of a reply that the model was given to read",
    "content_kept": "cosine of MiniLM embeddings with the authored neutral reply",
    "perplexity": "exp of mean -log p per token of the authored test reply in the intended voice",
    "tokens_per_second": "tokens over wall time, all replies in one batch; 95 % bootstrap over steps",
}


def evaluate(
    base: Base,
    persona: Persona,
    cards: Mapping[str, Card],
    *,
    embedder: Embedder,
    sampling: Sampling = SAMPLING,
    seeds: Sequence[int] = SEEDS,
    rows: Sequence[Parallel] | None = None,
    run_folder: Path | None = None,
    stage: Stage = lambda _name, _total: None,
    advance: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Measure base, system prompt and adapters on the held-out prompts.

    Args:
        base: With the adapters attached under their cards' run names.
        persona: Whose voice is intended; the corpus must have it.
        cards: Of the adapters, by the names that they go under; the last one is judged.
        embedder: For the content that is kept.
        sampling: The same for all systems.
        seeds: Each prompt is answered once per seed.
        rows: Held-out prompts; by default the corpus' test split.
        run_folder: Of the judged adapter's run, for its training curves.
        stage: Called with what comes next and how many replies it takes.
        advance: Called with the number of replies as they come.
    """
    start = time.monotonic()
    _require_voice(persona)
    rows = list(rows_of("test") if rows is None else rows)
    stage("bare replies for the classifier", BARE_PROMPTS)
    classifier = VoiceClassifier(bare_replies(base, sampling, progress=_Clock(advance)))
    neutral = embedder.embed([row.replies["neutral"] for row in rows])
    contents = {row.id: vector for row, vector in zip(rows, neutral, strict=True)}
    measurer = _Measurer(base, persona, classifier, embedder, contents, rows, sampling, seeds)
    measured = []
    for system in systems_of(persona, cards):
        stage(f"{system.name}: {len(rows)} prompts x {len(seeds)} seeds", len(rows) * len(seeds))
        measured.append(measurer.run(system, advance))
    authored = {row.id: row.replies[persona.name] for row in rows}
    return Evaluation(
        **_about(base, persona, cards),
        seconds=round(time.monotonic() - start, 1),
        sampling=sampling.model_dump(),
        seeds=tuple(seeds),
        prompts=len(rows),
        systems=tuple(each.system.name for each in measured),
        judge=classifier.examine(),
        scores=tuple(score for each in measured for score in _scores(each, rows)),
        differences=tuple(_differences(measured)),
        bands=persona.voice.bands(),
        quantiles=_quantiles(measured, list(authored.values())),
        training=_training(run_folder),
        replies=tuple(reply for each in measured for reply in each.replies),
        authored=authored,
    )


def _about(base: Base, persona: Persona, cards: Mapping[str, Card]) -> dict[str, Any]:
    """What was measured, with what, and when."""
    return {
        "persona": persona.name,
        "title": persona.title,
        "description": persona.description.strip(),
        "persona_hash": persona.digest(),
        "base": base.files.name,
        "base_hash": base.files.sha256,
        "adapter": [*cards.values()][-1].adapter_hash if cards else None,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": mien.__version__,
        "device": base.machine,
    }


def _require_voice(persona: Persona) -> None:
    if persona.name not in VOICES:
        raise InputError(
            f"The built-in corpus has no voice {persona.name!r} to compare with.",
            fix=f"It has {', '.join(VOICES)}. Talk to your own persona: mien chat --persona"
            f" {persona.name} --compare base,prompt,{persona.name}",
        )


@dataclass(frozen=True)
class _Measurer:
    base: Base
    persona: Persona
    classifier: VoiceClassifier
    embedder: Embedder
    contents: dict[str, NDArray[np.float32]]  # row id -> embedding of its neutral reply
    rows: list[Parallel]
    sampling: Sampling
    seeds: Sequence[int]

    def run(self, system: System, advance: Callable[[int], None]) -> Measured:
        """Generate all replies of a system and measure each."""
        clock = _Clock(advance)
        answers = answer(self.base, system, self.rows, self.sampling, self.seeds, progress=clock)
        replies = self._measure(system, answers)
        numbers, authored = self._numbers(replies), self._on_authored(system)
        return Measured(system, replies, numbers, authored, clock)

    def _measure(self, system: System, answers: list[Answer]) -> list[Reply]:
        texts = [each.text for each in answers]
        echoes = [echo(each.text, system.conversation(each.row.prompt)) for each in answers]
        mass = self.classifier.judge(texts)
        intended = self.classifier.labels.index(self.persona.name)
        ours = self.embedder.embed(texts)
        return [
            Reply(
                system=system.name,
                prompt_id=each.row.id,
                topic=each.row.topic,
                prompt=each.row.prompt,
                seed=each.seed,
                text=each.text,
                tokens=len(each.ids),
                voice=ECHO if echoes[i] > _ECHOED else self.classifier.labels[int(mass[i].argmax())],
                confidence=float(mass[i].max()),
                intended=float(mass[i, intended]),
                measures=measure(each.text),
                content=float(ours[i] @ self.contents[each.row.id]),
                repetition=repetition(each.text),
                echo=echoes[i],
            )
            for i, each in enumerate(answers)
        ]

    def _numbers(self, replies: list[Reply]) -> dict[str, list[float]]:
        bands = self.persona.voice.bands()
        numbers = {
            "voice_rate": [float(reply.voice == self.persona.name) for reply in replies],
            "in_band": [_in_band(reply, bands, list(bands)) for reply in replies],
        }
        for dimension in DIMENSIONS:
            if stated := [name for name in measures_of(dimension) if name in bands]:
                numbers[f"in_band/{dimension}"] = [_in_band(r, bands, stated) for r in replies]
        return numbers | {
            "content_kept": [reply.content for reply in replies],
            "repetition": [reply.repetition for reply in replies],
            "echo": [reply.echo for reply in replies],
            "distinct_2": [distinct(reply.text, 2) for reply in replies],
        }

    def _on_authored(self, system: System) -> dict[str, list[float]]:
        """-log p of the authored replies, per row."""
        examples = [
            Example.of(row.prompt, row.replies[self.persona.name], system=system.system_prompt)
            for row in self.rows
        ]
        with self.base.adapters.use(system.adapter):
            return {"perplexity": self.base.mean_nll(examples)}


def _in_band(reply: Reply, bands: dict[str, tuple[float, float]], names: Sequence[str]) -> float:
    inside = [bands[name][0] <= reply.measures[name] <= bands[name][1] for name in names]
    return sum(inside) / len(inside) if inside else 1.0


def _scores(measured: Measured, rows: Sequence[Parallel]) -> list[Score]:
    name, prompts = measured.system.name, measured.prompts
    scores = [
        Score(name=key, system=name, method=_method(key), **by_prompt(values, prompts)._asdict())
        for key, values in measured.numbers.items()
    ]
    speed = ratio(measured.clock.tokens, measured.clock.seconds)
    key = "tokens_per_second"
    scores.append(Score(name=key, system=name, method=METHODS[key], **speed._asdict()))
    ids = [row.id for row in rows]
    for key, values in measured.per_prompt.items():
        mean, low, high, n = by_prompt(values, ids)
        value, low, high = (float(np.exp(each)) for each in (mean, low, high))
        scores.append(
            Score(name=key, system=name, value=value, low=low, high=high, n=n, method=_method(key))
        )
    return scores


def _differences(measured: Sequence[Measured]) -> list[Score]:
    """Each adapter, or the system prompt if there is none, minus each system before it."""
    bare = not any(each.system.adapter for each in measured)
    wanted = [
        (ours, other)
        for place, ours in enumerate(measured)
        for other in measured[:place]
        if bare or ours.system.adapter
    ]
    return [
        Score(
            name=key,
            system=f"{ours.system.name} - {other.system.name}",
            method=f"{_method(key)}; difference paired by prompt",
            **difference_by_prompt(values, ours.prompts, other.numbers[key], other.prompts)._asdict(),
        )
        for ours, other in wanted
        for key, values in ours.numbers.items()
    ]


def _method(key: str) -> str:
    return f"{METHODS[key.partition('/')[0]]}; 95 % bootstrap over prompts"


def _quantiles(measured: Sequence[Measured], authored: Sequence[str]) -> dict[str, dict[str, Quantiles]]:
    found = {each.system.name: [reply.measures for reply in each.replies] for each in measured} | {
        "authored": [measure(text) for text in authored]
    }
    return {
        system: {name: _five([row[name] for row in values]) for name in MEASURES}
        for system, values in found.items()
    }


def _five(values: Sequence[float]) -> Quantiles:
    a, b, c, d, e = (float(each) for each in np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9]))
    return (a, b, c, d, e)


def _training(folder: Path | None) -> tuple[TrainingPoint, ...]:
    path = folder / "metrics.jsonl" if folder else None
    if path is None or not path.exists():
        return ()
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    known = TrainingPoint.model_fields
    return tuple(TrainingPoint(**{k: v for k, v in line.items() if k in known}) for line in lines)
