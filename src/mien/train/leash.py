"""The leash: one guard over every run on preferences, whatever it is paid for.

A run that is paid for a proxy moves away from where it started, and what was meant by the proxy goes
up with it only for a while (Gao et al., 2210.10760). So some times in a run the policy answers
held-out prompts, and three things are written down: how far it is from its reference, what the proxy
says, and what a gold score says that nothing was ever trained on. They decide when to stop, which
checkpoint to keep, and what to call the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file

from mien.base.flat import Flat, Tree, batches
from mien.base.maths import token_kl
from mien.base.model import Base
from mien.chat import Sampling
from mien.data.wording import repetition, words
from mien.decode.generate import continued
from mien.schema import Strict
from mien.stats import difference_by_prompt
from mien.train import recipe as recipes
from mien.train.data import Prompt
from mien.train.loop import CHECKPOINTS, cut_lines
from mien.train.signals import Rollout

LOOKS = "leash.jsonl"
_ADAPTERS = f"{CHECKPOINTS}/looks"  # where they stay until the run's card is written
_BATCH_TOKENS = 4096
_LOOPS = 0.3  # share of repeated 4-grams above which a reply says the same over and over
Word = Literal["healthy", "over-optimised", "collapsed", "unwatched"]


class GoldScore(NamedTuple):
    """What a reply is worth, 0 to 1 each; `value` needs all three."""

    voice: float
    content: float
    fresh: float

    @property
    def value(self) -> float:
        """The product: no voice makes up for nonsense, and no sense for a missing voice."""
        return self.voice * self.content * self.fresh


Gold = Callable[[Sequence[Rollout]], list[GoldScore]]
Proxy = Callable[[Sequence[Rollout]], Mapping[str, float]]


class Look(Strict):
    """One check of a run on its held-out prompts.

    Attributes:
        step: Optimiser steps so far.
        kl: From the reference, in nats a reply: the exact divergence of the next token, summed along
            replies that are decoded as users get them.
        proxy: What the run is paid for.
        gold: Of each prompt's reply, in the order of the prompts; none where there is no gold score.
        voice: Mean over replies; so are `content`, `repetition` and `reply_words`.
        more: What else the objective has measured on held-out data.
    """

    step: int
    kl: float
    proxy: float
    gold: tuple[float, ...] = ()
    voice: float | None = None
    content: float | None = None
    repetition: float
    reply_words: float
    more: dict[str, float] = Field(default_factory=dict)

    @property
    def distance(self) -> float:
        """sqrt(KL), which over-optimisation is drawn over."""
        return float(max(0.0, self.kl) ** 0.5)

    @property
    def gold_mean(self) -> float | None:
        """The mean gold score."""
        return fmean(self.gold) if self.gold else None


class Verdict(Strict):
    """What became of a run.

    Attributes:
        word: In a word.
        best: The step whose adapter is kept: the last that the gold score does not put surely below
            another, so that the noise of one look undoes no training; of a run that went too far the
            one with the highest gold score; the last where there is none.
        since: Over-optimised since this step.
        stopped: Why training was stopped before its end, if it was.
        text: In a sentence.
    """

    word: Word
    best: int
    since: int | None = None
    stopped: str | None = None
    text: str


def judge(looks: Sequence[Look], stopped: str | None = None) -> Verdict:
    """What the looks at a run say of it.

    A run is over-optimised if its gold score at the end lies below its best, by an interval over
    prompts that allows for the choice of the best among the looks, while the proxy has risen. It has
    collapsed if it repeats itself, or if the gold score has lost half of what it was at the start.
    """
    first, last = looks[0], looks[-1]
    if not last.gold:
        text = "There is no gold score for this persona: nobody has looked but the proxy."
        return Verdict(word="unwatched", best=last.step, stopped=stopped, text=text)
    best = max(looks, key=lambda look: (look.gold_mean or 0.0, -look.step))
    figures = f"gold score {first.gold_mean:.2f} at the start, {best.gold_mean:.2f} at step {best.step}"
    figures += f", {last.gold_mean:.2f} at the end (step {last.step}, {last.kl:.1f} nats a reply away)"
    word, since = _word(looks, best)
    said = {
        "healthy": "Healthy",
        "over-optimised": f"Over-optimised since step {best.step}",
        "collapsed": f"Collapsed after step {best.step}",
    }[word]
    kept = best if since is not None else _last_as_good(looks, best)
    return Verdict(word=word, best=kept.step, since=since, stopped=stopped, text=f"{said}: {figures}.")


def _word(
    looks: Sequence[Look], best: Look
) -> tuple[Literal["healthy", "over-optimised", "collapsed"], int | None]:
    first, last = looks[0], looks[-1]
    if last is not first and (
        last.repetition > max(_LOOPS, 2 * first.repetition) or fmean(last.gold) < 0.5 * fmean(first.gold)
    ):
        return "collapsed", best.step
    fell = last is not best and _below(last, best, choices=len(looks) - 1)
    if fell and last.proxy > best.proxy:
        return "over-optimised", best.step
    return "healthy", None


def _last_as_good(looks: Sequence[Look], best: Look) -> Look:
    """The last look whose gold score is not surely below the best."""
    as_good = (look for look in reversed(looks) if not _below(look, best, choices=len(looks) - 1))
    return next(as_good, best)


def _below(look: Look, other: Look, *, choices: int) -> bool:
    """Whether a look's gold score is surely below another's that was the best of so many."""
    prompts = range(len(look.gold))
    level = 1 - 0.05 / max(1, choices)
    gap = difference_by_prompt(look.gold, prompts, other.gold, prompts, level=level)
    return gap.high < 0


class Guard:
    """Looks at a run at set steps, keeps the adapter of each look, and says when to stop.

    Args:
        base: The base, with all adapters on it.
        adapter: The policy.
        reference: What it must not run away from; None is the bare base.
        limits: The recipe's.
        prompts: Held out.
        proxy: What the run is paid for, under the key `proxy`, and anything else worth keeping.
        gold: The gold score, if there is one.
        folder: The run's.
        every: Looks are taken only at multiples of this many steps.
    """

    def __init__(
        self,
        base: Base,
        adapter: str,
        reference: str | None,
        limits: recipes.Leash,
        *,
        prompts: Sequence[Prompt],
        proxy: Proxy,
        gold: Gold | None,
        folder: Path,
        every: int = 1,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.base, self.adapter, self.reference = base, adapter, reference
        self.limits, self.folder, self.every = limits, folder, every
        self.prompts = prompts[: limits.prompts]
        self.proxy, self.gold, self.report = proxy, gold, report
        self.looks: list[Look] = []
        self.stopped: str | None = None

    def begin(self, step: int) -> bool:
        """Forget what was seen after the checkpoint that training goes on from.

        Returns:
            Whether the last look that is left had stopped the run.
        """
        path = self.folder / LOOKS
        cut_lines(path, step)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.looks = [Look.model_validate_json(line) for line in lines]
        if not self.looks:
            self.look(0)
        self.stopped = self._why_stop()
        return self.stopped is not None

    def step(self, step: int, steps: int) -> bool:
        """Look if it is time to; whether training should stop here."""
        if self._due(step, steps):
            self.look(step)
            self.stopped = self._why_stop()
        return self.stopped is not None

    def look(self, step: int) -> Look:
        """Let the policy answer the held-out prompts, and write down what becomes of it."""
        training = self.base.model.training
        self.base.model.eval()
        try:
            found = self._looked(step)
        finally:
            self.base.model.train(training)
        self.looks.append(found)
        with (self.folder / LOOKS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found.model_dump(mode="json")) + "\n")
        self._store(step)
        gold = "" if found.gold_mean is None else f", gold {found.gold_mean:.2f}"
        self.report(f"step {step}: {found.kl:.1f} nats away, proxy {found.proxy:.2f}{gold}")
        return found

    def verdict(self) -> Verdict:
        """What the run is called."""
        return judge(self.looks, self.stopped)

    def keep(self, step: int) -> None:
        """Put the adapter of a look back in place."""
        self.base.adapters.restore(self.adapter, load_file(self._path(step)))

    @torch.no_grad()
    def _looked(self, step: int) -> Look:
        rollouts = self._answers()
        gold = self.gold(rollouts) if self.gold else []
        proxy = dict(self.proxy(rollouts))
        return Look(
            step=step,
            kl=self._divergence(rollouts),
            proxy=proxy.pop("proxy"),
            gold=tuple(each.value for each in gold),
            voice=fmean(each.voice for each in gold) if gold else None,
            content=fmean(each.content for each in gold) if gold else None,
            repetition=fmean(repetition(each.text) for each in rollouts),
            reply_words=fmean(len(words(each.text)) for each in rollouts),
            more=proxy,
        )

    def _answers(self) -> list[Rollout]:
        sampling = Sampling(max_tokens=self.limits.max_tokens)
        asked = [each.ids for each in self.prompts]
        with self.base.adapters.use(self.adapter):
            replies = continued(self.base, asked, sampling, seeds=range(len(asked)), with_stop=True)
        renderer = self.base.renderer
        return [
            Rollout(prompt, tuple(ids), renderer.decode(ids), ids[-1] in renderer.stop_ids)
            for prompt, ids in zip(self.prompts, replies, strict=True)
        ]

    def _divergence(self, rollouts: Sequence[Rollout]) -> float:
        """KL(policy || reference) in nats a reply."""
        trees = [Tree(each.prompt.ids, (each.ids,)) for each in rollouts]
        total = 0.0
        for batch in batches(trees, _BATCH_TOKENS):
            flat = Flat.branching(batch)
            sides = []
            for name in (self.adapter, self.reference):
                with self.base.adapters.use(name):
                    hidden = self.base.hidden(flat)
                sides.append(hidden.index_select(0, flat.index.to(hidden.device)))
            total += float(token_kl(sides[0], sides[1], self.base.head.weight).sum())
        return total / len(rollouts)

    def _due(self, step: int, steps: int) -> bool:
        """`checks` times, the last of them at the end, as evenly as `every` allows."""
        if step >= steps:
            return True
        if step % self.every:
            return False
        turns, turn = steps // self.every, step // self.every
        return turn * self.limits.checks // turns > (turn - 1) * self.limits.checks // turns

    def _why_stop(self) -> str | None:
        first, last = self.looks[0], self.looks[-1]
        if last.kl > self.limits.kl_budget:
            return f"the KL budget is used up ({last.kl:.1f} of {self.limits.kl_budget:g} nats a reply)"
        fallen = -last.more.get("chosen_moved", 0.0)
        if fallen > self.limits.displacement:
            return (
                f"the held-out chosen replies have become less likely by {fallen:.2f} nats a token"
                " (displacement)"
            )
        if first.gold and judge(self.looks).word == "collapsed":
            return "the policy has collapsed"
        return None

    def _path(self, step: int) -> Path:
        return self.folder / _ADAPTERS / f"{step:06d}.safetensors"

    def _store(self, step: int) -> None:
        path = self._path(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.base.adapters.tensors(self.adapter), path)
