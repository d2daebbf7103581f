"""Recipes: defaults, every mistake at once, and what replaces what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mien.base.fetch import DEFAULT_BASE
from mien.errors import InputError, SpecError
from mien.train.recipe import SftRecipe


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_persona_is_all_that_must_be_said() -> None:
    recipe = SftRecipe(persona="witty")
    assert (recipe.stage, recipe.base, recipe.data, recipe.validation) == (
        "sft",
        DEFAULT_BASE,
        None,
        None,
    )
    assert recipe.under_prompt is False and recipe.checkpointing is False
    assert (recipe.dtype, recipe.seed) == ("auto", 0)
    with pytest.raises(ValidationError, match="persona"):
        SftRecipe.model_validate({})


def test_every_key_of_the_file_is_taken(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.yaml",
        "persona: calm\nbase: gemma3-270m\ndata: rows.jsonl\nlora: {r: 4, alpha: 8}\n"
        "learning_rate: 1.0e-3\nepochs: 2\nseed: 7\nschedule: linear\n",
    )
    recipe = SftRecipe.load(path)
    assert (recipe.persona, recipe.base, recipe.data) == ("calm", "gemma3-270m", Path("rows.jsonl"))
    assert (recipe.lora.r, recipe.lora.alpha) == (4, 8.0)
    assert (recipe.learning_rate, recipe.epochs, recipe.seed) == (0.001, 2, 7)
    assert recipe.schedule == "linear"


def test_a_recipe_that_is_written_out_reads_as_itself(tmp_path: Path) -> None:
    recipe = SftRecipe(persona="witty", data=Path("rows.jsonl"), seed=3)
    path = write(tmp_path / "r.yaml", recipe.model_dump_json())
    assert SftRecipe.load(path) == recipe
    assert SftRecipe.load(path).digest() == recipe.digest()


def test_three_mistakes_are_reported_at_once_with_file_key_and_remedy(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "persona: witty\nepoch: 3\nlearning_rate: 2\nlora: {rank: 8}\n")
    with pytest.raises(SpecError) as caught:
        SftRecipe.load(path)
    assert len(caught.value.problems) == 3
    said = str(caught.value)
    assert f"{path} has 3 mistakes" in said
    assert "epoch: unknown key; did you mean `epochs`?" in said
    assert "learning_rate: input should be less than 1 (got 2)" in said
    assert "lora.rank: unknown key" in said
    assert "`mien recipe schema`" in caught.value.fix


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "ppo"},
        {"persona": ""},
        {"lora": {"r": 0}},
        {"lora": {"alpha": 0}},
        {"learning_rate": 0},
        {"schedule": "step"},
        {"warmup": 1},
        {"weight_decay": -1},
        {"epochs": 0},
        {"patience": 0},
        {"batch_size": 0},
        {"accumulate": 0},
        {"max_length": 15},
        {"dtype": "float16"},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_value_out_of_bounds_is_refused_by_its_key(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        SftRecipe.model_validate({"persona": "witty", **change})


def test_what_the_command_line_says_replaces_what_the_file_says(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "persona: witty\nepochs: 2\nseed: 5\n")
    recipe = SftRecipe.load(path, {"epochs": 7, "data": Path("x.jsonl")})
    assert (recipe.epochs, recipe.seed, recipe.data) == (7, 5, Path("x.jsonl"))


def test_a_bad_override_is_reported_as_one(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "persona: witty\n")
    with pytest.raises(SpecError, match=r"with overrides.*\n.*epochs: input should be greater"):
        SftRecipe.load(path, {"epochs": 0})


def test_no_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        SftRecipe.load(tmp_path / "r.yaml")


def test_every_key_is_explained_or_speaks_for_itself() -> None:
    plain = {"lora", "learning_rate", "schedule", "weight_decay", "max_grad_norm", "seed"}
    unexplained = {key for key, field in SftRecipe.model_fields.items() if not field.description}
    assert unexplained <= plain
