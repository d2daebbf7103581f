"""`mien train` and `mien recipe`."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from mien.cli.show import TerminalShow
from mien.data.formats import write_examples
from mien.registry.cards import cards
from mien.schema import Example
from mien.train import run as training
from mien.train.recipe import SftRecipe
from tests.cli.running import run
from tests.seams import HELD, TRAINED, Seams

SHORT = ("train", "sft", "--persona", "witty", "--epochs", "1", "--batch-size", "8")


def unbroken(text: str) -> str:
    """Text without the line breaks of a narrow terminal."""
    return " ".join(text.split())


def test_it_trains_and_says_where_the_adapter_is(story: Seams) -> None:
    result = run(*SHORT)
    assert result.exit_code == 0, result.output
    (card,) = cards(story.workspace)
    assert f"trained {card.run}: 1 steps in" in result.stderr
    assert result.stdout.splitlines()[0] == str(story.workspace.runs / card.run)
    assert "mien eval --persona witty" in result.stdout
    assert card.validation_loss is not None
    assert f"validation loss {card.validation_loss}" in result.stderr
    assert "training witty ..." in result.stderr


def test_the_second_time_it_says_that_it_is_there(story: Seams, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*SHORT)
    monkeypatch.setattr(training, "fit", None)
    result = run(*SHORT)
    assert result.exit_code == 0
    assert "there already: witty-sft-" in result.stderr


def test_a_recipe_file_is_trained_and_the_command_line_replaces_its_keys(
    story: Seams, tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("persona: calm\nepochs: 2\nseed: 3\nbatch_size: 8\nlora: {r: 2, alpha: 4}\n")
    result = run("train", str(path), "--epochs", "1", "--seed", "9")
    assert result.exit_code == 0, result.output
    (card,) = cards(story.workspace)
    assert (card.persona, card.seed, card.steps) == ("calm", 9, 1)
    recipe = json.loads((story.workspace.runs / card.run / "recipe.json").read_text())
    assert (recipe["epochs"], recipe["lora"]["r"]) == (1, 2)


def test_a_file_of_ones_own_rows_is_trained_on(story: Seams, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_examples(path, [Example.of(f"question {n}", "a reply") for n in range(9)])
    result = run(*SHORT, "--data", str(path))
    assert result.exit_code == 0, result.output
    (card,) = cards(story.workspace)
    assert card.data == str(path) and card.examples <= 9


def test_a_dry_run_says_what_would_happen_and_writes_nothing(story: Seams) -> None:
    result = run(*SHORT, "--dry-run", width=160)
    assert result.exit_code == 0, result.output
    head, _, facts = result.stdout.partition("─")
    assert yaml.safe_load(head) == SftRecipe(persona="witty", epochs=1, batch_size=8).model_dump(
        mode="json"
    )
    said = unbroken(facts)
    assert f"examples {TRAINED} to train on, {HELD} held out" in said
    assert "left out 0 over 1024 tokens" in said
    assert "steps at most 1" in said
    assert "would be written" in said and "about" in said
    assert not story.workspace.root.exists()


def test_a_dry_run_counts_what_is_too_long(story: Seams, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("persona: witty\nmax_length: 16\n")
    result = run("train", str(path), "--dry-run")
    assert result.exit_code == 2
    assert "examples are over 16 tokens" in result.stderr


def test_a_dry_run_of_a_finished_run_says_so(story: Seams) -> None:
    run(*SHORT)
    assert "complete already" in unbroken(run(*SHORT, "--dry-run", width=200).stdout)


def test_the_preview_shows_rows_as_the_model_sees_them(story: Seams) -> None:
    result = run(*SHORT, "--preview", width=120)
    assert result.exit_code == 0
    assert result.stdout.count("<|im_start|>assistant") == 2
    assert "Green is learnt" in result.stdout
    assert not story.workspace.root.exists()


def test_ctrl_c_is_one_line_with_the_step_and_the_next_run_goes_on(
    story: Seams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: TerminalShow, step: int, steps: int, metrics: Any) -> None:
        if step == 2 and "loss" in metrics:
            signal.raise_signal(signal.SIGINT)

    long = ("train", "sft", "--persona", "witty", "--epochs", "4", "--batch-size", "2")
    with monkeypatch.context() as patch:
        patch.setattr(TerminalShow, "training", interrupted)
        result = run(*long)
    assert result.exit_code == 130
    assert result.stderr.endswith("\nStopped at step 3.\n")  # the step under way is finished
    assert cards(story.workspace) == []
    assert run(*long).exit_code == 0
    assert [card.steps for card in cards(story.workspace)] == [12]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "dpo", "--persona", "witty"), "'dpo' is neither a stage nor a recipe file"),
        (("train", "sft"), "No persona is given"),
        (("train", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("train", "sft", "--persona", "captain"), "captain"),
        (("train", "sft", "--persona", "witty", "--epochs", "0"), "epochs: input should be greater"),
        (("train", "sft", "--persona", "witty", "--data", "no.jsonl"), "no.jsonl: no such file"),
    ],
)
def test_bad_input_is_told_with_what_to_do(story: Seams, arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr and "Fix: " in result.stderr
    assert "Traceback" not in result.output


def test_bad_input_is_found_before_the_base_is_loaded(story: Seams) -> None:
    run("train", "sft", "--persona", "witty", "--epochs", "0")
    assert story.loaded == []


def test_a_new_recipe_has_every_key_and_checks_and_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    assert run("recipe", "new", "calm", str(path)).exit_code == 0
    assert SftRecipe.load(path) == SftRecipe(persona="calm")
    text = path.read_text()
    assert all(f"\n{key}:" in f"\n{text}" for key in SftRecipe.model_fields)
    assert "# rank" in text or "# most passes over the data" in text
    assert run("recipe", "check", str(path)).exit_code == 0
    again = run("recipe", "new", "witty", str(path))
    assert again.exit_code == 2 and "exists" in again.stderr
    assert path.read_text() == text


def test_check_reports_every_mistake_and_an_unknown_persona(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("persona: witty\nepoch: 3\nseed: -1\n")
    result = run("recipe", "check", str(path))
    assert result.exit_code == 2
    assert "2 mistakes" in result.stderr and "did you mean `epochs`?" in unbroken(result.stderr)
    path.write_text("persona: captain\n")
    assert "captain" in run("recipe", "check", str(path)).stderr


def test_the_schema_is_json_and_knows_every_key() -> None:
    schema = json.loads(run("recipe", "schema").stdout)
    assert set(schema["properties"]) == set(SftRecipe.model_fields)
    assert schema["required"] == ["persona"]
