"""The folder of a restyling: what is written, what is refused, and how it goes on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mien.chat import ScriptedModel
from mien.data.calls import Calls
from mien.data.corpus import Parallel, rows_of
from mien.data.formats import iter_records, read_examples, write_records
from mien.data.restyle import Restyler
from mien.data.restyled import Order, Report
from mien.data.rows import iter_rows
from mien.data.teacher import Budget, Teacher
from mien.errors import BudgetError, DataError, InputError
from mien.persona.spec import Persona, library
from mien.schema import Example
from tests.data import plants, rewriter
from tests.stub_server import serving

PERSONAS = library()
INTO = (PERSONAS["direct"], PERSONAS["calm"])


def kept(row: Parallel, voice: str) -> bool:
    return not plants.faults(plants.Pair(row.prompt, row.replies["neutral"], row.replies[voice], voice))


ROWS = [row for row in rows_of("test") if all(kept(row, each.name) for each in INTO)][:8]


def source(folder: Path, *spoilt: str) -> Path:
    """Neutral replies, some with a name that the rewriter does not know and drops nothing of."""
    path = folder / "plain.jsonl"
    rows = [Example.of(row.prompt, row.replies["neutral"]) for row in ROWS]
    rows += [Example.of(f"Tell me {each}.", each) for each in spoilt]
    ids = [row.id for row in ROWS] + [f"spoilt-{place}" for place in range(len(spoilt))]
    write_records(path, rows, [{"id": each, "topic": "any"} for each in ids])
    return path


def restyler(folder: Path, *, budget: Budget | None = None) -> Restyler:
    calls = Calls(folder / "calls.db")
    return Restyler(Teacher(ScriptedModel(rewriter.script), calls, budget=budget))


def order(folder: Path, path: Path, *personas: Persona) -> Order:
    return Order.read(path, personas or INTO, folder / "out")


def lines(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in iter_rows(path)]


SPOILT = "The tap drips because its washer is worn, and a new one from the shop costs very little money."


def test_each_persona_gets_a_file_whose_rows_have_the_ids_of_the_source(tmp_path: Path) -> None:
    report = order(tmp_path, source(tmp_path)).fill(restyler(tmp_path))
    assert report.finished and report.conversations == len(ROWS)
    for persona in INTO:
        path = tmp_path / "out" / f"{persona.name}.jsonl"
        records = list(iter_records(path))
        assert [each.extra["id"] for each in records] == [row.id for row in ROWS]
        assert [each.reply for each in read_examples(path)] == [
            row.replies[persona.name] for row in ROWS
        ]
        assert (
            records[0].extra | {"topic": "any", "persona": persona.name, "model": "scripted"}
            == records[0].extra
        )
        assert persona.title in path.with_suffix(".md").read_text(encoding="utf-8")
    assert lines(tmp_path / "out" / "aside.jsonl") == []


def test_what_is_set_aside_is_told_with_every_attempt_and_counted(tmp_path: Path) -> None:
    report = order(tmp_path, source(tmp_path, SPOILT)).fill(restyler(tmp_path))
    aside = lines(tmp_path / "out" / "aside.jsonl")
    assert [(row["id"], row["persona"]) for row in aside] == [
        ("spoilt-0", "direct"),
        ("spoilt-0", "calm"),
    ]
    (turn,) = aside[0]["turns"]
    assert turn["source"] == SPOILT and len(turn["rejected"]) == 3
    assert turn["rejected"][0]["faults"][0]["message"] == "it shares 100% of its wording with the source"
    told = report.personas["direct"]
    assert (told.kept, told.set_aside, told.asked_again) == (len(ROWS), 1, 2)
    assert told.faults["copy"] == 3 and told.aside_for["copy"] == 1
    assert Report.model_validate_json((tmp_path / "out" / "report.json").read_text()) == report


def test_a_persona_of_which_nothing_is_left_has_no_card(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    write_records(path, [Example.of("Why?", SPOILT)])
    order(tmp_path, path).fill(restyler(tmp_path))
    assert lines(tmp_path / "out" / "calm.jsonl") == []
    assert not (tmp_path / "out" / "calm.md").exists()


def test_the_same_order_again_is_free_and_gives_the_same_files(tmp_path: Path) -> None:
    path = source(tmp_path, SPOILT)
    order(tmp_path, path).fill(restyler(tmp_path))
    files = {
        each: each.read_bytes() for each in (tmp_path / "out").iterdir() if each.name != "report.json"
    }
    again = restyler(tmp_path)
    order(tmp_path, path).spare(again)
    report = order(tmp_path, path).fill(again)
    assert report.calls.paid == 0 and report.calls.cached == report.calls.asked
    assert all(each.read_bytes() == text for each, text in files.items())


def test_a_budget_stops_it_and_the_same_order_goes_on(tmp_path: Path) -> None:
    path = source(tmp_path)
    short = restyler(tmp_path, budget=Budget(tokens=9_000))
    report = order(tmp_path, path).fill(short)
    assert isinstance(short.teacher.stopped, BudgetError)
    assert not report.finished and report.unfinished
    paid = report.calls.paid
    assert 0 < paid < 2 * len(ROWS)
    report = order(tmp_path, path).fill(restyler(tmp_path))
    assert report.finished and report.calls.paid == 2 * len(ROWS) - paid


def test_another_job_is_not_written_over(tmp_path: Path) -> None:
    path = source(tmp_path)
    order(tmp_path, path).fill(restyler(tmp_path))
    with pytest.raises(InputError, match="another job"):
        order(tmp_path, path, PERSONAS["warm"]).spare(restyler(tmp_path))
    path.write_text(path.read_text().replace("any", "other"))
    with pytest.raises(InputError, match="another job"):
        order(tmp_path, path).spare(restyler(tmp_path))


def test_files_of_another_making_are_not_written_over(tmp_path: Path) -> None:
    path = source(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "calm.jsonl").write_text("mine")
    with pytest.raises(InputError, match="of that name"):
        order(tmp_path, path).spare(restyler(tmp_path))
    path.rename(tmp_path / "direct.jsonl")
    into_itself = Order.read(tmp_path / "direct.jsonl", INTO, tmp_path)
    with pytest.raises(InputError, match="of that name"):
        into_itself.spare(restyler(tmp_path))


def test_personas_need_names_of_their_own(tmp_path: Path) -> None:
    path = source(tmp_path)
    with pytest.raises(InputError, match="named 2 times"):
        order(tmp_path, path, PERSONAS["calm"], PERSONAS["calm"])
    with pytest.raises(InputError, match="taken"):
        order(tmp_path, path, PERSONAS["calm"].model_copy(update={"name": "aside"}))


def test_an_empty_source_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(DataError, match="no rows"):
        order(tmp_path, tmp_path / "none.jsonl")


JOB = """
import sys
from pathlib import Path
from mien.data.calls import Calls
from mien.data.restyle import Restyler
from mien.data.restyled import Order
from mien.data.teacher import Teacher
from mien.endpoint import Endpoint
from mien.persona.spec import find
url, folder = sys.argv[1], Path(sys.argv[2])
order = Order.read(folder / "plain.jsonl", [find("direct"), find("calm")], folder / "out")
teacher = Teacher(Endpoint(url, "stub"), Calls(folder / "calls.db"), parallel=2)
order.fill(Restyler(teacher))
"""


def test_a_job_that_was_killed_goes_on_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    source(tmp_path)
    with serving(tmp_path, answers="tests.data.rewriter:answers", latency=0.15) as server:
        command = [sys.executable, "-c", JOB, server.url, str(tmp_path)]
        with subprocess.Popen(command) as process:
            while len(server.log()) < 4:
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
        assert not (tmp_path / "out" / "report.json").exists()
        subprocess.run(command, check=True)
        paid = server.paid()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["finished"] and report["calls"]["cached"] > 0
    assert {name: each["kept"] for name, each in report["personas"].items()} == dict.fromkeys(
        ("direct", "calm"), len(ROWS)
    )
    assert sorted(paid.values()) == [1] * 2 * len(ROWS)
