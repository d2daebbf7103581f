"""`mien adapter blend` and `scale`: new versions by arithmetic, without training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mien.cli.output import console, echo_json, json_option, stages
from mien.persona.spec import find
from mien.registry.cards import Card
from mien.registry.names import shares
from mien.workspace import Workspace

if TYPE_CHECKING:
    from mien.registry.additivity import Additivity

_READ = 12  # replies of the corpus' validation rows; more hardly narrow the interval
name_option = click.option("--name", default="", help="What the new run's name begins with.")


@click.command("blend")
@click.argument("mixture", metavar="NAME:WEIGHT...", nargs=-1, required=True)
@name_option
@click.option("--persona", help="Whom it may be promoted for; by default the heaviest voice's persona.")
@click.option("--rank", type=click.IntRange(1), help="Cut it to this rank; what is lost is said.")
@click.option("--base", "base_ref", help="Where its base is, if its name does not say.")
@click.option("--measure/--no-measure", default=True, help="Measure how far the voices add up.")
@json_option
def blend_command(
    mixture: tuple[str, ...],
    name: str,
    persona: str | None,
    rank: int | None,
    base_ref: str | None,
    measure: bool,
    as_json: bool,
) -> None:
    """Add up the updates of several adapters, each times its weight.

    As in `mien adapter blend witty:0.7 warm:0.3`. The sum is exact; its rank is the sum of the ranks,
    unless it is cut. Then the model's words are compared with what would come of the voices' separate
    effects on them added up: that residual says how much the voices disturb each other.
    """
    from mien.registry.blend import blend

    workspace, parts = Workspace.open(), shares(mixture)
    speaker = find(persona) if persona else None
    card = blend(workspace, parts, name=name, persona=speaker, rank=rank)
    found = _measured(workspace, card, base_ref) if measure else None
    if as_json:
        measured = found.model_dump(mode="json") if found else None
        echo_json({"card": card.model_dump(mode="json"), "additivity": measured})
        return
    _print_made(card)
    if found:
        out = console()
        out.print(f"Residual of additivity: {found.residual}, of what the blend changes in the logits.")
        out.print(f"That moves the words by {found.nats} nats per token (n = {found.examples} replies).")


@click.command("scale")
@click.argument("run", metavar="RUN")
@click.argument("factor", type=float)
@name_option
@json_option
def scale_command(run: str, factor: float, name: str, as_json: bool) -> None:
    """Multiply the update of RUN by FACTOR: less or more of a voice.

    A factor below 0 needs `--` before it, as in `mien adapter scale witty -- -0.5`.
    """
    from mien.registry.blend import scale

    card = scale(Workspace.open(), run, factor, name=name)
    if as_json:
        echo_json(card.model_dump(mode="json"))
        return
    _print_made(card)


def _measured(workspace: Workspace, card: Card, base_ref: str | None) -> Additivity:
    from mien.base.model import Base
    from mien.data.corpus import examples
    from mien.registry.additivity import additivity, write_additivity
    from mien.registry.attach import attach
    from mien.registry.cards import adapter_folder
    from mien.registry.retire import run_called

    with stages("Loading the base model ...") as report:
        base = Base.load(base_ref or card.base, dtype="float32", report=report)
        report("measuring how far the voices add up")
        for run in (card.run, *card.parents):
            attach(
                base, run_called(workspace, run), adapter_folder(workspace, run_called(workspace, run))
            )
        weights = card.derived.weights if card.derived else ()
        parts = list(zip(card.parents, weights, strict=True))
        found = additivity(base, card.run, parts, examples("neutral", "validation")[:_READ])
    write_additivity(workspace, card.run, found)
    return found


def _print_made(card: Card) -> None:
    derived, out = card.derived, console()
    out.print(f"Made {card.run}: {_sum(card)}, for {card.persona}.", markup=False, soft_wrap=True)
    if derived and derived.lost is not None:
        out.print(f"Cut to rank {derived.rank}, it has lost {derived.lost:.1%} of its update.")
    out.print(f"`mien chat {card.run}` talks to it.", style="dim", markup=False, soft_wrap=True)


def _sum(card: Card) -> str:
    weights = card.derived.weights if card.derived else ()
    parts = zip(weights, card.parents, strict=True)
    return " + ".join(f"{weight:g} x {parent}" for weight, parent in parts)
