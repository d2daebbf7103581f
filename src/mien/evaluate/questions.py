"""What the suites would ask, for a system that answers elsewhere and can only be recorded.

The suites themselves are run on somebody who writes down what they ask and always answers the same. So
nothing needs to be known of them here, and what is written is what a recording is held against later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mien.chat import Sampling
from mien.errors import UnableError
from mien.evaluate.roster import Suite
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, Progress, Said
from mien.workspace import write_atomic

_REPLY = "[a reply that is not known yet]"


class Questions(NamedTuple):
    """What some suites ask.

    Attributes:
        asked: Each question once, in the order they came.
        counts: How many each suite asks, those that others ask too among them.
        dependent: The suites that go on from the replies, so that nobody can list what they ask.
    """

    asked: tuple[Asked, ...]
    counts: dict[str, int]
    dependent: tuple[str, ...]


@dataclass(frozen=True)
class Listener:
    """Writes down what it is asked."""

    key: str
    name: str = "recorded"
    asked: list[Asked] = field(default_factory=list)

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        """The same to everything."""
        self.asked.extend(asked)
        progress(len(asked))
        return [Said(_REPLY) for _ in asked]

    @property
    def depends(self) -> bool:
        """Whether some of it goes on from a reply."""
        return any(turn.content == _REPLY for each in self.asked for turn in each.messages)


def questions(suites: Iterable[Suite], setting: Setting) -> Questions:
    """All that some suites would ask of a subject whose likelihoods cannot be read.

    Args:
        suites: Each is run once.
        setting: With a memory of its own, for whatever is remembered is not asked.
    """
    heard = [_heard(suite, setting) for suite in suites]
    free = [each for each in heard if not each.depends]
    return Questions(
        asked=tuple(dict.fromkeys(asked for each in free for asked in each.asked)),
        counts={each.key: len(set(each.asked)) for each in free},
        dependent=tuple(each.key for each in heard if each.depends),
    )


def _heard(suite: Suite, setting: Setting) -> Listener:
    listener = Listener(suite.name)
    setting.show.begin(f"{suite.name}: what it asks", 0)
    with suppress(UnableError):  # it lacks what no recording has; what was asked before is kept
        suite.run(listener, setting)
    return listener


def write_questions(path: Path, asked: Iterable[Asked]) -> None:
    """Write questions as the lines of a recording in which the replies are still `null`.

    Raises:
        OSError: It cannot be written.
    """
    write_atomic(path, "".join(f"{_line(each)}\n" for each in asked))


def _line(asked: Asked) -> str:
    row: dict[str, object] = {"messages": [turn.model_dump(mode="json") for turn in asked.messages]}
    row |= {"prefill": asked.prefill} if asked.prefill else {}
    return json.dumps(row | {"seed": asked.seed, "reply": None}, ensure_ascii=False)
