"""The systems that are compared, and the replies they give: same prompts, same decoding, same seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.base.decode import Progress, generate
from mien.base.model import Base
from mien.chat import Sampling
from mien.data.corpus import Parallel, rows_of
from mien.persona.spec import Persona
from mien.registry.cards import Card
from mien.schema import Message, conversation, digest
from mien.workspace import home, read_json, write_json

BARE_PROMPTS = 88  # training prompts that the bare base answers, for the classifier's neutral class


@dataclass(frozen=True)
class System:
    """One way to answer: the base with an adapter or none, under a system prompt or none."""

    name: str
    adapter: str | None = None
    system_prompt: str | None = None

    def conversation(self, prompt: str) -> tuple[Message, ...]:
        """What the model is given for a user's prompt."""
        return conversation(prompt, system=self.system_prompt)


@dataclass(frozen=True)
class Answer:
    """One reply as it was generated."""

    row: Parallel
    seed: int
    text: str
    ids: tuple[int, ...]


def systems_of(persona: Persona, cards: Mapping[str, Card]) -> tuple[System, ...]:
    """Base, base under the persona's system prompt, and adapters by the names that they go under.

    An adapter that was trained under the system prompt is heard under it.
    """
    prompt = persona.system_prompt.strip()
    adapters = (
        System(name, card.run, prompt if card.under_prompt else None) for name, card in cards.items()
    )
    return (System("base"), System("prompt", system_prompt=prompt), *adapters)


def answer(
    base: Base,
    system: System,
    rows: Sequence[Parallel],
    sampling: Sampling,
    seeds: Sequence[int],
    *,
    progress: Progress = lambda _tokens, _replies: None,
) -> list[Answer]:
    """Replies of one system to every row, once per seed."""
    asked = [(row, seed) for seed in seeds for row in rows]
    with base.adapters.use(system.adapter):
        replies = generate(
            base,
            [system.conversation(row.prompt) for row, _ in asked],
            sampling,
            seeds=[seed for _, seed in asked],
            progress=progress,
        )
    return [
        Answer(row, seed, base.renderer.decode(ids), tuple(ids))
        for (row, seed), ids in zip(asked, replies, strict=True)
    ]


def bare_replies(
    base: Base, sampling: Sampling, *, progress: Progress = lambda _tokens, _replies: None
) -> list[str]:
    """The bare base's replies to training prompts; kept in the home, since they never change."""
    memo = _memo(base, sampling)
    if not memo.exists():
        rows = rows_of("train")[:: max(1, len(rows_of("train")) // BARE_PROMPTS)][:BARE_PROMPTS]
        answers = answer(base, System("base"), rows, sampling, [0], progress=progress)
        write_json(memo, [each.text for each in answers])
    else:
        progress(0, BARE_PROMPTS)
    return list(read_json(memo))


def _memo(base: Base, sampling: Sampling) -> Path:
    asked = [row.prompt for row in rows_of("train")]
    key = digest([base.files.sha256, base.dtype, sampling.model_dump(), asked])
    return home() / "bare" / f"{key[:16]}.json"
