"""The folder of a simulation: written whole, gone on with, topped up, and never lost by mistake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mien.chat import ScriptedModel
from mien.data.formats import iter_records
from mien.data.plan import Plan
from mien.data.simulate import Simulator
from mien.data.simulated import ASIDE, DATA, PICTURE, PLAN, REPORT, Order, Report
from mien.data.teacher import Budget, Calls, Teacher
from mien.errors import BudgetError, InputError
from mien.persona import library
from mien.schema import Dialogue, Message
from tests.actors import script

WITTY = library()["witty"]
SHORT = Plan.of(WITTY).within(1, 2)


class Place:
    """A folder, a store of calls, and what was asked so far."""

    def __init__(self, root: Path) -> None:
        self.folder, self.calls = root / "out", Calls(root / "calls.db")
        self.asked = 0
        self.stopped: BaseException | None = None
        self.silent_on = ""

    def say(self, messages: Sequence[Message], seed: int) -> str:
        self.asked += 1
        told = messages[0].content
        return "User: no." if self.silent_on and self.silent_on in told else script(messages, seed)

    def run(self, n: int, *, top_up: bool = False, budget: int | None = None, **settings: Any) -> Report:
        """One run of a job, refused where it would lose something."""
        teacher = Teacher(ScriptedModel(self.say), self.calls, budget=Budget(tokens=budget))
        simulator = Simulator(teacher, WITTY, SHORT, **settings)
        order = Order.draw(self.folder, SHORT, n, top_up=top_up)
        order.spare(simulator)
        report = order.fill(simulator)
        self.stopped = teacher.stopped
        return report

    def rows(self) -> list[dict[str, Any]]:
        text = (self.folder / DATA).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_job_leaves_dialogues_with_card_plan_picture_and_report(place: Place) -> None:
    report = place.run(12)
    assert (report.finished, report.dialogues, report.calls.paid) == (True, 12, place.asked)
    names = {path.name for path in place.folder.iterdir()}
    assert names == {DATA, ASIDE, REPORT, PLAN, PICTURE, "dialogues.md"}
    assert Report.model_validate_json((place.folder / REPORT).read_text()) == report
    assert Plan.load(place.folder / PLAN).digest() == SHORT.digest()
    assert "witty" in (place.folder / "dialogues.md").read_text()


def test_rows_are_dialogues_that_say_where_they_are_from(place: Place) -> None:
    place.run(6)
    records = list(iter_records(place.folder / DATA))
    assert all(isinstance(each.row, Dialogue) for each in records)
    assert len({each.extra["id"] for each in records}) == 6
    first = records[0].extra
    assert first["persona_hash"] == WITTY.digest() and first["model"] == "scripted"
    assert len(first["prompts"]) == 3 and first["cell"].keys() == SHORT.dimensions.keys()
    assert first["scenario"] and "aside" not in first


def test_the_same_job_again_asks_nothing_and_writes_the_same(place: Place) -> None:
    place.run(8)
    before, asked = (place.folder / DATA).read_bytes(), place.asked
    report = place.run(8)
    assert (place.folder / DATA).read_bytes() == before
    assert place.asked == asked and report.calls.paid == 0


def test_a_job_that_stopped_goes_on_and_ends_as_if_it_never_had(place: Place, tmp_path: Path) -> None:
    report = place.run(10, budget=8000)
    assert isinstance(place.stopped, BudgetError)
    assert not report.finished and report.dialogues + sum(report.unfinished.values()) == 10
    assert len(place.rows()) == report.dialogues
    assert place.run(10).finished
    other = Place(tmp_path / "other")
    other.run(10)
    assert place.rows() == other.rows() and place.asked == other.asked


def test_what_was_set_aside_is_kept_with_its_reason_and_can_be_topped_up(place: Place) -> None:
    place.silent_on = "at most 35 words"
    report = place.run(14)
    gone = report.set_aside["persona: speaks for a role"]
    assert gone and report.dialogues == 14 - gone and report.finished
    aside = [json.loads(line) for line in (place.folder / ASIDE).read_text().splitlines()]
    assert {row["aside"] for row in aside} == {"persona: speaks for a role"}
    place.silent_on = ""
    kept = place.rows()
    again = place.run(14, top_up=True)
    rows = place.rows()
    assert rows[: len(kept)] == kept and len(rows) == 14 == again.dialogues
    assert len({row["id"] for row in rows}) == 14
    assert all(
        abs(n - again.shares[d][k]) < 1 for d, each in again.counts.items() for k, n in each.items()
    )
    assert len((place.folder / ASIDE).read_text().splitlines()) == gone


def test_a_set_grows_by_topping_up_with_another_seed_or_model(place: Place) -> None:
    place.run(5)
    report = place.run(9, top_up=True, seed=3)
    assert report.dialogues == 9 and [row["number"] for row in place.rows()] == list(range(9))
    asked = place.asked
    assert place.run(9, top_up=True).finished and place.asked == asked


def test_a_topping_up_that_stopped_pays_for_nothing_twice(place: Place, tmp_path: Path) -> None:
    place.run(5)
    assert not place.run(12, top_up=True, budget=6000).finished
    place.run(12, top_up=True)
    other = Place(tmp_path / "other")
    other.run(5)
    other.run(12, top_up=True)
    assert place.rows() == other.rows() and place.asked == other.asked


@pytest.mark.parametrize(("n", "settings"), [(8, {"seed": 1}), (8, {"tries": 2}), (5, {})])
def test_dialogues_of_another_job_are_not_written_over(
    place: Place, n: int, settings: dict[str, Any]
) -> None:
    place.run(8)
    before = (place.folder / DATA).read_bytes()
    with pytest.raises(InputError, match="of another job"):
        place.run(n, **settings)
    assert (place.folder / DATA).read_bytes() == before


def test_a_file_that_is_no_simulation_is_not_written_over(place: Place) -> None:
    place.folder.mkdir()
    row = {"messages": [{"role": r, "content": "x"} for r in ("user", "assistant")]}
    (place.folder / DATA).write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="no dialogue of a simulation"):
        place.run(3)


def test_a_job_of_which_nothing_came_has_a_report_and_no_card(place: Place) -> None:
    place.silent_on = "Invent the situation"
    report = place.run(3)
    assert report.dialogues == 0 and report.set_aside == {"scenario: speaks for a role": 3}
    assert not (place.folder / "dialogues.md").exists() and place.rows() == []
