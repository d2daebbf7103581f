"""The models that there are, read off a workspace in which something may be broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mien.base.model import Base
from mien.registry.cards import CARD, PERSONA
from mien.serve.catalogue import Catalogue
from mien.serve.refusals import RefusedError
from mien.workspace import Workspace
from tests.registry.builders import trained

FAULTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no persona": (PERSONA, Path.unlink),
    "a persona of another mien": (PERSONA, lambda path: path.write_text('{"name": "witty"}')),
    "a persona cut off": (PERSONA, lambda path: path.write_text(path.read_text()[:50])),
    "a persona of no letters": (PERSONA, lambda path: path.write_bytes(b"\xff")),
    "a card cut off": (CARD, lambda path: path.write_text("{")),
    "a card of another mien": (CARD, lambda path: path.write_text('{"run": "witty-2"}')),
    "a card of another run": (
        CARD,
        lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"run": "witty-1"})),
    ),
}


def run_of(catalogue: Catalogue, name: str) -> str:
    card = catalogue.find(name).card
    assert card is not None
    return card.run


@pytest.mark.parametrize(("name", "spoil"), FAULTS.values(), ids=FAULTS.keys())
def test_a_run_that_cannot_be_read_is_left_out_and_told_of_once(
    workspace: Workspace,
    tiny_base: Base,
    caplog: pytest.LogCaptureFixture,
    name: str,
    spoil: Callable[[Path], object],
) -> None:
    for day, run in enumerate(("witty-1", "witty-2", "calm-1"), 1):
        made = f"2026-01-0{day}T00:00:00+00:00"
        trained(workspace, tiny_base, run, persona=run.partition("-")[0], made=made)
    catalogue = Catalogue(tiny_base.files, workspace)
    assert run_of(catalogue, "witty") == "witty-2"
    path = workspace.runs / "witty-2" / name
    whole = path.read_bytes()
    spoil(path)
    (workspace.runs / "calm-1" / CARD).touch()  # so that there is something new

    with caplog.at_level("WARNING", "mien.serve"):
        assert catalogue.refresh() and not catalogue.refresh()
        anew = Catalogue(tiny_base.files, workspace)
    for each in (catalogue, anew):
        assert run_of(each, "witty") == "witty-1" and run_of(each, "calm@calm-1") == "calm-1"
        with pytest.raises(RefusedError, match="no model 'witty@witty-2'"):
            each.find("witty@witty-2")
        assert [*each.faults] == ["witty-2"] and str(path) in each.faults["witty-2"]
    told = [vars(record)["fields"] for record in caplog.records]
    assert told == [{"run": "witty-2", "why": anew.faults["witty-2"]}] * 2  # one for each catalogue

    path.write_bytes(whole)
    assert catalogue.refresh() and run_of(catalogue, "witty") == "witty-2" and not catalogue.faults
