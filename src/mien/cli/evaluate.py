"""`mien eval`: does the personality hold on prompts it never saw?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mien.base.fetch import DEFAULT_BASE
from mien.cli.output import console
from mien.cli.show import terminal_show
from mien.errors import InputError
from mien.registry.cards import POLICIES, Card, newest

if TYPE_CHECKING:
    from mien.workspace import Workspace


@click.command("eval")
@click.option("--persona", required=True, help="A built-in voice, or a run by its name.")
@click.option(
    "--systems",
    metavar="LIST",
    help="Adapters to compare, by stage or run, the judged one last: `sft,dpo`. By default the"
    " persona's newest.",
)
@click.option("--base", "base_ref", default=DEFAULT_BASE, show_default=True, help="The base model.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole evaluation as JSON.")
def evaluate(persona: str, systems: str | None, base_ref: str, as_json: bool) -> None:
    """Measure whether a personality holds.

    The held-out prompts are answered by the bare base, by the base under the persona's system prompt,
    and by the newest trained adapter or those that are named, all decoded alike and with several seeds.
    Every score comes with its 95 % interval; the report is one HTML page.
    """
    from mien.base.model import Base
    from mien.evaluate.report import table, verdict
    from mien.pipeline import evaluated
    from mien.workspace import Workspace

    workspace = Workspace.open()
    with terminal_show() as show:
        _cards(workspace, persona, systems)  # what is not there is said before the base is loaded
        base = Base.load(base_ref, report=show.say)
        cards = _cards(workspace, persona, systems, base.files.sha256)
        evaluation, page = evaluated(base, cards, workspace, show)
    if as_json:
        click.echo(evaluation.model_dump_json(indent=2))
        return
    out = console()
    out.print(table(evaluation))
    for sentence in verdict(evaluation).sentences:
        out.print(sentence, markup=False)
    out.print(f"\nReport: {page.resolve()}", soft_wrap=True, markup=False)


def _cards(
    workspace: Workspace, persona: str, systems: str | None, base_hash: str | None = None
) -> dict[str, Card]:
    """The adapters that are compared, by the names they go under."""
    if systems is None:
        card = newest(workspace, persona, base_hash=base_hash)
        return {card.persona: card}
    names = [name for name in systems.split(",") if name not in ("", "base", "prompt")]
    if not names:
        raise InputError("--systems names no adapter.", fix=f"Name some of {', '.join(POLICIES)}.")
    found = {}
    for name in names:
        stage = name in POLICIES
        found[name] = newest(
            workspace,
            persona if stage else name,
            base_hash=base_hash,
            stages=(name,) if stage else POLICIES,
        )
    return found
