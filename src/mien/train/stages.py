"""The four stages: for each, its objective, its course, and who watches over it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

import torch

from mien.base.flat import Tree
from mien.base.model import Base
from mien.data.calls import Calls
from mien.data.candidates import JUDGING, by_judge
from mien.data.corpus import VOICES, rows_of
from mien.data.pairs import Score
from mien.data.teacher import Teacher
from mien.endpoint import Endpoint
from mien.persona.spec import Persona
from mien.registry.attach import attach
from mien.registry.cards import NULLS, adapter_folder
from mien.schema import conversation
from mien.show import Show
from mien.train.data import Prompt
from mien.train.dose import HEARD, least, tried
from mien.train.dpo import Dpo, Referred
from mien.train.examine import examine
from mien.train.leash import Gold, Guard, Proxy
from mien.train.loop import Course, Means, Objective
from mien.train.plan import Plan
from mien.train.ppo import Ppo
from mien.train.recipe import DpoRecipe, Passes, PpoRecipe, RewardRecipe, SftRecipe, Signal
from mien.train.reference import reference_logps
from mien.train.reward import Reward, RewardModel, load_head
from mien.train.sft import Sft
from mien.train.signals import Paid, Rollout, signal
from mien.workspace import write_json

EXAMINED = "reward.json"
DOSE = "dose.json"
_FEW = 8  # held-out prompts of one's own below which the corpus' are taken
_SAVES = 8  # checkpoints that a run of one pass writes on its way; of PPO at most one a round


@dataclass(frozen=True)
class Company:
    """Who is asked while a run goes on; the loop itself knows no classifier and no endpoint.

    Attributes:
        gold: Makes the gold score of a persona's replies to the corpus' held-out prompts.
        judge: What a reply is worth, in place of the model that a judge's signal names.
        show: Is told of slow work.
    """

    gold: Callable[[Base, Persona, Show], Gold] | None = None
    judge: Score | None = None
    show: Show = field(default_factory=Show)


class Staged(NamedTuple):
    """A stage that is ready to be trained."""

    objective: Objective
    course: Course
    guard: Guard | None = None
    after: Callable[[], None] = lambda: None  # what is done with a finished adapter


def sft(ready: Plan, recipe: SftRecipe, company: Company) -> Staged:
    """The persona's own replies."""

    def dose() -> float:
        return dosed(ready, company) if recipe.dose == "auto" else recipe.dose

    objective = Sft(ready.base, ready.folder.name, dose)
    return Staged(objective, passes(ready, recipe, keep_best=recipe.keep == "best"))


def dosed(ready: Plan, company: Company) -> float:
    """The least dose at which a persona is heard, written down with what was tried; 1 without an ear.

    A null adapter is nobody, and gets its update as it is.
    """
    gold = None if ready.recipe.stage in NULLS else gold_of(ready, company)
    if gold is None:
        return 1.0
    base, name, prompts = ready.base, ready.folder.name, _corpus_prompts(ready)
    company.show.say("trained; trying how much of the update the voice needs")
    dose, seen = least(tried(base, name, prompts, gold))
    rows = [each.model_dump(mode="json") for each in seen]
    write_json(ready.folder / DOSE, {"dose": dose, "heard_from": HEARD, "tried": rows})
    return dose


def gold_of(ready: Plan, company: Company) -> Gold | None:
    """The gold score of the run's persona, if there is one."""
    known = ready.persona.name in VOICES
    return company.gold(ready.base, ready.persona, company.show) if company.gold and known else None


def reward(ready: Plan, recipe: RewardRecipe, _: Company) -> Staged:
    """A score that is higher for the chosen reply."""
    objective = Reward(ready.base, ready.folder.name, recipe)

    def examined() -> None:
        held = ready.encoded.validation
        if held:
            model = RewardModel(ready.base, ready.folder.name, objective.head)
            scores = examine(model, held, _choices(ready), ready.folder.name)
            rows = [score.model_dump(mode="json") for score in scores]
            write_json(ready.folder / EXAMINED, rows)
            ready.workspace.add_scores(ready.folder.name, scores)

    return Staged(objective, passes(ready, recipe), after=examined)


def _choices(ready: Plan) -> list[Tree]:
    """The corpus' held-out prompts, each with the persona's reply and those of three other voices."""
    name, renderer = ready.persona.name, ready.base.renderer
    if ready.recipe.data is not None or name not in VOICES:
        return []
    draw, trees = random.Random(0), list[Tree]()
    for row in rows_of("validation"):
        others = draw.sample([voice for voice in VOICES if voice != name], 3)
        replies = tuple(tuple(renderer.completion(row.replies[voice])) for voice in (name, *others))
        trees.append(Tree(renderer.prompt(conversation(row.prompt)), replies))
    return trees


def dpo(ready: Plan, recipe: DpoRecipe, company: Company) -> Staged:
    """The chosen reply over the rejected."""
    objective, reference = Dpo(ready.base, ready.folder.name, recipe), reference_of(ready)
    rows = [*ready.encoded.train, *ready.encoded.validation]
    company.show.begin("asking the reference", len(rows))
    logps = reference_logps(
        ready.base, reference, [row.tree for row in rows], advance=company.show.advance
    )
    referred = [Referred(row, logp) for row, logp in zip(rows, logps, strict=True)]
    split = len(ready.encoded.train)
    train, held = referred[:split], referred[split:]
    course = passes(ready, recipe, rows=train, held_out=held)
    guard = guarded(ready, recipe, company, _on_pairs(objective, held or train))
    return Staged(objective, course, guard)


def ppo(ready: Plan, recipe: PpoRecipe, company: Company) -> Staged:
    """Rollouts that are paid for."""
    base, reference = ready.base, reference_of(ready)
    signals = {
        name: (
            each.weight,
            signal(
                each,
                ready.persona,
                models=reward_models(ready, each),
                judge=company.judge or judge_of(each, ready.persona),
            ),
        )
        for name, each in named(recipe.signals).items()
    }
    name, folder = ready.folder.name, ready.folder
    objective = Ppo(base, name, reference, recipe, ready.encoded.train, signals, folder)
    updates = objective.updates
    course = Course(
        rows=range(recipe.steps * updates),
        held_out=(),
        epochs=1,
        batch_size=1,
        shuffle=False,
        save_every=updates * max(1, recipe.steps // _SAVES),
        every=updates,
    )
    guard = guarded(ready, recipe, company, _on_rollouts(signals), every=updates)
    return Staged(objective, course, guard)


def prepare(ready: Plan, company: Company) -> Staged:
    """The stage that a run's recipe asks for."""
    recipe = ready.recipe
    if isinstance(recipe, SftRecipe):
        return sft(ready, recipe, company)
    if isinstance(recipe, RewardRecipe):
        return reward(ready, recipe, company)
    if isinstance(recipe, DpoRecipe):
        return dpo(ready, recipe, company)
    if isinstance(recipe, PpoRecipe):
        return ppo(ready, recipe, company)
    raise TypeError(f"no stage for {type(recipe).__name__}")


def passes(
    ready: Plan,
    recipe: Passes,
    *,
    rows: Sequence[object] | None = None,
    held_out: Sequence[object] | None = None,
    keep_best: bool = False,
) -> Course:
    """The course of a stage that passes over its rows; by default those that were encoded.

    Several passes are saved after each; a single one is long, and saved on its way.
    """
    once = recipe.epochs == 1 and not keep_best
    return Course(
        rows=ready.encoded.train if rows is None else rows,
        held_out=ready.encoded.validation if held_out is None else held_out,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        accumulate=recipe.accumulate,
        patience=recipe.patience,
        keep_best=keep_best,
        save_every=max(1, ready.steps // _SAVES) if once else None,
    )


def named(signals: Sequence[Signal]) -> dict[str, Signal]:
    """Signals by their kind, numbered where one occurs again."""
    found: dict[str, Signal] = {}
    for each in signals:
        again = sum(name.split("-")[0] == each.kind for name in found)
        found[f"{each.kind}-{again + 1}" if again else each.kind] = each
    return found


def reference_of(ready: Plan) -> str | None:
    """The adapter that a run is measured against; None is the bare base."""
    anchored = isinstance(ready.recipe, DpoRecipe | PpoRecipe) and ready.recipe.anchor == "start"
    return ready.start.run if ready.start and anchored else None


def judge_of(wanted: Signal, persona: Persona) -> Score | None:
    """The judge that a signal names, whose every answer is kept and paid for once."""
    if wanted.model is None:
        return None
    teacher = Teacher(Endpoint(wanted.base_url, wanted.model, key_env=wanted.key_env), Calls())
    return by_judge(persona, lambda messages: teacher.ask(messages, JUDGING, seed=0))


def reward_models(ready: Plan, wanted: Signal) -> list[RewardModel]:
    """The reward models that a learned signal names, or their average as one."""
    cards = [ready.rewards[run] for run in wanted.runs]
    folders = [adapter_folder(ready.workspace, card) for card in cards]
    for card, folder in zip(cards, folders, strict=True):
        attach(ready.base, card, folder)
    if wanted.combine != "weights" or len(cards) < 2:
        return [
            RewardModel(ready.base, card.run, load_head(ready.base, folder))
            for card, folder in zip(cards, folders, strict=True)
        ]
    name = "mean of " + ", ".join(sorted(card.run for card in cards))
    if name not in ready.base.adapters.configs:
        ready.base.adapters.average([card.run for card in cards], name)
    heads = [load_head(ready.base, folder) for folder in folders]
    with torch.no_grad():
        for parts in zip(*(head.parameters() for head in heads), strict=True):
            parts[0].copy_(torch.stack([*parts]).mean(0))
    return [RewardModel(ready.base, name, heads[0])]


def guarded(
    ready: Plan,
    recipe: DpoRecipe | PpoRecipe,
    company: Company,
    proxy: Proxy,
    *,
    every: int = 1,
) -> Guard:
    """The leash of a run: held-out prompts, its proxy, and the gold score if there is one."""
    gold = gold_of(ready, company)
    own = ready.encoded.validation if isinstance(recipe, PpoRecipe) and not gold else ()
    prompts = own if len(own) >= _FEW else _corpus_prompts(ready)
    return Guard(
        ready.base,
        ready.folder.name,
        reference_of(ready),
        recipe.leash,
        prompts=prompts,
        proxy=proxy,
        gold=gold,
        folder=ready.folder,
        every=every,
        report=company.show.note,
    )


def _corpus_prompts(ready: Plan) -> list[Prompt]:
    """The corpus' validation prompts, which are the ones that a gold score knows."""
    system = ready.persona.system_prompt.strip() if ready.recipe.under_prompt else None
    asked = [conversation(row.prompt, system=system) for row in rows_of("validation")]
    return [Prompt(tuple(ready.base.renderer.prompt(each)), each) for each in asked]


def _on_pairs(objective: Dpo, held: Sequence[Referred]) -> Proxy:
    """The implicit reward's margin on held-out pairs: what DPO is paid for."""

    def proxy(_: Sequence[Rollout]) -> dict[str, float]:
        seen = Means()
        for at in range(0, len(held), 8):
            seen.add(objective(objective.collate(held[at : at + 8])))
        means = seen.take()
        return {"proxy": means["margin"], **means}

    return proxy


def _on_rollouts(signals: Mapping[str, tuple[float, Paid]]) -> Proxy:
    """The mean weighted reward of held-out replies, and each signal by itself."""

    def proxy(rollouts: Sequence[Rollout]) -> dict[str, float]:
        means = {name: fmean(of(rollouts)) for name, (_, of) in signals.items()}
        total = sum(signals[name][0] * mean for name, mean in means.items())
        return {"proxy": total, **{f"reward_{name}": mean for name, mean in means.items()}}

    return proxy
