"""Who is evaluated, by name: controls, adapters, servers and recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mien.base.model import Base
from mien.data.teacher import Teacher
from mien.errors import InputError
from mien.evaluate.subject import ChatSubject, LocalSubject, RecordedSubject, Subject, of_card
from mien.persona.spec import Persona
from mien.registry.attach import attach
from mien.registry.cards import POLICIES, Card, adapter_folder, newest, newest_null
from mien.workspace import Workspace

BASE, PROMPT, NULL = "base", "prompt", "null"
Dial = Callable[[str], Teacher]


class Lineup(NamedTuple):
    """Subjects in the order they were named, and the cards of those that are adapters."""

    subjects: tuple[Subject, ...]
    cards: dict[str, Card]


def no_server(where: str) -> Teacher:
    """Reaches nobody.

    Raises:
        InputError: Always.
    """
    raise InputError(f"{where}: no server can be asked from here.", fix="Use `mien eval --systems`.")


def split(name: str) -> tuple[str, str]:
    """A name as the report shows it, and where to find who is meant: `LABEL=WHERE`, or both in one."""
    label, given, where = name.partition("=")
    return label, where if given else label


def cards_of(
    names: Sequence[str], persona: Persona, workspace: Workspace, base_hash: str | None = None
) -> dict[str, Card]:
    """The cards of the names that mean adapters, by label.

    Raises:
        AdapterError: There is no such run, or only for another base.
    """
    found = {}
    for label, where in map(split, names):
        if where == NULL:
            found[label] = newest_null(workspace, base_hash=base_hash)
        elif where in POLICIES:
            found[label] = newest(workspace, persona.name, base_hash=base_hash, stages=(where,))
        elif where not in (BASE, PROMPT) and not _elsewhere(where):
            found[label] = newest(workspace, where, base_hash=base_hash)
    return found


def lineup(
    names: Sequence[str], persona: Persona, base: Base, workspace: Workspace, dial: Dial = no_server
) -> Lineup:
    """Subjects by name.

    Args:
        names: `base`, `prompt`, `null`, `sft`, `dpo`, `ppo`, a run's name, a file of recorded replies
            (`.jsonl`) or a server (`http://host/v1#model`); each may be given a label, `LABEL=NAME`.
        persona: Whose system prompt and whose newest runs are meant.
        base: Gets the adapters attached.
        workspace: Where the runs are.
        dial: Makes a teacher of a server's address.

    Raises:
        InputError: A label is given twice, or a file cannot be read.
        AdapterError: An adapter is not there or not of this base.
    """
    labels = [label for label, _ in map(split, names)]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise InputError(f"Two systems are called {min(twice)!r}.", fix="Label them: `LABEL=NAME`.")
    cards = cards_of(names, persona, workspace, base.files.sha256)
    told = persona.system_prompt.strip()

    def one(label: str, where: str) -> Subject:
        if card := cards.get(label):
            attach(base, card, adapter_folder(workspace, card))
            return of_card(label, base, card, told)
        if where in (BASE, PROMPT):
            return LocalSubject(label, base, system_prompt=told if where == PROMPT else None)
        if where.endswith(".jsonl"):
            return RecordedSubject.load(label, Path(where))
        return ChatSubject(label, dial(where))

    return Lineup(tuple(one(*split(name)) for name in names), cards)


def _elsewhere(where: str) -> bool:
    return where.endswith(".jsonl") or where.startswith(("http://", "https://"))
