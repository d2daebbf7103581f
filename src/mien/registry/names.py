"""Names that people give: strict ones for new adapters, and mixtures such as `witty:0.7+warm:0.3`.

A name is looked up among the cards or becomes part of a folder's name here; no path is ever made of text
that has not passed `checked`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from mien.errors import InputError
from mien.registry.cards import POLICIES

RESERVED = frozenset(("base", "prompt", "reward", *POLICIES))
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
MOST_WEIGHT = 100.0


class Share(NamedTuple):
    """One voice of a mixture: a run's or a persona's name, and what its update is multiplied by."""

    name: str
    weight: float


def checked(name: str) -> str:
    """A name that an adapter may be given: as those of personas are, and no word of ours.

    Raises:
        InputError: It is none.
    """
    rule = "Use a lower-case letter, then up to 39 of a-z, 0-9 and hyphens."
    if odd := next((each for each in name if not each.isascii()), None):
        what = f"{name!r} has a {unicodedata.name(odd, 'nameless character')} in it."
        raise InputError(f"No adapter can be called that: {what}", fix=rule)
    if not _NAME.fullmatch(name):
        raise InputError(f"No adapter can be called {name[:80]!r}.", fix=rule)
    if name in RESERVED:
        raise InputError(f"No adapter can be called {name!r}: the word has a meaning.", fix=rule)
    return name


def shares(texts: Iterable[str]) -> tuple[Share, ...]:
    """A mixture from `NAME:WEIGHT`s, apart or joined by `+`; a name without a weight counts whole.

    Raises:
        InputError: There is none, one is said twice, a weight is no number, or all of them are 0.
    """
    found = tuple(_share(each) for text in texts for each in text.split("+"))
    names = [share.name for share in found]
    how = "Say it as `witty:0.7 warm:0.3`."
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"The mixture names {twice!r} twice.", fix=how)
    if not any(share.weight for share in found):
        raise InputError("The mixture has no voice in it.", fix=how)
    return found


def spelled(mixture: Iterable[Share]) -> str:
    """The one way to write a mixture: by name, and without the voices that do not count."""
    return "+".join(f"{name}:{weight:.15g}" for name, weight in sorted(mixture) if weight)


def _share(text: str) -> Share:
    name, colon, number = text.strip().partition(":")
    try:
        weight = float(number) if colon else 1.0
    except ValueError:
        weight = math.nan
    if not name or not abs(weight) <= MOST_WEIGHT:  # so NaN is refused as well
        raise InputError(
            f"{text[:80]!r} is no part of a mixture.",
            fix=f"Say NAME:WEIGHT, the weight from -{MOST_WEIGHT:g} to {MOST_WEIGHT:g}.",
        )
    return Share(name, weight)
