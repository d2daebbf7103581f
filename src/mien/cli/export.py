"""`mien export`: all that another program starts from."""

from __future__ import annotations

from pathlib import Path

import click

from mien.base.fetch import DEFAULT_BASE, pull
from mien.cli.groups import Group
from mien.cli.output import console, folder_size, size, stages
from mien.workspace import Workspace


@click.group("export", cls=Group)
def export() -> None:
    """Write what other programs serve from.

    `mien adapter export` writes a single adapter.
    """


@export.command("vllm")
@click.option(
    "--persona",
    "personas",
    multiple=True,
    metavar="NAME,...",
    help="These personas or runs; by default every persona with a promoted adapter.",
)
@click.option(
    "--out", "target", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="New."
)
@click.option("--base", "base_ref", default=DEFAULT_BASE, show_default=True, help="Their base model.")
@click.option("--max-rank", type=int, help="Highest rank to serve; by default what they need.")
@click.option("--with-base", is_flag=True, help="Copy the base too, for another machine.")
def vllm(
    personas: tuple[str, ...], target: Path, base_ref: str, max_rank: int | None, with_base: bool
) -> None:
    """Write adapters, chat template and a launch script for vLLM.

    FOLDER/serve.sh starts the server; `mien serve --backend vllm` is the gateway before it.
    """
    from mien.registry.vllm import chosen, export_vllm

    workspace = Workspace.open()
    names = [name for each in personas for name in each.split(",") if name]
    with stages("Writing ...") as report:
        files = pull(base_ref, report=report)
        versions = chosen(workspace, names, files)
        export_vllm(workspace, versions, files, target, most_rank=max_rank, with_base=with_base)
    count = f"{len(versions)} adapter{'s' if len(versions) > 1 else ''}"
    out = console()
    out.print(f"{target}: {count}, {size(folder_size(target))}.", markup=False, soft_wrap=True)
    gateway = "mien serve --backend vllm --url http://localhost:8000 --port 9000"
    then = f"`{target / 'serve.sh'}` starts vLLM; `{gateway}` goes before it."
    out.print(then, style="dim", markup=False, soft_wrap=True)
