"""Whether versions still are what their cards say: hashes, shapes, numbers, and the base at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import cast

from mien.base.fetch import cached
from mien.base.peft import ALPHA, MAX_BYTES, WEIGHTS, first_not_finite, inspect, open_regular
from mien.errors import AdapterError, MienError
from mien.registry.cards import ADAPTER, CARD, PERSONA, Card, own_card
from mien.schema import digest
from mien.workspace import Workspace, read_json


def check_file(card: Card, folder: Path) -> None:
    """Make sure that the weights in `folder` are the ones that the card tells of.

    Raises:
        AdapterError: They are not, or are no regular file: a pipe would be read for ever.
    """
    with open_regular(folder / WEIGHTS, MAX_BYTES) as file:
        found = hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()
    if found != card.adapter_hash:
        raise AdapterError(
            f"{folder / WEIGHTS}: not the file that was trained (its sha256 is not the manifest's).",
            fix=f"Copy it again, or remove {folder.parent} and train it again.",
        )


def verified(workspace: Workspace) -> Iterator[tuple[str, list[str]]]:
    """Every version's name, and what is wrong with it, in the order of their names."""
    for path in sorted(workspace.runs.glob(f"*/{CARD}")):
        try:
            card = own_card(path.parent)
        except AdapterError as error:
            yield path.parent.name, [error.what]
        else:
            if card:
                yield card.run, faults(workspace, card)


def faults(workspace: Workspace, card: Card) -> list[str]:
    """What is wrong with a version, one line each; none if all is as its card says."""
    folder = workspace.runs / card.run
    return [*_persona(folder, card), *_base(card), *_weights(folder / ADAPTER, card)]


def _persona(folder: Path, card: Card) -> Iterator[str]:
    path = folder / PERSONA
    try:
        # Of the text and not of the model, to which a later mien may have added a key.
        who = {key: value for key, value in read_json(path).items() if key != "release"}
        if digest(who) != card.persona_hash:
            yield f"{path}: not the persona that it was made for"
    except (OSError, ValueError, AttributeError) as error:
        yield f"{path}: cannot be read ({type(error).__name__})"


def _base(card: Card) -> Iterator[str]:
    at_hand = {files.name: files.sha256 for files in cached()}.get(card.base, card.base_hash)
    if at_hand != card.base_hash:
        yield f"the {card.base} at hand is another ({at_hand[:12]}, not {card.base_hash[:12]})"


def _weights(folder: Path, card: Card) -> Iterator[str]:
    try:
        found = inspect(folder)
        check_file(card, folder)
    except MienError as error:
        yield error.what
        return
    if ALPHA in found.metadata and float(found.metadata[ALPHA]) != found.alpha:
        yield f"{folder}: its config has alpha {found.alpha:g}, its weights {found.metadata[ALPHA]}"
    if card.derived and card.derived.rank != found.r:
        yield f"{folder}: of rank {found.r}, and its card says {card.derived.rank}"
    if layer := first_not_finite(folder, found):
        yield f"{folder}: {layer} is not finite"
