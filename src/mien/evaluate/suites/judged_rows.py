"""Which prompts the judge sees, and what is said to them; other suites ask for the same replies."""

from __future__ import annotations

from collections.abc import Sequence

from mien.data.corpus import Parallel
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, Subject
from mien.evaluate.suites import held_out
from mien.schema import conversation


def rows_for(setting: Setting, quick: int, full: int | None = None) -> list[Parallel]:
    """Test prompts, in the quick size some of those that are answered anyway."""
    return setting.some(held_out.rows_for(setting), quick, full)


def replies_of(subject: Subject, setting: Setting, rows: Sequence[Parallel]) -> list[str]:
    """What a subject says to them."""
    said = setting.ask(subject, [Asked(conversation(row.prompt)) for row in rows])
    return [each.text for each in said]
