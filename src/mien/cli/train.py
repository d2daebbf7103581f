"""`mien train` and `mien recipe`: from a recipe to an adapter, with everything said beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from mien.cli.groups import Group
from mien.cli.output import console, table
from mien.cli.show import TerminalShow, terminal_show
from mien.errors import InputError
from mien.registry.cards import CARD, NULLS

if TYPE_CHECKING:
    from mien.registry.cards import Card
    from mien.train.plan import Plan
    from mien.train.recipe import Recipe

_PREVIEWED = 2


@click.command("train")
@click.argument("what", metavar="sft|dpo|reward|ppo|null|null-dpo|RECIPE.yaml")
@click.option("--persona", help="A built-in name or a .yaml file.")
@click.option("--base", help="A known name, a folder, a .gguf file, or a hub id.")
@click.option("--data", type=click.Path(path_type=Path), help="JSONL to learn from.")
@click.option(
    "--from",
    "start",
    metavar="RUN",
    help="dpo, ppo: the run to start from, or `fresh`; by default the persona's newest SFT run.",
)
@click.option(
    "--anchor",
    type=click.Choice(("start", "base")),
    help="dpo, ppo: the reference; by default what the run starts from.",
)
@click.option("--epochs", type=int, help="sft, dpo, reward: most passes over the data.")
@click.option("--steps", type=int, help="ppo: rounds of rollouts.")
@click.option("--learning-rate", type=float, help="Highest learning rate.")
@click.option("--batch-size", type=int, help="sft, dpo, reward: rows a step.")
@click.option("--members", type=click.IntRange(min=1), help="reward: train so many, by seed.")
@click.option("--seed", type=int, help="Of the adapter's first matrices and of all draws.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other key of the recipe."
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, and stop.")
@click.option("--preview", is_flag=True, help="Show the first rows with the learnt tokens marked.")
def train(
    what: str,
    dry_run: bool,
    preview: bool,
    settings: tuple[str, ...],
    members: int | None,
    **overrides: Any,
) -> None:
    """Train a persona's adapter on a base model.

    \b
    sft     learn the persona's own replies
    dpo     prefer the persona's replies to others, starting from an SFT run
    reward  learn to score replies by pairs of them
    ppo     be paid for replies, by reward models and by measures
    null    the control of every evaluation: the SFT recipe on replies that are nobody's voice;
            `null-dpo` goes on from it on pairs that prefer nothing

    `mien train sft --persona witty` learns a built-in voice from the built-in corpus. A recipe file
    says everything else; what the command line says replaces what the file says. Ctrl-C writes a
    checkpoint, and the same command goes on from there; so it does after a crash or a kill.
    """  # noqa: D301 - click wants the character itself
    from mien.base.model import Base

    given = {key: value for key, value in overrides.items() if value is not None}
    recipe = _recipe(what, given | _settings(settings))
    if members and recipe.stage != "reward":
        raise InputError("Only reward models have `--members`.", fix="Leave it out.")
    with terminal_show() as show:
        base = Base.load(recipe.base, dtype=recipe.dtype, report=show.say)
        seeds = range(recipe.seed, recipe.seed + (members or 1))
        for member in (recipe.model_copy(update={"seed": seed}) for seed in seeds):
            _trained(member, base, show, dry_run=dry_run, preview=preview)


def _trained(recipe: Recipe, base: Any, show: TerminalShow, *, dry_run: bool, preview: bool) -> None:
    from mien.evaluate.gold import gold_of
    from mien.train.plan import plan
    from mien.train.run import train as carry_out
    from mien.train.stages import Company
    from mien.workspace import Workspace

    ready = plan(recipe, Workspace.open(), base)
    if preview or dry_run:
        _explain(ready, preview=preview)
        return
    fresh = not (ready.folder / CARD).exists()
    card = carry_out(ready, company=Company(gold=gold_of, show=show))
    _tell(card, ready.folder, show, fresh=fresh)


def _tell(card: Card, folder: Path, show: TerminalShow, *, fresh: bool) -> None:
    from mien.data.corpus import VOICES

    verb = "trained" if fresh else "there already:"
    loss = "" if card.validation_loss is None else f", validation loss {card.validation_loss}"
    show.say(f"{verb} {card.run}: {card.steps} steps in {card.seconds:.0f} s{loss}")
    if card.verdict:
        show.say(card.verdict)
    out = console()
    out.print(str(folder), markup=False, soft_wrap=True)
    if card.stage == "reward":
        hint = f"Score with it: mien reward score --run {card.run} FILE"
    elif card.stage in NULLS:
        null = card.stage if card.stage == NULLS[0] else f"{NULLS[0]}={card.stage}"
        hint = f"Compare with it: mien eval --persona NAME --systems base,prompt,{null},sft"
    else:
        verb = "Measure it: mien eval" if card.persona in VOICES else "Talk to it: mien chat"
        hint = f"{verb} --persona {card.persona}"
    out.print(hint, style="dim", markup=False)
    if card.verdict:
        out.print(f"See how far it went: mien leash {card.run}", style="dim", markup=False)


def _settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`key=value` as keys of a recipe; a key inside another one is written with a dot."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise InputError(f"--set {pair}: not KEY=VALUE.", fix="Write `--set beta=0.2`, say.")
        *outer, last = key.split(".")
        place = found
        for each in outer:
            place = place.setdefault(each, {})
            if not isinstance(place, dict):
                raise InputError(f"--set {pair}: {each} has a value already.", fix="Give one of them.")
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(
                f"--set {pair}: {value!r} is not YAML.", fix="Quote it, or close its brackets."
            ) from error
    return found


def _recipe(what: str, overrides: dict[str, Any]) -> Recipe:
    from mien.train.recipe import RECIPES, load_recipe, recipe_of

    if what.endswith((".yaml", ".yml")):
        return load_recipe(Path(what), overrides)
    if what not in RECIPES:
        raise InputError(
            f"{what!r} is neither a stage nor a recipe file.",
            fix=f"Stages are {', '.join(RECIPES)}: `mien train sft --persona NAME`. Or give a recipe:"
            " `mien train RECIPE.yaml`.",
        )
    if "persona" not in overrides and what not in NULLS:
        raise InputError("No persona is given.", fix="Add `--persona witty`, say.")
    return recipe_of({"stage": what, **overrides}, source="command line")


def _explain(ready: Plan, *, preview: bool) -> None:
    """What a run would do: the resolved recipe, counts, time; or how its rows are rendered."""
    from mien.train.data import preview as marked

    out = console()
    if preview:
        for row in ready.encoded.train[:_PREVIEWED]:
            out.rule(style="dim")
            out.print(marked(ready.base, row))
        out.print("\nGreen is learnt; the rest is only read.", style="dim")
    out.print(yaml.safe_dump(ready.recipe.model_dump(mode="json"), sort_keys=False).rstrip())
    out.rule(style="dim")
    encoded, seconds = ready.encoded, ready.seconds()
    facts = table("", "")
    facts.show_header = False
    facts.add_row("to learn from", f"{ready.size}, {len(encoded.validation)} rows held out")
    facts.add_row("left out", f"{encoded.too_long} over the most tokens")
    facts.add_row("tokens an epoch", f"{encoded.tokens}, of which {encoded.learnt} are learnt")
    if ready.start:
        facts.add_row("starts from", ready.start.run)
    for name, card in ready.rewards.items():
        facts.add_row("paid by", card.run if name == card.run else f"{card.run} (newest of {name})")
    facts.add_row("steps", f"at most {ready.steps}")
    if seconds is not None:
        facts.add_row("time", f"about {max(1, round(seconds / 60))} min on this machine at most")
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
    from mien.train.recipe import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@recipe.command("new")
@click.argument("persona")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--stage",
    type=click.Choice(("sft", "dpo", "reward", "ppo")),
    default="sft",
    show_default=True,
    help="The stage of training it is for.",
)
def new(persona: str, out: Path, stage: str) -> None:
    """Write a recipe for PERSONA to OUT, with every key and its default."""
    from mien.train.recipe import recipe_of
    from mien.workspace import write_atomic

    if out.exists():
        raise InputError(f"{out} exists.", fix="Choose another name, or remove it first.")
    value = recipe_of({"stage": stage, "persona": persona}, source="command line")
    fields = type(value).model_fields
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
    from mien.train.recipe import load_recipe

    find(load_recipe(file).persona)
    console().print(f"{file}: no mistakes.", markup=False)
