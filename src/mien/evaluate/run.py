"""The evaluation of one persona: every suite asks every subject, and what was said is kept.

It may be stopped at any point: answers are remembered as they come, so the same command goes on where
it was. A suite that a subject cannot take is left out for it, and the report says why.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import mien
from mien.base.model import Base
from mien.errors import UnableError
from mien.evaluate.compare import compared
from mien.evaluate.evaluation import Adapter, Evaluation, Hearing, TrainingPoint
from mien.evaluate.finding import Finding
from mien.evaluate.lineup import BASE, PROMPT
from mien.evaluate.roster import Suite
from mien.evaluate.setting import Setting
from mien.evaluate.subject import LocalSubject, Subject
from mien.registry.cards import Card

AHEAD = "several suites at once"


def evaluate(
    base: Base,
    subjects: Sequence[Subject],
    setting: Setting,
    suites: Sequence[Suite],
    *,
    cards: Mapping[str, Card],
    runs: Path,
    hearing: Hearing,
    command: str = "",
) -> Evaluation:
    """Run suites over subjects.

    Args:
        base: Of the local subjects; its files' hash and the machine go into the evaluation.
        subjects: Controls first, the judged one last.
        setting: What all suites are given.
        suites: In the order of the report.
        cards: By subject, of those that are adapters, with the dose at which they are asked.
        hearing: How the ear was examined.
        runs: The folder of runs, for the courses of training.
        command: What repeats it.
    """
    findings, seconds = list[Finding](), ask_ahead(suites, subjects, setting)
    for suite in suites:
        start = time.monotonic()
        findings += [_one(suite, subject, setting) for subject in subjects]
        findings += suite.together(subjects, setting) if suite.together else []
        seconds[suite.name] = round(time.monotonic() - start, 1)
    persona = setting.persona
    return Evaluation(
        persona=persona.name,
        title=persona.title,
        description=persona.description.strip(),
        persona_hash=persona.digest(),
        bands=persona.voice.bands(),
        base=base.files.name,
        base_hash=base.files.sha256,
        adapters={name: _adapter(card) for name, card in cards.items()},
        stand_ins=tuple(each.name for each in subjects if _stands_in(each)),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        version=mien.__version__,
        device=base.machine,
        size=setting.amounts.size,
        command=command,
        sampling=setting.sampling.model_dump(),
        suites=tuple(suite.name for suite in suites),
        seconds=seconds,
        hearing=hearing,
        results=compared(persona.name, [subject.name for subject in subjects], findings),
        training={name: training(runs / card.run) for name, card in cards.items()},
        release=persona.release,
    )


def ask_ahead(
    suites: Sequence[Suite], subjects: Sequence[Subject], setting: Setting
) -> dict[str, float]:
    """Ask at once what several suites will ask: 96 replies take but twice as long as eight.

    Returns:
        The seconds it took; nothing where it is left to the suites.
    """
    several = [suite.ahead for suite in suites if suite.ahead]
    if len(several) < 2:
        return {}
    start, asked = time.monotonic(), [each for ahead in several for each in ahead(setting)]
    for subject in subjects:
        setting.show.begin(f"{AHEAD}: {subject.name}", 0)
        with suppress(UnableError):  # each suite finds out for itself what it cannot have
            setting.ask(subject, asked)
    return {AHEAD: round(time.monotonic() - start, 1)}


def _one(suite: Suite, subject: Subject, setting: Setting) -> Finding:
    setting.show.begin(f"{suite.name}: {subject.name}", 0)
    try:
        return suite.run(subject, setting)
    except UnableError as error:
        return Finding(suite=suite.name, subject=subject.name, missing=(error.what,))


def _stands_in(subject: Subject) -> bool:
    """Whether it is called the base, bare or prompted, and is not; of a null, its card tells."""
    if subject.name not in (BASE, PROMPT):
        return False
    if not isinstance(subject, LocalSubject) or subject.adapter:
        return True
    return bool(subject.system_prompt) != (subject.name == PROMPT)


def _adapter(card: Card) -> Adapter:
    return Adapter(
        run=card.run,
        stage=card.stage,
        adapter_hash=card.adapter_hash,
        seconds=card.seconds,
        peak_memory_mb=card.peak_memory_mb,
        examples=card.examples,
        dose=card.dose,
    )


def training(folder: Path) -> tuple[TrainingPoint, ...]:
    """The course of a run's loss, as far as it was written down."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return ()
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    known = TrainingPoint.model_fields
    return tuple(TrainingPoint(**{k: v for k, v in line.items() if k in known}) for line in lines)
