"""`mien train` and `mien recipe`."""

from __future__ import annotations

import json
import signal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from mien.cli.show import TerminalShow
from mien.data.formats import write_examples
from mien.registry.cards import NULLS, cards, newest_null
from mien.schema import Example
from mien.train import run as training
from mien.train.recipe import RECIPES, SftRecipe, load_recipe, recipe_of
from tests.cli.running import run
from tests.seams import HELD, TRAINED, Seams
from tests.train.pairs import PAIRS, write_pairs

QUICK = ("--epochs", "1", "--batch-size", "8")
SHORT = ("train", "sft", "--persona", "witty", *QUICK)


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
    assert f"training witty on {TRAINED} replies ..." in result.stderr


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
    assert f"to learn from {TRAINED} replies, {HELD} rows held out" in said
    assert "left out 0 over the most tokens" in said
    assert "steps at most 1" in said
    assert "would be written" in said and "about" in said
    assert not story.workspace.root.exists()


def test_a_dry_run_counts_what_is_too_long(story: Seams, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("persona: witty\nmax_length: 16\n")
    result = run("train", str(path), "--dry-run")
    assert result.exit_code == 2
    assert "rows are over 16 tokens" in result.stderr


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
        (("train", "rlhf", "--persona", "witty"), "'rlhf' is neither a stage nor a recipe file"),
        (("train", "sft"), "No persona is given"),
        (("train", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("train", "sft", "--persona", "captain"), "captain"),
        (("train", "sft", "--persona", "witty", "--epochs", "0"), "epochs: input should be greater"),
        (("train", "sft", "--persona", "witty", "--data", "no.jsonl"), "no.jsonl: no such file"),
        ((*SHORT, "--members", "2"), "Only reward models have `--members`"),
        ((*SHORT, "--set", "dose"), "--set dose: not KEY=VALUE"),
        ((*SHORT, "--set", "=2"), "--set =2: not KEY=VALUE"),
        ((*SHORT, "--set", "doze=2"), "doze: unknown key; did you mean `dose`?"),
        ((*SHORT, "--set", "lora.rank=2"), "lora.rank: unknown key"),
        ((*SHORT, "--steps", "3"), "steps: unknown key"),
        ((*SHORT, "--from", "fresh"), "start: unknown key"),
        (("train", "null", "--persona", "witty"), "a null adapter is nobody's"),
    ],
)
def test_bad_input_is_told_with_what_to_do(story: Seams, arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr and "Fix: " in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "says", "fix"),
    [
        (("dpo",), "no trained adapter of 'witty'", "mien train sft --persona witty"),
        (("dpo", "--from", "nobody"), "no trained adapter of 'nobody'", "mien train"),
        (("ppo", "--from", "fresh"), "no reward model of 'witty'", "mien train reward --persona witty"),
        (("dpo", "--from", "null"), "no null adapter", "mien train null"),
    ],
)
def test_what_a_run_is_to_start_from_or_be_paid_by_must_be_there(
    story: Seams, arguments: tuple[str, ...], says: str, fix: str
) -> None:
    result = run("train", *arguments, "--persona", "witty")
    assert result.exit_code == 1
    assert says in unbroken(result.stderr) and fix in unbroken(result.stderr)
    assert not story.workspace.runs.exists()


def test_bad_input_is_found_before_the_base_is_loaded(story: Seams) -> None:
    run("train", "sft", "--persona", "witty", "--epochs", "0")
    assert story.loaded == []


def resolved(output: str) -> dict[str, Any]:
    """The recipe that a dry run prints first."""
    found: dict[str, Any] = yaml.safe_load(output.partition("─")[0])
    return found


def test_any_key_is_set_and_one_inside_another_with_a_dot(story: Seams) -> None:
    result = run(
        *(*SHORT, "--dry-run", "--set", "dose=1.7", "--set", "lora.r=2", "--set", "keep=best"),
        *("--set", "lora.alpha=8", "--set", "checkpointing=true"),
        width=200,
    )
    assert result.exit_code == 0, result.output
    recipe = resolved(result.stdout)
    assert recipe["lora"] == {"r": 2, "alpha": 8.0}
    assert (recipe["dose"], recipe["keep"], recipe["checkpointing"]) == (1.7, "best", True)


def test_what_is_set_replaces_one_key_of_a_file_and_leaves_its_neighbours(
    story: Seams, tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("persona: calm\nlora: {r: 2, alpha: 4}\n")
    result = run("train", str(path), "--set", "lora.r=3", "--dry-run", width=200)
    assert resolved(result.stdout)["lora"] == {"r": 3, "alpha": 4.0}


def test_a_run_on_preferences_starts_from_the_newest_sft_run_or_from_the_one_that_is_named(
    story: Seams, tmp_path: Path
) -> None:
    pairs = str(write_pairs(tmp_path / "pairs.jsonl"))
    for seed in ("1", "2"):
        assert run(*SHORT, "--seed", seed).exit_code == 0
    first, newest = cards(story.workspace)
    dry = ("train", "dpo", "--persona", "witty", "--data", pairs, "--dry-run")
    said = run(*dry, width=200)
    assert f"starts from {newest.run}" in unbroken(said.stdout)
    assert "pairs" in said.stdout and resolved(said.stdout)["start"] is None
    assert f"starts from {first.run}" in unbroken(run(*dry, "--from", first.run, width=200).stdout)
    fresh = run(*dry, "--from", "fresh", "--anchor", "base", width=200)
    assert fresh.exit_code == 0 and "starts from" not in fresh.stdout
    assert resolved(fresh.stdout)["anchor"] == "base"


def test_a_persona_of_ones_own_goes_by_its_name_and_not_by_its_file(
    story: Seams, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    text = (files("mien.persona") / "library" / "witty.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("name: witty", "name: captain"), encoding="utf-8")
    pairs = str(write_pairs(tmp_path / "pairs.jsonl"))
    rows = tmp_path / "rows.jsonl"
    write_examples(rows, [Example.of(f"question {n}", "a reply") for n in range(9)])
    mine = ("--persona", str(path))
    assert run("train", "sft", *mine, "--data", str(rows), "--epochs", "1").exit_code == 0
    (card,) = cards(story.workspace)
    assert card.persona == "captain"
    result = run("train", "dpo", *mine, "--data", pairs, "--dry-run", width=200)
    assert result.exit_code == 0, result.output
    assert f"starts from {card.run}" in unbroken(result.stdout)


def test_the_null_adapter_needs_no_persona_and_is_the_same_run_every_time(story: Seams) -> None:
    null = ("train", "null", *QUICK)
    result = run(*null)
    assert result.exit_code == 0, result.output
    (card,) = cards(story.workspace)
    assert (card.stage, card.persona, card.examples) == ("null", "neutral", TRAINED)
    assert newest_null(story.workspace, base_hash=card.base_hash) == card
    assert "mien eval --persona NAME --systems base,prompt,null" in unbroken(result.stdout)
    assert "there already" in run(*null).stderr


def test_the_null_of_pairs_starts_from_the_null_of_replies(story: Seams) -> None:
    dry = ("train", "null-dpo", "--dry-run")
    missing = run(*dry)
    assert missing.exit_code == 1 and "Run `mien train null` first." in missing.stderr
    assert run("train", "null", *QUICK).exit_code == 0
    assert run("train", "sft", "--persona", "neutral", *QUICK).exit_code == 0
    said = run(*dry, width=200)
    assert f"starts from {newest_null(story.workspace).run}" in unbroken(said.stdout)
    assert "pairs" in said.stdout and resolved(said.stdout)["persona"] == "neutral"


def test_members_of_an_ensemble_differ_by_their_seed(story: Seams, tmp_path: Path) -> None:
    pairs = str(write_pairs(tmp_path / "pairs.jsonl"))
    reward = ("train", "reward", "--persona", "witty", "--data", pairs, "--seed", "4")
    result = run(*reward, "--members", "2", "--set", "lora.r=2")
    assert result.exit_code == 0, result.output
    found = cards(story.workspace)
    assert sorted(card.seed for card in found) == [4, 5]
    assert {card.stage for card in found} == {"reward"}
    assert all(f"mien reward score --run {card.run}" in unbroken(result.stdout) for card in found)
    assert len({card.adapter_hash for card in found}) == 2
    assert found[0].examples <= len(PAIRS)


@pytest.mark.parametrize("stage", [stage for stage in RECIPES if stage not in NULLS])
def test_a_new_recipe_of_every_stage_checks_and_is_the_defaults(stage: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    assert run("recipe", "new", "calm", str(path), "--stage", stage).exit_code == 0
    assert load_recipe(path) == recipe_of({"stage": stage, "persona": "calm"}, source="here")
    assert run("recipe", "check", str(path)).exit_code == 0


def test_a_new_recipe_has_every_key_and_checks_and_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    assert run("recipe", "new", "calm", str(path)).exit_code == 0
    assert load_recipe(path) == SftRecipe(persona="calm")
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


def test_the_schema_is_json_and_knows_every_stage_and_key() -> None:
    known = json.loads(run("recipe", "schema").stdout)["$defs"]
    for kind in RECIPES.values():
        assert set(known[kind.__name__]["properties"]) == set(kind.model_fields)
