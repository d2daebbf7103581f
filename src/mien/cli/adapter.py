"""`mien adapter`: the adapters that were trained, what they are worth, and which of them speak."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from mien.cli.groups import Group
from mien.cli.output import console, count, echo_json, json_option, table
from mien.errors import AdapterError, InputError
from mien.persona.spec import find
from mien.registry.cards import NULLS, POLICIES, Card, cards, newest, persona_of
from mien.registry.promote import Promotion, promotions, record
from mien.schema import Score
from mien.workspace import Workspace

if TYPE_CHECKING:
    from mien.evaluate.gate import Check, Judged

_STYLES = {"passed": "green", "failed": "bold red", "not shown": "yellow", "not measured": "yellow"}
_VOICE = "voice/rate"
_FACTS = ("run", "persona", "stage", "base", "made")


@click.group("adapter", cls=Group)
def adapter() -> None:
    """List the adapters of this workspace, and promote those that are fit to speak.

    The adapter that was promoted last is the one that a persona's name stands for. RUN is the name of a
    run, or a persona's for its newest.
    """


@adapter.command("list")
@json_option
def list_adapters(as_json: bool) -> None:
    """List the adapters that answer, oldest first.

    With each: how often its newest evaluation hears the voice, and whether it speaks for its persona.
    """
    from mien.evaluate.gate import newest_evaluation

    workspace = Workspace.open()
    known = [card for card in cards(workspace) if card.stage in POLICIES]
    judged = {card.run: newest_evaluation(workspace, card) for card in known}
    speaking = _speaking(workspace, known)
    rows = [_row(card, judged[card.run], promoted=card.run in speaking) for card in known]
    if as_json:
        echo_json(rows)
        return
    if not rows:
        console().print("None yet. `mien train sft --persona witty` trains one.", style="dim")
        return
    grid = table("Run", "Persona", "Stage", "Base", "Made", "Voice heard", "Promoted")
    for row in rows:
        facts = (row[key] for key in _FACTS)
        grid.add_row(*facts, Text(_heard(row["voice"])), "yes" if row["promoted"] else "")
    console().print(grid)


def _heard(voice: dict[str, Any] | None) -> str:
    return str(Score.model_validate(voice)) if voice else ""


def _row(card: Card, judged: Judged | None, *, promoted: bool) -> dict[str, Any]:
    heard = judged.evaluation.results.score(_VOICE, judged.subject) if judged else None
    return {
        **{key: getattr(card, key) for key in _FACTS},
        "voice": heard.model_dump(mode="json") if heard else None,
        "promoted": promoted,
    }


def _speaking(workspace: Workspace, known: Sequence[Card]) -> set[str]:
    """The runs that were promoted last, one per persona and base."""
    last = {(row.persona, row.base_hash): row for row in promotions(workspace)}
    wanted = {(row.run, row.adapter_hash) for row in last.values()}
    return {card.run for card in known if (card.run, card.adapter_hash) in wanted}


@adapter.command("show")
@click.argument("name", metavar="RUN")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show what RUN is and what it scored.

    Also what the release gate would say of it, and when it was promoted, by whom and why.
    """
    from mien.evaluate.gate import newest_evaluation

    workspace = Workspace.open()
    card = newest(workspace, name, stages=POLICIES)
    judged = newest_evaluation(workspace, card)
    found = _checked(workspace, card, judged, None)
    history = [row for row in promotions(workspace) if row.run == card.run]
    if as_json:
        told = {
            "card": card.model_dump(mode="json"),
            "report": judged.report if judged else None,
            "scores": [score.model_dump(mode="json") for score in _scores(judged)],
            "checks": [{**each.model_dump(mode="json"), "verdict": each.verdict} for each in found],
            "promotions": [row.model_dump(mode="json") for row in history],
        }
        echo_json(told)
        return
    out = console(page=True)
    out.print(Text(card.run, style="bold"))
    out.print(f"{card.stage} of {card.persona} on {card.base}, {card.made}", markup=False)
    _print_scores(card, judged)
    _print_checks(found)
    for row in history:
        out.print(_in_words(row), markup=False)


def _scores(judged: Judged | None) -> list[Score]:
    scores = judged.evaluation.results.scores if judged else ()
    return [score for score in scores if judged and score.system == judged.subject]


def _print_scores(card: Card, judged: Judged | None) -> None:
    out = console(page=True)
    if judged is None:
        out.print(f"Not evaluated yet. {_how_to_evaluate(card)}", markup=False)
        return
    out.print(f"Newest evaluation: {judged.report}, {judged.evaluation.made}", markup=False)
    grid = table("Score", "Value", "95 %", "n")
    for score in _scores(judged):
        ends = f"{score.low:.2f} to {score.high:.2f}"
        grid.add_row(Text(score.name), f"{score.value:.2f}", ends, str(score.n))
    out.print(grid)


@adapter.command("promote")
@click.argument("name", metavar="RUN")
@click.option("--persona", help="A file whose thresholds count, in place of those of training.")
@click.option("--force", is_flag=True, help="Promote it though it fails; needs --why.")
@click.option("--why", default="", metavar="TEXT", help="What is to be remembered about it.")
def promote(name: str, persona: str | None, force: bool, why: str) -> None:
    """Let RUN speak for its persona.

    It is refused if its newest evaluation does not pass the thresholds that the persona's file states
    under `release`. Every promotion is kept, with who made it and when; --force keeps as well what
    failed, and why it was promoted all the same. To go back, promote the earlier run again.
    """
    from mien.evaluate.gate import newest_evaluation

    if force and not why.strip():
        raise InputError("--force needs a reason.", fix="Say it with `--why TEXT`; it is kept.")
    workspace = Workspace.open()
    card = newest(workspace, name, stages=POLICIES)
    if card.stage in NULLS:
        raise InputError(f"{card.run} is a control, and speaks for nobody.", fix="Promote another.")
    judged = newest_evaluation(workspace, card)
    found = _checked(workspace, card, judged, persona)
    _print_checks(found)
    failed = tuple(str(check) for check in found if not check.passed) or _unjudged(judged)
    if failed and not force:
        raise _refused(card, judged, len(failed))
    promotion = Promotion(
        **{key: getattr(card, key) for key in ("persona", "base_hash", "run", "adapter_hash")},
        report=judged.report if judged else "",
        who=getpass.getuser(),
        forced=bool(failed),
        why=why.strip(),
        failed=failed,
    )
    record(workspace, promotion)
    console().print(_in_words(promotion), markup=False)


def _unjudged(judged: Judged | None) -> tuple[str, ...]:
    return () if judged else ("there is no evaluation",)


def _checked(
    workspace: Workspace, card: Card, judged: Judged | None, persona: str | None
) -> tuple[Check, ...]:
    from mien.evaluate.gate import checks

    if judged is None or card.stage in NULLS:
        return ()
    release = (find(persona) if persona else persona_of(workspace, card)).release
    return checks(judged.evaluation.results, judged.subject, release)


def _refused(card: Card, judged: Judged | None, failed: int) -> AdapterError:
    force = f"`mien adapter promote {card.run} --force --why TEXT` promotes it all the same."
    if judged is None:
        what = f"{card.run} is not promoted: it was never evaluated."
        return AdapterError(what, fix=f"{_how_to_evaluate(card)} {force}")
    what = f"{card.run} is not promoted: {count(failed, 'check')} not passed in {judged.report}."
    more = "`mien eval --suite full` narrows the intervals." if judged.evaluation.size != "full" else ""
    return AdapterError(what, fix=f"{more} {force}".strip())


def _how_to_evaluate(card: Card) -> str:
    return f"Run `mien eval --persona {card.persona} --systems base,prompt,null,{card.run}`."


def _print_checks(found: Sequence[Check]) -> None:
    out = console()
    for check in found:
        out.print(Text(str(check), style=_STYLES[check.verdict]), soft_wrap=True)


def _in_words(row: Promotion) -> str:
    how = "by force " if row.forced else ""
    why = f": {row.why}" if row.why else ""
    return f"Promoted {row.run} for {row.persona} {how}by {row.who} on {row.made[:10]}{why}"
