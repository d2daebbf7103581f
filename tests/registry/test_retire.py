"""What is whole, what may go, and what must stay; and the way back to who spoke before."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mien.base.lora import CONFIG, WEIGHTS
from mien.base.model import Base
from mien.errors import AdapterError
from mien.registry.cards import CARD, PERSONA, Card, cards, newest
from mien.registry.promote import Promotion, before_last, promotions, record, roll_back
from mien.registry.retire import abandoned, needed, remove, run_called, superseded
from mien.registry.verify import faults, verified
from mien.workspace import Workspace, write_json
from tests.registry.builders import trained
from tests.registry.test_cards import put


def day(number: int) -> str:
    return f"2026-01-{number:02d}T00:00:00+00:00"


def promoted(workspace: Workspace, card: Card, report: str = "r") -> None:
    same = {key: getattr(card, key) for key in ("persona", "base_hash", "run", "adapter_hash")}
    record(workspace, Promotion(**same, report=report, who="ada"))


def test_a_rollback_is_a_promotion_of_who_spoke_before(workspace: Workspace) -> None:
    one, two = put(workspace, run="a", made=day(1)), put(workspace, run="b", made=day(2))
    promoted(workspace, one, "judged-a")
    promoted(workspace, two, "judged-b")
    promoted(workspace, two, "judged-b-again")
    roll_back(workspace, before_last(workspace, "witty"), who="bob", why="too much")
    assert newest(workspace, "witty") == one
    last = promotions(workspace)[-1]
    assert (last.run, last.report, last.who, last.why) == ("a", "judged-a", "bob", "too much")
    assert len(promotions(workspace)) == 4
    assert before_last(workspace, "witty").run == "b"


def test_without_an_earlier_promotion_there_is_no_way_back(workspace: Workspace) -> None:
    with pytest.raises(AdapterError, match="nothing was ever promoted"):
        before_last(workspace, "witty")
    promoted(workspace, put(workspace, run="a"))
    promoted(workspace, put(workspace, run="b", base_hash="1" * 64))  # on another base
    with pytest.raises(AdapterError, match="only b was ever promoted"):
        before_last(workspace, "witty")


def test_what_speaks_or_has_children_stays(workspace: Workspace) -> None:
    parent = put(workspace, run="a", made=day(1))
    child = put(workspace, run="b", made=day(2), parents=("a",))
    promoted(workspace, child)
    for card, why in ((parent, "b was made of it"), (child, "it speaks for witty")):
        with pytest.raises(AdapterError, match=f"{card.run} stays: {why}"):
            remove(workspace, card)
    other = put(workspace, run="c", made=day(3))
    promoted(workspace, other)
    remove(workspace, child)
    remove(workspace, parent)
    assert cards(workspace) == [other]
    assert [path.name for path in workspace.runs.iterdir()] == ["c"]


def test_what_an_unfinished_training_may_start_from_stays(workspace: Workspace) -> None:
    mine, other = put(workspace, run="a"), put(workspace, run="z", persona="calm")
    named = put(workspace, run="warm-sft-7", persona="warm")
    folder = workspace.runs / "witty-dpo-1"
    write_json(folder / "recipe.json", {"start": "warm-sft-7"})
    write_json(folder / PERSONA, {"name": "witty"})
    for card in (mine, named):
        with pytest.raises(AdapterError, match="witty-dpo-1 is in training"):
            remove(workspace, card)
    assert needed(workspace, other) is None


def test_only_a_runs_own_name_removes_it(workspace: Workspace) -> None:
    put(workspace, run="a")
    with pytest.raises(AdapterError, match="no finished run is called 'witty'"):
        run_called(workspace, "witty")


def test_superseded_is_what_nothing_needs(workspace: Workspace) -> None:
    put(workspace, run="first", made=day(1))
    spoke = put(workspace, run="spoke", made=day(2))
    parent = put(workspace, run="parent", made=day(3))
    speaks = put(workspace, run="speaks", made=day(4), parents=(parent.run,))
    put(workspace, run="idle", made=day(5))
    put(workspace, run="idle-child", stage="dpo", made=day(6), parents=("idle",))
    put(workspace, run="dpo", stage="dpo", made=day(7))
    put(workspace, run="guest", stage="import", made=day(8))
    put(workspace, run="guest-2", stage="import", made=day(9))
    put(workspace, run="newest", made=day(10))
    put(workspace, run="calm", persona="calm", made=day(1))
    promoted(workspace, spoke)
    promoted(workspace, speaks)
    doomed = superseded(workspace)
    assert [card.run for card in doomed] == ["idle-child", "idle", "first"]
    for card in doomed:
        remove(workspace, card)
    assert superseded(workspace) == []


def test_more_of_each_may_be_kept(workspace: Workspace) -> None:
    for number in (1, 2, 3):
        put(workspace, run=f"run-{number}", made=day(number))
    assert [card.run for card in superseded(workspace, newest=2)] == ["run-1"]


def test_leavings_of_killed_work_are_found_once_they_are_old(workspace: Workspace) -> None:
    old, new = workspace.root / ".partial-old", workspace.root / ".partial-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    assert abandoned(workspace) == [old]


def test_the_card_of_another_run_is_refused(workspace: Workspace) -> None:
    put(workspace, run="a")
    text = (workspace.runs / "a" / CARD).read_text()
    (workspace.runs / "a" / CARD).write_text(text.replace('"run": "a"', '"run": "../../elsewhere"'))
    with pytest.raises(AdapterError, match=r"the card of '../../elsewhere'"):
        cards(workspace)


@pytest.fixture
def whole(workspace: Workspace, tiny_base: Base, home: Path) -> tuple[Card, Path]:
    card = trained(workspace, tiny_base, "witty-sft-1")
    return card, workspace.runs / card.run


def test_what_is_whole_has_no_faults(workspace: Workspace, whole: tuple[Card, Path]) -> None:
    assert dict(verified(workspace)) == {"witty-sft-1": []}


def _flip(folder: Path) -> None:
    path = folder / "adapter" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


def _alpha(folder: Path) -> None:
    path = folder / "adapter" / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 30.0}))


FAULTS = {
    "another byte": (_flip, "not the file that was trained"),
    "another alpha": (_alpha, "its config has alpha 30, its weights 3.0"),
    "another persona": (lambda f: write_json(f / PERSONA, {"name": "x"}), "not the persona"),
    "no persona": (lambda f: (f / PERSONA).unlink(), "cannot be read"),
    "no weights": (lambda f: (f / "adapter" / WEIGHTS).unlink(), f"no {WEIGHTS} there"),
}


@pytest.mark.parametrize(("spoil", "says"), FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_is_named(
    workspace: Workspace, whole: tuple[Card, Path], spoil: object, says: str
) -> None:
    card, folder = whole
    spoil(folder)  # type: ignore[operator]
    (fault,) = faults(workspace, card)
    assert says in fault


def test_a_card_that_cannot_be_read_does_not_hide_the_others(
    workspace: Workspace, whole: tuple[Card, Path]
) -> None:
    (workspace.runs / "broken").mkdir()
    (workspace.runs / "broken" / CARD).write_text("{")
    found = dict(verified(workspace))
    assert found["witty-sft-1"] == [] and "not a card" in found["broken"][0]
