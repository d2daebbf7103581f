"""An evaluation as it is ordered: measured once, kept with its page, and read from disk afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mien.base.embed import Embedder
from mien.base.fetch import file_sha256
from mien.base.model import Base
from mien.evaluate.bare import ear_of
from mien.evaluate.calibration import read_labels
from mien.evaluate.evaluation import Evaluation
from mien.evaluate.judge import Judge
from mien.evaluate.lineup import Dial, lineup, no_server
from mien.evaluate.memo import Memo
from mien.evaluate.pages.render import render
from mien.evaluate.roster import SUITES, material
from mien.evaluate.run import evaluate
from mien.evaluate.setting import SAMPLING, Setting, Size
from mien.evaluate.suites.safety import warning
from mien.persona.spec import Persona
from mien.schema import digest
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

    def how(self) -> list[str | None]:
        """What else decides on the figures: the size, the judge, and the labels it is calibrated by."""
        labels = file_sha256(self.labels) if self.labels else None
        return [self.size, self.judge.name if self.judge else None, labels]


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
        setting = Setting(
            persona=persona,
            sampling=SAMPLING,
            ear=ear_of(base, SAMPLING, show),
            embedder=Embedder.load(report=show.say),
            memo=Memo(workspace.root / ANSWERS),
            size=order.size,
            judge=order.judge,
            show=show,
        )
        if order.judge and order.labels:
            labels = read_labels(order.labels, persona.name)
            setting = replace(setting, judge=order.judge.calibrated(labels, persona, setting))
        suites = [SUITES[name] for name in order.suites]
        evaluation = evaluate(
            base, subjects, setting, suites, cards=cards, runs=workspace.runs, command=order.command
        )
        with disk_errors(folder, "10 MB"):
            workspace.add_scores(folder.name, evaluation.results.scores)
            write_json(found, evaluation.model_dump(mode="json"))
    evaluation = Evaluation.model_validate(read_json(found))
    write_atomic(page, render(evaluation, warning=warning(evaluation.results)))
    return evaluation, page
