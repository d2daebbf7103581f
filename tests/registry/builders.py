"""Adapters on disk with cards that are true, on the tiny base."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mien.base.fetch import file_sha256
from mien.base.lora import WEIGHTS, LoraConfig
from mien.base.model import Base
from mien.persona.spec import Persona, library
from mien.registry.cards import PERSONA, Card, adapter_folder, write_card
from mien.workspace import Workspace, write_json
from tests import models
from tests.registry.test_cards import card


@lru_cache
def _library() -> dict[str, Persona]:
    return library()


def trained(
    workspace: Workspace,
    base: Base,
    run: str,
    *,
    persona: str = "witty",
    shape: LoraConfig = LoraConfig(r=2, alpha=3.0),  # noqa: B008
    seed: int = 0,
    **changes: Any,
) -> Card:
    """A run as training leaves it; nothing stays on the base."""
    base.adapters.create("made", shape, seed=seed)
    models.shake(base.adapters, "made", seed=seed)
    spec = _library()[persona]
    told = {"run": run, "persona": persona, "persona_hash": spec.digest(), "base": base.files.name}
    made = card(**told | changes)
    base.adapters.save("made", adapter_folder(workspace, made), base=base.files.name)
    base.adapters.drop("made")
    content = file_sha256(adapter_folder(workspace, made) / WEIGHTS)
    made = made.model_copy(update={"adapter_hash": content, "base_hash": base.files.sha256})
    write_json(workspace.runs / run / PERSONA, spec.model_dump(mode="json"))
    write_card(workspace.runs / run, made)
    return made
