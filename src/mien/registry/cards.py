"""What a finished run says of itself, and how a finished run is found again.

A card is `manifest.json` in the run's folder. It is written last, so it also means "complete".
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from mien.errors import AdapterError, first_line
from mien.persona.spec import Persona
from mien.schema import Strict
from mien.workspace import Workspace, read_json, write_json

CARD = "manifest.json"
PERSONA = "persona.json"
ADAPTER = "adapter"
POLICIES = ("sft", "dpo", "ppo")  # the stages whose adapters answer; a reward model's only scores


class Card(Strict):
    """An adapter's identity, by hashes, and the figures of its training."""

    run: str
    stage: str
    persona: str
    persona_hash: str
    base: str
    base_hash: str
    renderer: str
    parents: tuple[str, ...] = ()
    data: str
    data_hash: str
    recipe_hash: str
    adapter_hash: str
    seed: int
    under_prompt: bool = False
    dtype: str
    device: str
    version: str
    made: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    examples: int
    steps: int
    kept_step: int | None = None
    verdict: str | None = None
    seconds: float
    validation_loss: float | None = None
    trained_tokens: int
    peak_memory_mb: float


def write_card(folder: Path, card: Card) -> None:
    """Declare a run complete."""
    write_json(folder / CARD, card.model_dump(mode="json"))


def read_card(folder: Path) -> Card | None:
    """The card of a run, or None if it is not complete.

    Raises:
        AdapterError: It is there and cannot be read.
    """
    path = folder / CARD
    try:
        return Card.model_validate(read_json(path)) if path.exists() else None
    except ValueError as error:  # of JSON, and pydantic's
        raise AdapterError(
            f"{path}: not a card this mien can read ({first_line(error)}).",
            fix=f"Remove {folder} and train it again, or use the mien that wrote it.",
        ) from error


def cards(workspace: Workspace) -> list[Card]:
    """The cards of all complete runs, oldest first."""
    found = (read_card(path.parent) for path in workspace.runs.glob(f"*/{CARD}"))
    return sorted((card for card in found if card), key=lambda card: (card.made, card.run))


def adapter_folder(workspace: Workspace, card: Card) -> Path:
    """Where a run's adapter lies, as a PEFT folder."""
    return workspace.runs / card.run / ADAPTER


def persona_of(workspace: Workspace, card: Card) -> Persona:
    """The specification a run was trained for, as it was then."""
    return Persona.model_validate(read_json(workspace.runs / card.run / PERSONA))


def newest(
    workspace: Workspace,
    persona: str,
    *,
    base_hash: str | None = None,
    stages: Collection[str] = POLICIES,
) -> Card:
    """The newest adapter of a persona, or a run by its own name.

    Args:
        workspace: Where to look.
        persona: A persona's name or a run's.
        base_hash: Only adapters of this base.
        stages: Only adapters that came of one of these; by default those that can speak.

    Raises:
        AdapterError: There is none, or only for other bases.
    """
    known = [card for card in cards(workspace) if card.stage in stages]
    mine = [card for card in known if persona in (card.persona, card.run)]
    fitting = [card for card in mine if base_hash in (None, card.base_hash)]
    if fitting:
        return fitting[-1]
    if mine:
        raise AdapterError(
            f"The adapter of {persona!r} was trained on {mine[-1].base}, not on this base.",
            fix=f"Pass `--base {mine[-1].base}`, or train it on this one.",
        )
    what = "reward model" if tuple(stages) == ("reward",) else "trained adapter"
    stage = next(iter(stages))
    raise AdapterError(
        f"{workspace.runs}: no {what} of {persona!r}.",
        fix=f"Run `mien train {stage} --persona {persona}` first.",
    )
