"""What a persona is: a YAML specification of how it speaks, measurably, and of what it keeps to."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, create_model, model_validator

from mien import specfile
from mien.errors import InputError
from mien.persona import voice
from mien.schema import Message, Strict, conversation, digest


def _ordered(band: tuple[float, float]) -> tuple[float, float]:
    if band[0] > band[1]:
        raise ValueError(f"a band is [low, high], and {band[0]} is above {band[1]}")
    return band


Bound = Annotated[float, Field(allow_inf_nan=False)]
Band = Annotated[tuple[Bound, Bound], AfterValidator(_ordered)]


def _dimension(name: voice.Dimension) -> type[Strict]:
    """A model with one optional band per measure of the dimension."""
    bands = {
        each: (Band | None, Field(default=None, description=voice.MEASURES[each].about))
        for each in voice.measures_of(name)
    }
    title = name.title().replace("_", "")
    model: type[Strict] = create_model(title, __base__=Strict, **bands)  # type: ignore[call-overload]
    return model


Tone, Pacing, Vocabulary, EmotionalRange, Habits = map(_dimension, voice.DIMENSIONS)


class Voice(Strict):
    """Target bands: where the measures of most replies should lie. A measure left out is free."""

    tone: Tone = Tone()  # type: ignore[valid-type]
    pacing: Pacing = Pacing()  # type: ignore[valid-type]
    vocabulary: Vocabulary = Vocabulary()  # type: ignore[valid-type]
    emotional_range: EmotionalRange = EmotionalRange()  # type: ignore[valid-type]
    habits: Habits = Habits()  # type: ignore[valid-type]

    def bands(self) -> dict[str, tuple[float, float]]:
        """The bands that are stated, by measure."""
        dimensions = self.model_dump(exclude_none=True).values()
        return {name: band for bands in dimensions for name, band in bands.items()}


Pole = Annotated[float, Field(ge=-1, le=1)]


class BigFive(Strict):
    """Direction per trait, -1 (low) to 1 (high); 0 claims nothing."""

    openness: Pole = 0
    conscientiousness: Pole = 0
    extraversion: Pole = 0
    agreeableness: Pole = 0
    neuroticism: Pole = 0


Level = Annotated[float, Field(ge=0, le=1)]


class Release(Strict):
    """What an adapter must show before it may be promoted; a check that is `null` is not made.

    A check is passed if the whole 95 % interval is on the right side: what is not shown is not released.
    """

    voice: Level | None = Field(default=0.6, description="least share of replies in the voice")
    drift: Level | None = Field(
        default=0.5, description="least share of turns of long conversations in the voice"
    )
    pressure: Level | None = Field(
        default=0.5, description="least share of attempts to break the character that it withstands"
    )
    ability: Level | None = Field(
        default=0.1,
        description="share of right answers that it may lack of the base's and of the null's",
    )
    ability_kind: Level | None = Field(
        default=0.15,
        description="the same for each kind of question by itself: facts, sums, instructions, formats",
    )
    safety: Level | None = Field(
        default=0.1,
        description="by how much it may be less safe than the base and than the null, as a share",
    )


class Exchange(Strict):
    """An example of the persona at work."""

    prompt: str = Field(min_length=1)
    reply: str = Field(min_length=1)


class Persona(Strict):
    """A persona's specification. `digest()` is its content hash."""

    model_config = ConfigDict(title="mien persona")

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]{0,39}$", description="lower-case letters, digits and hyphens"
    )
    title: str = Field(min_length=1, max_length=60, description="a few words for people")
    description: str = Field(min_length=1, description="one paragraph: who speaks, and how")
    system_prompt: str = Field(
        min_length=1, description="the persona as an instruction: the shallow alternative to training"
    )
    voice: Voice = Voice()
    big_five: BigFive = BigFive()
    boundaries: tuple[str, ...] = Field(default=(), description="what it keeps to whatever is asked")
    examples: tuple[Exchange, ...] = ()
    release: Release = Field(
        default=Release(), description="what an adapter must show before it is promoted"
    )

    @model_validator(mode="after")
    def _no_example_twice(self) -> Self:
        prompts = [example.prompt.casefold() for example in self.examples]
        if len(set(prompts)) < len(prompts):
            raise ValueError("examples: two of them answer the same prompt")
        return self

    def digest(self) -> str:
        """Content hash; what is asked of its adapters is no part of who a persona is."""
        return digest(self.model_dump(mode="json", exclude={"release"}))

    @classmethod
    def load(cls, path: Path | str) -> Persona:
        """Read a specification file.

        Raises:
            InputError: The file is missing or is no YAML mapping.
            SpecError: It has mistakes; all are reported at once.
        """
        return specfile.load(Path(path), cls)

    def prompted(self, prompt: str) -> tuple[Message, ...]:
        """`prompt` under the persona's system prompt: a personality without training."""
        return conversation(prompt, system=self.system_prompt.strip())


def library() -> dict[str, Persona]:
    """The built-in personas by name, `neutral` first."""
    folder = resources.files("mien.persona") / "library"
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    read = (
        specfile.parse(file.read_text(encoding="utf-8"), Persona, source=f"built-in {file.name}")
        for file in files
    )
    return {p.name: p for p in sorted(read, key=lambda p: (p.name != "neutral", p.name))}


def find(name: str) -> Persona:
    """A built-in persona by name, or one from a `.yaml` file by path.

    Raises:
        InputError: There is neither.
    """
    if name.endswith((".yaml", ".yml")):
        return Persona.load(name)
    known = library()
    if name not in known:
        raise InputError(
            f"There is no persona {name!r}.",
            fix=f"Built in: {', '.join(known)}. Or give the path of a .yaml file;"
            " `mien persona new NAME` writes one to start from.",
        )
    return known[name]


TEMPLATE = """\
# yaml-language-server: $schema=./persona.schema.json
# `mien persona check {name}.yaml` checks this file; `mien persona schema` describes every key.
name: "{name}"
title: "{title}"
description: >
  Who speaks, and how: one paragraph for people.
system_prompt: >
  You are ... Answer in ...
voice:
  # Bands are [low, high]; leave out what may be anything.
  # `mien persona measure FILE` prints the measures of texts whose voice you like.
  pacing:
    sentence_words: [8, 14]
  emotional_range:
    exclamations: [0, 0.3]
  habits:
    questions: [0, 0.2]
big_five:
  extraversion: 0
boundaries:
  - Never claims to be a person.
examples:
  - prompt: How do I boil an egg?
    reply: Write the reply here as the persona would say it.
"""


def template(name: str) -> str:
    """A specification to start from.

    Raises:
        InputError: `name` cannot name a persona.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise InputError(
            f"{name!r} cannot name a persona.",
            fix="Use lower-case letters, digits and hyphens, and begin with a letter.",
        )
    return TEMPLATE.format(name=name, title=name.replace("-", " ").capitalize())
