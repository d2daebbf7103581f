"""Versions out into the world, and others' adapters in.

Out goes a PEFT folder, which PEFT, TRL and vLLM load as it is, or a whole model with the adapter added
into its weights. In comes what has passed `inspect` and fits the base; the checks are made on a copy, so
that what was checked is what is kept, and a file that changes meanwhile changes nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from mien.base.fetch import BaseFiles, file_sha256
from mien.base.lora import CONFIG, WEIGHTS, Pairs, as_pairs, read_folder
from mien.base.model import Base
from mien.base.peft import MAX_BYTES, inspect, open_regular, unreadable
from mien.base.render import Renderer
from mien.errors import AdapterError, InputError, first_line
from mien.persona.spec import Persona
from mien.registry.attach import check_base
from mien.registry.cards import Card, Derivation, adapter_folder, persona_of
from mien.registry.names import checked
from mien.registry.template import chat_template
from mien.registry.verify import check_file
from mien.registry.versions import keep, partial_folder, untrained
from mien.schema import Strict
from mien.workspace import Workspace, disk_errors, write_json

PASSPORT = "mien.json"
_MOST_PASSPORT = 2**20


class Passport(Strict):
    """What travels with an adapter, so that another workspace knows it again."""

    card: Card
    persona: Persona


def export_peft(workspace: Workspace, card: Card, target: Path, *, base_name: str = "") -> None:
    """Write a version as a PEFT folder, with its card and persona beside it.

    Args:
        workspace: Where it is.
        card: Which.
        target: A folder that is not there yet.
        base_name: How others call its base, such as an id of the hub; by default as it is here.

    Raises:
        InputError: There is something at `target`.
        AdapterError: The file is not the one that the card tells of.
    """
    source = adapter_folder(workspace, card)
    check_file(card, source)
    inspect(source)
    with disk_errors(target.parent, "100 MB"):
        _make(target)
        shutil.copyfile(source / WEIGHTS, target / WEIGHTS)
        config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
        write_json(target / CONFIG, config | {"base_model_name_or_path": base_name or card.base})
        passport = Passport(card=card, persona=persona_of(workspace, card))
        write_json(target / PASSPORT, passport.model_dump(mode="json"))


def export_merged(workspace: Workspace, card: Card, files: BaseFiles, target: Path) -> None:
    """Write base and adapter as one model in transformers' format, with the chat template of mien.

    Sums are made in float32 and kept in the base's own type.

    Args:
        workspace: Where the adapter is.
        card: Which.
        files: Its base.
        target: A folder that is not there yet.

    Raises:
        InputError: There is something at `target`.
        AdapterError: It belongs to another base, or is not the file that the card tells of.
    """
    check_base(card, files)
    source = adapter_folder(workspace, card)
    check_file(card, source)
    config, tensors = read_folder(source)
    model = AutoModelForCausalLM.from_pretrained(files.folder, dtype="auto")
    _add(model, as_pairs(tensors), config.scale)
    tokenizer = AutoTokenizer.from_pretrained(files.folder)
    tokenizer.chat_template = chat_template(Renderer(tokenizer))
    with disk_errors(target.parent, "the size of the base"):
        _make(target)
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def bring_in(
    workspace: Workspace, base: Base, folder: Path, *, name: str = "", persona: Persona | None = None
) -> Card:
    """Keep a PEFT folder from elsewhere as a version of this workspace.

    Args:
        workspace: Where it is kept.
        base: What it has to fit; nothing is put on it.
        folder: With `adapter_config.json` and `adapter_model.safetensors`.
        name: What the version's name begins with; by default the persona's.
        persona: Whom it speaks for if it is promoted; by default the one that travels with it.

    Raises:
        InputError: The name cannot be, or nobody says whose voice it is.
        AdapterError: It cannot be read, or does not belong to this base.
    """
    if name:
        checked(name)
    with partial_folder(workspace) as copy:
        passport = _passport(folder)
        _copy(folder, copy)
        speaker = persona or (passport.persona if passport else None)
        if speaker is None:
            what = f"{folder}: it does not say whose voice it is."
            raise InputError(what, fix="Name the persona, built in or a file, with `--persona`.")
        if passport:
            check_base(passport.card, base.files)
        try:
            adapter = base.adapters.read(copy)
        except AdapterError as error:
            raise AdapterError(error.what.replace(str(copy), str(folder)), fix=error.fix) from error
        card = _card(base, speaker, copy, folder, passport)
        return keep(workspace, name or checked(speaker.name), adapter, card, speaker)


def _card(base: Base, speaker: Persona, copy: Path, folder: Path, passport: Passport | None) -> Card:
    """Of what came with its card, all that was known; of the rest, that nothing is."""
    found = inspect(copy)
    derived = Derivation(
        rank=found.r, source=folder.name, source_hash=file_sha256(copy / WEIGHTS), says=found.base
    )
    card = untrained(
        "import",
        speaker,
        derived,
        base=base.files.name,
        base_hash=base.files.sha256,
        renderer=base.renderer.style.name,
        under_prompt=passport.card.under_prompt if passport else False,
    )
    if passport is None:
        return card
    known = ("data", "data_hash", "recipe_hash", "seed", "examples", "steps", "kept_step", "verdict")
    figures = ("dtype", "device", "seconds", "validation_loss", "dose", "trained_tokens")
    told = {key: getattr(passport.card, key) for key in (*known, *figures)}
    return card.model_copy(update=told | {"parents": (passport.card.run,)})


def _copy(folder: Path, copy: Path) -> None:
    for name, most in ((CONFIG, _MOST_PASSPORT), (WEIGHTS, MAX_BYTES)):
        with open_regular(folder / name, most) as source, (copy / name).open("xb") as target:
            shutil.copyfileobj(source, target, 2**20)


def _passport(folder: Path) -> Passport | None:
    if not (folder / PASSPORT).exists():
        return None
    with open_regular(folder / PASSPORT, _MOST_PASSPORT) as file:
        try:
            return Passport.model_validate_json(file.read())
        except ValidationError as error:
            raise unreadable(folder, f"{PASSPORT}: {first_line(error)}") from error


def _add(model: nn.Module, pairs: Pairs, scale: float) -> None:
    """W + s B A, in place."""
    with torch.no_grad():
        for path, (a, b) in pairs.items():
            weight = model.get_parameter(f"{path}.weight")
            weight.copy_(weight.float() + scale * (b.float() @ a.float()))


def _make(target: Path) -> None:
    if target.exists():
        raise InputError(f"{target} is there already.", fix="Give a folder that is not there yet.")
    target.mkdir(parents=True)
