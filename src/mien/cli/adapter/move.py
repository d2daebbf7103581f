"""`mien adapter export` and `import`: adapters out into the world, and others' in."""

from __future__ import annotations

from pathlib import Path

import click

from mien.base.fetch import DEFAULT_BASE, pull
from mien.cli.adapter.make import name_option
from mien.cli.output import console, echo_json, folder_size, json_option, size, stages
from mien.errors import InputError
from mien.persona.spec import find
from mien.registry.cards import newest
from mien.workspace import Workspace

FORMS = ("peft", "merged")


@click.command("export")
@click.argument("name", metavar="RUN")
@click.argument("target", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--as",
    "form",
    type=click.Choice(FORMS),
    default="peft",
    show_default=True,
    help="The adapter by itself, or the base with it merged in.",
)
@click.option("--base", "base_ref", help="Where the base is, for `merged`; by default as trained.")
@click.option("--base-name", default="", help="How others call the base, such as an id of the hub.")
def export_command(name: str, target: Path, form: str, base_ref: str | None, base_name: str) -> None:
    """Write RUN to FOLDER for other programs.

    `peft` is a folder that PEFT, TRL and vLLM load as it is, with the card and the persona in mien.json.
    `merged` is one model in transformers' format, the adapter added into the base's weights, with the
    chat template that it was trained under.
    """
    from mien.registry.transfer import export_merged, export_peft

    if base_name and form == "merged":
        raise InputError("A merged model names no base.", fix="Leave --base-name out.")
    workspace = Workspace.open()
    card = newest(workspace, name)
    if form == "peft":
        export_peft(workspace, card, target, base_name=base_name)
    else:
        with stages("Adding the adapter to the base ...") as report:
            export_merged(workspace, card, pull(base_ref or card.base, report=report), target)
    out = console()
    out.print(f"{card.run} is in {target}: {size(folder_size(target))}.", markup=False, soft_wrap=True)


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--persona", help="Whose voice it is, built in or a file; by default what mien.json says.")
@click.option(
    "--base", "base_ref", default=DEFAULT_BASE, show_default=True, help="What it was made for."
)
@name_option
@json_option
def import_command(folder: Path, persona: str | None, base_ref: str, name: str, as_json: bool) -> None:
    """Keep the PEFT adapter in FOLDER as a run of this workspace.

    Plain LoRA on all linear layers, as safetensors. Nothing is taken on trust: sizes, names, shapes and
    every number are looked at first, and no pickle is ever opened. It speaks for nobody until promoted.
    """
    from mien.base.model import Base
    from mien.base.peft import inspect
    from mien.registry.transfer import bring_in

    speaker = find(persona) if persona else None
    says = inspect(folder).base  # what is refused at a glance needs no base
    with stages("Loading the base model ...") as report:
        base = Base.load(base_ref, dtype="float32", report=report)
    card = bring_in(Workspace.open(), base, folder, name=name, persona=speaker)
    if as_json:
        echo_json(card.model_dump(mode="json"))
        return
    out = console()
    out.print(f"{folder} is now {card.run}, for {card.persona}.", markup=False, soft_wrap=True)
    if says not in ("", card.base):
        line = f"It says that its base is {says}; it fits {card.base}, which is all that can be seen."
        out.print(line, style="yellow", markup=False, soft_wrap=True)
    out.print(f"`mien chat {card.run}` talks to it.", style="dim", markup=False, soft_wrap=True)
