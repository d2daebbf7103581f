"""What a finished run says of itself, and how a finished run is found again.

A card is `manifest.json` in the run's folder. It is written last, so it also means "complete". A run's
folder is a version of an adapter: it is never written again, and its name ends in a hash of what it is.
What was made without training, a blend, a scaled adapter or an imported one, has such a folder too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from mien.errors import AdapterError, first_line
from mien.persona.spec import Persona
from mien.registry.promote import promotions
from mien.schema import Strict
from mien.workspace import Workspace, read_json, write_json

CARD = "manifest.json"
PERSONA = "persona.json"
ADAPTER = "adapter"
NULLS = ("null", "null-dpo")  # the controls: nobody's voice, so they go by the stage's name
DERIVED = ("blend", "scale", "import")  # made without training; the default of nobody until promoted
# The stages whose adapters answer; a reward model only scores.
POLICIES = ("sft", "dpo", "ppo", *NULLS, *DERIVED)
_SHORTEST = 6  # digits of a hash that name a version


class Derivation(Strict):
    """How an adapter came about without training.

    Attributes:
        weights: What the update of each of the card's parents was multiplied by.
        rank: Of the outcome.
        lost: Of a blend that was cut to that rank, the share of its update that went with the cut: the
            Frobenius norm of the difference over that of the whole, all layers together.
        source: Of an import, the folder's name.
        source_hash: Of an import, the sha256 of the file as it arrived.
        says: Of an import, the base that its maker named.
    """

    weights: tuple[float, ...] = ()
    rank: int
    lost: float | None = None
    source: str = ""
    source_hash: str = ""
    says: str = ""


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
    dose: float | None = None
    trained_tokens: int
    peak_memory_mb: float
    derived: Derivation | None = None


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
    except (PermissionError, ValueError) as error:  # of JSON, and pydantic's
        raise AdapterError(
            f"{path}: not a card this mien can read ({first_line(error)}).",
            fix=f"Remove {folder} and train it again, or use the mien that wrote it.",
        ) from error


def cards(workspace: Workspace) -> list[Card]:
    """The cards of all complete runs, oldest first.

    Raises:
        AdapterError: One cannot be read, or is of another run than its folder's name says.
    """
    found = (own_card(path.parent) for path in workspace.runs.glob(f"*/{CARD}"))
    return sorted((card for card in found if card), key=lambda card: (card.made, card.run))


def own_card(folder: Path) -> Card | None:
    """The card of the run in `folder`, or None if it is not complete.

    Raises:
        AdapterError: It cannot be read, or is another run's.
    """
    card = read_card(folder)
    if card and card.run != folder.name:  # else the text of a card could name any path
        raise AdapterError(
            f"{folder / CARD}: it is the card of {card.run!r}.",
            fix=f"Move {folder} out of the workspace; `mien adapter import` takes copies in.",
        )
    return card


def adapter_folder(workspace: Workspace, card: Card) -> Path:
    """Where a run's adapter lies, as a PEFT folder."""
    return workspace.runs / card.run / ADAPTER


def persona_of(workspace: Workspace, card: Card) -> Persona:
    """The specification a run was trained for, as it was then.

    Raises:
        AdapterError: It is not there, or cannot be read.
    """
    path = workspace.runs / card.run / PERSONA
    try:
        return Persona.model_validate(read_json(path))
    except (FileNotFoundError, PermissionError, ValueError) as error:  # of JSON, and pydantic's
        raise AdapterError(
            f"{path}: not a persona this mien can read ({first_line(error)}).",
            fix=f"Copy {path.parent} again, or use the mien that wrote it.",
        ) from error


def is_version(card: Card, name: str) -> bool:
    """Whether a version may be called that: by its run's name, or how the hash of its weights begins."""
    return card.run == name or (len(name) >= _SHORTEST and card.adapter_hash.startswith(name.lower()))


def newest(
    workspace: Workspace,
    persona: str,
    *,
    base_hash: str | None = None,
    stages: Collection[str] | None = None,
    among: Sequence[Card] | None = None,
) -> Card:
    """The adapter that speaks for a persona, or a run by its own name.

    That is the one that was promoted last, and the newest that was trained where none was. Who names
    stages asks for something to train on or to compare, and gets the newest of them, promoted or not. A
    null adapter is nobody's: it is found by its stage, whether that is the name or all that may be
    found, and by its run's name, but never by the persona whose replies it has learnt. What was derived
    is found by its run's name, and by the persona's once promoted, or if nothing else is asked for.

    Args:
        workspace: Where to look.
        persona: A persona's name or a run's, or `null`.
        base_hash: Only adapters of this base.
        stages: Only adapters that came of one of these; by default those that can speak.
        among: Only these, oldest first; by default all of the workspace.

    Raises:
        AdapterError: There is none, or only for other bases.
    """
    wanted = POLICIES if stages is None else tuple(stages)
    there = cards(workspace) if among is None else among
    known = [card for card in there if card.stage in wanted]
    usable = [card for card in known if base_hash in (None, card.base_hash)]
    if stages is None and (speaking := _promoted(workspace, persona, usable)):
        return speaking
    mine = [card for card in known if _goes_by(persona, card, wanted)]
    if fitting := [card for card in mine if base_hash in (None, card.base_hash)]:
        return fitting[-1]
    if mine:
        raise AdapterError(
            f"The adapter of {persona!r} was trained on {mine[-1].base}, not on this base.",
            fix=f"Pass `--base {mine[-1].base}`, or train it on this one.",
        )
    raise _none(workspace, persona, wanted)


def newest_null(workspace: Workspace, *, base_hash: str | None = None) -> Card:
    """The newest null adapter that was trained like an SFT.

    Raises:
        AdapterError: There is none, or only for other bases.
    """
    return newest(workspace, NULLS[0], base_hash=base_hash, stages=NULLS[:1])


def _promoted(workspace: Workspace, persona: str, among: Sequence[Card]) -> Card | None:
    """The one that was promoted last, if it is still the file that was promoted."""
    known = {(card.run, card.adapter_hash): card for card in among}
    rows = promotions(workspace, persona)
    found = (known.get((row.run, row.adapter_hash)) for row in reversed(rows))
    return next((card for card in found if card), None)


def _goes_by(name: str, card: Card, stages: tuple[str, ...]) -> bool:
    if card.stage in NULLS:
        return name in (card.stage, card.run) or set(stages) <= set(NULLS)
    if card.stage in DERIVED and not set(stages) <= set(DERIVED):
        return name == card.run
    return name in (card.persona, card.run)


def _none(workspace: Workspace, persona: str, stages: tuple[str, ...]) -> AdapterError:
    if null := next((each for each in (persona, stages[0]) if each in NULLS), None):
        what = f"{workspace.runs}: no null adapter ({null})."
        return AdapterError(what, fix=f"Run `mien train {null}` first.")
    kind = "reward model" if stages == ("reward",) else "trained adapter"
    return AdapterError(
        f"{workspace.runs}: no {kind} of {persona!r}.",
        fix=f"Run `mien train {stages[0]} --persona {persona}` first.",
    )
