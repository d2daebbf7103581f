"""Commands that end in every way a command can end."""

from __future__ import annotations

import click

from mien.errors import AdapterError, SpecError


@click.command()
def fine() -> None:
    """End well."""
    click.echo("fine")


@click.command()
def missing() -> None:
    """End with an error of ours."""
    raise AdapterError("runs: no adapter of [bold]'captain'.", fix="Run `mien train` first.")


@click.command()
def mistaken() -> None:
    """End with several mistakes in one file."""
    raise SpecError("captain.yaml", ["name: missing", "title: missing"], fix="See the schema.")


@click.command()
def stopped() -> None:
    """End by Ctrl-C."""
    raise KeyboardInterrupt


@click.command()
def stopped_in_training() -> None:
    """End by Ctrl-C with something to say."""
    raise KeyboardInterrupt("stopped at step 12")
