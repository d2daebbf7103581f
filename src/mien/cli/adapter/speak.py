"""`mien adapter promote` and `rollback`: who speaks for a persona."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from mien.cli.adapter.words import checked, how_to_evaluate, in_words, print_checks
from mien.cli.output import console, count
from mien.errors import AdapterError, InputError
from mien.registry.cards import NULLS, POLICIES, Card, cards, newest
from mien.registry.promote import Promotion, before_last, record, roll_back
from mien.workspace import Workspace

if TYPE_CHECKING:
    from mien.evaluate.gate import Judged


@click.command("promote")
@click.argument("name", metavar="RUN")
@click.option("--persona", help="A file whose thresholds count, in place of those of training.")
@click.option("--force", is_flag=True, help="Promote it though it fails; needs --why.")
@click.option("--why", default="", metavar="TEXT", help="What is to be remembered about it.")
def promote(name: str, persona: str | None, force: bool, why: str) -> None:
    """Let RUN speak for its persona.

    It is refused if its newest evaluation does not pass the thresholds that the persona's file states
    under `release`. Every promotion is kept, with who made it and when; --force keeps as well what
    failed, and why it was promoted all the same. `mien adapter rollback` goes back.
    """
    from mien.evaluate.gate import newest_evaluation, obstacles

    if force and not why.strip():
        raise InputError("--force needs a reason.", fix="Say it with `--why TEXT`; it is kept.")
    workspace = Workspace.open()
    card = newest(workspace, name, stages=POLICIES)
    if card.stage in NULLS:
        raise InputError(f"{card.run} is a control, and speaks for nobody.", fix="Promote another.")
    judged = newest_evaluation(workspace, card)
    found = checked(workspace, card, judged, persona)
    print_checks(found)
    failed = tuple(map(str, obstacles(found))) or _unjudged(judged)
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
    console().print(in_words(promotion), markup=False)


def _unjudged(judged: Judged | None) -> tuple[str, ...]:
    return () if judged else ("there is no evaluation",)


def _refused(card: Card, judged: Judged | None, failed: int) -> AdapterError:
    force = f"`mien adapter promote {card.run} --force --why TEXT` promotes it all the same."
    if judged is None:
        what = f"{card.run} is not promoted: it was never evaluated."
        return AdapterError(what, fix=f"{how_to_evaluate(card)} {force}")
    what = f"{card.run} is not promoted: {count(failed, 'check')} not passed in {judged.report}."
    more = "`mien eval --suite full` narrows the intervals." if judged.evaluation.size != "full" else ""
    return AdapterError(what, fix=f"{more} {force}".strip())


@click.command("rollback")
@click.argument("persona", metavar="PERSONA")
@click.option("--why", default="", metavar="TEXT", help="What is to be remembered about it.")
def rollback(persona: str, why: str) -> None:
    """Let the adapter speak for PERSONA that spoke before.

    It is promoted again, judged as it was then; nothing is taken out of the history. Said twice, it
    undoes itself.
    """
    workspace = Workspace.open()
    to = before_last(workspace, persona)
    known = {(card.run, card.adapter_hash) for card in cards(workspace)}
    if (to.run, to.adapter_hash) not in known:
        raise AdapterError(
            f"{to.run} spoke for {persona} before, and is not here any more.",
            fix="See what is with `mien adapter list`, and let one speak: `mien adapter promote RUN`.",
        )
    again = roll_back(workspace, to, who=getpass.getuser(), why=why.strip() or "rolled back")
    console().print(in_words(again), markup=False)
