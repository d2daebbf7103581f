"""The way from one adapter to another: what answers on it, what is heard, and what cannot be asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.chat import Sampling
from mien.data.corpus import rows_of
from mien.decode.generate import generate
from mien.errors import InputError
from mien.evaluate import interpolation
from mien.evaluate.interpolation import Interpolation, Side, interpolated
from mien.schema import conversation
from tests import models

PROMPTS = 2
SAMPLING = Sampling(max_tokens=6, temperature=1.0)
SIDES = (Side("one", "witty"), Side("other", "warm"))


class Ear:
    """Hears at each point the probabilities that it is told, one a prompt, and keeps the texts."""

    labels = ("neutral", "warm", "witty")

    def __init__(self, witty: Sequence[Sequence[float]], warm: Sequence[Sequence[float]]) -> None:
        self.told = list(zip(warm, witty, strict=True))
        self.texts: list[list[str]] = []

    def judge(self, texts: Sequence[str]) -> NDArray[np.float64]:
        warm, witty = map(np.array, self.told[len(self.texts)])
        self.texts.append(list(texts))
        return np.stack([1 - warm - witty, warm, witty], axis=1)


class Meaning:
    """All plain replies mean one thing; what is compared with them means it by 0.6."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        plain = {row.replies["neutral"] for row in rows_of("test")}
        return np.array([(1, 0) if text in plain else (0.6, 0.8) for text in texts], dtype=np.float32)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)


@pytest.fixture
def base(tiny_base: Base) -> Iterator[Base]:
    """With two adapters of different rank and scale."""
    for seed, (side, shape) in enumerate(zip(SIDES, (LoraConfig(4, 12), LoraConfig(2, 2)), strict=True)):
        tiny_base.adapters.create(side.adapter, shape, seed=seed)
        models.shake(tiny_base.adapters, side.adapter, seed=seed)
    yield tiny_base
    for side in SIDES:
        tiny_base.adapters.drop(side.adapter)


def small(patch: pytest.MonkeyPatch) -> None:
    """Few prompts and short replies."""
    patch.setattr(interpolation, "rows_of", lambda split: rows_of(split)[:PROMPTS])
    patch.setattr(interpolation, "SAMPLING", SAMPLING)


def even(*values: float) -> list[list[float]]:
    """The same at all prompts of a point."""
    return [[value] * PROMPTS for value in values]


def went(base: Base, ear: Ear) -> Interpolation:
    return interpolated(base, SIDES, ear, Meaning(), points=len(ear.told))  # type: ignore[arg-type]


def replies(base: Base, adapter: str) -> list[str]:
    asked = [conversation(row.prompt) for row in rows_of("test")[:PROMPTS]]
    with base.adapters.use(adapter):
        said = generate(base, asked, SAMPLING, seeds=[0] * PROMPTS)
    return [base.renderer.decode(ids) for ids in said]


def test_the_ends_are_the_adapters_themselves_and_the_middle_is_their_exact_sum(base: Base) -> None:
    ear = Ear(even(0.8, 0.4, 0.1), even(0.1, 0.4, 0.8))
    went(base, ear)
    base.adapters.average(["one", "other"], "half", weights=[0.5, 0.5])
    expected = [replies(base, adapter) for adapter in ("one", "half", "other")]
    base.adapters.drop("half")
    assert ear.texts == expected
    assert len({tuple(texts) for texts in expected}) == 3


def test_the_base_is_left_as_it_was(base: Base) -> None:
    went(base, Ear(even(0.8, 0.4, 0.1), even(0.1, 0.4, 0.8)))
    assert set(base.adapters.configs) == {"one", "other"} and base.adapters.active is None


def test_every_point_has_its_weights_means_and_intervals(base: Base) -> None:
    ear = Ear([[0.9, 0.7], [0.4, 0.4], [0.0, 0.2]], [[0.1, 0.1], [0.5, 0.3], [0.8, 0.8]])
    first, middle, last = went(base, ear).points
    assert [first.weights, middle.weights, last.weights] == [(1, 0), (0.5, 0.5), (0, 1)]
    assert [each.ratio for each in (first, middle, last)] == ["1 : 0", "0.5 : 0.5", "0 : 1"]
    witty, warm = first.heard
    assert (witty.value, witty.low, witty.high, witty.n) == pytest.approx((0.8, 0.7, 0.9, 2))
    assert (warm.value, warm.low, warm.high) == pytest.approx((0.1, 0.1, 0.1))
    assert [score.value for score in middle.heard] == pytest.approx([0.4, 0.4])
    assert (middle.heard[1].low, middle.heard[1].high) == pytest.approx((0.3, 0.5))
    assert [each.content.value for each in (first, middle, last)] == pytest.approx([0.6] * 3)
    assert (middle.content.name, middle.content.system) == ("content", "one:0.5+other:0.5")
    assert (last.heard[0].name, last.heard[0].system) == ("heard/witty", "other:1")


@pytest.mark.parametrize(
    ("witty", "warm", "monotonic"),
    [
        ((0.8, 0.5, 0.1), (0.1, 0.3, 0.7), (True, True)),
        ((0.5, 0.6, 0.1), (0.1, 0.3, 0.4), (False, True)),
        ((0.8, 0.5, 0.1), (0.1, 0.3, 0.2), (True, False)),
        ((0.4, 0.4, 0.1), (0.5, 0.3, 0.1), (False, False)),  # to stand still is not to move
    ],
)
def test_a_voice_moves_one_way_if_it_does_at_every_step(
    base: Base, witty: list[float], warm: list[float], monotonic: tuple[bool, bool]
) -> None:
    assert went(base, Ear(even(*witty), even(*warm))).monotonic == monotonic


@pytest.mark.parametrize(
    ("voices", "what"),
    [
        (("witty", "pirate"), "never heard the voice 'pirate'"),
        (("warm", "warm"), "have the voice 'warm'"),
    ],
)
def test_voices_that_cannot_be_told_apart_are_refused(
    base: Base, voices: tuple[str, str], what: str
) -> None:
    sides = Side("one", voices[0]), Side("other", voices[1])
    with pytest.raises(InputError, match=what) as caught:
        interpolated(base, sides, Ear([], []), Meaning())  # type: ignore[arg-type]
    assert "neutral, warm, witty" in caught.value.fix


def test_one_point_is_no_way(base: Base) -> None:
    with pytest.raises(InputError, match="no way of 1 points"):
        went(base, Ear(even(0.8), even(0.1)))
