"""The models that there are to ask for: the base, the personas, their versions, and their prompts.

It is read off the workspace, and read again when something has changed there: a run that ends, or a
promotion, is served without a restart.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from mien.base.fetch import BaseFiles
from mien.errors import AdapterError
from mien.persona.spec import Persona, library
from mien.registry.blend import check_alike
from mien.registry.cards import (
    CARD,
    NULLS,
    POLICIES,
    Card,
    adapter_folder,
    is_version,
    newest,
    own_card,
    persona_of,
)
from mien.registry.names import Share, spelled
from mien.schema import digest
from mien.serve.logs import log
from mien.serve.naming import BASE, PROMPT, is_blend, no_blend, parse, voices
from mien.serve.refusals import RefusedError
from mien.workspace import DATABASE, Workspace


class Part(NamedTuple):
    """An adapter and what its update is multiplied by."""

    card: Card
    folder: Path
    weight: float

    def entry(self) -> dict[str, Any]:
        """What is told of it in `/v1/models`."""
        told = {"root": self.card.run, "persona": self.card.persona, "weight": self.weight}
        return told | {"version": self.card.adapter_hash}


@dataclass(frozen=True)
class Served:
    """A model as a client sees it.

    Attributes:
        id: Its name.
        base: The name of the base that it is, or lies on.
        card: Of its adapter; None where it has none, or is a blend.
        folder: Of its adapter.
        system: What is put before every conversation.
        persona: Who speaks; of a blend, the voice that counts most.
        blend: Of a blend, the adapters that are added, by their runs.
    """

    id: str
    base: str
    card: Card | None = None
    folder: Path | None = None
    system: str | None = None
    persona: Persona | None = None
    blend: tuple[Part, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The adapters that speak: those of a blend, the one of its own, or none."""
        own = (Part(self.card, self.folder, 1.0),) if self.card and self.folder else ()
        return self.blend or own

    @property
    def adapter(self) -> str | None:
        """What its adapter goes by in the engine; None: the bare base."""
        if self.blend:
            return spelled(Share(part.card.run, part.weight) for part in self.blend)
        return self.card.run if self.card else None

    @property
    def version(self) -> str | None:
        """A hash of what its adapter is; None: the bare base."""
        if self.blend:
            return digest([[part.card.adapter_hash, part.weight] for part in self.blend])
        return self.card.adapter_hash if self.card else None

    @property
    def label(self) -> str:
        """What figures are kept under: there are more blends than anybody could count."""
        return "blend" if self.blend else self.id

    def entry(self) -> dict[str, Any]:
        """Its line in `/v1/models`; `root` and `parent` as vLLM has them."""
        dates = [datetime.fromisoformat(part.card.made) for part in self.parts]
        bare = not dates and self.system is None
        entry = {
            "id": self.id,
            "object": "model",
            "created": int(max(dates).timestamp()) if dates else 0,
            "owned_by": "mien",
            "root": self.adapter or self.base,
            "parent": None if bare else self.base,
            "persona": self.persona.name if self.persona else None,
            "title": self.persona.title if self.persona else None,
        }
        if self.parts:
            stage = "blend" if self.blend else self.parts[0].card.stage
            entry |= {"stage": stage, "version": self.version}
        if self.blend:
            entry["parts"] = [part.entry() for part in self.blend]
        return entry


@dataclass(frozen=True)
class _Shelf:
    """What there was when the workspace was read last."""

    marks: frozenset[tuple[str, int]]
    models: dict[str, Served] = field(default_factory=dict)
    versions: dict[str, list[Served]] = field(default_factory=dict)
    runs: dict[str, Served] = field(default_factory=dict)


class Catalogue:
    """Finds a model by its name.

    Args:
        base: Whose adapters are served.
        workspace: Where they lie.
        only: Personas to serve; none named: all.

    Attributes:
        faults: Why runs are left out that cannot be read, by their names.
    """

    def __init__(self, base: BaseFiles, workspace: Workspace, only: Collection[str] = ()) -> None:
        self.base, self.workspace, self.only = base, workspace, frozenset(only)
        self._library = library()
        self.faults: dict[str, str] = {}
        self._shelf = self._read()

    @property
    def models(self) -> Mapping[str, Served]:
        """Those that go by a name of their own, without the single versions."""
        return self._shelf.models

    def entries(self) -> list[dict[str, Any]]:
        """All models and all versions, as `/v1/models` tells of them."""
        versions = (each for several in self._shelf.versions.values() for each in several)
        return [each.entry() for each in (*self._shelf.models.values(), *versions)]

    def refresh(self) -> bool:
        """Read the workspace again if it was written to; whether there are other models now.

        While something there cannot be read, it is tried each time: a mend may leave no mark.
        """
        before = self._shelf
        if self._marks() == before.marks and not self.faults:
            return False
        self._shelf = self._read()
        return vars(self._shelf) | {"marks": before.marks} != vars(before)

    def find(self, text: str, *, blends: bool = False) -> Served:
        """The model of that name.

        Args:
            text: The name.
            blends: Whether it may be a blend.

        Raises:
            RefusedError: There is none; the nearest is named. Or it is a blend that cannot be made.
        """
        if not is_blend(text):
            return self._one(text)
        if not blends:
            message = "This server makes no blends: name one persona, or start it with `--blends`."
            raise RefusedError(403, message, "blends_off", param="model")
        return self._blend(voices(text))

    def _blend(self, mixture: Sequence[Share]) -> Served:
        """What several adapters add up to; in whichever order they are named, it is the same."""
        found = self._voices(mixture)
        if len(found) == 1 and found[0][1] == 1:
            return found[0][0]
        loudest, _ = max(found, key=lambda pair: pair[1])
        parts = tuple(model.parts[0]._replace(weight=weight) for model, weight in found)
        name = spelled(Share(model.id, weight) for model, weight in found)
        return Served(name, self.base.name, None, None, loudest.system, loudest.persona, parts)

    def _voices(self, mixture: Sequence[Share]) -> list[tuple[Served, float]]:
        """Those that count, by their runs.

        Raises:
            RefusedError: One is not there or has no adapter, or they do not go together.
        """
        named = [(self._one(name), weight) for name, weight in mixture]
        if bare := next((model.id for model, _ in named if model.card is None), None):
            raise no_blend(f"{bare!r} has no adapter to blend.")
        found = {model.adapter: (model, weight) for model, weight in named}
        if len(found) < len(named):
            raise no_blend("The blend names one adapter twice.")
        try:
            check_alike([model.card for model, _ in named if model.card])
        except AdapterError as error:
            raise no_blend(error.what) from None
        return [found[run] for run in sorted(found, key=str) if found[run][1]]

    def _one(self, text: str) -> Served:
        name, shelf = parse(text), self._shelf
        if name.version:
            return self._version(text, name.version, shelf.versions.get(name.name, []))
        found = shelf.models.get(text) or shelf.runs.get(text)
        if found is None and text == self.base.name:
            return shelf.models[BASE]
        if found is None:
            raise self._unknown(text)
        return found

    def _version(self, text: str, wanted: str, versions: list[Served]) -> Served:
        found = [each for each in versions if each.card and is_version(each.card, wanted)]
        if not found:
            raise self._unknown(text)
        if len(found) > 1 and len({each.card.adapter_hash for each in found if each.card}) > 1:
            names = ", ".join(each.id for each in found)
            raise RefusedError(404, f"{text!r} may be {names}.", "model_ambiguous", param="model")
        return found[-1]

    def _unknown(self, text: str) -> RefusedError:
        known = [entry["id"] for entry in self.entries()]
        close = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self._shelf.models)}."
        return RefusedError(404, f"There is no model {text!r}: {hint}", "model_not_found", param="model")

    def _marks(self) -> frozenset[tuple[str, int]]:
        """What changes when a run ends or is removed, or an adapter is promoted."""
        root = self.workspace.root
        paths = [*self.workspace.runs.glob(f"*/{CARD}"), root / DATABASE, root / f"{DATABASE}-wal"]
        return frozenset((str(path), path.stat().st_mtime_ns) for path in paths if path.exists())

    def _read(self) -> _Shelf:
        shelf = _Shelf(self._marks())
        shelf.models[BASE] = Served(BASE, self.base.name)
        known = self._known()
        cards, runs = [card for card, _ in known], {card.run: served for card, served in known}
        for name in dict.fromkeys(map(_voice, cards)):
            if name == BASE or (self.only and name not in self.only):
                continue
            with suppress(AdapterError):  # only imports or blends, of which none was promoted
                speaks = newest(self.workspace, name, base_hash=self.base.sha256, among=cards)
                shelf.models[name] = replace(runs[speaks.run], id=name)
            mine = [card.run for card in cards if _voice(card) == name]
            shelf.versions[name] = [replace(runs[run], id=f"{name}@{run}") for run in mine]
            shelf.runs.update({run: runs[run] for run in mine})
        shelf.models.update({each.id: each for each in self._prompts(list(shelf.models.values()))})
        return shelf

    def _known(self) -> list[tuple[Card, Served]]:
        """The runs that can speak on the base, oldest first; one that cannot be read spoils no other."""
        found, faults = list[tuple[Card, Served]](), dict[str, str]()
        for path in self.workspace.runs.glob(f"*/{CARD}"):
            run = path.parent.name
            try:
                card = own_card(path.parent)
                if card and card.stage in POLICIES and card.base_hash == self.base.sha256:
                    found.append((card, self._of(card)))
            except AdapterError as error:
                faults[run] = str(error)
                if faults[run] != self.faults.get(run):  # it is told once
                    log(logging.WARNING, "run left out", run=run, why=faults[run])
        self.faults = faults
        return sorted(found, key=lambda pair: (pair[0].made, pair[0].run))

    def _of(self, card: Card) -> Served:
        persona = None if card.stage in NULLS else persona_of(self.workspace, card)
        system = persona.system_prompt.strip() if persona and card.under_prompt else None
        folder = adapter_folder(self.workspace, card)
        return Served(card.run, card.base, card, folder, system, persona)

    def _prompts(self, models: list[Served]) -> Iterator[Served]:
        """The shallow alternatives: of personas that were trained, as trained; of the built-in ones."""
        trained = {each.persona.name: each.persona for each in models if each.persona}
        for persona in (self._library | trained).values():
            if not self.only or persona.name in self.only:
                system = persona.system_prompt.strip()
                yield Served(f"{persona.name}:{PROMPT}", self.base.name, None, None, system, persona)


def _voice(card: Card) -> str:
    """The name that an adapter goes by."""
    return card.stage if card.stage in NULLS else card.persona
