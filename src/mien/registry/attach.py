"""Puts a finished run's adapter on a base, if both are what its card says."""

from __future__ import annotations

from pathlib import Path

from mien.base.fetch import BaseFiles
from mien.base.model import Base
from mien.errors import AdapterError
from mien.registry.cards import Card
from mien.registry.verify import check_file


def attach(base: Base, card: Card, folder: Path) -> None:
    """Make sure the adapter in `folder` is on the base, under its run's name.

    Raises:
        AdapterError: It was trained on another base, its file is not the one the card tells of, or it
            cannot be read.
    """
    check_base(card, base.files)
    if card.run in base.adapters.configs:
        return
    check_file(card, folder)
    base.adapters.load(card.run, folder)


def check_base(card: Card, files: BaseFiles) -> None:
    """Make sure that an adapter belongs to a base, by the base's hash.

    Raises:
        AdapterError: It does not.
    """
    if card.base_hash != files.sha256:
        raise AdapterError(
            f"{card.run} was trained on {card.base} ({card.base_hash[:12]}), not on {files.name}"
            f" ({files.sha256[:12]}).",
            fix=f"Pass `--base {card.base}`, or train it on this one.",
        )
