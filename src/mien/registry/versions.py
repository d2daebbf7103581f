"""New versions that no training made: matrices become a folder like a run's, once, under their hash.

    runs/duo-blend-1a2b3c4d/
        persona.json     the specification
        adapter/         a PEFT folder
        manifest.json    the card

The folder is made elsewhere and put in place with one rename, so whoever looks sees all of it or none.
The same matrices for the same persona on the same base are the same version, and are not kept twice.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mien
from mien.base.fetch import file_sha256
from mien.base.lora import WEIGHTS, LoraConfig, Pairs, as_tensors, write_folder
from mien.errors import AdapterError
from mien.persona.spec import Persona
from mien.registry.cards import ADAPTER, CARD, PERSONA, Card, Derivation, read_card, write_card
from mien.registry.retire import PARTIAL
from mien.schema import digest
from mien.workspace import Workspace, disk_errors, write_json

Adapter = tuple[LoraConfig, Pairs]


def keep(workspace: Workspace, name: str, adapter: Adapter, card: Card, persona: Persona) -> Card:
    """Make an adapter a version of its own, or return the card of the one that it already is.

    Args:
        workspace: Where it is kept.
        name: What its folder's name begins with; checked by the caller.
        adapter: Its shape and matrices.
        card: All that is known of it but its name and its hash.
        persona: Whom it speaks for if it is promoted.

    Raises:
        AdapterError: Another adapter has that name and, by a chance in four billion, that hash.
    """
    config, pairs = adapter
    with disk_errors(workspace.root, "100 MB"), partial_folder(workspace) as partial:
        write_folder(partial / ADAPTER, config, as_tensors(pairs), base=card.base)
        content = file_sha256(partial / ADAPTER / WEIGHTS)
        identity = [content, card.base_hash, card.persona_hash, card.under_prompt]
        run = f"{name}-{card.stage}-{digest(identity)[:8]}"
        made = card.model_copy(update={"run": run, "adapter_hash": content})
        write_json(partial / PERSONA, persona.model_dump(mode="json"))
        write_card(partial, made)
        return _put(partial, workspace.runs / run, made)


def untrained(
    stage: str,
    persona: Persona,
    derived: Derivation,
    *,
    base: str,
    base_hash: str,
    renderer: str,
    under_prompt: bool,
) -> Card:
    """A card without the figures of a training, nor a name yet."""
    return Card(
        run="",
        stage=stage,
        persona=persona.name,
        persona_hash=persona.digest(),
        base=base,
        base_hash=base_hash,
        renderer=renderer,
        data="",
        data_hash="",
        recipe_hash="",
        adapter_hash="",
        seed=0,
        under_prompt=under_prompt,
        dtype="float32",
        device="",
        version=mien.__version__,
        examples=0,
        steps=0,
        seconds=0,
        trained_tokens=0,
        peak_memory_mb=0,
        derived=derived,
    )


def ground(card: Card) -> dict[str, Any]:
    """What an adapter stands on, which is also what all that is made of it stands on."""
    return {key: getattr(card, key) for key in ("base", "base_hash", "renderer", "under_prompt")}


@contextmanager
def partial_folder(workspace: Workspace) -> Iterator[Path]:
    """A folder on the workspace's disk that goes again unless it is moved away."""
    workspace.root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=workspace.root))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(partial: Path, folder: Path, card: Card) -> Card:
    there = read_card(folder)
    if there is None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(folder)
        return card
    if there.adapter_hash != card.adapter_hash:
        raise AdapterError(
            f"{folder / CARD}: it is of another adapter.", fix="Give the new one another name."
        )
    return there
