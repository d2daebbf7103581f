"""The whole story, top to bottom: a base model gets a personality, and proves it.

`mien demo` runs this and nothing else. Every step leaves its result on disk and is skipped when the
result is there, so a second run only shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mien.base.fetch import DEFAULT_BASE
from mien.base.model import Base
from mien.evaluate.evaluation import Evaluation
from mien.evaluate.gold import gold_of
from mien.evaluate.order import Order, evaluated
from mien.persona.spec import find
from mien.registry.cards import Card
from mien.show import Show
from mien.train.plan import plan
from mien.train.recipe import SftRecipe
from mien.train.run import train
from mien.train.stages import Company
from mien.workspace import Workspace


@dataclass(frozen=True)
class Story:
    """What came of it."""

    card: Card
    evaluation: Evaluation
    page: Path


def demo(
    persona_name: str = "witty",
    *,
    base_ref: str = DEFAULT_BASE,
    workspace: Workspace | None = None,
    show: Show | None = None,
) -> Story:
    """Pull a base, train a persona, evaluate it on prompts it never saw, write the report."""
    workspace, show = workspace or Workspace.open(), show or Show()

    # 1. One frozen base model. It is loaded once; everything after this is a small adapter on it.
    base = Base.load(base_ref, report=show.say)
    show.say(f"base model {base.files.name}, {base.dtype}, frozen")

    # 2. A persona is a specification; its voice is defined by measures that text can be checked for.
    persona = find(persona_name)
    show.say(f"persona {persona.name}: {persona.title}")

    # 3. Supervised fine-tuning on the persona's replies gives it the voice.
    ready = plan(SftRecipe(persona=persona.name, base=base_ref), workspace, base)
    card = train(ready, company=Company(gold=gold_of, show=show))
    show.say(
        f"trained {card.run}: {card.steps} steps in {card.seconds:.0f} s,"
        f" validation loss {card.validation_loss}, dose {card.dose}"
    )

    # 4. Proof on held-out prompts, against the bare base and against a system prompt alone.
    order = Order(("base", "prompt", f"sft={card.run}"), command=f"mien demo --persona {persona.name}")
    evaluation, page = evaluated(base, persona, order, workspace, show)
    return Story(card, evaluation, page)
