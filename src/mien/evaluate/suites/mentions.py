"""Which of several things a short reply settles on: the first that it names and does not deny."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from mien.data.wording import spelled

_STRAIGHT = str.maketrans("\u2018\u2019", "''")
# "not Rome", "isn't really Rome", "rather than Rome"; but "not Milan but Rome" names Rome.
_DENIED = re.compile(
    r"(?:\b(?:not|never|nor|neither)|n't|\binstead of|\brather than)\s+(?:(?!but\b)[\w']+\s+){0,4}\Z",
    re.IGNORECASE,
)
# "Rome is not", "Rome isn't", "Rome was wrong"
_REFUTED = re.compile(
    r"\A\s+(?:is|was|are|were|would be)(?:n't\b|\s+not\b|\s+(?:wrong|incorrect|false))", re.IGNORECASE
)


def settled(text: str, names: Mapping[str, Sequence[str]], *, stems: bool = False) -> str | None:
    """The label whose name comes first in a text without being denied; None if there is none.

    Args:
        text: A reply.
        names: By label, the words that stand for it; whole numbers are found in digits and in words.
        stems: Whether a name may go on, as `keep` does in `keeping`.
    """
    plain = text.translate(_STRAIGHT)
    places = [
        (found.start(), label)
        for label, each in names.items()
        for found in _pattern(tuple(each), stems).finditer(plain)
        if not _DENIED.search(plain[: found.start()]) and not _REFUTED.search(plain[found.end() :])
    ]
    return min(places)[1] if places else None


@lru_cache(maxsize=512)
def _pattern(names: tuple[str, ...], stems: bool) -> re.Pattern[str]:
    spoken = [spelled(int(name)) for name in names if name.isdecimal()]
    listed = "|".join(re.escape(name) for name in (*names, *spoken))
    end = r"\w*" if stems else r"(?!\w)"
    return re.compile(rf"(?<!\w)(?:{listed}){end}", re.IGNORECASE)
