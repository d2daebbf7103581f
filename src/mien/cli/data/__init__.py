"""`mien data`: training data read, made, checked and converted; a module per command."""

from __future__ import annotations

import click

from mien.cli.data.check import check
from mien.cli.data.convert import convert_command
from mien.cli.data.corpus import export, show
from mien.cli.data.pairs import pairs
from mien.cli.data.restyle import restyle
from mien.cli.data.simulate import plan, prompts, simulate
from mien.cli.groups import Group


@click.group(cls=Group)
def data() -> None:
    """Make, check and convert training data.

    The built-in corpus answers every prompt in a neutral voice and in five others, with the same
    content: what differs between two replies is the voice and nothing else. For a persona of your own,
    `simulate` makes dialogues from a plan, `restyle` puts conversations you have into its voice,
    `pairs` makes preferences, and `check` says what is wrong with any of it before it is trained on.
    """


for command in (show, export, plan, simulate, restyle, pairs, check, convert_command, prompts):
    data.add_command(command)
