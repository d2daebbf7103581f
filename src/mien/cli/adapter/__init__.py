"""`mien adapter`: the versions there are, what they are worth, and which of them speak."""

from __future__ import annotations

import click

from mien.cli.adapter.care import gc, rm, verify
from mien.cli.adapter.look import compare, list_adapters, show
from mien.cli.adapter.make import blend_command, scale_command
from mien.cli.adapter.measure import interpolate
from mien.cli.adapter.move import export_command, import_command
from mien.cli.adapter.speak import promote, rollback
from mien.cli.groups import Group


@click.group("adapter", cls=Group)
def adapter() -> None:
    """List adapters, promote those that are fit to speak, blend, move and remove them.

    The adapter that was promoted last is the one that a persona's name stands for. RUN is the name of a
    run, or a persona's for the adapter that speaks for it. A run is never changed: what is blended,
    scaled or imported is a new one.
    """


_COMMANDS = (list_adapters, show, compare, promote, rollback, blend_command, scale_command)
for command in (*_COMMANDS, interpolate, export_command, import_command, verify, rm, gc):
    adapter.add_command(command)
