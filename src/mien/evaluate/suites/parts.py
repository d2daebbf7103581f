"""Asks for several kinds of replies at once, and goes on without a kind that a subject cannot give.

One large batch costs much less than several small ones, and a server that cannot be made to begin a
reply with given words can still answer everything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from mien.chat import Sampling
from mien.errors import UnableError
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, Said, Subject

Parts = Mapping[str, Sequence[Asked]]


def short(setting: Setting, tokens: int) -> Sampling:
    """The evaluation's sampling, with replies of at most `tokens`."""
    most = min(tokens, setting.sampling.max_tokens)
    return setting.sampling.model_copy(update={"max_tokens": most})


def ask_parts(
    subject: Subject, setting: Setting, parts: Parts, sampling: Sampling
) -> tuple[dict[str, list[Said]], list[str]]:
    """Replies by part, and a line for each part that the subject could not answer.

    Raises:
        UnableError: It could answer none of them.
    """
    try:
        return _together(subject, setting, parts, sampling), []
    except UnableError as error:
        found, lost, last = dict[str, list[Said]](), list[str](), error
    for name, asked in parts.items():
        try:
            found[name] = setting.ask(subject, asked, sampling=sampling)
        except UnableError as error:
            lost.append(f"{name}: {error.what}")
            last = error
    if not found:
        raise last
    return found, lost


def _together(
    subject: Subject, setting: Setting, parts: Parts, sampling: Sampling
) -> dict[str, list[Said]]:
    everything = [each for asked in parts.values() for each in asked]
    said = iter(setting.ask(subject, everything, sampling=sampling))
    return {name: list(islice(said, len(asked))) for name, asked in parts.items()}
