"""The folder of a simulation: the dialogues, what was set aside, what it cost, and what it covers.

Nothing in it is needed to go on with a job that was stopped: the answered calls are, and the teacher
keeps those. Each file is written in one piece when the job ends or stops, the report last.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mien.data import coverage
from mien.data.card import card_of, write_card
from mien.data.cells import Coverage, missing
from mien.data.cells import coverage as cover
from mien.data.formats import Record, iter_records, write_records
from mien.data.plan import Cell, Plan
from mien.data.rows import iter_rows
from mien.data.simulate import Simulated, Simulator
from mien.data.teacher import Tally, Unfinished
from mien.errors import InputError
from mien.schema import Strict, digest
from mien.workspace import read_json, write_atomic, write_json

DATA, ASIDE, REPORT, PLAN, PICTURE = (
    *("dialogues.jsonl", "aside.jsonl", "report.json", "plan.yaml"),
    "coverage.html",
)
_LIMITS = (
    "Both sides were written by a model; no person took part. What it believes, gets wrong and likes to"
    " say is in here.",
    "The checks are of form (empty, cut, repeated, out of role, not of the form that was asked for);"
    " nobody has checked what the replies claim.",
    "Users were simulated from short descriptions; real ones are less tidy.",
)


class Report(Strict):
    """What came of a job.

    Attributes:
        finished: Every dialogue was tried to its end; what is not there was set aside.
        wanted: How many dialogues were asked for.
        dialogues: How many there are, those of earlier jobs in this folder included.
        set_aside: Dialogues of this job in which a message stayed wrong, by part and fault.
        asked_again: Messages of this job that were asked for again, by part and fault.
        unfinished: Dialogues that were not brought to an end, by reason.
        calls: Calls of this run, and what they cost.
        first: The number of this job's first dialogue; those below it are of earlier jobs.
        job: What a dialogue of this job is a function of.
        counts: Dialogues per level.
        shares: What they would be if the plan were kept exactly.
        pairs: Pairs of levels that the plan allows.
        empty_pairs: Those that no dialogue has.
    """

    finished: bool
    wanted: int
    dialogues: int
    set_aside: dict[str, int]
    asked_again: dict[str, int]
    unfinished: dict[str, int]
    calls: Tally
    first: int
    job: dict[str, Any]
    counts: dict[str, dict[str, int]]
    shares: dict[str, dict[str, float]]
    pairs: int
    empty_pairs: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True)
class Order:
    """What is to be simulated into a folder, and what is there already.

    Attributes:
        folder: The folder.
        wanted: Dialogues in all.
        kept: Those of earlier jobs, which stay.
        aside: What earlier jobs set aside.
        cells: The numbered cells to be simulated.
    """

    folder: Path
    wanted: int
    kept: tuple[Record, ...]
    aside: tuple[dict[str, Any], ...]
    cells: tuple[tuple[int, Cell], ...]

    @classmethod
    def draw(cls, folder: Path, plan: Plan, n: int, *, seed: int = 0, top_up: bool = False) -> Order:
        """Draw the cells.

        Args:
            folder: Where the dialogues are or will be.
            plan: What varies.
            n: Dialogues in all.
            seed: Of the drawing.
            top_up: Keep what finished jobs have put there, and fill up what is missing.

        Raises:
            InputError: The plan cannot be kept, or does not fit what is there.
        """
        kept, aside = _earlier(folder) if top_up else ((), ())
        numbers = [*(row.extra["number"] for row in kept), *(row["number"] for row in aside)]
        cells = missing(plan, [row.extra["cell"] for row in kept], n, seed)
        first = 1 + max(numbers, default=-1)
        return cls(folder, n, kept, aside, tuple(enumerate(cells, first)))

    def spare(self, simulator: Simulator) -> None:
        """Refuse to write over dialogues that this order would not bring back.

        Raises:
            InputError: The folder has some, or a card is in the place of ours.
        """
        card_of(self.folder / DATA)
        there = list(_read(self.folder / DATA))
        mine = {row.extra["id"] for row in self.kept} | _ids(simulator, self.cells)
        lost = sum(row.extra.get("id") not in mine for row in there)
        if lost:
            raise InputError(
                f"{self.folder}: {lost} of its {len(there)} dialogues are of another job.",
                fix="Choose another --out; or --top-up keeps them, and --force replaces them.",
            )

    def fill(self, simulator: Simulator, done: Callable[[], None] = lambda: None) -> Report:
        """Simulate, and write whatever was finished.

        If the job was stopped, its teacher's `stopped` says why; the same order goes on with it.
        """
        results = simulator.all(self.cells, done=done)
        made = [each for each in results if isinstance(each, Simulated)]
        whole = [_record(simulator, each) for each in made if not each.aside]
        rows = [*self.kept, *whole]
        covered = cover(simulator.parts.plan, [row.extra["cell"] for row in rows])
        report = self._report(simulator, results, rows, covered)
        aside = [*self.aside, *(_row(simulator, each) for each in made if each.aside)]
        _write(self.folder, simulator, rows, aside, covered)
        write_json(self.folder / REPORT, report.model_dump(mode="json"))
        return report

    def _report(
        self,
        simulator: Simulator,
        results: Sequence[Simulated | Unfinished],
        rows: Sequence[Record],
        covered: Coverage,
    ) -> Report:
        made = [each for each in results if isinstance(each, Simulated)]
        left = Counter(each.reason for each in results if isinstance(each, Unfinished))
        return Report(
            finished=not left,
            wanted=self.wanted,
            dialogues=len(rows),
            set_aside=Counter(each.aside for each in made if each.aside),
            asked_again=sum((Counter(each.again) for each in made), Counter()),
            unfinished=left,
            calls=simulator.teacher.tally,
            first=self.cells[0][0] if self.cells else len(rows),
            job=simulator.job,
            counts=covered.counts,
            shares=covered.shares,
            pairs=covered.allowed,
            empty_pairs=tuple(covered.empty),
        )


def _earlier(folder: Path) -> tuple[tuple[Record, ...], tuple[dict[str, Any], ...]]:
    """What finished jobs have left. An unfinished one's rows are made again, from the kept calls."""
    report = read_json(folder / REPORT) if (folder / REPORT).is_file() else {"finished": True}
    before = float("inf") if report["finished"] else report["first"]
    aside = iter_rows(folder / ASIDE) if (folder / ASIDE).is_file() else ()
    kept = [row for row in _read(folder / DATA) if row.extra["number"] < before]
    return tuple(kept), tuple(row for _, row in aside if row["number"] < before)


def _read(path: Path) -> Sequence[Record]:
    rows = list(iter_records(path)) if path.is_file() else []
    for row in rows:
        if not {"id", "number", "cell"} <= row.extra.keys():
            raise InputError(
                f"{path}:{row.number}: no dialogue of a simulation.", fix="Choose another folder."
            )
    return rows


def _ids(simulator: Simulator, cells: Sequence[tuple[int, Cell]]) -> set[str]:
    return {_id(simulator, number, cell) for number, cell in cells}


def _id(simulator: Simulator, number: int, cell: Cell) -> str:
    return digest([simulator.job, number, dict(cell)])[:16]


def _row(simulator: Simulator, made: Simulated) -> dict[str, Any]:
    """Everything about a dialogue but what its job has in common, which the hashes stand for."""
    known = ("persona", "persona_hash", "model", "prompts")
    return {
        "id": _id(simulator, made.number, made.cell),
        **made.model_dump(mode="json"),
        **{key: simulator.job[key] for key in known},
    }


def _record(simulator: Simulator, made: Simulated) -> Record:
    extra = _row(simulator, made)
    for key in ("messages", "aside"):
        del extra[key]
    return Record(number=made.number + 1, row=made.dialogue, extra=extra)


def _write(
    folder: Path,
    simulator: Simulator,
    rows: Sequence[Record],
    aside: Sequence[dict[str, Any]],
    covered: Coverage,
) -> None:
    plan, persona = simulator.parts.plan, simulator.parts.persona
    title = f"Simulated dialogues: {persona.title}"
    write_atomic(folder / PLAN, _yaml(plan))
    write_atomic(folder / ASIDE, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in aside))
    write_atomic(folder / PICTURE, coverage.page(plan, covered, title))
    write_records(folder / DATA, rows)
    if rows:
        write_card(
            folder / DATA,
            title=title,
            how=_how(simulator),
            licence=None,
            sources=_sources(simulator, rows),
            counts=covered.counts,
            limits=_LIMITS,
            tags=("synthetic",),
        )


def _yaml(plan: Plan) -> str:
    value = plan.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _how(simulator: Simulator) -> str:
    return (
        f"A model played a user and, in turns, the persona `{simulator.job['persona']}`. What varies"
        " between dialogues was drawn from a plan (`plan.yaml`) in which every level has its share and"
        " pairs of levels are spread evenly; `cell` says what a dialogue was drawn as, and"
        " `coverage.html` shows them all. Messages that were empty, cut, repeated, out of role or not of"
        " the form that was asked for were asked for again; dialogues in which that did not help are in"
        " `aside.jsonl`."
    )


def _sources(simulator: Simulator, rows: Sequence[Record]) -> dict[str, str]:
    models = sorted({row.extra["model"] for row in rows})
    prompts = {f"prompt {name}": hash_ for name, hash_ in simulator.job["prompts"].items()}
    return {
        "model": ", ".join(models),
        "persona": f"{simulator.job['persona']} ({simulator.job['persona_hash']})",
        "plan": simulator.job["plan_hash"],
        **prompts,
    }
