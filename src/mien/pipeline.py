"""The whole story, top to bottom: a base model gets a personality, and proves it.

`mien demo` runs this and nothing else. Every step leaves its result on disk and is skipped when the
result is there, so a second run only shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mien.base.embed import Embedder
from mien.base.fetch import DEFAULT_BASE
from mien.base.model import Base
from mien.evaluate.bare import ear_of
from mien.evaluate.calibration import read_labels
from mien.evaluate.evaluation import Evaluation
from mien.evaluate.gold import gold_of
from mien.evaluate.judge import Judge
from mien.evaluate.lineup import Dial, lineup, no_server
from mien.evaluate.memo import Memo
from mien.evaluate.pages.render import render
from mien.evaluate.roster import SUITES
from mien.evaluate.run import evaluate
from mien.evaluate.setting import SAMPLING, Setting, Size
from mien.evaluate.suites.safety import warning
from mien.persona.spec import Persona, find
from mien.registry.cards import Card
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


@dataclass(frozen=True)
class Wanted:
    """What an evaluation is to find out.

    Attributes:
        systems: Names as `lineup` takes them, the judged one last.
        suites: Names of `SUITES`.
        size: `quick` or `full`.
        judge: Rates replies, if there is one.
        labels: People's labels, to calibrate the judge by.
        dial: Reaches servers that are among the systems.
        command: What repeats it.
    """

    systems: Sequence[str]
    suites: Sequence[str] = ("voice",)
    size: Size = "full"
    judge: Judge | None = None
    labels: Path | None = None
    dial: Dial = no_server
    command: str = ""


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
    wanted = Wanted(("base", "prompt", f"sft={card.run}"), command=f"mien demo --persona {persona.name}")
    evaluation, page = evaluated(base, persona, wanted, workspace, show)
    return Story(card, evaluation, page)


def evaluated(
    base: Base, persona: Persona, wanted: Wanted, workspace: Workspace, show: Show
) -> tuple[Evaluation, Path]:
    """The evaluation of some systems under one persona, and its report page.

    It is measured once, then read from disk. What each system said is kept besides, so that one that
    was stopped goes on where it was, and systems that another evaluation shares are not asked again.
    """
    subjects, cards = lineup(wanted.systems, persona, base, workspace, wanted.dial)
    keys = {subject.name: subject.key for subject in subjects}
    judge = wanted.judge.name if wanted.judge else None
    what = [persona.digest(), keys, SAMPLING.model_dump(), list(wanted.suites), wanted.size, judge]
    folder = workspace.reports / f"{persona.name}-{digest(what)[:8]}"
    found, page = folder / "evaluation.json", folder / "report.html"
    if not found.exists():
        setting = Setting(
            persona=persona,
            sampling=SAMPLING,
            ear=ear_of(base, SAMPLING, show),
            embedder=Embedder.load(report=show.say),
            memo=Memo(workspace.root / "answers.db"),
            size=wanted.size,
            judge=wanted.judge,
            show=show,
        )
        if wanted.judge and wanted.labels:
            labels = read_labels(wanted.labels, persona.name)
            setting = replace(setting, judge=wanted.judge.calibrated(labels, persona, setting))
        suites = [SUITES[name] for name in wanted.suites]
        evaluation = evaluate(
            base, subjects, setting, suites, cards=cards, runs=workspace.runs, command=wanted.command
        )
        with disk_errors(folder, "10 MB"):
            workspace.add_scores(folder.name, evaluation.results.scores)
            write_json(found, evaluation.model_dump(mode="json"))
    evaluation = Evaluation.model_validate(read_json(found))
    write_atomic(page, render(evaluation, warning=warning(evaluation.results)))
    return evaluation, page
