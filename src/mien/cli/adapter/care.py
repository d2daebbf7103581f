"""`mien adapter verify`, `rm` and `gc`: whether versions are whole, and which may go."""

from __future__ import annotations

import shutil

import click

from mien.cli.output import console, count, echo_json, folder_size, json_option, size
from mien.errors import AdapterError
from mien.registry.cards import Card
from mien.registry.retire import abandoned, remove, run_called, superseded
from mien.workspace import Workspace


@click.command("verify")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@json_option
def verify(runs: tuple[str, ...], as_json: bool) -> None:
    """Check that adapters are what their cards say; all by default.

    Their files against the hashes, names and shapes, every number, their persona, and the base at hand.
    """
    from mien.registry.verify import faults, verified

    workspace = Workspace.open()
    named = ((run, faults(workspace, run_called(workspace, run))) for run in runs)
    found = dict(named if runs else verified(workspace))
    if as_json:
        echo_json(found)
    else:
        _print_found(found)
    if broken := sum(map(bool, found.values())):
        raise AdapterError(
            f"{count(broken, 'adapter')} of {len(found)} not as the card says.",
            fix="Copy them again from where they are whole, or move them away.",
        )


def _print_found(found: dict[str, list[str]]) -> None:
    out = console()
    for run, faults in found.items():
        out.print(f"{run}: {'; '.join(faults) or 'whole'}", markup=False, soft_wrap=True)


@click.command("rm")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(runs: tuple[str, ...], yes: bool) -> None:
    """Remove runs for good, by their own names.

    What speaks for a persona stays, and what something kept was made of, what an unfinished training may
    start from, what a server has in memory, and what a running experiment asks for.
    """
    workspace = Workspace.open()
    doomed = [run_called(workspace, run) for run in dict.fromkeys(runs)]
    if not yes:
        click.confirm(f"Remove {', '.join(card.run for card in doomed)} for good?", abort=True)
    _remove(workspace, doomed)


@click.command("gc")
@click.option(
    "--keep",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Of each persona, stage and base.",
)
@click.option("--yes", is_flag=True, help="Remove them; without it, they are only listed.")
@json_option
def gc(keep: int, yes: bool, as_json: bool) -> None:
    """List the runs that nothing needs any more, or remove them.

    Those go that have N newer ones of the same persona, stage and base. What speaks for a persona stays,
    what spoke before it, all that either was made of, what a training may start from, what a server has
    in memory, what a running experiment asks for, and imports.
    """
    from mien.serve.experiments import claims

    workspace = Workspace.open()
    doomed = superseded(workspace, claims(workspace), newest=keep)
    left = abandoned(workspace)
    folders = [*(workspace.runs / card.run for card in doomed), *left]
    octets = sum(map(folder_size, folders))
    if as_json:
        echo_json({"runs": [card.run for card in doomed], "bytes": octets, "removed": yes})
    elif not yes:
        for folder in folders:
            console().print(f"{folder.name}: {size(folder_size(folder))}", markup=False)
        hint = " `mien adapter gc --yes` removes them." if folders else ""
        console().print(f"{count(len(folders), 'folder')}, {size(octets)} in all.{hint}")
    if yes:
        _remove(workspace, doomed, quiet=as_json)
        for path in left:
            shutil.rmtree(path)


def _remove(workspace: Workspace, doomed: list[Card], *, quiet: bool = False) -> None:
    from mien.serve.experiments import claims

    for card in doomed:
        freed = size(folder_size(workspace.runs / card.run))
        remove(workspace, card, claims(workspace))
        if not quiet:
            console().print(f"Removed {card.run}: {freed}.", markup=False)
