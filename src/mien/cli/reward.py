"""`mien reward`: what finished reward models say of replies, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from mien.cli.groups import Group
from mien.cli.output import console, echo_json, json_option, number, table
from mien.cli.show import TerminalShow, terminal_show
from mien.data.formats import Record, iter_records, write_records
from mien.errors import DataError, InputError
from mien.registry.cards import Card, adapter_folder, newest, persona_of
from mien.schema import Message, Preference, Score
from mien.stats import wilson
from mien.workspace import Workspace, disk_errors, read_json

if TYPE_CHECKING:
    from mien.base.flat import Tree
    from mien.base.model import Base

_TOGETHER = 32  # rows between two steps of the progress bar
_STAGES = ("reward",)
_ROLES = {"reward": "replies", "chosen_reward": "chosen", "rejected_reward": "rejected"}


@click.group("reward", cls=Group)
def reward() -> None:
    """Score replies with finished reward models, and see what these are worth.

    A reward model is a run of `mien train reward`: an adapter and a head on the same base as everything
    else. Its scores have no unit and no zero; they can only be compared among replies to one prompt.
    """


@reward.command("score")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--run",
    "names",
    multiple=True,
    required=True,
    help="A reward run, or a persona for its newest; given several times, an ensemble.",
)
@click.option(
    "--combine",
    type=click.Choice(("mean", "conservative", "worst")),
    default="conservative",
    show_default=True,
    help="What an ensemble says; conservative is a standard deviation below the mean.",
)
@click.option("--base", "base_ref", help="The base model; by default the one of the first run's recipe.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows with their rewards."
)
@click.option("--force", is_flag=True, help="Replace OUT if it is there already.")
@json_option
def score(
    file: Path,
    names: tuple[str, ...],
    combine: str,
    base_ref: str | None,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Score the replies in FILE.

    FILE is JSONL or JSON: prompt and completion, messages (the last turn is scored), preferences (both
    sides are), ShareGPT or Alpaca. With --out, each row is written with its `reward`, or with
    `chosen_reward` and `rejected_reward`.
    """
    records = _records(file)
    if out:
        _check_target(file, out, force=force)
    with terminal_show() as show:
        said = _scored(records, file, names, combine, base_ref, show)
    rewards = [_named(each) for each in said]
    if out:
        with disk_errors(out.absolute().parent, "as much as FILE takes"):
            write_records(out, records, rewards)
    if as_json:
        echo_json(_summary(rewards) | {"out": str(out) if out else None})
        return
    _tell(rewards)
    if out:
        console().print(f"Wrote {len(records)} rows to {out}.", soft_wrap=True, markup=False)


def _records(file: Path) -> list[Record]:
    records = list(iter_records(file))
    if not records:
        raise DataError(f"{file}: no rows.", fix="Put one JSON object a line.")
    return records


def _check_target(file: Path, out: Path, *, force: bool) -> None:
    if out.exists() and out.samefile(file):
        raise InputError(f"{out}: FILE and OUT are one file.", fix="Choose another name for --out.")
    if out.exists() and not force:
        raise InputError(f"{out}: there already.", fix="Choose another name, or pass --force.")


def _scored(
    records: Sequence[Record],
    file: Path,
    names: Sequence[str],
    combine: str,
    base_ref: str | None,
    show: TerminalShow,
) -> list[tuple[float, ...]]:
    """What the models say together of each reply of each row."""
    from mien.base.model import Base
    from mien.train.recipe import Signal
    from mien.train.signals import combined

    workspace = Workspace.open()
    recipe = _recipe(workspace, newest(workspace, names[0], stages=_STAGES))
    base = Base.load(base_ref or recipe["base"], dtype=recipe["dtype"], report=show.say)
    cards = [newest(workspace, each, base_hash=base.files.sha256, stages=_STAGES) for each in names]
    cards = list({card.run: card for card in cards}.values())
    wanted = Signal.model_validate({"kind": "learned", "runs": names, "combine": combine})
    show.begin(f"scoring {file.name}", len(records) * len(cards))
    members = [_said_by(card, records, file, workspace, base, show) for card in cards]
    return [
        tuple(combined(reply, wanted) for reply in zip(*rows, strict=True))
        for rows in zip(*members, strict=True)
    ]


def _recipe(workspace: Workspace, card: Card) -> dict[str, Any]:
    recipe: dict[str, Any] = read_json(workspace.runs / card.run / "recipe.json")
    return recipe


def _said_by(
    card: Card,
    records: Sequence[Record],
    file: Path,
    workspace: Workspace,
    base: Base,
    show: TerminalShow,
) -> list[tuple[float, ...]]:
    """What one reward model says."""
    from mien.registry.attach import attach
    from mien.train.reward import RewardModel, load_head

    folder = adapter_folder(workspace, card)
    attach(base, card, folder)
    model = RewardModel(base, card.run, load_head(base, folder))
    system = persona_of(workspace, card).system_prompt.strip() if card.under_prompt else ""
    trees = [_tree(record, file, base, system) for record in records]
    found = list[tuple[float, ...]]()
    for at in range(0, len(trees), _TOGETHER):
        part = trees[at : at + _TOGETHER]
        found += model.score(part)
        show.advance(len(part))
    return found


def _tree(record: Record, file: Path, base: Base, system: str) -> Tree:
    """The prompt and the replies of a row as the model reads them; of a pair, the chosen one first.

    Raises:
        DataError: It uses tools, or is longer than the base can read.
    """
    from mien.base.flat import Tree

    *prompt, reply = record.messages
    replies = [reply, *(record.row.rejected if isinstance(record.row, Preference) else ())]
    where = f"{file}:{record.number}"
    if any(turn.role == "tool" or turn.tool_calls for turn in (*prompt, *replies)):
        fix = "Leave such rows out."
        raise DataError(f"{where}: it uses tools, which no reward model here has learnt.", fix=fix)
    if system and prompt[0].role != "system":
        prompt.insert(0, Message(role="system", content=system))
    asked = base.renderer.prompt(prompt)
    tree = Tree(asked, tuple(base.renderer.completion(each.content) for each in replies))
    tokens = len(asked) + max(map(len, tree.completions))
    if tokens > base.max_tokens:
        fix = f"Leave it out, or keep to the {base.max_tokens} that {base.files.name} can read."
        raise DataError(f"{where}: {tokens} tokens.", fix=fix)
    return tree


def _named(rewards: tuple[float, ...]) -> dict[str, float]:
    """Rewards of a row under the keys they are written with."""
    names = ("reward",) if len(rewards) == 1 else ("chosen_reward", "rejected_reward")
    return {name: round(value, 6) for name, value in zip(names, rewards, strict=True)}


def _summary(rewards: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Count, mean and spread of each kind of reply, and how often the chosen one of a pair wins."""
    found: dict[str, Any] = {}
    for key, role in _ROLES.items():
        if values := [row[key] for row in rewards if key in row]:
            spread = stdev(values) if len(values) > 1 else None
            found[role] = {"n": len(values), "mean": fmean(values), "sd": spread}
    gaps = [row["chosen_reward"] - row["rejected_reward"] for row in rewards if "chosen_reward" in row]
    if gaps:
        found["accuracy"] = wilson(sum(gap > 0 for gap in gaps), len(gaps))._asdict()
        found["ties"] = gaps.count(0.0)
    return found


def _tell(rewards: Sequence[Mapping[str, float]]) -> None:
    summary, out = _summary(rewards), console()
    grid = table("Replies", "n", "Mean", "sd")
    for role in (role for role in _ROLES.values() if role in summary):
        told = summary[role]
        spread = "" if told["sd"] is None else number(told["sd"])
        grid.add_row(role, str(told["n"]), number(told["mean"]), spread)
    out.print(grid)
    if won := summary.get("accuracy"):
        share, low, high = (f"{100 * won[key]:.0f}" for key in ("value", "low", "high"))
        wins, ties = round(won["value"] * won["n"]), summary["ties"]
        tied = f" Ties count as lost; there are {ties}." if ties else ""
        interval = f"{share} % (95 % interval {low} to {high} %)"
        out.print(f"\nThe chosen reply wins in {wins} of {won['n']} pairs: {interval}.{tied}")


@reward.command("show")
@click.argument("name", metavar="RUN")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show what a reward model was worth on pairs it had not seen.

    RUN is the name of a reward run, or a persona's for its newest.
    """
    from mien.train.stages import EXAMINED

    workspace = Workspace.open()
    card = newest(workspace, name, stages=_STAGES)
    path = workspace.runs / card.run / EXAMINED
    if not path.exists():
        raise InputError(
            f"{path}: not there, because no pairs were held out.",
            fix="Train it on more pairs, or name some with `--set validation=FILE`.",
        )
    rows = read_json(path)
    if as_json:
        echo_json(rows)
        return
    out, grid = console(page=True), table("Score", "Value", "95 %", "n", "What it is")
    for each in map(Score.model_validate, rows):
        interval = f"{each.low:.2f} to {each.high:.2f}"
        label, what = each.name.replace("_", " "), Text(each.method)
        grid.add_row(label, f"{each.value:.2f}", Text(interval), str(each.n), what)
    out.print(Text(card.run, style="bold"))
    out.print(grid)
