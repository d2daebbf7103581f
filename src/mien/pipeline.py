"""The whole story, top to bottom: a base model gets a personality, and proves it.

`mien demo` runs this and nothing else. Every step leaves its result on disk and is skipped when the
result is there, so a second run only shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mien.base.embed import Embedder
from mien.base.fetch import DEFAULT_BASE
from mien.base.model import Base
from mien.evaluate import report
from mien.evaluate.results import Evaluation
from mien.evaluate.suite import SAMPLING, SEEDS, evaluate
from mien.persona.spec import find
from mien.registry.attach import attach
from mien.registry.cards import Card, adapter_folder, persona_of
from mien.schema import digest
from mien.show import Show
from mien.train.plan import plan
from mien.train.recipe import SftRecipe
from mien.train.run import train
from mien.train.stages import Company
from mien.workspace import Workspace, disk_errors, read_json, write_atomic, write_json


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
    card = train(ready, company=Company(show=show))
    show.say(
        f"trained {card.run}: {card.steps} steps in {card.seconds:.0f} s,"
        f" validation loss {card.validation_loss}"
    )

    # 4. Proof on held-out prompts, against the bare base and against a system prompt alone.
    evaluation, page = evaluated(base, {persona.name: card}, workspace, show)
    return Story(card, evaluation, page)


def evaluated(
    base: Base, cards: Mapping[str, Card], workspace: Workspace, show: Show
) -> tuple[Evaluation, Path]:
    """The evaluation of adapters, of which the last is judged, and its report page.

    It is measured once, then read from disk.
    """
    judged = [*cards.values()][-1]
    persona = persona_of(workspace, judged)
    adapters = {name: card.adapter_hash for name, card in cards.items()}
    asked = [persona.digest(), adapters, SAMPLING.model_dump(), SEEDS]
    folder = workspace.reports / f"{judged.run}-{digest(asked)[:8]}"
    found, page = folder / "evaluation.json", folder / "report.html"
    if not found.exists():
        for card in cards.values():
            attach(base, card, adapter_folder(workspace, card))
        evaluation = evaluate(
            base,
            persona,
            cards,
            embedder=Embedder.load(report=show.say),
            run_folder=workspace.runs / judged.run,
            stage=show.begin,
            advance=show.advance,
        )
        with disk_errors(folder, "10 MB"):
            workspace.add_scores(folder.name, evaluation.scores)
            write_json(found, evaluation.model_dump(mode="json"))
    evaluation = Evaluation.model_validate(read_json(found))
    write_atomic(page, report.render(evaluation))
    return evaluation, page
