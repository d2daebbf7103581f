"""What may go: versions that nothing needs any more, found with reasons and removed whole.

Never removed is what speaks for a persona, what a server has in memory or an experiment asks for, what
something kept was made of, and what a training that has not ended may start from. A removal is one
rename out of sight, and then the deletion.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from mien.errors import AdapterError
from mien.registry.cards import CARD, NULLS, PERSONA, Card, cards, is_version
from mien.registry.hold import is_held, unheld
from mien.registry.promote import before_last, in_force
from mien.workspace import Workspace, read_json

PARTIAL = ".partial-"  # what is on its way in or out, beside the runs
_RECIPE = "recipe.json"
# Versions that others ask for, each a run's name or how its hash begins, and who that is, in words.
Claims = Mapping[str, str]
_NOBODY: Claims = {}
_ABANDONED = 24 * 3600  # seconds after which nobody is at work on such a folder any more


def run_called(workspace: Workspace, run: str) -> Card:
    """The card of a run, by its own name only.

    Raises:
        AdapterError: There is none.
    """
    found = next((card for card in cards(workspace) if card.run == run), None)
    if found is None:
        raise AdapterError(
            f"{workspace.runs}: no finished run is called {run!r}.",
            fix="See their names with `mien adapter list`; a persona's is not enough here.",
        )
    return found


def needed(workspace: Workspace, card: Card, claims: Claims = _NOBODY) -> str | None:
    """Why an adapter has to stay, in words; None if it may go."""
    if who := _claimed(card, claims):
        return who
    speaks = next((row for row in in_force(workspace) if _is(row.run, row.adapter_hash, card)), None)
    if speaks:
        return f"it speaks for {speaks.persona}"
    if child := next((each for each in cards(workspace) if card.run in each.parents), None):
        return f"{child.run} was made of it"
    return _may_start_from(workspace, card)


def remove(workspace: Workspace, card: Card, claims: Claims = _NOBODY) -> None:
    """Remove a version for good.

    Raises:
        AdapterError: It is needed.
    """
    run, doomed = workspace.runs / card.run, workspace.root / f"{PARTIAL}{secrets.token_hex(4)}"
    with unheld(run) as free:
        if why := needed(workspace, card, claims) if free else "a server has it in memory":
            raise AdapterError(
                f"{card.run} stays: {why}.",
                fix="Promote another, stop what uses it, remove what was made of it, or end training.",
            )
        run.rename(doomed)
    shutil.rmtree(doomed)


def superseded(workspace: Workspace, claims: Claims = _NOBODY, *, newest: int = 1) -> list[Card]:
    """Versions that nothing needs, so ordered that each comes after all that was made of it.

    Those go that have `newest` newer ones of their persona, stage and base. What is needed stays, with
    all that it was made of; so does what the next rollback would need, what a server has in memory, what
    others claim, and what was imported, since it cannot be made again.
    """
    known = cards(workspace)
    kept = _newest(known, newest) | {card.run for card in known if _claimed(card, claims)}
    kept |= {card.run for card in known if card.stage == "import"}
    kept |= {row.run for row in in_force(workspace)} | _rollbacks(workspace)
    kept |= {card.run for card in known if is_held(workspace.runs / card.run)}
    kept |= {card.run for card in known if _may_start_from(workspace, card)}
    for card in reversed(known):  # a parent is older than what was made of it
        if card.run in kept:
            kept |= set(card.parents)
    return [card for card in reversed(known) if card.run not in kept]


def abandoned(workspace: Workspace) -> list[Path]:
    """Folders of imports and removals that were killed, a day ago or longer."""
    old = time.time() - _ABANDONED
    return [path for path in workspace.root.glob(f"{PARTIAL}*") if path.stat().st_mtime < old]


def _claimed(card: Card, claims: Claims) -> str | None:
    return next((who for name, who in claims.items() if is_version(card, name)), None)


def _newest(known: Iterable[Card], count: int) -> set[str]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for card in known:
        groups.setdefault((card.persona, card.stage, card.base_hash), []).append(card.run)
    return {run for group in groups.values() for run in group[-count:]}


def _rollbacks(workspace: Workspace) -> set[str]:
    found = set()
    for row in in_force(workspace):
        try:
            found.add(before_last(workspace, row.persona, row.base_hash).run)
        except AdapterError:
            continue
    return found


def _may_start_from(workspace: Workspace, card: Card) -> str | None:
    """Where an unfinished training began is on no card yet; so all that it could be is kept."""
    for path in workspace.runs.glob(f"*/{_RECIPE}"):
        if not (path.parent / CARD).exists() and _could_mean(path, card):
            return f"{path.parent.name} is in training and may start from it"
    return None


def _could_mean(path: Path, card: Card) -> bool:
    recipe, persona = path.read_text(encoding="utf-8"), path.with_name(PERSONA)
    name = read_json(persona).get("name") if persona.exists() else None
    return card.run in recipe or card.stage in NULLS or card.persona in (name, None)


def _is(run: str, adapter_hash: str, card: Card) -> bool:
    return (run, adapter_hash) == (card.run, card.adapter_hash)
