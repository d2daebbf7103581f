"""Which prompts the judge sees, and what is said to them; other suites ask for the same replies."""

from __future__ import annotations

from collections.abc import Sequence

from mien.data.corpus import Parallel
from mien.evaluate.setting import Setting, spread
from mien.evaluate.subject import Asked, Subject
from mien.evaluate.suites import held_out
from mien.schema import conversation


def rows_for(setting: Setting, count: int | None) -> list[Parallel]:
    """Some of the test prompts that are answered anyway."""
    return spread(held_out.rows_for(setting), count)


def replies_of(subject: Subject, setting: Setting, rows: Sequence[Parallel]) -> list[str]:
    """What a subject says to them."""
    said = setting.ask(subject, [Asked(conversation(row.prompt)) for row in rows])
    return [each.text for each in said]
