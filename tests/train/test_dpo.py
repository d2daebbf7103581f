"""DPO on a tiny model: the loss of its log-probabilities, figures that tell, and a margin that rises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch import Tensor

from mien.base.flat import Tree
from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.train.data import Contest, Ranked
from mien.train.dpo import Batch, Dpo, Referred
from mien.train.loop import Loss
from mien.train.losses import LOSSES, Margins
from mien.train.recipe import DpoRecipe
from mien.train.reference import References, reference_logps
from tests import models

# Of the three prompts, the first has three pairs and the others have one.
ROWS = [
    Ranked(Tree((3, 4, 5), ((6, 7), (8, 9, 10), (11,), (12, 13))), (0.0,) * 3),
    Ranked(Tree((14,), ((15, 16, 17), (18, 19))), (0.0,)),
    Ranked(Tree((20, 21), ((22,), (23, 24, 25, 26))), (0.0,)),
]
OWNERS = [0, 0, 0, 1, 2]
Logps = list[tuple[float, ...]]


@pytest.fixture
def base() -> Base:
    """With the adapter `start`, the policy `x` that was copied from it, and a bystander."""
    base = models.tiny_base()
    for seed, name in enumerate(("start", "bystander")):
        base.adapters.create(name, LoraConfig(r=4, alpha=8.0), seed=seed)
        models.shake(base.adapters, name, seed=seed)
    base.adapters.copy("start", "x")
    return base


def move(base: Base) -> None:
    """Let the policy be somewhere else than it began."""
    models.shake(base.adapters, "x", seed=7)


def referred(base: Base, folder: Path, reference: str | None = "start") -> list[Referred]:
    trees = [row.tree for row in ROWS]
    logps = reference_logps(base, reference, trees, store=References(folder / "references.db"))
    return [Referred(row, logp) for row, logp in zip(ROWS, logps, strict=True)]


def objective(base: Base, **recipe: object) -> Dpo:
    return Dpo(base, "x", DpoRecipe.model_validate({"persona": "witty", "nll": 0, **recipe}))


def first(dpo: Dpo, rows: Sequence[Referred]) -> Loss:
    found: Loss = dpo(dpo.collate(rows))
    return found


@torch.no_grad()
def by_hand(base: Base, adapter: str | None) -> Logps:
    """Log p of each completion of each row, one sequence at a time, from plain logits."""
    with base.adapters.use(adapter):
        return [
            tuple(_logp(base, row.tree.prompt, each) for each in row.tree.completions) for row in ROWS
        ]


def _logp(base: Base, prompt: Sequence[int], completion: Sequence[int]) -> float:
    logits = base.model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
    before = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return float(before.gather(1, torch.tensor(completion)[:, None]).sum())


def ratios(policy: Logps, reference: Logps, *, per_token: bool) -> Margins:
    """The log-ratios of each pair, row by row."""
    chosen, rejected = list[float](), list[float]()
    for row, ours, theirs in zip(ROWS, policy, reference, strict=True):
        moved = [
            (a - b) / (len(completion) if per_token else 1)
            for a, b, completion in zip(ours, theirs, row.tree.completions, strict=True)
        ]
        chosen += [moved[0]] * row.pairs
        rejected += moved[1:]
    return Margins(torch.tensor(chosen), torch.tensor(rejected), torch.tensor(OWNERS))


def by_row(losses: Tensor) -> float:
    """The mean over rows of the mean over their pairs."""
    a, b, c, d, e = losses.tolist()
    return fmean([fmean([a, b, c]), d, e])


def test_rows_are_laid_out_as_pairs_of_sequences(base: Base, tmp_path: Path) -> None:
    # Sequences 0 to 3 are the first row's, 4 and 5 the second's, 6 and 7 the third's.
    rows = referred(base, tmp_path)
    contest, reference = objective(base).collate(rows)
    assert contest.chosen.tolist() == [0, 0, 0, 4, 6]
    assert contest.rejected.tolist() == [1, 2, 3, 5, 7]
    assert contest.row.tolist() == OWNERS
    assert reference.tolist() == pytest.approx([logp for row in rows for logp in row.reference])


def test_a_prompt_is_computed_once_for_all_its_replies(base: Base, tmp_path: Path) -> None:
    flat = objective(base).collate(referred(base, tmp_path)).contest.flat
    assert len(flat.tokens) == sum(row.tree.tokens for row in ROWS) == 3 + 8 + 1 + 5 + 2 + 5


def test_the_first_loss_is_log_2_and_nothing_has_moved(base: Base, tmp_path: Path) -> None:
    loss = first(objective(base), referred(base, tmp_path))
    assert float(loss.value.detach()) == pytest.approx(math.log(2), abs=1e-5)
    for name in ("chosen_moved", "rejected_moved", "margin"):
        assert loss.figures[name] == pytest.approx(0, abs=1e-5)
    assert loss.weight == 3, "rows, of which two have several pairs"


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_loss_is_that_of_the_log_probabilities(
    base: Base, tmp_path: Path, name: str, per_token: bool
) -> None:
    move(base)
    smoothing = 0.1 if name == "robust" else 0.0
    dpo = objective(base, loss=name, length_normalised=per_token, label_smoothing=smoothing)
    found = float(first(dpo, referred(base, tmp_path)).value.detach())
    margins = ratios(by_hand(base, "x"), by_hand(base, "start"), per_token=per_token)
    assert found == pytest.approx(by_row(LOSSES[name](margins, 0.1, smoothing)), rel=1e-3)


def test_a_prompt_with_many_pairs_weighs_as_much_as_one_with_one(base: Base, tmp_path: Path) -> None:
    move(base)
    dpo, rows = objective(base, beta=0.5), referred(base, tmp_path)
    alone = [float(first(dpo, [row]).value.detach()) for row in rows]
    together = float(first(dpo, rows).value.detach())
    assert together == pytest.approx(fmean(alone), abs=1e-4)


def test_nll_adds_the_chosen_replies_own_loss_per_token(base: Base, tmp_path: Path) -> None:
    move(base)
    rows = referred(base, tmp_path)
    without, with_it = (
        float(first(objective(base, nll=weight), rows).value.detach()) for weight in (0.0, 0.3)
    )
    # The chosen replies have 2, 3 and 1 tokens; the first counts once, though it is in three pairs.
    (one, *_), (two, *_), (three, *_) = by_hand(base, "x")
    assert with_it - without == pytest.approx(-0.3 * fmean([one / 2, two / 3, three]), abs=1e-3)


def test_against_the_bare_base_the_start_has_moved_already(base: Base, tmp_path: Path) -> None:
    loss = first(objective(base), referred(base, tmp_path, reference=None))
    margins = ratios(by_hand(base, "start"), by_hand(base, None), per_token=False)
    assert float(loss.value.detach()) == pytest.approx(by_row(LOSSES["sigmoid"](margins, 0.1, 0.0)))
    assert loss.figures["margin"] == pytest.approx(0.1 * float(margins.gap.mean()), abs=1e-4)


def test_the_figures_show_each_side_by_itself(base: Base, tmp_path: Path) -> None:
    move(base)
    loss = first(objective(base, beta=0.5), referred(base, tmp_path))
    policy, start = by_hand(base, "x"), by_hand(base, "start")
    sides = {"chosen": list[tuple[float, float]](), "rejected": list[tuple[float, float]]()}
    for row, ours, theirs in zip(ROWS, policy, start, strict=True):
        tokens = [len(each) for each in row.tree.completions]
        each = [(a / n, (a - b) / n) for a, b, n in zip(ours, theirs, tokens, strict=True)]
        sides["chosen"] += [each[0]] * row.pairs
        sides["rejected"] += each[1:]
    for side, values in sides.items():
        logp, moved = zip(*values, strict=True)
        assert loss.figures[f"{side}_logp"] == pytest.approx(fmean(logp), abs=1e-4)
        assert loss.figures[f"{side}_moved"] == pytest.approx(fmean(moved), abs=1e-4)
    gap = ratios(policy, start, per_token=False).gap
    assert loss.figures["margin"] == pytest.approx(0.5 * float(gap.mean()), abs=1e-3)
    assert loss.figures["accuracy"] == pytest.approx(float((gap > 0).float().mean()))


def test_gradient_flows_to_the_policy_and_to_nothing_else(base: Base, tmp_path: Path) -> None:
    loss = first(objective(base, nll=0.1), referred(base, tmp_path))
    loss.value.backward()
    mine = set(map(id, base.adapters.parameters("x")))
    for parameter in base.model.parameters():
        if id(parameter) in mine:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0
        else:
            assert parameter.grad is None and not parameter.requires_grad


def taught(base: Base, folder: Path, steps: int = 8, **recipe: object) -> list[Loss]:
    """The loss before each of some steps, and after the last."""
    dpo, rows = objective(base, **recipe), referred(base, folder)
    optimiser = torch.optim.AdamW(base.adapters.parameters("x"), lr=0.01)
    losses = [first(dpo, rows)]
    for _ in range(steps):
        losses[-1].value.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(first(dpo, rows))
    return losses


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_few_steps_raise_the_chosen_over_the_rejected(base: Base, tmp_path: Path, name: str) -> None:
    before, *_, after = taught(base, tmp_path, loss=name)
    assert float(after.value.detach()) < float(before.value.detach())
    assert after.figures["margin"] > before.figures["margin"] + 0.1
    assert after.figures["accuracy"] == 1.0
    assert after.figures["chosen_moved"] > 0 > after.figures["rejected_moved"]


def test_the_reference_stays_where_it_was(base: Base, tmp_path: Path) -> None:
    before = by_hand(base, "start")
    taught(base, tmp_path, steps=3)
    assert by_hand(base, "start") == before
    assert by_hand(base, "x") != before


def test_nll_holds_the_chosen_replies_up(base: Base, tmp_path: Path) -> None:
    plain = taught(base, tmp_path)[-1].figures["chosen_logp"]
    base.adapters.restore("x", base.adapters.tensors("start"))
    held = taught(base, tmp_path, nll=1.0)[-1].figures["chosen_logp"]
    assert held > plain


def test_a_batch_may_be_made_of_parts_that_were_made_elsewhere(base: Base) -> None:
    # A reference that says all is a nat more likely: every log-ratio is one less, no gap changes.
    move(base)
    logps = [logp for row in by_hand(base, "x") for logp in row]
    batch = Batch(Contest.of(ROWS), torch.tensor(logps) + 1)
    loss: Loss = objective(base, beta=0.5)(batch)
    assert float(loss.value.detach()) == pytest.approx(math.log(2), abs=1e-4)
    # -1 over the tokens: chosen 2, 2, 2, 3, 1; rejected 3, 1, 2, 2, 4.
    assert loss.figures["chosen_moved"] == pytest.approx(-(3 / 2 + 1 / 3 + 1) / 5, abs=1e-4)
    assert loss.figures["rejected_moved"] == pytest.approx(-(1 / 3 + 1 + 1 + 1 / 4) / 5, abs=1e-4)
