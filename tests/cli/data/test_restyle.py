"""`mien data restyle`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mien.base.embed import Embedder
from mien.cli.data.restyle import restyle
from mien.data.corpus import rows_of
from mien.data.formats import read_examples, write_examples
from mien.errors import InputError
from mien.persona.spec import library
from mien.schema import Example
from tests.data import plants
from tests.seams import Words
from tests.stub_server import Stub, serving

ROW = next(
    row
    for row in rows_of("test")
    if not plants.faults(plants.Pair(row.prompt, row.replies["neutral"], row.replies["calm"], "calm"))
)
DULL = "The tap drips because its washer is worn, and a new one from the shop costs very little money."


@pytest.fixture
def source(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Embedder, "load", lambda **_: Words())
    path = tmp_path / "plain.jsonl"
    write_examples(path, [Example.of(ROW.prompt, ROW.replies["neutral"]), Example.of("Why?", DULL)])
    return path


def run(server: Stub, source: Path, *arguments: str) -> Result:
    model = ("--model", "stub", "--base-url", server.url)
    given = [str(source), "--out", str(source.parent / "out"), *model, *arguments]
    return CliRunner(env={"COLUMNS": "100"}).invoke(restyle, given)


def test_a_table_says_what_was_kept_what_not_and_why(source: Path, tmp_path: Path) -> None:
    with serving(tmp_path, answers="tests.data.rewriter:answers") as server:
        result = run(server, source, "--into", "calm", "--no-embeddings", "--no-classifier")
        assert result.exit_code == 0, result.output
        (line,) = [line.split() for line in result.output.splitlines() if line.startswith("calm")]
        assert line[:4] == ["calm", "1", "1", "2"]
        assert "copy 3" in result.output
        said = " ".join(result.output.split())
        assert "2 conversations" in said and "4 paid" in said
        again = run(server, source, "--into", "calm", "--no-embeddings", "--no-classifier")
        assert "0 paid, 4 from the store" in " ".join(again.output.split())
    assert [each.reply for each in read_examples(tmp_path / "out" / "calm.jsonl")] == [
        ROW.replies["calm"]
    ]


def test_meaning_and_voices_are_checked_unless_told_not_to(source: Path, tmp_path: Path) -> None:
    with serving(tmp_path, answers="tests.data.rewriter:answers") as server:
        result = run(server, source, "--into", "calm", "--json", "-n", "1", "--tries", "1")
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert report["job"]["checks"] == ["cosine", "heard"]
        assert report["conversations"] == 1
        other = run(server, source, "--into", "calm", "--no-embeddings")
        assert isinstance(other.exception, InputError) and "another job" in str(other.exception)
        forced = run(server, source, "--into", "calm", "--no-embeddings", "--force", "--json")
        assert json.loads(forced.stdout)["job"]["checks"] == ["heard"]


def test_a_persona_of_ones_own_is_not_heard_by_the_classifier(source: Path, tmp_path: Path) -> None:
    own = tmp_path / "captain.yaml"
    calm = library()["calm"].model_copy(update={"name": "captain"})
    own.write_text(json.dumps(calm.model_dump(mode="json", exclude_none=True)))
    with serving(tmp_path, answers="tests.data.rewriter:answers") as server:
        result = run(server, source, "--into", str(own), "--no-embeddings", "--json", "--tries", "1")
    assert json.loads(result.stdout)["job"]["checks"] == []
    assert json.loads(result.stdout)["personas"]["captain"]["kept"] == 1


def test_a_job_out_of_budget_says_so_and_keeps_what_it_has(source: Path, tmp_path: Path) -> None:
    with serving(tmp_path, answers="tests.data.rewriter:answers") as server:
        result = run(
            server,
            source,
            "--into",
            "calm",
            "--no-embeddings",
            "--budget-tokens",
            "2500",
            "--parallel",
            "1",
        )
    assert result.exit_code != 0
    assert "unfinished" in result.output
    assert (tmp_path / "out" / "report.json").is_file()


@pytest.mark.parametrize("into", [",", "nobody"])
def test_personas_that_are_not_there(source: Path, tmp_path: Path, into: str) -> None:
    result = CliRunner().invoke(restyle, [str(source), "--into", into, "--model", "stub"])
    assert isinstance(result.exception, InputError)
