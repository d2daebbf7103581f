"""`mien eval`: does the personality hold on prompts it never saw?"""

from __future__ import annotations

import click

from mien.base.fetch import DEFAULT_BASE
from mien.cli.output import console
from mien.cli.show import terminal_show


@click.command("eval")
@click.option("--persona", required=True, help="A built-in voice, or a run by its name.")
@click.option("--base", "base_ref", default=DEFAULT_BASE, show_default=True, help="The base model.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole evaluation as JSON.")
def evaluate(persona: str, base_ref: str, as_json: bool) -> None:
    """Measure whether a personality holds.

    The held-out prompts are answered by the bare base, by the base under the persona's system prompt,
    and by the newest trained adapter, all decoded alike and with several seeds. Every score comes with
    its 95 % interval; the report is one HTML page.
    """
    from mien.base.model import Base
    from mien.evaluate.report import table, verdict
    from mien.pipeline import evaluated
    from mien.registry.cards import newest
    from mien.workspace import Workspace

    workspace = Workspace.open()
    with terminal_show() as show:
        card = newest(workspace, persona)
        base = Base.load(base_ref, report=show.say)
        card = newest(workspace, persona, base_hash=base.files.sha256)
        evaluation, page = evaluated(base, card, workspace, show)
    if as_json:
        click.echo(evaluation.model_dump_json(indent=2))
        return
    out = console()
    out.print(table(evaluation))
    for sentence in verdict(evaluation).sentences:
        out.print(sentence, markup=False)
    out.print(f"\nReport: {page.resolve()}", soft_wrap=True, markup=False)
