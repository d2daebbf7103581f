"""`mien eval`: does the personality hold, and what did it cost?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mien.base.fetch import DEFAULT_BASE
from mien.cli.output import console
from mien.cli.show import terminal_show
from mien.errors import AdapterError, InputError
from mien.persona.spec import Persona, find, library
from mien.registry.cards import NULLS, POLICIES, cards, newest, newest_null, persona_of

if TYPE_CHECKING:
    from mien.base.model import Base
    from mien.data.teacher import Teacher
    from mien.evaluate.evaluation import Evaluation
    from mien.evaluate.judge import Judge
    from mien.evaluate.lineup import Dial
    from mien.evaluate.order import Order
    from mien.evaluate.sizes import Size
    from mien.evaluate.subject import Subject
    from mien.schema import Score
    from mien.workspace import Workspace


@click.command("eval")
@click.option(
    "--persona",
    "names",
    required=True,
    metavar="LIST",
    help="A built-in name, a .yaml file or a run; several with commas between.",
)
@click.option(
    "--systems",
    metavar="LIST",
    help="Whom to compare, the judged one last: base, prompt, null, sft, dpo, ppo, a run, a .jsonl file"
    " of recorded replies, or a server, http://HOST/v1#MODEL; any of them as LABEL=NAME. By default"
    " base, prompt, null and the persona's own adapter, as far as they are there.",
)
@click.option(
    "--suite",
    "size",
    type=click.Choice(["quick", "full"]),
    default="quick",
    show_default=True,
    help="How much of every suite: minutes, or figures to be printed.",
)
@click.option("--only", metavar="LIST", help="These suites and no others, as in `voice,drift`.")
@click.option(
    "--turns", type=int, metavar="N", help="Of long conversations, as in 100; by default the size's own."
)
@click.option(
    "--user",
    metavar="WHERE",
    default="scripted",
    show_default=True,
    help="Who plays the user in long conversations: a script, `base`, or http://HOST/v1#MODEL.",
)
@click.option(
    "--judge", metavar="WHERE", help="Who rates replies: http://HOST/v1#MODEL, or `local`, the base."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="People's labels (JSONL), to calibrate the judge by.",
)
@click.option("--key-env", metavar="NAME", help="The environment variable with the servers' key.")
@click.option("--base", "base_ref", default=DEFAULT_BASE, show_default=True, help="The base model.")
@click.option(
    "--markdown",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write all personas' results as one document, with its pictures in a folder beside it.",
)
@click.option(
    "--questions",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Evaluate nothing, and write what would be asked: with replies filled in, it is a recording.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the evaluations as JSON, one a line.")
def evaluate(
    names: str, as_json: bool, markdown: Path | None, questions: Path | None, **how: Any
) -> None:
    """Measure whether a personality holds, and what it cost.

    Every suite asks every system, all decoded alike: is the voice there, does it last in other formats,
    in long conversations and under pressure, what became of ability, safety and variety, and what does
    a personality test say. Every score comes with its 95 % interval and beside its controls; the report
    is one HTML page. What was answered is kept: a command that was stopped goes on where it was.
    """
    from mien.base.model import Base
    from mien.evaluate.order import between, evaluated
    from mien.workspace import Workspace

    if how["labels"] and not how["judge"]:
        raise InputError(
            "--labels calibrate a judge, and there is none.", fix="Name one: --judge WHERE."
        )
    workspace = Workspace.open()
    personas = [_persona(workspace, name) for name in _listed(names)]
    suites = _suites(how["only"])
    _check_talks(how["turns"], how["user"], suites)
    if questions:
        _list_questions(questions, [persona for _, persona in personas], suites, how["size"])
        return
    with terminal_show() as show:
        for each in personas:  # what is not there is said before the base is loaded
            _systems(workspace, each, how["systems"])
        base = Base.load(how["base_ref"], report=show.say)
        orders = [(each[1], _order(workspace, each, base, suites, how)) for each in personas]
        done = [evaluated(base, *each, workspace, show) for each in orders]
        apart = between(base, orders, workspace, show)
    if markdown:
        _write(markdown, [evaluation for evaluation, _ in done], apart)
    for evaluation, page in done:
        if as_json:
            click.echo(evaluation.model_dump_json())
        else:
            _tell(evaluation, page)


def _list_questions(path: Path, personas: Sequence[Persona], suites: Sequence[str], size: Size) -> None:
    from mien.evaluate.order import asked_of
    from mien.evaluate.questions import write_questions
    from mien.workspace import disk_errors

    if len(personas) > 1:
        raise InputError("A recording is of one persona.", fix="Name one: --persona NAME.")
    with terminal_show() as show:
        found = asked_of(personas[0], suites, size, show)
    if not found.asked:
        raise InputError(f"{', '.join(suites)}: nothing that could be recorded.", fix="Name others.")
    with disk_errors(path.parent, "1 MB"):
        write_questions(path, found.asked)
    out = console()
    for name, count in found.counts.items():
        out.print(f"{name}: {count} questions" if count else f"{name}: none of its own", markup=False)
    for name in found.dependent:
        out.print(f"{name}: left out, for it goes on from the replies", markup=False)
    out.print(f"\n{len(found.asked)} questions: {path}", soft_wrap=True, markup=False)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _suites(only: str | None) -> list[str]:
    from mien.evaluate.roster import SUITES

    names = _listed(only) if only else list(SUITES)
    if unknown := [name for name in names if name not in SUITES]:
        raise InputError(f"There is no suite {unknown[0]!r}.", fix=f"There are {', '.join(SUITES)}.")
    return names


def _check_talks(turns: int | None, user: str, suites: Sequence[str]) -> None:
    """Say at once what would only be found out after other suites."""
    from mien.evaluate.suites.drift.users import check_turns

    if (turns is not None or user != "scripted") and "drift" not in suites:
        raise InputError(
            "--turns and --user are for the suite `drift`, which is left out.",
            fix="Add it to --only, or leave them out.",
        )
    if turns is not None:
        check_turns(turns)
    if user not in ("scripted", "base") and not user.startswith(("http://", "https://")):
        raise InputError(
            f"Nobody is called {user!r}.", fix="Use scripted, base or http://HOST/v1#MODEL."
        )


def _persona(workspace: Workspace, name: str) -> tuple[str, Persona]:
    """A persona, and the name that its adapter goes by: the persona's, or the run's."""
    if name in library() or name.endswith((".yaml", ".yml")):
        persona = find(name)
        return persona.name, persona
    known = [card for card in cards(workspace) if card.run == name]
    if not known:
        raise InputError(
            f"There is no persona and no run {name!r}.",
            fix=f"Built in: {', '.join(library())}. Or give a .yaml file, or a run's name.",
        )
    return name, persona_of(workspace, known[0])


def _systems(
    workspace: Workspace, named: tuple[str, Persona], given: str | None, base_hash: str | None = None
) -> list[str]:
    """Whom to compare; what is named and is not there is said here.

    Raises:
        AdapterError: An adapter that is named, or the persona's, is not there.
    """
    from mien.evaluate.lineup import cards_of

    name, persona = named
    if given:
        cards_of(_listed(given), persona, workspace, base_hash)
        return _listed(given)
    own = newest(workspace, name, base_hash=base_hash, stages=POLICIES)
    return ["base", "prompt", *_null(workspace, base_hash), f"{own.stage}={own.run}"]


def _null(workspace: Workspace, base_hash: str | None) -> list[str]:
    try:
        newest_null(workspace, base_hash=base_hash)
    except AdapterError:
        return []
    return [NULLS[0]]


def _order(
    workspace: Workspace,
    named: tuple[str, Persona],
    base: Base,
    suites: Sequence[str],
    how: dict[str, Any],
) -> Order:
    from mien.evaluate.order import Order

    def dial(where: str) -> Teacher:
        return _teacher(where, how["key_env"])

    return Order(
        systems=_systems(workspace, named, how["systems"], base.files.sha256),
        suites=suites,
        size=how["size"],
        judge=_judge(how["judge"], base, dial) if how["judge"] else None,
        labels=how["labels"],
        turns=how["turns"],
        user=_user(how["user"], base, dial),
        dial=dial,
        command=shlex.join(["mien", *sys.argv[1:]]),
    )


def _teacher(where: str, key_env: str | None) -> Teacher:
    from mien.data.calls import Calls
    from mien.data.teacher import Teacher
    from mien.endpoint import Endpoint

    address, _, model = where.partition("#")
    if not model:
        raise InputError(f"{where}: which model?", fix="Give it behind a #: http://HOST/v1#MODEL.")
    return Teacher(Endpoint(address, model, key_env=key_env), Calls())


def _judge(where: str, base: Base, dial: Any) -> Judge:
    from mien.evaluate.judge import Judge
    from mien.evaluate.subject import LocalSubject

    if where == "local":
        return Judge.local(LocalSubject("base", base))
    return Judge.behind(dial(where))


def _user(where: str, base: Base, dial: Dial) -> Subject | None:
    """Who plays the user in long conversations; None is a script."""
    from mien.evaluate.subject import ChatSubject, LocalSubject

    if where == "scripted":
        return None
    return LocalSubject("user", base) if where == "base" else ChatSubject("user", dial(where))


def _write(path: Path, evaluations: Sequence[Evaluation], apart: Sequence[Score]) -> None:
    from mien.evaluate.pages.document import Document
    from mien.workspace import disk_errors

    document = Document(
        evaluations, command=evaluations[0].command, folder=path.stem, apart=tuple(apart)
    )
    with disk_errors(path.parent, "5 MB"):
        document.write(path)


def _tell(evaluation: Evaluation, page: Path) -> None:
    from mien.evaluate.pages.terminal import table
    from mien.evaluate.pages.verdict import verdict

    out = console()
    out.print(table(evaluation))
    for line in verdict(evaluation).lines:
        out.print(line, markup=False)
    out.print(f"\nReport: {page.resolve()}", soft_wrap=True, markup=False)
