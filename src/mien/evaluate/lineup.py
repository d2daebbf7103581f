"""Who is evaluated, by name: controls, adapters, servers and recordings.

A voice takes the dose of its update at which it is heard, and the null adapter is trained at the whole.
More of any update is more of everything that training does, so a fair null has as much of its own: its
update is multiplied to the dose of the judged adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mien.base.model import Base
from mien.data.teacher import Teacher
from mien.errors import InputError
from mien.evaluate.subject import ChatSubject, LocalSubject, RecordedSubject, Subject, of_card
from mien.persona.spec import Persona
from mien.registry.attach import attach
from mien.registry.cards import POLICIES, Card, adapter_folder, cards, newest, newest_null
from mien.workspace import Workspace

BASE, PROMPT, NULL = "base", "prompt", "null"
Dial = Callable[[str], Teacher]


class Lineup(NamedTuple):
    """Subjects in the order they were named.

    Attributes:
        cards: Of those that are adapters, with the dose at which they are asked.
    """

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
    found = cards_of(names, persona, workspace, base.files.sha256)
    known = {card.run: card for card in cards(workspace)} if found else {}
    own = {label: dose_of(card, known) for label, card in found.items()}
    asked = own | {label: own.get(labels[-1], own[label]) for label in own if found[label].stage == NULL}
    told = persona.system_prompt.strip()

    def one(label: str, where: str) -> Subject:
        if card := found.get(label):
            attach(base, card, adapter_folder(workspace, card))
            return replace(of_card(label, base, card, told), scale=asked[label] / own[label])
        if where in (BASE, PROMPT):
            return LocalSubject(label, base, system_prompt=told if where == PROMPT else None)
        if where.endswith(".jsonl"):
            return RecordedSubject.load(label, Path(where))
        return ChatSubject(label, dial(where))

    dosed = {label: card.model_copy(update={"dose": asked[label]}) for label, card in found.items()}
    return Lineup(tuple(one(*split(name)) for name in names), dosed)


def dose_of(card: Card, known: Mapping[str, Card]) -> float:
    """How much of its finished updates an adapter holds, as a multiple of what training ended with.

    Preference training starts from a dosed adapter and changes no dose; a blend has the weighted sum.
    Where nobody says, it is 1.

    Args:
        card: The adapter's.
        known: All cards by run, for those that it came from.
    """
    if card.dose is not None:
        return card.dose
    parents = [known[run] for run in card.parents if run in known and known[run].stage in POLICIES]
    weights = card.derived.weights if card.derived else ()
    if weights and len(weights) == len(parents):
        pairs = zip(weights, parents, strict=True)
        return sum(weight * dose_of(parent, known) for weight, parent in pairs)
    return dose_of(parents[0], known) if parents else 1.0


def _elsewhere(where: str) -> bool:
    return where.endswith(".jsonl") or where.startswith(("http://", "https://"))
