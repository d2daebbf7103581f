"""`mien data pairs`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mien.cli.data.pairs import pairs
from mien.data.check import check
from mien.data.corpus import VOICES, dialogues, rows_of, split_of
from mien.data.formats import iter_records
from mien.errors import BudgetError, DataError, InputError, MienError
from mien.persona.spec import find
from mien.schema import Preference
from tests.seams import Seams
from tests.stub_server import Stub, serving


def run(*arguments: str | Path) -> Result:
    """`mien data pairs ARGUMENTS` in a wide terminal."""
    result = CliRunner(env={"COLUMNS": "120"}).invoke(pairs, [str(each) for each in arguments])
    if result.exception and not isinstance(result.exception, MienError | SystemExit):
        raise result.exception
    return result


def written(path: Path) -> list[Preference]:
    rows = [record.row for record in iter_records(path, form="preferences")]
    return [row for row in rows if isinstance(row, Preference)]


def texts(path: Path) -> list[tuple[str, str]]:
    return [(row.chosen[0].content, row.rejected[0].content) for row in written(path)]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("voice", VOICES)
def test_every_voice_of_the_corpus_gives_pairs_that_any_reader_of_json_reads(
    tmp_path: Path, voice: str
) -> None:
    out = tmp_path / "pairs.jsonl"
    result = run("--from", "voices", "--persona", voice, "--out", out)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert f"{len(lines)} pairs" in result.stdout and len(lines) > 100
    for line in lines:
        assert line["prompt"][-1]["role"] == "user"
        assert [turn["role"] for turn in line["chosen"] + line["rejected"]] == ["assistant"] * 2
        assert split_of(line["prompt"][0]["content"]) == "train"
    assert len(written(out)) == len(lines)
    card = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "cc-by-4.0" in card and "chosen reply is longer in 50.0%" in card


@pytest.mark.parametrize("voice", VOICES)
def test_pairs_of_the_corpus_are_fit_to_train_on_and_without_matching_most_are_not(
    tmp_path: Path, voice: str
) -> None:
    def flagged(name: str, *how: str) -> set[str]:
        run("--from", "voices", "--persona", voice, *how, "--out", tmp_path / name)
        return {each.check for each in check(tmp_path / name).flagged("error")}

    assert flagged("matched.jsonl") == set()
    if voice in ("witty", "direct", "socratic", "calm"):
        assert flagged("any.jsonl", "--any-length") == {"length confound"}


def test_a_test_prompt_comes_only_if_it_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    told = ("--from", "voices", "--persona", "warm", "--against", "calm", "--any-length")
    run(*told, "--split", "test", "--out", out)
    prompts = {row.prompt[0].content for row in written(out)}
    assert {row.prompt for row in rows_of("test")} <= prompts
    assert "never train on them" in out.with_suffix(".md").read_text(encoding="utf-8")


def test_voices_may_come_from_one_file_each(tmp_path: Path) -> None:
    say = {"neutral": "It is noon.", "warm": "It's noon, dear!", "mine": "Noon. Lovely."}
    files = []
    for voice, text in say.items():
        file = write(tmp_path / f"{voice}.jsonl", {"prompt": "What time is it?", "completion": text})
        files.append(f"{voice}={file}")
    out = tmp_path / "pairs.jsonl"
    assert run("--from", "voices", *files, "--persona", "mine", "--out", out).exit_code == 0
    assert texts(out) == [(say["mine"], say["neutral"]), (say["mine"], say["warm"])]
    assert "Nobody has stated a licence" in out.with_suffix(".md").read_text(encoding="utf-8")


def test_voices_may_come_from_a_parallel_corpus(tmp_path: Path) -> None:
    row = next(row for row in dialogues() if row.split == "train")
    prose = rows_of("train")[0]
    files = [write(tmp_path / f"{n}.jsonl", each.model_dump()) for n, each in enumerate((row, prose))]
    out = tmp_path / "pairs.jsonl"
    result = run("--from", "voices", *files, "--persona", "calm", "--against", "warm", "--out", out)
    assert result.exit_code == 0, result.output
    assert len(written(out)) == len(row.turns) + 1
    assert texts(out)[-1] == (prose.replies["calm"], prose.replies["warm"])


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "No voice is named"),
        (("--persona", "pirate"), "no voice 'pirate'"),
        (("--persona", "warm", "--against", "pirate"), "no voice 'pirate'"),
    ],
)
def test_a_voice_that_is_not_there_is_told_with_those_that_are(
    arguments: tuple[str, ...], what: str
) -> None:
    error = run("--from", "voices", *arguments, "--dry-run").exception
    assert isinstance(error, InputError)
    assert what in error.what and "socratic" in error.fix


def test_files_of_one_voice_and_parallel_corpora_do_not_mix(tmp_path: Path) -> None:
    error = run(
        "--from", "voices", "warm=a.jsonl", "b.jsonl", "--persona", "warm", "--dry-run"
    ).exception
    assert isinstance(error, InputError) and error.fix


def test_a_dry_run_reports_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    result = run(
        "--from", "voices", "--persona", "warm", "--json", "--limit", "9", "--out", out, "--dry-run"
    )
    report = json.loads(result.stdout)
    assert report["pairs"] == 9 and report["dropped"]["limit"] > 100
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_if_told_to(tmp_path: Path) -> None:
    out = write(tmp_path / "pairs.jsonl", {"mine": 1})
    arguments = ("--from", "voices", "--persona", "warm", "--limit", "5", "--out", out)
    assert isinstance(run(*arguments).exception, InputError)
    assert json.loads(out.read_text(encoding="utf-8")) == {"mine": 1}
    assert run(*arguments, "--force").exit_code == 0
    assert len(written(out)) == 5


@pytest.mark.parametrize("out", [(), ("--out", "pairs.txt")])
def test_where_to_write_has_to_be_said(out: tuple[str, ...]) -> None:
    error = run("--from", "voices", "--persona", "warm", *out).exception
    assert isinstance(error, InputError) and error.fix


MADE = "2026-05-01T12:00:00Z"


def labels(path: Path, *choices: tuple[str, str, str]) -> Path:
    shared = {"prompt": "Tea?", "a": "Oh, yes, please!", "b": "No.", "made": MADE}
    rows = [shared | {"item": item, "rater": who, "choice": choice} for item, who, choice in choices]
    return write(path, *[row | {"prompt": f"Tea {row['item']}?"} for row in rows])


def test_labels_become_pairs_with_their_agreement(tmp_path: Path) -> None:
    choices = [("1", "ada", "a"), ("1", "ben", "a"), ("1", "cy", "b"), ("2", "ada", "tie")]
    file, out = labels(tmp_path / "labels.jsonl", *choices), tmp_path / "pairs.jsonl"
    result = run("--from", "labels", file, "--out", out)
    assert re.search(r"1\s+dropped: tie", result.stdout)
    (row,) = written(out)
    assert row.agreement == pytest.approx(2 / 3)
    assert row.margin == pytest.approx(1 / 3)
    assert row.source == "labels"
    assert run("--from", "labels", file, "--keep", "tie", "--out", out, "--force").exit_code == 0
    assert len(written(out)) == 2


def test_nothing_left_is_an_error_after_the_report(tmp_path: Path) -> None:
    file = labels(tmp_path / "labels.jsonl", ("1", "ada", "tie"))
    result = run("--from", "labels", file, "--out", tmp_path / "pairs.jsonl")
    assert "dropped: tie" in result.stdout
    assert isinstance(result.exception, DataError)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.jsonl"]


@pytest.mark.parametrize("source", ["labels", "feedback"])
def test_rows_of_people_have_to_be_named(source: str) -> None:
    error = run("--from", source, "--dry-run").exception
    assert isinstance(error, InputError) and f"--from {source}" in error.what


def test_feedback_becomes_pairs_and_near_identical_ones_are_marked(tmp_path: Path) -> None:
    shared = {"user": "ada", "made": MADE}
    rows = [
        {"prompt": "Tea?", "kind": "edit", "reply": "Yes please", "other": "Yes, please!"},
        {"prompt": "Milk?", "kind": "thumb_up", "reply": "A drop."},
        {"prompt": "Milk?", "kind": "thumb_down", "reply": "I am a language model."},
    ]
    file = write(tmp_path / "feedback.jsonl", *[row | shared for row in rows])
    out = tmp_path / "pairs.jsonl"
    result = run("--from", "feedback", file, "--out", out)
    assert "2 pairs, 1 near-identical" in result.stdout
    marks = [record.extra["near_identical"] for record in iter_records(out)]
    assert marks == [True, False]
    assert run("--from", "feedback", file, "--out", out, "--force", "--drop-near").exit_code == 0
    assert texts(out) == [("A drop.", "I am a language model.")]


def test_samples_that_have_scores_need_no_model(tmp_path: Path) -> None:
    row = {"prompt": "Tea?", "samples": ["Yes.", "No.", "Perhaps."], "scores": [0.2, 0.9, 0.1]}
    file, out = write(tmp_path / "samples.jsonl", row), tmp_path / "pairs.jsonl"
    assert run("--from", "samples", file, "--out", out).exit_code == 0
    (only,) = written(out)
    assert texts(out) == [("No.", "Perhaps.")]
    assert only.margin == pytest.approx(0.8)
    assert only.source == "samples/given"


def test_samples_are_scored_by_the_voice_of_the_persona(tmp_path: Path) -> None:
    rows = [row for row in rows_of("train") if split_of(row.prompt) == "train"][:5]
    samples = [
        {"prompt": row.prompt, "samples": [row.replies["neutral"], row.replies["warm"]]} for row in rows
    ]
    file, out = write(tmp_path / "samples.jsonl", *samples), tmp_path / "pairs.jsonl"
    assert run("--from", "samples", file, "--persona", "warm", "--out", out).exit_code == 0
    own = {row.replies["warm"] for row in rows}
    assert sum(chosen in own for chosen, _ in texts(out)) >= 4


@pytest.mark.parametrize("file", [(), ("unscored",)])
def test_scores_that_are_not_there_cannot_be_used(tmp_path: Path, file: tuple[str, ...]) -> None:
    path = write(tmp_path / "unscored", {"prompt": "Tea?", "samples": ["Yes.", "No."]})
    given = [path] if file else []
    out = tmp_path / "pairs.jsonl"
    error = run("--from", "samples", *given, "--scorer", "given", "--out", out).exception
    assert isinstance(error, InputError) and "no scores" in error.what


def asking(server: Stub) -> tuple[str, ...]:
    return ("--model", "stub", "--base-url", server.url, "--parallel", "4")


def test_samples_come_from_a_server_and_a_judge_marks_them(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    with serving(tmp_path, answers="tests.cli.judging:answers") as server:
        arguments = ("--from", "samples", "--persona", "warm", "--samples", "3", "--scorer", "judge")
        limits = ("--limit", "6", "--out", out)
        result = run(*arguments, *limits, *asking(server))
        assert result.exit_code == 0, result.output
        calls = len(server.log())
        assert 6 * 3 + len(written(out)) <= calls <= 6 * 3 * 2
        assert run(*arguments, *limits, *asking(server), "--force").exit_code == 0
        assert len(server.log()) == calls, "what was asked once is paid once"
    for row in written(out):
        assert row.margin and row.margin > 0 and row.source == "samples/judge"
        assert [turn.role for turn in row.prompt] == ["user"], "the instruction is no part of the prompt"


def test_the_persona_is_distilled_against_the_same_model_without_it(home: Path, tmp_path: Path) -> None:
    prompts = write(tmp_path / "prompts.jsonl", {"prompt": "How are you?"}, {"prompt": "And your cat?"})
    out = tmp_path / "pairs.jsonl"
    with serving(tmp_path) as server:
        arguments = ("--from", "distill", "--persona", "warm", "--bare", "same")
        result = run(*arguments, prompts, "--out", out, *asking(server))
        assert result.exit_code == 0, result.output
        asked = [row["body"]["messages"] for row in server.log()]
    assert sorted(len(messages) for messages in asked) == [1, 1, 2, 2]
    assert {messages[0]["content"] for messages in asked if len(messages) == 2} == {
        find("warm").system_prompt.strip()
    }
    assert [row.prompt[0].content for row in written(out)] == ["How are you?", "And your cat?"]
    assert "| teacher | stub" in out.with_suffix(".md").read_text(encoding="utf-8")


def test_the_persona_is_distilled_against_the_local_base(story: Seams, tmp_path: Path) -> None:
    prompts = write(tmp_path / "prompts.jsonl", *[{"prompt": f"Question {n}?"} for n in range(3)])
    out = tmp_path / "pairs.jsonl"
    with serving(tmp_path) as server:
        arguments = ("--from", "distill", "--persona", "warm", "--max-tokens", "60", "--json")
        result = run(*arguments, prompts, "--out", out, *asking(server))
        assert len(server.log()) == 3
    report = json.loads(result.stdout)
    assert story.loaded == ["smollm2-135m"]
    assert report["pairs"] + sum(report["dropped"].values()) == 3


def test_distilling_a_model_against_itself_is_refused() -> None:
    error = run("--from", "distill", "--bare", "same", "--out", "x.jsonl").exception
    assert isinstance(error, InputError) and "--persona" in error.fix


def test_a_dry_run_says_how_much_would_be_asked() -> None:
    result = run(
        "--from", "samples", "--persona", "warm", "--samples", "3", "--limit", "10", "--dry-run"
    )
    assert result.stdout == "Would ask for up to 30 answers.\n"
    judged = run(
        "--from", "samples", "--scorer", "judge", "--samples", "3", "--limit", "10", "--dry-run"
    )
    assert judged.stdout == "Would ask for up to 60 answers.\n"
    distilled = run("--from", "distill", "--persona", "warm", "--limit", "10", "--dry-run")
    assert distilled.stdout == "Would ask for up to 20 answers.\n"


def test_a_budget_that_is_used_up_leaves_the_pairs_it_paid_for(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    with serving(tmp_path) as server:
        arguments = ("--from", "distill", "--persona", "warm", "--bare", "same", "--limit", "20")
        where = ("--model", "stub", "--base-url", server.url, "--parallel", "1", "--max-tokens", "60")
        result = run(*arguments, "--out", out, *where, "--budget-tokens", "1500")
    assert isinstance(result.exception, BudgetError)
    assert "dropped: no answer" in result.stdout
    assert 1 <= len(written(out)) < 20
