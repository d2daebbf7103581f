"""Command groups that answer before anything heavy is imported, and that never show a traceback."""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

from mien.errors import MienError


class Lazy(NamedTuple):
    """Where a command is, as `module:attribute`, and what the list of commands says of it."""

    target: str
    help: str


class Group(click.Group):
    """Lists commands in the order of their making, and suggests the nearest where there is none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as the source has them."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with a suggestion."""
        name, known = args[0], self.list_commands(ctx)
        if name in known or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"Did you mean `{close[0]}`?" if close else f"There are {', '.join(known)}."
        raise click.UsageError(f"There is no command {name!r}. {hint}", ctx)


class LazyGroup(Group):
    """Imports a sub-command when it is called, and turns whatever goes wrong on purpose into one line.

    Args:
        lazy: The sub-commands by name, in the order they are listed.
        environment: The environment variables, with what each is for.
        **settings: As for `click.Group`.
    """

    def __init__(
        self, *, lazy: Mapping[str, Lazy], environment: Mapping[str, str], **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.lazy = lazy
        self.environment = environment

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as the literal has them."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one sub-command."""
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name].target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.help) for name, each in self.lazy.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the environment variables."""
        with formatter.section("Environment"):
            formatter.write_dl(list(self.environment.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours or Ctrl-C ends it with one line and an exit code."""
        try:
            return super().invoke(ctx)
        except MienError as error:
            from mien.cli.output import show_error

            if os.environ.get("MIEN_DEBUG"):
                traceback.print_exception(error)
            show_error(error)
            raise click.exceptions.Exit(error.exit_code) from error
        except KeyboardInterrupt as stop:  # training raises one that says at which step
            said = str(stop) or "interrupted"
            click.echo(f"\n{said[:1].upper()}{said[1:]}.", err=True)
            raise click.exceptions.Exit(130) from stop
