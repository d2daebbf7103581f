"""`mien data plan`, `simulate` and `prompts`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mien.cli.groups import Lazy, LazyGroup
from mien.data.plan import Plan
from mien.data.prompts import names
from mien.data.simulate import PROMPTS
from mien.data.simulated import DATA, REPORT
from tests.stub_server import Stub, serving

GROUP = LazyGroup(
    name="data",
    lazy={name: Lazy(f"mien.cli.data.simulate:{name}", "") for name in ("plan", "simulate", "prompts")},
    environment={},
)


def run(*arguments: str, width: int = 100) -> Result:
    return CliRunner(env={"COLUMNS": str(width)}).invoke(GROUP, arguments)


@pytest.fixture
def here(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    with serving(tmp_path, answers="tests.actors:answers") as server:
        yield server


def simulate(stub: Stub, *more: str, persona: str = "witty") -> Result:
    asked = ("--model", "stub", "--base-url", stub.url)
    return run("simulate", "--persona", persona, "-n", "6", "--turns", "1-2", *asked, *more)


def test_the_plan_that_is_printed_can_be_read(here: Path) -> None:
    text = run("plan", "--persona", "warm").stdout
    (here / "plan.yaml").write_text(text)
    assert "boundary-1" in Plan.load("plan.yaml").dimensions["pressure"].levels
    assert "boundary-1" not in run("plan").stdout
    assert "# The plan of a simulation" in text


def test_a_dry_run_asks_nothing_and_says_what_it_would_take(here: Path) -> None:
    result = run("simulate", "--persona", "witty", "-n", "40", "--dry-run", "--price-out", "2")
    assert result.exit_code == 0, result.output
    assert "Nothing was asked." in result.stdout and "pairs of levels come up" in result.stdout
    assert "in money" in result.stdout and "register" in result.stdout
    assert not list(here.rglob("*.jsonl"))


def test_a_dry_run_as_json(here: Path) -> None:
    result = run("simulate", "--persona", "warm", "-n", "10", "--turns", "2", "--dry-run", "--json")
    found = json.loads(result.stdout)
    assert found["calls"] == 50 and found["completion_tokens"] == 10 * (300 + 2 * 900)
    assert found["counts"]["turns"] == {"2": 10} and found["money"] == 0


def test_dialogues_are_made_and_told_of(here: Path, stub: Stub) -> None:
    result = simulate(stub)
    assert result.exit_code == 0, result.output
    assert "6 of 6 dialogues in witty-dialogues." in result.stdout
    assert len((here / "witty-dialogues" / DATA).read_text().splitlines()) == 6
    assert json.loads((here / "witty-dialogues" / REPORT).read_text())["calls"]["paid"] == len(
        stub.log()
    )


def test_the_same_command_again_asks_nothing(here: Path, stub: Stub) -> None:
    simulate(stub)
    asked = len(stub.log())
    again = simulate(stub, "--json")
    assert len(stub.log()) == asked and json.loads(again.stdout)["calls"]["paid"] == 0


def test_a_spent_budget_ends_with_what_there_is_and_the_command_goes_on(here: Path, stub: Stub) -> None:
    result = simulate(stub, "--budget-tokens", "6000", "--parallel", "1")
    assert result.exit_code == 1
    assert "The budget is used up" in result.stderr and "goes on from here" in result.stdout
    assert simulate(stub).exit_code == 0
    assert all(times == 1 for times in stub.paid().values())


def test_topping_up_takes_the_plan_of_the_folder(here: Path, stub: Stub) -> None:
    text = run("plan").stdout.replace("drop-the-act", "drop-it")
    (here / "mine.yaml").write_text(text)
    assert simulate(stub, "--plan", "mine.yaml", "--out", "set").exit_code == 0
    result = simulate(stub, "--top-up", "-n", "9", "--out", "set")
    assert result.exit_code == 0, result.output
    assert "9 of 9 dialogues in set." in result.stdout
    assert '"drop-it": ' in (here / "set" / REPORT).read_text()


def test_another_job_is_refused_unless_it_is_forced(here: Path, stub: Stub) -> None:
    simulate(stub, "--out", "set")
    refused = simulate(stub, "--out", "set", persona="calm")
    assert refused.exit_code == 2 and "6 of its 6 dialogues are of another job" in refused.stderr
    assert simulate(stub, "--out", "set", "--force", persona="calm").exit_code == 0


@pytest.mark.parametrize("turns", ["0", "9", "1-", "two", "5-3", "7"])
def test_turns_that_are_none(here: Path, turns: str) -> None:
    result = run("simulate", "--persona", "witty", "--turns", turns, "--dry-run")
    assert result.exit_code == 2 and "turns" in result.stderr and "Fix: " in result.stderr


def test_a_mistaken_plan_gets_every_mistake_listed(here: Path) -> None:
    text = run("plan").stdout.replace("weight: 7", "wieght: 7").replace("told: [user]", "told: [usr]")
    (here / "mine.yaml").write_text(text)
    result = run("simulate", "--persona", "witty", "--plan", "mine.yaml", "--dry-run")
    assert result.exit_code == 2
    assert "did you mean `weight`?" in result.stderr and "dimensions.style.told.0" in result.stderr


def test_prompts_are_listed_with_hash_and_fields() -> None:
    rows = json.loads(run("prompts", "--json").stdout)
    assert [row["name"] for row in rows] == names() and set(PROMPTS) <= set(names())
    text = run("prompts").stdout
    assert all(row["name"] in text and row["hash"][:12] in text for row in rows)
    assert max(map(len, run("prompts", width=80).stdout.splitlines())) <= 80


def test_one_prompt_is_shown_as_it_is() -> None:
    result = run("prompts", "simulate-user")
    assert result.stdout.startswith("You play the user") and "$scenario" in result.stdout
    shown = json.loads(run("prompts", "simulate-user", "--json").stdout)
    assert shown["text"] == result.stdout.rstrip("\n") and "turn" in shown["fields"]
    assert run("prompts", "simulate").exit_code == 2
