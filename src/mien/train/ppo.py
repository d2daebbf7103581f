"""Proximal policy optimisation on one base: policy, reference, rewards and value share its weights.

A round draws prompts, lets the policy answer them, has the replies scored, and takes `ppo_epochs`
passes over them in minibatches. To the training loop every minibatch is a step like any other; where a
step begins a round, the rollouts are made first. All draws are functions of seed and round, so a run
that goes on from a checkpoint at the end of a round does what an undisturbed one would have done.

With `method: rloo` there is no value function: a reply is judged against the others to its prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from mien.base.flat import Flat, Tree, batches
from mien.base.maths import token_nll_entropy
from mien.base.model import Base
from mien.chat import Sampling
from mien.decode.generate import continued
from mien.train.advantage import (
    Price,
    gae,
    kl_estimates,
    leave_one_out,
    masked_mean,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)
from mien.train.data import Prompt
from mien.train.loop import Loss, Objective
from mien.train.recipe import PpoRecipe
from mien.train.signals import Paid, Rollout

SAMPLES = "samples.jsonl"
_BATCH_TOKENS = 4096
_SHOWN = 2  # replies of a round that are kept to be read


class Table(NamedTuple):
    """A round as tables, (replies, tokens), 0 where a reply has ended.

    Attributes:
        mask: Where there is a token.
        logps: Under the policy that drew it.
        reference: Under the reference.
        values: What the value function expected before it.
    """

    mask: Tensor
    logps: Tensor
    reference: Tensor
    values: Tensor

    def rows(self, places: Sequence[int], width: int) -> Table:
        """Some replies, cut to their longest."""
        return Table(*(each[list(places), :width] for each in self))


class Round(NamedTuple):
    """What one round of rollouts has to teach."""

    trees: list[Tree]  # each prompt with its `samples` replies, which are next to each other below
    table: Table
    advantages: Tensor
    returns: Tensor
    figures: dict[str, float]


class Ppo(Objective):
    """The clipped loss of policy and value on the rollouts of the current round.

    Args:
        base: The base, with all adapters on it.
        adapter: The policy.
        reference: The frozen reference; None is the bare base.
        recipe: How.
        prompts: To draw from.
        signals: What replies are paid for, by name, each with its weight.
        folder: Where samples are written to.
    """

    price: Tensor

    def __init__(
        self,
        base: Base,
        adapter: str,
        reference: str | None,
        recipe: PpoRecipe,
        prompts: Sequence[Prompt],
        signals: Mapping[str, tuple[float, Paid]],
        folder: Path,
    ) -> None:
        super().__init__(base, adapter)
        self.reference, self.recipe, self.prompts = reference, recipe, prompts
        self.signals, self.folder = signals, folder
        if recipe.method == "ppo":
            self.value_head = nn.Linear(base.head.weight.shape[1], 1, device=base.device)
            nn.init.zeros_(self.value_head.weight)
            nn.init.zeros_(self.value_head.bias)
        self.register_buffer("price", torch.tensor(recipe.init_kl_coef, dtype=torch.float64))
        self._round: tuple[int, Round] | None = None

    @property
    def updates(self) -> int:
        """Optimiser steps a round."""
        return self.recipe.ppo_epochs * (self.recipe.rollouts // self.recipe.mini_batch_size)

    def rates(self) -> list[tuple[nn.Parameter, float]]:
        """The value head learns at its own rate."""
        if self.recipe.method != "ppo":
            return []
        return [(each, self.recipe.value_learning_rate) for each in self.value_head.parameters()]

    def collate(self, rows: Sequence[int]) -> int:
        """The number of the step; what it learns from is made when it comes."""
        (step,) = rows
        return step

    def forward(self, batch: int) -> Loss:
        """The loss of one step on its share of the current round."""
        number, update = divmod(batch, self.updates)
        if self._round is None or self._round[0] != number:
            self._round = None  # its memory first
            self._round = number, self.roll(number)
        trees = self._minibatch(number, update)
        loss, figures = self._loss(self._round[1], trees)
        if update == 0:
            figures |= self._round[1].figures
        return Loss(loss, 1, figures)

    def roll(self, number: int) -> Round:
        """Rollouts of the policy, scored and compared with the reference."""
        rollouts = self.answers(number)
        samples = self.recipe.samples
        trees = [
            Tree(rollouts[at].prompt.ids, tuple(each.ids for each in rollouts[at : at + samples]))
            for at in range(0, len(rollouts), samples)
        ]
        paid = {name: of(rollouts) for name, (_, of) in self.signals.items()}
        scores = self._scores(rollouts, paid)
        table = self._table(trees)
        advantages, returns = self._advantages(scores, table)
        figures = self._figures(rollouts, scores, table, paid, returns)
        self._keep(number, rollouts, scores, paid)
        self._adapt(figures["kl"], len(rollouts))
        return Round(trees, table, advantages, returns, figures)

    def answers(self, number: int) -> list[Rollout]:
        """The policy's replies of a round, those to one prompt next to each other."""
        recipe = self.recipe
        prompts = [each for each in self._drawn(number) for _ in range(recipe.samples)]
        sampling = Sampling(
            max_tokens=recipe.max_tokens,
            temperature=recipe.temperature,
            top_k=None,
            top_p=1,
            repetition_penalty=1,
        )
        first = (recipe.seed * 1_000_003 + number) * recipe.rollouts
        with self.base.adapters.use(self.adapter):
            replies = continued(
                self.base,
                [each.ids for each in prompts],
                sampling,
                seeds=range(first, first + len(prompts)),
                with_stop=True,
            )
        renderer = self.base.renderer
        return [
            Rollout(prompt, tuple(ids), renderer.decode(ids), ids[-1] in renderer.stop_ids)
            for prompt, ids in zip(prompts, replies, strict=True)
        ]

    def _drawn(self, number: int) -> list[Prompt]:
        """The prompts of a round: all of them in a drawn order, over and over."""
        count, known = self.recipe.rollouts // self.recipe.samples, len(self.prompts)
        drawn = []
        for place in range(number * count, (number + 1) * count):
            turn, at = divmod(place, known)
            order = torch.randperm(known, generator=_generator(self.recipe.seed, turn))
            drawn.append(self.prompts[int(order[at])])
        return drawn

    def _minibatch(self, number: int, update: int) -> list[int]:
        """The trees of one step; every pass has an order of its own."""
        size = self.recipe.mini_batch_size // self.recipe.samples
        trees = self.recipe.rollouts // self.recipe.samples
        turn, part = divmod(update, trees // size)
        order = torch.randperm(trees, generator=_generator(self.recipe.seed, number, turn)).tolist()
        return sorted(order[part * size : (part + 1) * size])

    def _scores(self, rollouts: Sequence[Rollout], paid: Mapping[str, list[float]]) -> Tensor:
        """Each reply's reward before the KL is taken off."""
        recipe = self.recipe
        total = torch.zeros(len(rollouts))
        for name, values in paid.items():
            total += self.signals[name][0] * torch.tensor(values)
        if recipe.reward_clip is not None:
            total = total.clamp(-recipe.reward_clip, recipe.reward_clip)
        endless = torch.tensor([not each.ended for each in rollouts])
        return total - recipe.missing_stop_penalty * endless

    @torch.no_grad()
    def _table(self, trees: Sequence[Tree]) -> Table:
        """Log-probabilities and values of all tokens of a round."""
        parts = [self._part(Flat.branching(batch)) for batch in batches(trees, _BATCH_TOKENS)]
        width = max(part.mask.shape[1] for part in parts)
        padded = ([_widened(each, width) for each in column] for column in zip(*parts, strict=True))
        return Table(*(torch.cat(column) for column in padded))

    def _part(self, flat: Flat) -> Table:
        logps, values, _ = self._seen(flat)
        with self.base.adapters.use(self.reference):
            reference = -self._nll(self.base.hidden(flat), flat)[0]
        mask = torch.ones_like(logps, dtype=torch.bool)
        return Table(*(flat.table(each).cpu() for each in (mask, logps, reference, values)))

    def _seen(self, flat: Flat) -> tuple[Tensor, Tensor, Tensor]:
        """Under the policy: log p of each learnt token, the value before it, the entropy there."""
        with self.base.adapters.use(self.adapter):
            hidden = self.base.hidden(flat)
        nll, entropy = self._nll(hidden, flat, with_entropy=self.recipe.entropy_coef > 0)
        return -nll, self._values(hidden, flat), entropy

    def _nll(self, hidden: Tensor, flat: Flat, *, with_entropy: bool = False) -> tuple[Tensor, Tensor]:
        before = hidden.index_select(0, flat.index.to(hidden.device)) / self.recipe.temperature
        targets = flat.targets.to(hidden.device)
        return token_nll_entropy(before, self.base.head.weight, targets, with_entropy=with_entropy)

    def _values(self, hidden: Tensor, flat: Flat) -> Tensor:
        """The value before each learnt token; without a critic, 0."""
        if self.recipe.method != "ppo":
            return torch.zeros(len(flat.targets), device=hidden.device)
        # The head reads what the policy sees and does not change it: a poor value must not harm a voice.
        before = hidden.detach().index_select(0, flat.index.to(hidden.device)).float()
        return torch.as_tensor(self.value_head(layer_norm(before, before.shape[-1:]))[:, 0])

    def _advantages(self, scores: Tensor, table: Table) -> tuple[Tensor, Tensor]:
        recipe = self.recipe
        penalties = kl_estimates(table.logps, table.reference)[recipe.kl_penalty]
        price = float(self.price)
        if recipe.method == "rloo":
            whole = scores - price * (penalties * table.mask).sum(1)
            gains = leave_one_out(whole, recipe.samples)[:, None] * table.mask
            return gains, torch.zeros_like(gains)
        rewards = token_rewards(scores, penalties, table.mask, price)
        if recipe.whiten_rewards:
            rewards = whiten(rewards, table.mask, shift=False)
        gains, returns = gae(rewards, table.values, table.mask, gamma=recipe.gamma, lam=recipe.lam)
        return whiten(gains, table.mask), returns

    def _loss(self, known: Round, places: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        recipe, samples = self.recipe, self.recipe.samples
        flat = Flat.branching([known.trees[place] for place in places])
        rows = [place * samples + each for place in places for each in range(samples)]
        logps, values, entropy = (flat.table(each) for each in self._seen(flat))
        width, device = logps.shape[1], logps.device
        old = Table(*(each.to(device) for each in known.table.rows(rows, width)))
        gains, returns = (each[rows, :width].to(device) for each in (known.advantages, known.returns))
        policy = policy_loss(logps, old.logps, gains, old.mask, recipe.cliprange)
        loss = policy.loss
        figures = {"policy_loss": loss, "clipped": policy.clipped, "ratio": policy.ratio}
        if recipe.method == "ppo":
            figures["value_loss"] = value_loss(
                values, old.values, returns, old.mask, recipe.cliprange_value
            )
            loss = loss + recipe.vf_coef * figures["value_loss"]
        if recipe.entropy_coef:
            loss = loss - recipe.entropy_coef * masked_mean(entropy, old.mask)
        if float(policy.ratio.detach()) > recipe.ratio_threshold:
            loss = loss * 0.0
        return loss, {name: float(value.detach()) for name, value in figures.items()}

    def _figures(
        self,
        rollouts: Sequence[Rollout],
        scores: Tensor,
        table: Table,
        paid: Mapping[str, list[float]],
        returns: Tensor,
    ) -> dict[str, float]:
        estimates = kl_estimates(table.logps, table.reference)
        a_reply = {name: float((estimates[name] * table.mask).sum(1).mean()) for name in ("kl", "k3")}
        found = {
            "reward": float(scores.mean()),
            **{f"reward_{name}": fmean(values) for name, values in paid.items()},
            **a_reply,
            "kl_price": float(self.price),
            "entropy": float(-masked_mean(table.logps, table.mask)),
            "reply_tokens": float(table.mask.sum(1).float().mean()),
            "ended": fmean(each.ended for each in rollouts),
        }
        if self.recipe.method == "ppo":
            found["value_explained"] = _explained(table.values[table.mask], returns[table.mask])
        return found

    def _adapt(self, kl: float, replies: int) -> None:
        price = Price(float(self.price), self.recipe.target_kl, self.recipe.horizon)
        price.update(kl, replies)
        self.price.fill_(price.value)

    def _keep(
        self,
        number: int,
        rollouts: Sequence[Rollout],
        scores: Tensor,
        paid: Mapping[str, list[float]],
    ) -> None:
        """A few replies of each round, to be read by people."""
        with (self.folder / SAMPLES).open("a", encoding="utf-8") as file:
            for place in range(0, len(rollouts), max(1, len(rollouts) // _SHOWN))[:_SHOWN]:
                asked = rollouts[place].prompt.messages[-1].content
                row = {
                    "step": number * self.updates + 1,
                    "prompt": asked,
                    "reply": rollouts[place].text,
                    "reward": round(float(scores[place]), 4),
                    **{name: round(values[place], 4) for name, values in paid.items()},
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _generator(*numbers: int) -> torch.Generator:
    """A source of draws that is a function of some numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**63
    return torch.Generator().manual_seed(seed)


def _widened(table: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(table, (0, width - table.shape[1]))


def _explained(values: Tensor, returns: Tensor) -> float:
    """Share of the variance of returns that the values foretold; negative if they did harm."""
    spread = returns.var()
    return float(1 - (returns - values).var() / spread) if spread > 0 else 0.0
