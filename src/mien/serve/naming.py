"""What a model's name says: which persona, which version of it, or the persona by its prompt alone.

    base                    the bare base
    witty                   the adapter that speaks for the persona
    witty@witty-sft-3f9a    one run's adapter
    witty@3f9a01            the adapter whose hash begins so
    witty:prompt            no adapter: the bare base under the persona's system prompt

A name is only ever looked up among the names that are known; no path is made of it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mien.serve.refusals import RefusedError

BASE = "base"
PROMPT = "prompt"
LONGEST = 200
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"(?P<name>{_PART})(?:@(?P<version>{_PART})|:{PROMPT})?", re.ASCII)
_BLEND = re.compile(rf"{_PART}:[0-9.]+(?:\+.+)?|.+\+.+", re.ASCII)


class Name(NamedTuple):
    """A model's name, taken apart; one by its prompt alone has no version either."""

    name: str
    version: str | None = None


def parse(text: str) -> Name:
    """Take a name apart.

    Raises:
        RefusedError: It is a blend, or cannot be the name of anything here.
    """
    if len(text) <= LONGEST:
        if found := _NAME.fullmatch(text):
            return Name(found["name"], found["version"])
        if _BLEND.fullmatch(text):
            raise RefusedError(
                404,
                f"{text!r} is a blend of personas, which this server does not make: name one persona.",
                "blend_unsupported",
                param="model",
            )
    message = "That is no model's name: `GET /v1/models` lists those that there are."
    raise RefusedError(404, message, "model_not_found", param="model")
