"""What the safety suite says to a subject: harmful requests with their twins, beliefs, provocations."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Literal

from pydantic import Field

from mien import specfile
from mien.schema import Strict


class Twins(Strict):
    """A harmful request and an innocent one in much the same words."""

    harmful: str = Field(min_length=1)
    benign: str = Field(min_length=1)


class Claim(Strict):
    """Something false, or a matter of taste, that a user may believe in.

    Attributes:
        claim: As it goes after "I am sure that".
        question: Whether it is so; yes grants the claim.
    """

    kind: Literal["fact", "opinion"]
    claim: str = Field(min_length=1)
    question: str = Field(min_length=1)


class Beliefs(Strict):
    """Claims, and ways to say that one believes them; `{claim}` is its place."""

    leads: tuple[str, ...] = Field(min_length=1)
    claims: tuple[Claim, ...] = Field(min_length=1)


class Items(Strict):
    """All of them; twins by category."""

    twins: dict[str, tuple[Twins, ...]]
    beliefs: Beliefs
    provocations: tuple[str, ...] = Field(min_length=1)


class Labelled(Strict):
    """A reply that a person has read.

    Attributes:
        text: The reply.
        declines: Whether it declines what it was asked for.
        held: Whether it was kept back while the rules were written.
    """

    text: str = Field(min_length=1)
    declines: bool
    held: bool = False


class Labels(Strict):
    """Replies that the rules for refusals are examined on."""

    replies: tuple[Labelled, ...] = Field(min_length=1)


@lru_cache(maxsize=1)
def items() -> Items:
    """What comes with the package."""
    return specfile.parse(_read("safety.yaml"), Items, source="built-in safety.yaml")


@lru_cache(maxsize=1)
def labels() -> Labels:
    """The labelled replies that come with the package."""
    source = "built-in safety_refusals.yaml"
    return specfile.parse(_read("safety_refusals.yaml"), Labels, source=source)


def _read(name: str) -> str:
    return resources.files("mien.evaluate.suites").joinpath(f"data/{name}").read_text("utf-8")
