"""The plan of a simulation: what varies between dialogues, how often, and in what words.

A plan has dimensions (topic, mood, pressure ...), each with levels that have a weight and a plain
description. It is a YAML file that is meant to be edited; `plan.yaml` beside this module is the default.
Which combinations of levels are drawn from it is the business of `mien.data.cells`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from mien import specfile
from mien.errors import InputError, SpecError
from mien.persona.spec import Persona
from mien.schema import Strict

Cell = Mapping[str, str]  # dimension to level
Who = Literal["scenario", "user", "persona"]

TURNS = "turns"
LONGEST = 8  # turns
_MARKER = "      # boundaries\n"


def _as_text(key: Any) -> Any:
    if isinstance(key, bool) or key is None:
        raise ValueError("YAML reads this word as yes, no or nothing: put it in quotes")
    return str(key) if isinstance(key, int) else key


def _as_words(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


Name = Annotated[str, BeforeValidator(_as_text), Field(min_length=1, max_length=40)]


class Level(Strict):
    """One setting of a dimension."""

    weight: float = Field(
        default=1, gt=0, allow_inf_nan=False, description="how often, next to the other levels"
    )
    text: str = Field(min_length=1, description="what it means; goes into the prompts word for word")
    must: Literal["json", "list"] | None = Field(
        default=None, description="what every reply has to be, and is checked to be"
    )


class Dimension(Strict):
    """One thing that varies between dialogues."""

    about: str = Field(min_length=1, description="what varies; a heading in the prompts")
    told: tuple[Who, ...] = Field(min_length=1, description="whose prompt says which level it is")
    levels: dict[Name, Level] = Field(min_length=1, description="the levels by name")

    @property
    def shares(self) -> NDArray[np.float64]:
        """The share of each level, summing to 1."""
        weights = np.array([level.weight for level in self.levels.values()])
        return np.asarray(weights / weights.sum())


class Plan(Strict):
    """What varies between the dialogues of a simulation, and what may not come together."""

    model_config = ConfigDict(title="mien simulation plan")

    dimensions: dict[Name, Dimension] = Field(description="what varies, by name; `turns` is needed")
    forbidden: tuple[dict[Name, tuple[Name, ...]], ...] = Field(
        default=(), description="per line, levels of two or more dimensions that never come together"
    )
    sparks: Annotated[tuple[str, ...], BeforeValidator(_as_words)] = Field(
        min_length=2, description="words of which each situation is given two to start from"
    )

    @model_validator(mode="after")
    def _has_turns(self) -> Self:
        if TURNS not in self.dimensions:
            raise ValueError(f"dimensions: `{TURNS}` is missing: how many messages the user writes")
        for name in self.dimensions[TURNS].levels:
            if not (name.isascii() and name.isdigit() and 1 <= int(name) <= LONGEST):
                raise ValueError(
                    f"dimensions.{TURNS}.levels: {name} is not a number from 1 to {LONGEST}"
                )
        return self

    @model_validator(mode="after")
    def _forbids_what_there_is(self) -> Self:
        for number, rule in enumerate(self.forbidden):
            if len(rule) < 2:
                raise ValueError(f"forbidden.{number}: name two dimensions or more")
            for name, levels in rule.items():
                known = self.dimensions[name].levels if name in self.dimensions else None
                wrong = [name] if known is None else [level for level in levels if level not in known]
                if wrong:
                    raise ValueError(f"forbidden.{number}.{name}: there is no {', '.join(wrong)}")
        return self

    @classmethod
    def load(cls, path: Path | str) -> Plan:
        """Read a plan.

        Raises:
            InputError: The file is missing or is no YAML mapping.
            SpecError: It has mistakes; all are reported at once.
        """
        return _read(Path(path))

    @classmethod
    def of(cls, persona: Persona) -> Plan:
        """The default plan, with the persona's own boundaries among the pressures."""
        return specfile.parse(text(persona), cls, source="the default plan")

    def told(self, cell: Cell, who: Who) -> str:
        """What one of the three is told of a cell: a line per dimension."""
        known = {name: each for name, each in self.dimensions.items() if who in each.told}
        return "\n".join(f"- {d.about}: {d.levels[cell[name]].text}" for name, d in known.items())

    def musts(self, cell: Cell) -> set[str]:
        """What every reply of a cell has to be."""
        levels = (each.levels[cell[name]].must for name, each in self.dimensions.items())
        return {must for must in levels if must}

    def within(self, shortest: int, longest: int) -> Plan:
        """This plan with the dialogues of so many turns only.

        Raises:
            InputError: It has none of them.
        """
        turns = self.dimensions[TURNS]
        kept = {name: each for name, each in turns.levels.items() if shortest <= int(name) <= longest}
        if not kept:
            raise InputError(
                f"The plan has no dialogue of {shortest} to {longest} turns.",
                fix=f"It has {', '.join(turns.levels)}.",
            )
        names = [rule | {TURNS: _only(rule[TURNS], kept)} for rule in self.forbidden if TURNS in rule]
        others = [rule for rule in self.forbidden if TURNS not in rule]
        shorter = self.dimensions | {TURNS: turns.model_copy(update={"levels": kept})}
        rules = (*others, *(rule for rule in names if rule[TURNS]))
        return Plan(dimensions=shorter, forbidden=rules, sparks=self.sparks)


def _only(names: Sequence[str], kept: Mapping[str, Level]) -> tuple[str, ...]:
    return tuple(name for name in names if name in kept)


def _read(path: Path) -> Plan:
    try:
        return specfile.load(path, Plan)
    except SpecError as error:
        fix = "`mien data plan` prints a plan with every key explained."
        raise SpecError(error.source, error.problems, fix=fix) from error


def text(persona: Persona | None = None) -> str:
    """The default plan as YAML with comments, to be edited.

    Args:
        persona: Its boundaries become pressures: in those dialogues the user pushes against them.
    """
    plain = (resources.files("mien.data") / "plan.yaml").read_text(encoding="utf-8")
    boundaries = persona.boundaries if persona else ()
    return plain.replace(_MARKER, "".join(map(_pushed, range(1, len(boundaries) + 1), boundaries)))


def _pushed(number: int, boundary: str) -> str:
    push = (
        f"the user tries, in a way that seems natural, to make the assistant break this rule: {boundary}"
    )
    quoted = yaml.safe_dump(push, default_style='"', width=10**6, allow_unicode=True).strip()
    return f"      boundary-{number}: {{weight: 0.5, text: {quoted}}}\n"
