"""Reward models: the loss by hand, what is learnt, what is saved, and what is refused."""

from __future__ import annotations

import shutil
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mien.base.flat import Flat, Tree
from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.errors import AdapterError
from mien.registry.cards import ADAPTER
from mien.train.data import Ranked
from mien.train.plan import Plan
from mien.train.recipe import RewardRecipe
from mien.train.reward import HEAD, Reward, RewardModel, load_head, new_head, read
from mien.train.run import train
from mien.train.stages import EXAMINED
from tests import models
from tests.train.builders import planned as planned_sft
from tests.train.builders import series
from tests.train.pairs import planned_pairs

ROWS = [
    Ranked(Tree((1, 20, 21), ((30, 31, 2), (40, 2))), (0.5,)),
    Ranked(Tree((1, 22), ((32, 2), (41, 42, 2), (43, 2))), (0.0, 1.0)),
]


@pytest.fixture
def base() -> Base:
    found = models.tiny_base()
    found.adapters.create("judge", LoraConfig(2, 4), seed=0)
    models.shake(found.adapters, "judge")
    return found


def objective(base: Base, **changes: Any) -> Reward:
    return Reward(base, "judge", RewardRecipe.model_validate({"persona": "witty", **changes}))


def alone(base: Base, head: nn.Linear, tree: Tree) -> list[float]:
    """Each reply's score from a pass of its own, at the mark that ends it."""
    found = []
    for reply in tree.completions:
        with torch.no_grad(), base.adapters.use("judge"):
            found.append(float(head(base.hidden(Flat.of([(tree.prompt, reply)]))[-1])))
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    ready = planned_pairs(tmp_path_factory.mktemp("reward"), "reward", epochs=3)
    train(ready)
    return ready


@pytest.mark.parametrize("margin", [True, False])
def test_the_loss_is_bradley_and_terry_s_with_margins_and_a_pull_to_the_middle(
    base: Base, margin: bool
) -> None:
    found = objective(base, margin=margin, centre=0.25)
    loss = found(found.collate(ROWS))
    scores = [alone(base, found.head, row.tree) for row in ROWS]
    pairs = [(row[0], other) for row in scores for other in row[1:]]
    margins = [0.5, 0.0, 1.0] if margin else [0, 0, 0]
    # -log sigma(x) = log(1 + e^-x), and the centring term of 2312.09244.
    terms = [
        log(1 + exp(-(won - lost - gap))) + 0.25 * (won + lost) ** 2
        for (won, lost), gap in zip(pairs, margins, strict=True)
    ]
    assert float(loss.value.detach()) == pytest.approx(sum(terms) / 3, rel=1e-5)
    assert loss.weight == 3
    assert loss.figures["accuracy"] == pytest.approx(sum(won > lost for won, lost in pairs) / 3)
    assert loss.figures["margin"] == pytest.approx(sum(won - lost for won, lost in pairs) / 3, rel=1e-4)


def test_a_score_is_read_at_the_last_token_of_each_reply(base: Base) -> None:
    head = new_head(base, 3)
    found = RewardModel(base, "judge", head).score([row.tree for row in ROWS])
    for row, scores in zip(ROWS, found, strict=True):
        assert scores == pytest.approx(alone(base, head, row.tree), abs=1e-5)


def test_the_loss_reaches_the_head_and_the_adapter_and_nothing_else(base: Base) -> None:
    found = objective(base)
    found(found.collate(ROWS)).value.backward()
    learnt = [*base.adapters.parameters("judge"), found.head.weight]
    assert all(each.grad is not None and each.grad.any() for each in learnt)
    mine = {id(each) for each in found.parameters() if each.requires_grad}
    assert mine == {*map(id, learnt), id(found.head.bias)}


def test_it_learns_to_rank(trained: Plan) -> None:
    losses, accuracy = series(trained.folder, "loss"), series(trained.folder, "validation_accuracy")
    assert losses[-1] < 0.2 and losses[0] > 0.5
    assert accuracy[-1] == 1
    assert (trained.folder / EXAMINED).exists()
    names = {score.name for score in trained.workspace.scores(trained.folder.name)}
    assert names == {"pair_accuracy", "blanked_accuracy", "calibration_error", "length_correlation"}


def test_what_is_read_back_scores_the_same_bits(trained: Plan) -> None:
    trees = [row.tree for row in trained.encoded.train]
    folder, name = trained.folder / ADAPTER, trained.folder.name
    before = RewardModel(trained.base, name, load_head(trained.base, folder)).score(trees)
    again = models.tiny_base()
    again.adapters.load("read", folder)
    assert RewardModel(again, "read", load_head(again, folder)).score(trees) == before
    assert all(row[0] > max(row[1:]) for row in before)


def test_an_adapter_without_a_head_is_no_reward_model(tmp_path: Path, trained: Plan) -> None:
    sft = planned_sft(tmp_path, epochs=1)
    train(sft)
    with pytest.raises(AdapterError, match="this adapter is no reward model") as caught:
        load_head(sft.base, sft.folder / ADAPTER)
    assert "mien train reward" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight", torch.zeros(1, 31), "of another base"),
        ("weight", torch.full((1, 32), float("nan")), "not finite"),
        ("bias", torch.full((1,), float("inf")), "not finite"),
        ("weight", torch.zeros(1, 32), "never trained"),
    ],
)
def test_a_head_that_cannot_be_used_is_one_line(
    tmp_path: Path, trained: Plan, name: str, value: torch.Tensor, message: str
) -> None:
    state = load_file(trained.folder / ADAPTER / HEAD)
    assert tuple(state["weight"].shape) == (1, 32)
    save_file(state | {name: value}, tmp_path / HEAD)
    with pytest.raises(AdapterError, match=message) as caught:
        load_head(trained.base, tmp_path)
    assert str(caught.value).startswith(str(tmp_path / HEAD)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_head_that_was_never_trained_is_refused(tmp_path: Path, base: Base, seed: int) -> None:
    # It is the random draw that training starts from, and would score at random.
    objective(base, seed=seed).finish(tmp_path)
    with pytest.raises(AdapterError, match="the head was never trained") as caught:
        load_head(base, tmp_path)
    assert caught.value.fix == "Train it again with `mien train reward`."


def test_a_head_that_is_cut_short_is_one_line(tmp_path: Path, trained: Plan) -> None:
    path = tmp_path / HEAD
    shutil.copy(trained.folder / ADAPTER / HEAD, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(AdapterError, match="cannot be read"):
        load_head(trained.base, tmp_path)


def test_heads_are_small_and_drawn_by_their_seed_alone(base: Base) -> None:
    torch.manual_seed(1)
    first = new_head(base, 5)
    torch.manual_seed(2)
    assert torch.equal(first.weight, new_head(base, 5).weight)
    assert not torch.equal(first.weight, new_head(base, 6).weight)
    assert float(first.weight.detach().norm()) == pytest.approx(1, abs=0.4)  # 32 draws of 1 / sqrt(33)


def test_reading_takes_a_batch_of_trees_at_once(base: Base) -> None:
    batch = Flat.branching([row.tree for row in ROWS])
    with torch.no_grad(), base.adapters.use("judge"):
        assert read(base, new_head(base, 0), batch).shape == (5,)
