"""An evaluation as it is ordered: measured once, kept with its page, and read from disk afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mien.base.embed import Embedder
from mien.base.fetch import file_sha256
from mien.base.model import Base
from mien.errors import UnableError
from mien.evaluate.bare import ear_of, examined
from mien.evaluate.calibration import read_labels
from mien.evaluate.classifier import VoiceClassifier
from mien.evaluate.evaluation import Evaluation
from mien.evaluate.judge import Judge
from mien.evaluate.lineup import PROMPT, Dial, lineup, no_server
from mien.evaluate.memo import Memo
from mien.evaluate.pages.render import render
from mien.evaluate.questions import Questions, questions
from mien.evaluate.roster import SUITES, material
from mien.evaluate.run import evaluate
from mien.evaluate.setting import SAMPLING, Setting
from mien.evaluate.sizes import AMOUNTS, Size
from mien.evaluate.subject import Subject
from mien.evaluate.suites.diversity import suite as diversity
from mien.evaluate.suites.safety.perspective import Perspective
from mien.persona.spec import Persona
from mien.schema import Score, digest
from mien.show import Show
from mien.workspace import Workspace, disk_errors, read_json, write_atomic, write_json

ANSWERS = "answers.db"


@dataclass(frozen=True)
class Order:
    """What an evaluation is to find out.

    Attributes:
        systems: Names as `lineup` takes them, the judged one last.
        suites: Names of `SUITES`.
        size: `quick` or `full`.
        judge: Rates replies, if there is one.
        labels: People's labels, to calibrate the judge by.
        turns: Of long conversations; None: as many as the size has.
        user: Plays the user in long conversations; None: a script does.
        dial: Reaches servers that are among the systems.
        command: What repeats it.
    """

    systems: Sequence[str]
    suites: Sequence[str] = ("voice",)
    size: Size = "full"
    judge: Judge | None = None
    labels: Path | None = None
    turns: int | None = None
    user: Subject | None = None
    dial: Dial = no_server
    command: str = ""

    def how(self) -> list[object]:
        """What else decides on the figures: how much is asked, the judge and its labels, long talks."""
        labels = file_sha256(self.labels) if self.labels else None
        talks = [self.turns, self.user.key if self.user else None]
        asked = AMOUNTS[self.size].model_dump(mode="json")
        return [asked, self.judge.name if self.judge else None, labels, talks]


def evaluated(
    base: Base, persona: Persona, order: Order, workspace: Workspace, show: Show
) -> tuple[Evaluation, Path]:
    """The evaluation of some systems under one persona, and its report page.

    It is measured once, then read from disk. What each system said is kept besides, so that one that
    was stopped goes on where it was, and systems that another evaluation shares are not asked again.
    """
    subjects, cards = lineup(order.systems, persona, base, workspace, order.dial)
    keys = {subject.name: subject.key for subject in subjects}
    what = [
        persona.digest(),
        keys,
        SAMPLING.model_dump(),
        list(order.suites),
        material(),
        *order.how(),
    ]
    folder = workspace.reports / f"{persona.name}-{digest(what)[:8]}"
    found, page = folder / "evaluation.json", folder / "report.html"
    if not found.exists():
        setting = _setting(base, persona, order, workspace, show)
        if order.judge and order.labels:
            labels = read_labels(order.labels, persona.name)
            setting = replace(setting, judge=order.judge.calibrated(labels, persona, setting))
        evaluation = evaluate(
            base,
            subjects,
            setting,
            [SUITES[name] for name in order.suites],
            cards=cards,
            runs=workspace.runs,
            hearing=examined(base, setting.ear, SAMPLING, show),
            command=order.command,
        )
        with disk_errors(folder, "10 MB"):
            workspace.add_scores(folder.name, evaluation.results.scores)
            write_json(found, evaluation.model_dump(mode="json"))
    evaluation = Evaluation.model_validate(read_json(found))
    write_atomic(page, render(evaluation))
    return evaluation, page


def _setting(base: Base, persona: Persona, order: Order, workspace: Workspace, show: Show) -> Setting:
    return Setting(
        persona=persona,
        sampling=SAMPLING,
        ear=ear_of(base, SAMPLING, show),
        embedder=Embedder.load(report=show.say),
        memo=Memo(workspace.root / ANSWERS),
        amounts=AMOUNTS[order.size],
        judge=order.judge,
        turns=order.turns,
        user=order.user,
        perspective=Perspective.from_environment(),
        show=show,
    )


def between(
    base: Base, orders: Sequence[tuple[Persona, Order]], workspace: Workspace, show: Show
) -> tuple[Score, ...]:
    """How far several personas are from each other and from themselves: by prompt alone, and as judged.

    What was said to the suite `diversity` is remembered, and nobody is asked again. There is nothing for
    one persona, without that suite, or where a system cannot answer.
    """
    if len(orders) < 2 or any(diversity.NAME not in order.suites for _, order in orders):
        return ()
    setting, scores = _setting(base, *orders[0], workspace, show), list[Score]()
    for name, subjects in _sides(base, orders, workspace).items():
        try:
            scores += diversity.between_personas(subjects, setting, name)
        except UnableError as error:
            show.say(f"Personas are not compared with each other: {error.what}")
    workspace.add_scores("-".join(["personas", *(persona.name for persona, _ in orders)]), scores)
    return tuple(scores)


def _sides(
    base: Base, orders: Sequence[tuple[Persona, Order]], workspace: Workspace
) -> dict[str, dict[str, Subject]]:
    """A subject per persona: the prompted ones, if all have one, and the judged ones."""
    rows = {
        persona.name: lineup(order.systems, persona, base, workspace, order.dial).subjects
        for persona, order in orders
    }
    prompted = {name: each for name, row in rows.items() for each in row if each.name == PROMPT}
    judged = {name: row[-1] for name, row in rows.items()}
    called = "/".join(dict.fromkeys(each.name for each in judged.values()))
    return ({PROMPT: prompted} if len(prompted) == len(rows) else {}) | {called: judged}


def asked_of(persona: Persona, suites: Sequence[str], size: Size, show: Show) -> Questions:
    """What the suites would ask of a system that can only be recorded."""
    with TemporaryDirectory() as folder:
        memo = Memo(Path(folder) / ANSWERS)
        setting = Setting(
            persona=persona,
            sampling=SAMPLING,
            ear=VoiceClassifier(),
            embedder=Embedder.load(report=show.say),
            memo=memo,
            amounts=AMOUNTS[size],
            show=show,
        )
        try:
            return questions([SUITES[name] for name in suites], setting)
        finally:
            memo.close()
