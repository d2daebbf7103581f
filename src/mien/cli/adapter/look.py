"""`mien adapter list`, `show` and `compare`: what there is, and what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from mien.cli.adapter.words import checked, how_to_evaluate, in_words, print_checks
from mien.cli.output import console, echo_json, json_option, table
from mien.errors import InputError
from mien.registry.cards import POLICIES, Card, cards, newest
from mien.registry.promote import in_force, promotions
from mien.schema import Score
from mien.workspace import Workspace

if TYPE_CHECKING:
    from mien.evaluate.gate import Judged
    from mien.registry.compare import Alike

_VOICE = "voice/rate"
_FACTS = ("run", "persona", "stage", "base", "made")


@click.command("list")
@json_option
def list_adapters(as_json: bool) -> None:
    """List the adapters that answer, oldest first.

    With each: how often its newest evaluation hears the voice, and whether it speaks for its persona.
    """
    from mien.evaluate.gate import newest_evaluation

    workspace = Workspace.open()
    known = [card for card in cards(workspace) if card.stage in POLICIES]
    judged = {card.run: newest_evaluation(workspace, card) for card in known}
    speaking = {(row.run, row.adapter_hash) for row in in_force(workspace)}
    rows = [
        _row(card, judged[card.run], promoted=(card.run, card.adapter_hash) in speaking)
        for card in known
    ]
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


@click.command("show")
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
    found = checked(workspace, card, judged, None)
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
    print_checks(found)
    for row in history:
        out.print(in_words(row), markup=False)


def _scores(judged: Judged | None) -> list[Score]:
    scores = judged.evaluation.results.scores if judged else ()
    return [score for score in scores if judged and score.system == judged.subject]


def _print_scores(card: Card, judged: Judged | None) -> None:
    out = console(page=True)
    if judged is None:
        out.print(f"Not evaluated yet. {how_to_evaluate(card)}", markup=False)
        return
    out.print(f"Newest evaluation: {judged.report}, {judged.evaluation.made}", markup=False)
    grid = table("Score", "Value", "95 %", "n")
    for score in _scores(judged):
        ends = f"{score.low:.2f} to {score.high:.2f}"
        grid.add_row(Text(score.name), f"{score.value:.2f}", ends, str(score.n))
    out.print(grid)


@click.command("compare")
@click.argument("names", metavar="RUN RUN...", nargs=-1, required=True)
@json_option
def compare(names: tuple[str, ...], as_json: bool) -> None:
    """Put adapters side by side, by their cards and their effects.

    For each type of layer: the size of each update (its Frobenius norm), and how much it points the way
    the first one's does (cosine; 1 the same way, 0 unrelated).
    """
    from mien.registry.blend import read_adapter
    from mien.registry.compare import alike

    if len(names) < 2:
        raise InputError("One adapter cannot be compared.", fix="Name two or more.")
    workspace = Workspace.open()
    found = [newest(workspace, name) for name in names]
    layers = alike([read_adapter(workspace, card) for card in found])
    if as_json:
        sides = [card.model_dump(mode="json") for card in found]
        echo_json({"cards": sides, "layers": [each._asdict() for each in layers]})
        return
    _print_cards(found)
    _print_layers(found, layers)


def _print_cards(found: list[Card]) -> None:
    """A column each, and only the lines in which they differ."""
    out, grid = console(), table("", *(card.run for card in found))
    sides = [card.model_dump(mode="json", exclude={"run"}) for card in found]
    for key in sides[0]:
        values = [_short(side[key]) for side in sides]
        if len(set(values)) > 1:
            grid.add_row(Text(key), *map(Text, values))
    out.print(grid)
    out.print()


def _short(value: Any) -> str:
    if isinstance(value, str) and len(value) == 64:  # a hash
        return value[:12]
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(each)}" for key, each in value.items() if each)
    if isinstance(value, list):
        return " ".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_layers(found: list[Card], layers: list[Alike]) -> None:
    columns = [f"norm of {card.run}" for card in found]
    columns += [f"cosine of {card.run}" for card in found[1:]]
    grid = table("Layers", *columns)
    for each in layers:
        norms = (f"{norm:.3g}" for norm in each.norms)
        grid.add_row(Text(each.layer), *norms, *(f"{cosine:.2f}" for cosine in each.cosines[1:]))
    console().print(grid)
