"""The dose of a finished update: the least at which its voice is heard."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mien.base.lora import LoraConfig
from mien.schema import conversation
from mien.train.data import Prompt
from mien.train.dose import DOSES, HEARD, SEEDS, Tried, least, tried
from mien.train.leash import GoldScore
from mien.train.signals import Rollout
from tests import models


def needing(enough: float) -> tuple[list[float], object]:
    """A voice that is heard from one dose on, and the doses that were tried on it."""
    asked: list[float] = []

    def at(dose: float) -> Tried:
        asked.append(dose)
        return Tried(dose=dose, voice=HEARD if dose >= enough else 0.3, content=0.5, fresh=1)

    return asked, at


@pytest.mark.parametrize("enough", [*DOSES, 0.1])
def test_the_least_dose_that_is_heard_is_kept(enough: float) -> None:
    asked, at = needing(enough)
    dose, seen = least(at)  # type: ignore[arg-type]
    assert dose == max(enough, DOSES[0])
    assert len(asked) <= 3 and [each.dose for each in seen] == sorted(asked)


def test_where_none_is_heard_the_largest_is_kept() -> None:
    _, at = needing(99)
    dose, seen = least(at)  # type: ignore[arg-type]
    assert dose == DOSES[-1] and all(each.voice < HEARD for each in seen)


def test_every_prompt_is_answered_once_per_seed_under_the_dose_and_nothing_stays_scaled() -> None:
    base = models.tiny_base()
    base.adapters.create("a", LoraConfig(r=4, alpha=8.0), seed=0)
    models.shake(base.adapters, "a", size=0.3)
    heard: list[list[str]] = []

    def gold(rollouts: Sequence[Rollout]) -> list[GoldScore]:
        heard.append([each.text for each in rollouts])
        return [
            GoldScore(0.25, 0.5, 1.0) if place else GoldScore(0.75, 0.5, 1.0)
            for place, _ in enumerate(rollouts)
        ]

    asked = [conversation("hello there"), conversation("how is the wind")]
    prompts = [Prompt(tuple(base.renderer.prompt(each)), each) for each in asked]
    at = tried(base, "a", prompts, gold)
    none, whole = at(0.0), at(1.0)
    assert len(heard[0]) == len(prompts) * len(SEEDS) and heard[0] != heard[1]
    assert (whole.dose, whole.voice, whole.content, whole.fresh) == (1.0, 0.375, 0.5, 1.0)
    assert none.dose == 0.0
    layer = next(iter(base.adapters.layers.values()))
    assert layer.scales["a"] == 2.0
