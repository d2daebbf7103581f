"""What stands on the card of everybody who can answer: who it is, and what is known of its adapter."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mien.persona.spec import Persona
from mien.persona.voice import MEASURES
from mien.registry.promote import in_force
from mien.serve.catalogue import Catalogue, Served


def cards(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Those that go by a name of their own, without the single versions."""
    speaking = _promoted(catalogue)
    return [_card(model, speaking) for model in catalogue.models.values()]


def card(catalogue: Catalogue, model: Served) -> dict[str, Any]:
    """Of one model, such as a version or a blend."""
    return _card(model, _promoted(catalogue))


def unknown(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Of an experiment: who answers is not told, or it would be none.

    Args:
        entry: Its line in `/v1/models`.
    """
    return {**entry, "road": "experiment", "promoted": None, "about": None}


def _promoted(catalogue: Catalogue) -> set[tuple[str, str]]:
    """Run and file of the adapters that were promoted to speak for their personas."""
    rows = in_force(catalogue.workspace)
    return {(row.run, row.adapter_hash) for row in rows if row.base_hash == catalogue.base.sha256}


def _card(model: Served, speaking: Collection[tuple[str, str]]) -> dict[str, Any]:
    own = model.card
    promoted = (own.run, own.adapter_hash) in speaking if own else None
    about = _about(model.persona) if model.persona and not model.blend else None
    return model.entry() | {"road": _road(model), "promoted": promoted, "about": about}


def _road(model: Served) -> str:
    """How the personality came into the model."""
    if model.adapter:
        return "adapter"
    return "prompt" if model.system else "base"


def _about(persona: Persona) -> dict[str, Any]:
    return {
        "description": persona.description.strip(),
        "traits": {trait: pole for trait, pole in persona.big_five.model_dump().items() if pole},
        "targets": [
            {"name": name, "about": MEASURES[name].about, "low": low, "high": high}
            for name, (low, high) in persona.voice.bands().items()
        ],
        "boundaries": list(persona.boundaries),
    }
