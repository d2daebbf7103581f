"""`mien experiment`: A/B tests between personas or versions, on whoever `mien serve` answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from mien.base.fetch import DEFAULT_BASE
from mien.cli.groups import Group
from mien.cli.output import console, count, echo_json, json_option, stages, table
from mien.errors import DataError, InputError
from mien.workspace import Workspace

if TYPE_CHECKING:
    from mien.serve.experiments import Arm, Experiment
    from mien.serve.outcomes import Measure, Readout, Side

_MEASURES: dict[Measure, str] = {
    "thumbs_up": "Thumbs up",
    "regenerated": "Asked again",
    "edited": "Corrected",
}
_epoch_option = click.option(
    "--epoch", type=click.IntRange(min=1), help="Of this one; by default the last."
)


@click.group("experiment", cls=Group)
def experiment() -> None:
    """Test personas or versions against each other on users.

    While an experiment runs, its NAME is a model's for `mien serve`. Each user meets one of the arms,
    and always the same; what users do about replies comes in by `/v1/feedback`.
    """


@experiment.command("start")
@click.argument("name", metavar="NAME")
@click.option(
    "--arms",
    "said",
    required=True,
    metavar="MODEL:WEIGHT,...",
    help="Who answers, and how many users; the first is what others are compared with.",
)
@click.option("--users", type=click.IntRange(min=1), help="Of each arm, after which it will be decided.")
@click.option("--keep-text", is_flag=True, help="Keep prompts and replies, for `export`.")
@click.option("--base", "base_ref", default=DEFAULT_BASE, show_default=True, help="The base model.")
def start(name: str, said: str, users: int | None, keep_text: bool, base_ref: str) -> None:
    """Start NAME, go on with it, or change its arms.

    An arm is any name that a model has for `mien serve`, such as witty, witty@RUN or witty:prompt. The
    same arms go on with the same users, even after a stop. Other arms or weights begin a new epoch:
    users are drawn anew, and what they do is counted apart. A running server knows of it within seconds.
    """
    from mien.serve.experiments import arms
    from mien.serve.experiments import start as begin

    workspace, wanted = Workspace.open(), arms(said)
    _check_models(workspace, base_ref, name, wanted)
    begun = begin(workspace, name, wanted, users=users, keep_text=keep_text)
    kept = "prompts and replies are kept" if begun.keep_text else "no texts are kept"
    console().print(f"{name}, epoch {begun.epoch}: {_shares(begun)}; {kept}.", markup=False)


def _check_models(workspace: Workspace, base_ref: str, name: str, wanted: tuple[Arm, ...]) -> None:
    """Refuse arms that there are not, and a name that is a model's own."""
    from mien.base.fetch import pull
    from mien.serve.catalogue import Catalogue
    from mien.serve.refusals import RefusedError

    with stages("Looking for the base model ...") as report:
        catalogue = Catalogue(pull(base_ref, report=report), workspace)
    for why in catalogue.faults.values():
        click.echo(why, err=True)
    for arm in wanted:
        try:
            catalogue.find(arm.name, blends=True)
        except RefusedError as error:
            raise InputError(error.message, fix="See `mien adapter list` for what there is.") from error
    if _is_model(catalogue, name):
        raise InputError(f"{name!r} is a model's name already.", fix="Call the experiment otherwise.")


def _is_model(catalogue: Any, name: str) -> bool:
    from mien.serve.refusals import RefusedError

    try:
        catalogue.find(name)
    except RefusedError:
        return False
    return True


def _shares(of: Experiment) -> str:
    return ", ".join(f"{arm.name} {of.share(arm):.0%}" for arm in of.arms)


@experiment.command("stop")
@click.argument("name", metavar="NAME")
def stop(name: str) -> None:
    """Stop NAME: it is no model's name any more.

    What users still do about the replies that they have is taken.
    """
    from mien.serve.experiments import stop as end

    ended = end(Workspace.open(), name)
    console().print(f"{name}, epoch {ended.epoch}: stopped.", markup=False)


@experiment.command("list")
@json_option
def list_experiments(as_json: bool) -> None:
    """List experiments and their epochs, oldest first; times are UTC."""
    from mien.serve.experiments import experiments

    found = experiments(Workspace.open())
    if as_json:
        echo_json([_told(each) for each in found])
        return
    if not found:
        hint = "None yet. `mien experiment start NAME --arms witty:0.5,warm:0.5` starts one."
        console().print(hint, style="dim", markup=False)
        return
    grid = table("Experiment", "Epoch", "Arms", "Started", "Stopped", "Texts")
    for each in found:
        texts = "kept" if each.keep_text else ""
        times = (each.started[:16], (each.stopped or "")[:16])
        facts = (each.name, str(each.epoch), _shares(each), *times, texts)
        grid.add_row(*map(Text, facts))
    console().print(grid)


def _told(each: Experiment) -> dict[str, Any]:
    return each.model_dump(mode="json", exclude={"salt"})


@experiment.command("show")
@click.argument("name", metavar="NAME")
@_epoch_option
@json_option
def show(name: str, epoch: int | None, as_json: bool) -> None:
    """Show what NAME has found, and whether it is decided.

    The user is the unit, since users were drawn into the arms: ten thumbs of one user count for less
    than those of ten. Every interval is one of 95 %.
    """
    from mien.serve.experiments import called
    from mien.serve.outcomes import read_out

    workspace = Workspace.open()
    found = called(workspace, name, epoch)
    readout = read_out(workspace, found)
    if as_json:
        echo_json({"experiment": _told(found), **readout.model_dump(mode="json")})
        return
    _print_sides(found, readout.arms)
    if readout.contrasts:
        _print_contrasts(readout)
    out = console(page=True)
    out.print(_verdict(readout), markup=False)
    for warning in readout.warnings:
        out.print(f"Beware: {warning}", style="yellow", markup=False)


def _print_sides(of: Experiment, sides: tuple[Side, ...]) -> None:
    until = f"stopped {of.stopped[:16]}" if of.stopped else "running"
    about = f"{of.name}, epoch {of.epoch}: {_shares(of)}; started {of.started[:16]} (UTC), {until}"
    console(page=True).print(about, markup=False)
    grid = table("Arm", "Users", "Replies", *_MEASURES.values())
    grid.columns[0].overflow = "fold"
    for side in sides:
        scores = (str(side.scores[name]) if name in side.scores else "" for name in _MEASURES)
        grid.add_row(*map(Text, (side.arm, str(side.users), str(side.replies), *scores)))
    console().print(grid)


def _print_contrasts(readout: Readout) -> None:
    grid = table("Difference", "Of", "Value", "Verdict")
    for each in readout.contrasts:
        facts = (each.score.system, _MEASURES[each.measure], str(each.score), each.verdict)
        grid.add_row(*map(Text, facts))
    console().print(grid)


def _verdict(readout: Readout) -> str:
    """In a sentence, what the differences come to."""
    if len(readout.arms) == 1:
        return "One arm has nothing to be compared with."
    clear = [each for each in readout.contrasts if each.verdict in ("higher", "lower")]
    if not clear:
        why = Counter(each.verdict for each in readout.contrasts)
        reason = why.most_common(1)[0][0] if why else "nothing has come in yet"
        return "Undecided." if reason == "undecided" else f"Undecided: {reason}."
    told = (f"{_MEASURES[c.measure].lower()} {c.verdict} with {c.arm} than {c.first}" for c in clear)
    return f"Decided: {'; '.join(told)}. All else is undecided."


@experiment.command("export")
@click.argument("name", metavar="NAME")
@click.option("--epoch", type=click.IntRange(min=1), help="Only of this one; by default of all.")
@click.option("--arm", help="Only about replies of this one; by default of all.")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSONL to write.",
)
@click.option("--force", is_flag=True, help="Replace OUT if it is there already.")
def export(name: str, epoch: int | None, arm: str | None, out: Path, force: bool) -> None:
    """Write what users did, to make preferences of.

    The rows are those of `mien data pairs --from feedback`. There are some only of replies whose texts
    were kept; users are pseudonyms.
    """
    from mien.data.rows import write_rows
    from mien.serve.experiments import called
    from mien.serve.feedback import collected

    workspace = Workspace.open()
    called(workspace, name, epoch)
    if out.exists() and not force:
        raise InputError(f"{out}: there already.", fix="Choose another name, or pass --force.")
    rows, dropped = collected(workspace, name, epoch=epoch, arm=arm)
    for why, how_many in dropped.most_common():
        click.echo(f"Left out {count(how_many, 'row')}: {why}.", err=True)
    if not rows:
        fix = "Start it with --keep-text, and have users' thumbs, wishes and edits sent to /v1/feedback."
        raise DataError(f"{name}: there is nothing to write.", fix=fix)
    write_rows(out, (row.model_dump(mode="json", exclude_none=True) for row in rows))
    click.echo(
        f"Wrote {count(len(rows), 'row')} to {out}: `mien data pairs --from feedback {out}`.", err=True
    )
