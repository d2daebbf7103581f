"""How much the sizes ask: within what they promise, and each more than the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.chat import Sampling
from mien.evaluate.roster import SUITES
from mien.evaluate.run import ask_ahead
from mien.evaluate.sizes import AMOUNTS, Amounts, Size
from mien.evaluate.subject import Asked, LogP, Options, Progress, Said
from tests.evaluate.suites.scripted import chatter, setting

TOGETHER = 96  # replies of a batch


class Ear:
    """Hears all voices, one like the other."""

    labels = ("neutral", "witty")

    def judge(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.full((len(texts), 2), 0.5)

    def verdicts(self, texts: Sequence[str]) -> list[str]:
        return ["witty" for _ in texts]


class Meter:
    """Counts the steps of decoding that follow each other, and the words whose likelihood is read."""

    name = key = "base"

    def __init__(self) -> None:
        self.steps = self.words = 0

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        self.steps += sampling.max_tokens * -(-len(asked) // TOGETHER)
        return [Said(chatter(each.messages[-1].content), sampling.max_tokens) for each in asked]

    def logps(
        self, asked: Sequence[Options], *, progress: Progress = lambda _: None
    ) -> list[tuple[LogP, ...]]:
        self.words += sum(len(turn.content.split()) for each in asked for turn in each.messages)
        return [tuple(LogP(-1.0, 1) for _ in each.texts) for each in asked]


def metered(folder: Path, size: Size) -> Meter:
    meter, ear = Meter(), Ear()
    here = setting(folder, amounts=AMOUNTS[size], ear=ear, sampling=Sampling(max_tokens=130))
    suites = [suite for name, suite in SUITES.items() if name not in ("judged", "latency")]
    ask_ahead(suites, [meter], here)
    for suite in suites:
        suite.run(meter, here)
    return meter


def test_the_quick_size_asks_so_little_of_a_system_that_three_take_minutes(tmp_path: Path) -> None:
    # On two cores a step takes an eighth to a quarter of a second, and 1,200 tokens are read in one.
    quick = metered(tmp_path, "quick")
    assert quick.steps < 500 and quick.words < 12_000


@pytest.mark.parametrize("suite", [name for name in Amounts.model_fields if name != "size"])
def test_the_full_size_asks_no_less_of_any_suite(suite: str) -> None:
    quick, full = (getattr(AMOUNTS[size], suite).model_dump() for size in ("quick", "full"))
    less = [key for key in quick if _number(full[key]) < _number(quick[key]) and key != "every"]
    assert less == []


def _number(amount: Any) -> float:
    """None is all."""
    return float("inf") if amount is None else float(np.max(amount))
