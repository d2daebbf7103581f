"""`mien data`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.base.embed import Embedder
from mien.data.corpus import VOICES, Parallel, corpus, examples
from mien.data.formats import read_examples
from mien.data.wording import bag_of_words
from tests.cli.running import run


def write(path: Path, rows: Sequence[Parallel]) -> str:
    path.write_text("".join(f"{row.model_dump_json()}\n" for row in rows), encoding="utf-8")
    return str(path)


class Words:
    """Stands in for the sentence embedder."""

    size = 2048

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return bag_of_words(texts, self.size)


def test_the_built_in_corpus_passes() -> None:
    result = run("data", "check", "--no-embeddings", width=120)
    assert result.exit_code == 0, result.output
    assert "rows of test" in result.stdout and "FAILED" not in result.stdout
    assert "Passed: " in result.stdout and " 0 errors, " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 120


def test_a_bad_corpus_fails_with_what_and_where(tmp_path: Path) -> None:
    first, second = corpus()[:2]
    bad = first.model_copy(update={"replies": {**first.replies, "warm": "Far too short [bold]."}})
    result = run("data", "check", "--no-embeddings", write(tmp_path / "rows.jsonl", [bad, second]))
    assert result.exit_code == 1
    assert f"{first.id}/warm" in result.stdout and "FAILED" in result.stdout
    assert "Failed: " in result.stdout
    findings = result.stdout.partition("What was found")[2].splitlines()
    kinds = [line.split()[0] for line in findings if line.startswith(("error", "note"))]
    assert kinds == sorted(kinds)


def test_check_as_json(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", corpus()[:2])
    result = run("data", "check", "--no-embeddings", "--json", path)
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert found["passed"] is False
    assert {"rows", "rows of test"} <= {figure["name"] for figure in found["figures"]}


def test_check_compares_meaning_with_the_embedder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Embedder, "load", lambda **_: Words())
    result = run("data", "check", "--json", write(tmp_path / "rows.jsonl", corpus()[:3]))
    assert "content kept" in {figure["name"] for figure in json.loads(result.stdout)["figures"]}


@pytest.mark.parametrize("text", ["", '{"id": "a"}\n', "{\n"])
def test_check_of_a_file_that_is_no_corpus(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    assert run("data", "check", "--no-embeddings", str(path)).exit_code == 1


@pytest.mark.parametrize("width", [60, 80, 120])
def test_show_puts_voices_side_by_side(width: int) -> None:
    text = run("data", "show", "-n", "1", width=width).stdout
    heads = [
        line.split()
        for line in text.splitlines()
        if set(line.split()) & set(VOICES) == set(line.split())
    ]
    assert [name for head in heads for name in head] == list(VOICES)
    assert max(map(len, heads)) == width // 38
    assert max(map(len, text.splitlines())) <= width


def test_show_one_voice_of_one_split_and_topic() -> None:
    text = run(
        "data", "show", "--voice", "calm", "--split", "test", "--topic", "facts", "-n", "2"
    ).stdout
    rows = [row for row in corpus() if row.split == "test" and row.topic == "facts"]
    shown = [row for row in rows if row.id in text]
    assert len(shown) == min(2, len(rows))
    assert all(row.replies["calm"].split()[0] in text for row in shown)
    assert text.endswith(f" of {len(rows)} prompts.\n")


def test_show_spreads_over_the_corpus_and_never_repeats() -> None:
    text = " ".join(run("data", "show", "--voice", "warm", "-n", "10000").stdout.split())
    assert all(text.count(f"{row.id}, {row.split}") == 1 for row in corpus())


def test_show_of_an_unknown_topic_says_which_there_are() -> None:
    result = run("data", "show", "--topic", "fact")
    assert result.exit_code == 2
    assert "Fix: Topics: " in result.stderr and "facts" in result.stderr


def test_export_can_be_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "calm.jsonl"
    result = run("data", "export", "--voice", "calm", "--split", "test", str(path))
    assert result.exit_code == 0
    assert read_examples(path) == examples("calm", "test")
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert [turn["role"] for turn in first["prompt"] + first["completion"]] == ["user", "assistant"]


def test_export_replaces_a_file_only_if_told_to(tmp_path: Path) -> None:
    path = tmp_path / "calm.jsonl"
    path.write_text("mine")
    arguments = ("data", "export", "--voice", "calm", "--split", "validation", str(path))
    assert run(*arguments).exit_code == 2
    assert path.read_text() == "mine"
    assert run(*arguments, "--force").exit_code == 0
    assert len(read_examples(path)) == len(examples("calm", "validation"))


def test_export_to_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "calm.jsonl"
    result = run("data", "export", "--voice", "calm", "--split", "test", str(path))
    assert result.exit_code == 1
