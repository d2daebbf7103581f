"""What a model's name says: which persona, which version of it, by its prompt alone, or a blend of some.

    base                    the bare base
    witty                   the adapter that speaks for the persona
    witty@witty-sft-3f9a    one run's adapter
    witty@3f9a01            the adapter whose hash begins so
    witty:prompt            no adapter: the bare base under the persona's system prompt
    witty:0.7+warm:0.3      the weighted sum of several adapters, if the server makes blends
    witty:0.5               half of what one adapter does

A name is only ever looked up among the names that are known; no path is made of it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mien.errors import InputError
from mien.registry.names import Share, shares
from mien.serve.refusals import RefusedError

BASE = "base"
PROMPT = "prompt"
LONGEST = 200
MOST_VOICES = 4
MOST_WEIGHT = 2.0
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"(?P<name>{_PART})(?:@(?P<version>{_PART})|:{PROMPT})?", re.ASCII)
_BLEND = re.compile(r"\+|:[-.0-9]")
_SHARE = re.compile(rf"{_PART}(?:@{_PART})?(?::-?[0-9]{{1,3}}(?:\.[0-9]{{1,3}})?)?", re.ASCII)


class Name(NamedTuple):
    """A model's name, taken apart; one by its prompt alone has no version either."""

    name: str
    version: str | None = None


def parse(text: str) -> Name:
    """Take a name apart.

    Raises:
        RefusedError: It cannot be the name of anything here.
    """
    if len(text) <= LONGEST and (found := _NAME.fullmatch(text)):
        return Name(found["name"], found["version"])
    message = "That is no model's name: `GET /v1/models` lists those that there are."
    raise RefusedError(404, message, "model_not_found", param="model")


def is_blend(text: str) -> bool:
    """Whether it can only be meant as a blend: it has a `+`, or a number after a colon."""
    return _BLEND.search(text) is not None


def voices(text: str) -> tuple[Share, ...]:
    """Take the name of a blend apart.

    Raises:
        RefusedError: It is none that would be made.
    """
    odd = next((each for each in text.split("+") if not _SHARE.fullmatch(each)), None)
    if len(text) > LONGEST or odd is not None:
        raise no_blend(f"{(odd or text)[:80]!r} is no part of a blend.")
    try:
        mixture = shares([text])
    except InputError as error:
        raise no_blend(error.what) from None
    if len(mixture) > MOST_VOICES or any(abs(weight) > MOST_WEIGHT for _, weight in mixture):
        raise no_blend(f"A blend has at most {MOST_VOICES} voices, of weights up to {MOST_WEIGHT:g}.")
    return mixture


def no_blend(why: str) -> RefusedError:
    """The refusal of a blend that cannot be made."""
    how = "Say it as `witty:0.7+warm:0.3`, with at most three digits after a point."
    return RefusedError(400, f"{why} {how}", "blend_impossible", param="model")
