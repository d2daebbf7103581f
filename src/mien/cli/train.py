"""`mien train` and `mien recipe`: from a recipe to an adapter, with everything said beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from mien.cli.groups import Group
from mien.cli.output import console, table
from mien.cli.show import terminal_show
from mien.errors import InputError
from mien.registry.cards import CARD

if TYPE_CHECKING:
    from mien.train.run import Plan

_PREVIEWED = 2


@click.command("train")
@click.argument("what", metavar="sft|RECIPE.yaml")
@click.option("--persona", help="A built-in name or a .yaml file.")
@click.option("--base", help="A known name, a folder, a .gguf file, or a hub id.")
@click.option("--data", type=click.Path(path_type=Path), help="JSONL of examples to learn from.")
@click.option("--epochs", type=int, help="Most passes over the data.")
@click.option("--learning-rate", type=float, help="Highest learning rate.")
@click.option("--batch-size", type=int, help="Examples a step.")
@click.option("--seed", type=int, help="Of the adapter's first matrices and the order of the data.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and stop.")
@click.option("--preview", is_flag=True, help="Show the first examples with the learnt tokens marked.")
def train(what: str, dry_run: bool, preview: bool, **overrides: Any) -> None:
    """Train a persona's adapter on a base model.

    `mien train sft --persona witty` learns a built-in voice from the built-in corpus. A recipe file
    says everything else; what the command line says replaces what the file says. Ctrl-C writes a
    checkpoint, and the same command goes on from there; so it does after a crash or a kill.
    """
    from mien.base.model import Base
    from mien.data.corpus import VOICES
    from mien.train import run
    from mien.workspace import Workspace

    recipe = _recipe(what, {key: value for key, value in overrides.items() if value is not None})
    with terminal_show() as show:
        base = Base.load(recipe.base, dtype=recipe.dtype, report=show.say)
        ready = run.plan(recipe, Workspace.open(), base)
        if preview or dry_run:
            _explain(ready, preview=preview)
            return
        fresh = not (ready.folder / CARD).exists()
        show.begin(f"training {ready.persona.name}", ready.steps)
        card = run.train(ready, progress=show.training)
        verb = "trained" if fresh else "there already:"
        show.say(
            f"{verb} {card.run}: {card.steps} steps in {card.seconds:.0f} s,"
            f" validation loss {card.validation_loss}"
        )
    out = console()
    out.print(str(ready.folder), markup=False, soft_wrap=True)
    verb = "Measure it: mien eval" if card.persona in VOICES else "Talk to it: mien chat"
    out.print(f"{verb} --persona {card.persona}", style="dim", markup=False)


def _recipe(what: str, overrides: dict[str, Any]) -> Any:
    from mien import specfile
    from mien.train.recipe import Recipe

    if what.endswith((".yaml", ".yml")):
        return Recipe.load(Path(what), overrides)
    if what != "sft":
        raise InputError(
            f"{what!r} is neither a stage nor a recipe file.",
            fix="Use `mien train sft --persona NAME` or `mien train RECIPE.yaml`.",
        )
    if "persona" not in overrides:
        raise InputError("No persona is given.", fix="Add `--persona witty`, say.")
    return specfile.validate({"stage": what, **overrides}, Recipe, source="command line")


def _explain(ready: Plan, *, preview: bool) -> None:
    """What a run would do: the resolved recipe, counts, time; or how its examples are rendered."""
    from mien.train.data import preview as marked

    out = console()
    if preview:
        for pair in ready.encoded.train[:_PREVIEWED]:
            out.rule(style="dim")
            out.print(marked(ready.base, pair))
        out.print("\nGreen is learnt; the rest is only read.", style="dim")
    out.print(yaml.safe_dump(ready.recipe.model_dump(mode="json"), sort_keys=False).rstrip())
    out.rule(style="dim")
    encoded, seconds = ready.encoded, ready.seconds()
    facts = table("", "")
    facts.show_header = False
    held = len(encoded.validation)
    facts.add_row("examples", f"{encoded.examples} to train on, {held} held out")
    facts.add_row("left out", f"{encoded.too_long} over {ready.recipe.max_length} tokens")
    facts.add_row("tokens an epoch", f"{encoded.tokens}, of which {encoded.learnt} are learnt")
    facts.add_row("steps", f"at most {ready.steps}")
    if seconds is not None:
        facts.add_row("time", f"about {seconds / 60:.0f} min on this machine at most")
    facts.add_row("memory", f"about {ready.memory_mb() / 1000:.1f} GB")
    state = "complete already" if (ready.folder / CARD).exists() else "would be written"
    facts.add_row("run", f"{ready.folder} ({state})")
    out.print(facts)


@click.group("recipe", cls=Group)
def recipe() -> None:
    """Write and check training recipes.

    A recipe is a YAML file with one stage of training: the persona, the base, the data, the adapter's
    shape and how fast to learn. Every key has a default but the persona.
    """


@recipe.command("schema")
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from mien.train.recipe import Recipe

    click.echo(json.dumps(Recipe.model_json_schema(), indent=2))


@recipe.command("new")
@click.argument("persona")
@click.argument("out", type=click.Path(path_type=Path))
def new(persona: str, out: Path) -> None:
    """Write a recipe for PERSONA to OUT, with every key and its default."""
    from mien.train.recipe import Recipe
    from mien.workspace import write_atomic

    if out.exists():
        raise InputError(f"{out} exists.", fix="Choose another name, or remove it first.")
    value = Recipe(persona=persona)
    fields = Recipe.model_fields
    lines = []
    for key, given in value.model_dump(mode="json").items():
        if about := fields[key].description:
            lines.append(f"# {about}")
        lines.append(yaml.safe_dump({key: given}, sort_keys=False).rstrip())
    write_atomic(out, "\n".join(lines) + "\n")
    console().print(f"{out}\nTrain it: mien train {out}", markup=False)


@recipe.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check a recipe file; every mistake is reported at once."""
    from mien.persona.spec import find
    from mien.train.recipe import Recipe

    find(Recipe.load(file).persona)
    console().print(f"{file}: no mistakes.", markup=False)
