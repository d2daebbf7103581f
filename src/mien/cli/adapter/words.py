"""What several commands say of an adapter: its checks, its promotions, and how it is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from mien.cli.output import console
from mien.persona.spec import find
from mien.registry.cards import NULLS, Card, persona_of
from mien.registry.promote import Promotion
from mien.workspace import Workspace

if TYPE_CHECKING:
    from mien.evaluate.gate import Check, Judged

_STYLES = {
    "passed": "green",
    "says nothing": "dim",
    "not measured": "yellow",
    "not shown": "yellow",
    "failed": "bold red",
}


def checked(
    workspace: Workspace, card: Card, judged: Judged | None, persona: str | None
) -> tuple[Check, ...]:
    """What the release gate says, by the thresholds of training or those of another persona's file."""
    from mien.evaluate.gate import checks

    if judged is None or card.stage in NULLS:
        return ()
    release = (find(persona) if persona else persona_of(workspace, card)).release
    evaluation = judged.evaluation
    return checks(evaluation.results, judged.subject, release, evaluation.controls)


def how_to_evaluate(card: Card) -> str:
    """The command that evaluates an adapter against its controls."""
    return f"Run `mien eval --persona {card.persona} --systems base,prompt,null,{card.run}`."


def print_checks(found: Sequence[Check]) -> None:
    """A line for each check, in the colour of its verdict."""
    out = console()
    for check in found:
        out.print(Text(str(check), style=_STYLES[check.verdict]), soft_wrap=True)


def in_words(row: Promotion) -> str:
    """A promotion in a line."""
    how = "by force " if row.forced else ""
    why = f": {row.why}" if row.why else ""
    return f"Promoted {row.run} for {row.persona} {how}by {row.who} on {row.made[:10]}{why}"
