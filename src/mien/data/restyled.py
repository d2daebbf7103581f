"""The folder of a restyling: one file per persona, what was set aside and why, and the report.

The rows of all personas have the ids of their source, so that the same content can be found in each
voice. Nothing in the folder is needed to go on with a job that was stopped: the teacher keeps the calls.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.data.card import card_of, write_card
from mien.data.formats import iter_records, write_records
from mien.data.restyle import Restyler, Source, Variant, sources
from mien.data.teacher import Tally, Unfinished
from mien.errors import DataError, InputError
from mien.persona.spec import Persona
from mien.schema import Strict
from mien.workspace import read_json, write_atomic, write_json

ASIDE, REPORT = "aside.jsonl", "report.json"
_LIMITS = (
    "The replies were rewritten by a model. What is checked by rule is what can be: numbers, units,"
    " names, literals, quotations, code, JSON, lists and length. A claim that was turned round in other"
    " words may have passed.",
    "System messages and the user's turns are those of the source.",
)


class Persons(Strict):
    """What came of one persona.

    Attributes:
        kept: Conversations that were restyled.
        set_aside: Conversations with a turn in which something stayed wrong.
        turns: Turns that were rewritten.
        asked_again: Attempts that were not taken.
        faults: What was wrong with those, by check.
        aside_for: What was wrong with the last attempts of what was set aside, by check.
    """

    kept: int
    set_aside: int
    turns: int
    asked_again: int
    faults: dict[str, int]
    aside_for: dict[str, int]


class Report(Strict):
    """What came of a job.

    Attributes:
        finished: Every conversation was tried to its end in every persona.
        conversations: Of the source.
        personas: What came of each.
        unfinished: Variants that were not brought to an end, by reason.
        calls: Calls of this run, and what they cost.
        job: What the rows are a function of.
    """

    finished: bool
    conversations: int
    personas: dict[str, Persons]
    unfinished: dict[str, int]
    calls: Tally
    job: dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What is to be restyled, into what, and where.

    Attributes:
        source: The file with the conversations.
        conversations: Those of its rows that are to be restyled.
        personas: Into whose voices.
        folder: Where the variants go.
    """

    source: Path
    conversations: tuple[Source, ...]
    personas: tuple[Persona, ...]
    folder: Path

    @classmethod
    def read(
        cls, source: Path, personas: Sequence[Persona], folder: Path, *, limit: int | None = None
    ) -> Order:
        """Read the conversations, at most the first `limit`.

        Raises:
            DataError: There are none, or a row cannot be read.
            InputError: A persona is named twice, or has the name of another file of the folder.
        """
        found = sources(iter_records(source))[:limit]
        if not found:
            raise DataError(f"{source}: no rows.", fix="Give a file of conversations.")
        for persona, times in Counter(persona.name for persona in personas).items():
            if times > 1 or persona == Path(ASIDE).stem:
                what = f"{persona!r} is named {times} times." if times > 1 else f"{persona!r} is taken."
                raise InputError(what, fix="Give each persona another name; its file is named by it.")
        return cls(source, tuple(found), tuple(personas), folder)

    def job(self, restyler: Restyler) -> dict[str, Any]:
        """What the rows are a function of, by name; hashes for what is long."""
        with self.source.open("rb") as file:
            source_hash = hashlib.file_digest(file, "sha256").hexdigest()
        return {
            "source_hash": source_hash,
            "conversations": len(self.conversations),
            "personas": {persona.name: persona.digest() for persona in self.personas},
            **restyler.job,
        }

    def spare(self, restyler: Restyler) -> None:
        """Refuse to write over what this order would not bring back.

        Raises:
            InputError: The folder holds another job, a file of another making, or the source itself.
        """
        report = self.folder / REPORT
        files = [self.folder / f"{persona.name}.jsonl" for persona in self.personas]
        for file in files:
            card_of(file)
        there = [file for file in files if file.exists()]
        if self.source.resolve() in [file.resolve() for file in files] or (
            there and not report.exists()
        ):
            raise InputError(f"{self.folder}: it holds files of that name.", fix="Choose another --out.")
        if report.exists() and read_json(report).get("job") != self.job(restyler):
            raise InputError(
                f"{self.folder}: it holds another job.",
                fix="Choose another --out, or replace it with --force.",
            )

    def fill(self, restyler: Restyler, done: Callable[[], None] = lambda: None) -> Report:
        """Restyle, and write whatever was finished.

        If the job was stopped, its teacher's `stopped` says why; the same order goes on with it.
        """
        results = restyler.all(self.conversations, self.personas, done=done)
        variants = [each for each in results if isinstance(each, Variant)]
        left = Counter(each.reason for each in results if isinstance(each, Unfinished))
        for persona in self.personas:
            self._write(persona, [each for each in variants if each.persona == persona.name], restyler)
        aside = (each.model_dump_json(exclude={"row"}) for each in variants if each.row is None)
        write_atomic(self.folder / ASIDE, "".join(f"{row}\n" for row in aside))
        report = Report(
            finished=not left,
            conversations=len(self.conversations),
            personas={persona.name: _persons(persona.name, variants) for persona in self.personas},
            unfinished=left,
            calls=restyler.teacher.tally,
            job=self.job(restyler),
        )
        write_json(self.folder / REPORT, report.model_dump(mode="json"))
        return report

    def _write(self, persona: Persona, variants: Sequence[Variant], restyler: Restyler) -> None:
        known = {each.id: each.extra for each in self.conversations}
        kept = {each.id: each.row for each in variants if each.row is not None}
        made = {
            "persona": persona.name,
            "persona_hash": persona.digest(),
            "model": restyler.teacher.model.name,
        }
        path = self.folder / f"{persona.name}.jsonl"
        write_records(path, kept.values(), ({**known[name], "id": name, **made} for name in kept))
        if not kept:
            card_of(path).unlink(missing_ok=True)
            return
        write_card(
            path,
            title=f"{self.source.stem}, restyled: {persona.title}",
            how=self._how(persona),
            licence=None,
            sources=self._sources(persona, restyler),
            limits=_LIMITS,
            tags=("synthetic",),
        )

    def _how(self, persona: Persona) -> str:
        return (
            f"A model rewrote the assistant's turns of `{self.source.name}` in the voice of the persona"
            f" `{persona.name}`. Tool calls, their results and fenced code are those of the source, byte"
            " for byte. A rewritten turn had to keep the content and to change the style; if it did not,"
            " it was asked for again with the reasons. Conversations in which that did not help are in"
            f" `{ASIDE}`. Rows have the ids of their source, in every persona."
        )

    def _sources(self, persona: Persona, restyler: Restyler) -> dict[str, str]:
        job = self.job(restyler)
        prompts = {f"prompt {name}": f"`{hash_[:16]}`" for name, hash_ in job["prompts"].items()}
        return {
            "source": f"{self.source.name}, sha256 `{job['source_hash']}`",
            "model": job["model"],
            "persona": f"{persona.name}, `{persona.digest()[:16]}`",
            **prompts,
            "checks": ", ".join(["rules", *job["checks"]]),
            "sampling": json.dumps(job["sampling"]),
        }


def _persons(name: str, variants: Iterable[Variant]) -> Persons:
    mine = [each for each in variants if each.persona == name]
    turns = [turn for each in mine for turn in each.turns]
    rejected = [attempt for turn in turns for attempt in turn.rejected]
    last = [turn.rejected[-1] for turn in turns if not turn.kept]
    return Persons(
        kept=sum(each.row is not None for each in mine),
        set_aside=len(last),
        turns=len(turns),
        asked_again=sum(len(turn.rejected) - (not turn.kept) for turn in turns),
        faults=Counter(fault.check for attempt in rejected for fault in attempt.faults),
        aside_for=Counter(fault.check for attempt in last for fault in attempt.faults),
    )
