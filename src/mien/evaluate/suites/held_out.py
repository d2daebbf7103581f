"""Replies to the corpus' held-out prompts: several suites look at them, and they are asked once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mien.data.corpus import Parallel, rows_of
from mien.evaluate.setting import Setting, spread
from mien.evaluate.subject import Asked, Said, Subject
from mien.schema import conversation


class HeldOut(NamedTuple):
    """What a subject said.

    Attributes:
        rows: The prompts.
        said: (seeds, rows) replies.
    """

    rows: list[Parallel]
    said: list[list[str]]

    @property
    def ids(self) -> list[str]:
        """Of the prompts."""
        return [row.id for row in self.rows]


def rows_for(setting: Setting) -> list[Parallel]:
    """The test prompts that the size allows."""
    return spread(rows_of("test"), setting.amounts.held_out.prompts)


def questions(setting: Setting, seeds: int) -> list[Asked]:
    """The test prompts, each with seeds 0, 1, ..., `seeds` - 1."""
    rows = rows_for(setting)
    return [Asked(conversation(row.prompt), seed) for seed in range(seeds) for row in rows]


def grouped(setting: Setting, said: Sequence[Said]) -> HeldOut:
    """Replies to `questions`, by seed and prompt."""
    rows, texts = rows_for(setting), [each.text for each in said]
    return HeldOut(rows, [texts[start : start + len(rows)] for start in range(0, len(texts), len(rows))])


def held_out(subject: Subject, setting: Setting, seeds: int) -> HeldOut:
    """A subject's replies to the test prompts.

    Raises:
        UnableError: The subject cannot answer one of them.
    """
    return grouped(setting, setting.ask(subject, questions(setting, seeds)))
