"""`mien data convert`: one data set in another form, and an account of every row."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

import click

from mien.cli.output import count, progress
from mien.data.card import card_of, write_card
from mien.data.convert import Converted, Target, convert
from mien.data.formats import Form
from mien.errors import InputError
from mien.workspace import disk_errors

_LIMIT = "Nobody has checked these rows; `mien data check` does."


@click.command("convert")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--to", type=click.Choice(get_args(Target)), help="The form to write; see above.")
@click.option(
    "--from",
    "form",
    type=click.Choice(get_args(Form)),
    default="auto",
    help="The form of IN; by default, each row's keys tell.",
)
@click.option("--licence", help="Whose terms the rows are under, for the card: `apache-2.0`, say.")
@click.option("--skip-bad", is_flag=True, help="Leave out and list rows that cannot be read.")
@click.option("--force", is_flag=True, help="Replace OUT if it is there already.")
def convert_command(
    source: Path,
    target: Path,
    to: Target | None,
    form: Form,
    licence: str | None,
    skip_bad: bool,
    force: bool,
) -> None:
    """Rewrite a data set in another form.

    IN is JSON Lines or one JSON array, of prompt and completion, messages, preferences, ShareGPT or
    Alpaca. OUT becomes JSON Lines, with a card beside it. Without --to, rows stay what they are, in
    TRL's conversational form. As examples, a dialogue becomes one row per turn of the assistant, and a
    preference the row of its chosen reply. Other keys of a row are kept.
    """
    _check_target(source, target, force=force)
    card = card_of(target)
    with (
        disk_errors(target.absolute().parent, "as much as IN takes"),
        progress(f"Converting {source.name}", _bytes(source)) as bar,
    ):
        done = convert(source, target, to=to, form=form, skip_bad=skip_bad, advance=bar.advance)
        bar.say("Writing the card")
        _write_card(source, target, licence, done)
    click.echo(f"Read {count(done.read, 'row')} of {source}.")
    _account(done)
    click.echo(f"Wrote {count(done.written, 'row')} to {target}, and its card to {card}.")


def _check_target(source: Path, target: Path, *, force: bool) -> None:
    if target.suffix != ".jsonl":
        fix = f"Name it {target.with_suffix('.jsonl').name}."
        raise InputError(f"{target}: what is written is JSON Lines.", fix=fix)
    if target.exists() and source.exists() and target.samefile(source):
        fix = "Choose another name: the original is worth keeping."
        raise InputError(f"{target}: IN and OUT are one file.", fix=fix)
    if target.exists() and not force:
        raise InputError(f"{target}: there already.", fix="Choose another name, or pass --force.")


def _bytes(source: Path) -> int:
    return source.stat().st_size if source.is_file() else 0


def _write_card(source: Path, target: Path, licence: str | None, done: Converted) -> None:
    write_card(
        target,
        title=target.stem,
        how=f"Converted from `{source.name}` by `mien data convert`.\n\n{_history(done)}",
        licence=licence,
        sources={source.name: f"sha256 {_digest(source)}"},
        limits=[_LIMIT],
        language=(),
    )


def _history(done: Converted) -> str:
    """The account for the card, which has no room for single rows."""
    lines = [f"Read {count(done.read, 'row')}, wrote {count(done.written, 'row')}.", *_reasons(done)]
    return "\n".join(f"- {line.rstrip(':')}" for line in lines)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _account(done: Converted) -> None:
    """What did not go straight through, and why."""
    for line in _reasons(done):
        click.echo(line)
    for problem in done.named:
        click.echo(f"  {problem}")
    if done.bad > len(done.named):
        click.echo(f"  and {done.bad - len(done.named)} more.")


def _reasons(done: Converted) -> list[str]:
    lines = [f"Changed {count(rows, 'row')}: {what}." for what, rows in done.mended.most_common()]
    lines += [f"Left out {count(rows, 'row')}: {why}" for why, rows in done.left_out.most_common()]
    return lines + ([f"Left out {count(done.bad, 'row')} that cannot be read:"] if done.bad else [])
