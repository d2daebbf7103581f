"""What the loop does for any objective: figures, held-out means, rates, and who looks on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.train.loop import Course, Loss, Objective, fit
from mien.train.recipe import SftRecipe
from tests import models
from tests.train.builders import metrics, series

RECIPE = SftRecipe(persona="witty", learning_rate=0.01, schedule="constant", warmup=0)


class Numbers(Objective):
    """Its rows are numbers: their mean is the loss, and their number the weight."""

    def __init__(self, base: Base) -> None:
        base.adapters.create("x", LoraConfig(2, 4), seed=0)
        super().__init__(base, "x")
        self.head = nn.Parameter(torch.ones(1))

    def collate(self, rows: Sequence[float]) -> Tensor:
        return torch.tensor(rows)

    def forward(self, batch: Tensor) -> Loss:
        nothing = sum(matrix.sum() for matrix in self.base.adapters.parameters("x")) * 0
        value = batch.mean() + nothing + (self.head - self.head.detach()).sum()
        return Loss(value, len(batch), {"mean": float(batch.mean()), "one": 1.0})

    def rates(self) -> Sequence[tuple[nn.Parameter, float]]:
        return [(self.head, 0.5)]


class Eyes:
    """Sees every step, and has enough after one of them."""

    def __init__(self, enough: int = 99) -> None:
        self.enough, self.begun, self.seen = enough, list[int](), list[tuple[int, int]]()

    def begin(self, step: int) -> bool:
        self.begun.append(step)
        return step >= self.enough

    def step(self, step: int, steps: int) -> bool:
        self.seen.append((step, steps))
        return step >= self.enough


def course(**changes: Any) -> Course:
    settings = {"rows": [1.0, 2.0, 3.0, 6.0], "held_out": (), "epochs": 2, "batch_size": 2}
    return Course(**settings | {"shuffle": False} | changes)


def fitted(folder: Path, shown: Course, watch: Eyes | None = None) -> Numbers:
    objective = Numbers(models.tiny_base())
    fit(objective, shown, RECIPE, folder, lambda *_: None, watch)
    return objective


def test_figures_stand_beside_the_loss_of_their_step(tmp_path: Path) -> None:
    fitted(tmp_path, course())
    assert series(tmp_path, "loss") == series(tmp_path, "mean") == [1.5, 4.5, 1.5, 4.5]
    assert series(tmp_path, "one") == [1, 1, 1, 1]


def test_figures_of_batches_that_make_one_step_are_their_mean_by_weight(tmp_path: Path) -> None:
    # Batches 1, 2 | 3: means 1.5 of weight 2 and 3 of weight 1, so (2 * 1.5 + 3) / 3 = 2.
    fitted(tmp_path, course(rows=[1.0, 2.0, 3.0], accumulate=2, epochs=1))
    assert series(tmp_path, "mean") == pytest.approx([2.0])


def test_the_validation_loss_weighs_each_batch_by_what_it_is_a_mean_of(tmp_path: Path) -> None:
    # Sixteen held-out rows a batch: one of sixteen ones, one with a single 18. (16 + 18) / 17 = 2.
    fitted(tmp_path, course(held_out=[1.0] * 16 + [18.0], epochs=1))
    assert series(tmp_path, "validation_loss") == [2.0]
    assert series(tmp_path, "validation_mean") == [2.0]


def test_rows_keep_their_order_where_they_are_not_shuffled(tmp_path: Path) -> None:
    rows = [float(n) for n in range(8)]
    fitted(tmp_path / "kept", course(rows=rows, batch_size=1))
    assert series(tmp_path / "kept", "mean") == rows * 2
    fitted(tmp_path / "drawn", course(rows=rows, batch_size=1, shuffle=True))
    drawn = series(tmp_path / "drawn", "mean")
    assert sorted(drawn[:8]) == sorted(drawn[8:]) == rows and drawn[:8] != rows


def test_a_head_learns_at_its_own_rate_and_is_part_of_the_state(tmp_path: Path) -> None:
    objective = fitted(tmp_path, course(epochs=1))
    # Adam's first steps are of the size of the rate: two of 0.5 down from 1.
    assert float(objective.head.detach()) == pytest.approx(1 - 2 * 0.5, abs=0.01)
    assert "head" in objective.state_dict()
    assert len(objective.state_dict()) == 1 + 2 * len(objective.base.adapters.layers)


def test_who_looks_on_sees_every_step_and_may_end_it(tmp_path: Path) -> None:
    eyes = Eyes()
    fitted(tmp_path / "all", course(), eyes)
    assert (eyes.begun, eyes.seen) == ([0], [(1, 4), (2, 4), (3, 4), (4, 4)])
    strict = Eyes(enough=3)
    fitted(tmp_path / "cut", course(), strict)
    assert [step for step, _ in strict.seen] == [1, 2, 3]
    assert [line["step"] for line in metrics(tmp_path / "cut") if "loss" in line] == [1, 2, 3]
