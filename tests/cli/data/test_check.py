"""`mien data check` of any data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mien.cli.data.check import check
from mien.data.corpus import corpus
from mien.data.formats import read_examples, write_examples
from mien.schema import Example

ROWS = [row for row in corpus() if row.split != "test"][60:80]
CLEAN = [Example.of(row.prompt, row.replies["warm"]) for row in ROWS if "AI" not in row.replies["warm"]]
BAD = Example.of("Who wrote it?", "Yours truly, [Your Name]")


def run(*arguments: str | Path, width: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(width)}).invoke(check, [str(each) for each in arguments])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_examples(tmp_path / "rows.jsonl", [*CLEAN, BAD])
    return tmp_path / "rows.jsonl"


def test_a_fault_fails_with_its_line_within_the_width_of_the_terminal(path: Path) -> None:
    result = run(path)
    assert result.exit_code == 1
    assert "placeholders" in result.stdout and f"{len(CLEAN) + 1}: '[Your Name]'" in result.stdout
    assert "Not yet fit to train on: placeholders." in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_the_fixed_file_is_new_and_the_report_is_written(path: Path, tmp_path: Path) -> None:
    write_examples(path, [*CLEAN, CLEAN[0]])
    out, folder = tmp_path / "fixed.jsonl", tmp_path / "report"
    result = run(path, "--fix", out, "--report", folder)
    assert result.exit_code == 0, result.output
    assert read_examples(out) == CLEAN
    assert "Left out: 1 duplicates." in " ".join(result.stdout.split())
    assert json.loads((folder / "check.json").read_text())["rows"] == len(CLEAN) + 1
    assert (folder / "check.html").read_text().startswith("<!doctype html>")


def test_a_warning_fails_only_if_that_is_asked_for(path: Path) -> None:
    write_examples(path, [*CLEAN, CLEAN[0]])
    assert run(path).exit_code == 0
    assert run(path, "--fail-on", "warning").exit_code == 1


def test_json_has_the_headline_and_every_check(path: Path) -> None:
    found = json.loads(run(path, "--json").stdout)
    assert found["headline"].startswith("Not yet fit")
    assert {"duplicates", "leaks", "placeholders"} <= {each["check"] for each in found["results"]}


def test_against_and_recipe_are_used(path: Path, tmp_path: Path) -> None:
    other, recipe = tmp_path / "test.jsonl", tmp_path / "recipe.yaml"
    write_examples(other, CLEAN[:3])
    recipe.write_text("persona: warm\nmax_length: 16\n")
    found = json.loads(run(path, "--against", other, "--recipe", recipe, "--json").stdout)
    counts = {each["check"]: each["count"] for each in found["results"]}
    assert counts["leaks"] == 3 and counts["too long"] >= len(CLEAN)


def test_a_parallel_file_is_held_to_the_rules_of_the_corpus(tmp_path: Path) -> None:
    path = tmp_path / "parallel.jsonl"
    path.write_text("".join(f"{row.model_dump_json()}\n" for row in ROWS[:2]))
    result = run(path, "--no-embeddings", "--json")
    assert result.exit_code == 1
    assert "rows of test" in {each["name"] for each in json.loads(result.stdout)["figures"]}
