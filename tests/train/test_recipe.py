"""Recipes: defaults, every mistake at once, and what replaces what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mien.base.fetch import DEFAULT_BASE
from mien.errors import InputError, SpecError
from mien.registry.cards import NULLS
from mien.train.recipe import (
    RECIPES,
    DpoRecipe,
    PpoRecipe,
    Recipe,
    RewardRecipe,
    SftRecipe,
    json_schema,
    load_recipe,
    recipe_of,
)

OF_PERSONAS = {stage: kind for stage, kind in RECIPES.items() if stage not in NULLS}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_persona_is_all_that_must_be_said() -> None:
    for stage, kind in OF_PERSONAS.items():
        recipe = recipe_of({"stage": stage, "persona": "witty"}, source="here")
        assert type(recipe) is kind and recipe == kind.model_validate({"persona": "witty"})
        assert (recipe.stage, recipe.base, recipe.data) == (stage, DEFAULT_BASE, None)
        assert recipe.under_prompt is False and recipe.checkpointing is False
        assert (recipe.dtype, recipe.seed) == ("auto", 0)
        with pytest.raises(ValidationError, match="persona"):
            kind.model_validate({})


def test_a_null_recipe_is_that_of_a_persona_with_neutral_in_its_place() -> None:
    for stage, like in (("null", SftRecipe), ("null-dpo", DpoRecipe)):
        recipe = recipe_of({"stage": stage}, source="here")
        assert type(recipe) is like and recipe.persona == "neutral"
        others = {"stage", "persona"}
        assert recipe.model_dump(exclude=others) == like(persona="witty").model_dump(exclude=others)


@pytest.mark.parametrize("stage", NULLS)
def test_a_null_recipe_for_a_persona_is_a_mistake(stage: str) -> None:
    assert mistakes(stage=stage) == ("a null adapter is nobody's: leave `persona` out",)


def test_a_file_without_a_stage_is_one_of_sft(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path / "r.yaml", "persona: calm\n")) == SftRecipe(persona="calm")


def test_runs_on_preferences_start_from_the_persona_and_are_anchored_there() -> None:
    for recipe in (DpoRecipe(persona="witty"), PpoRecipe(persona="witty")):
        assert (recipe.start, recipe.anchor) == (None, "start")
        assert recipe.learning_rate < SftRecipe(persona="witty").learning_rate
    assert RewardRecipe(persona="witty").epochs == 1


@pytest.mark.parametrize("stage", ["rlhf", "", ["sft"], 3], ids=str)
def test_a_stage_that_there_is_not_is_told_with_those_there_are(stage: object) -> None:
    with pytest.raises(InputError, match="here: no stage") as caught:
        recipe_of({"stage": stage, "persona": "witty"}, source="here")
    assert all(known in caught.value.fix for known in ("sft", "dpo", "reward", "ppo"))


def test_yamls_own_null_is_the_null_adapter() -> None:
    assert recipe_of({"stage": None}, source="here").stage == "null"


def mistakes(**given: object) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        recipe_of({"persona": "witty", **given}, source="r.yaml")
    return caught.value.problems


def test_a_key_that_is_misspelt_is_told_with_the_nearest_of_its_stage() -> None:
    assert set(mistakes(stage="dpo", bta=1, leash={"kl_budgt": 3})) == {
        "bta: unknown key; did you mean `beta`?",
        "leash.kl_budgt: unknown key; did you mean `kl_budget`?",
    }
    assert mistakes(stage="ppo", kl_coeff=1) == ("kl_coeff: unknown key; did you mean `init_kl_coef`?",)
    assert mistakes(stage="ppo", signals=[{"kind": "length", "targt": 9}]) == (
        "signals.0.targt: unknown key; did you mean `target`?",
    )


def test_a_key_of_another_stage_is_refused() -> None:
    (said,) = mistakes(stage="sft", kl_coef=1)
    assert said.startswith("kl_coef: unknown key")
    (said,) = mistakes(stage="reward", beta=1)
    assert said.startswith("beta: unknown key")
    (said,) = mistakes(stage="ppo", epochs=1)
    assert said.startswith("epochs: unknown key")


@pytest.mark.parametrize(
    ("classic", "ours"),
    [
        ("kl_coef", "init_kl_coef"),
        ("num_ppo_epochs", "ppo_epochs"),
        ("num_iterations", "ppo_epochs"),
        ("response_length", "max_tokens"),
        ("max_new_tokens", "max_tokens"),
        ("missing_eos_penalty", "missing_stop_penalty"),
        ("target", "target_kl"),
    ],
)
def test_classic_names_mean_what_ours_mean(classic: str, ours: str) -> None:
    by_classic = recipe_of({"stage": "ppo", "persona": "witty", classic: 7}, source="here")
    by_ours = recipe_of({"stage": "ppo", "persona": "witty", ours: 7}, source="here")
    assert by_classic == by_ours and getattr(by_ours, ours) == 7
    assert by_classic.digest() == by_ours.digest()


def test_a_classic_name_and_ours_are_not_given_together() -> None:
    (said,) = mistakes(stage="ppo", init_kl_coef=0.1, kl_coef=0.2)
    assert said.startswith("kl_coef: unknown key")


def test_without_signals_ppo_is_paid_by_the_personas_newest_reward_model() -> None:
    for signals in ({}, {"signals": []}):
        recipe = recipe_of({"stage": "ppo", "persona": "calm", **signals}, source="here")
        assert isinstance(recipe, PpoRecipe)
        ((kind, weight, runs),) = ((each.kind, each.weight, each.runs) for each in recipe.signals)
        assert (kind, weight, runs) == ("learned", 1, ("calm",))


def test_signals_that_are_given_are_all_there_is() -> None:
    recipe = recipe_of(
        {"stage": "ppo", "persona": "calm", "signals": [{"kind": "length", "weight": -1}]}, source="here"
    )
    assert isinstance(recipe, PpoRecipe)
    assert [(each.kind, each.weight) for each in recipe.signals] == [("length", -1)]


def test_a_signal_says_what_it_needs() -> None:
    assert set(mistakes(stage="ppo", signals=[{"kind": "words"}, {"kind": "learned"}])) == {
        "signals.0: a signal of words needs `words`",
        "signals.1: a learned signal needs `runs`",
    }


def test_rloo_needs_two_replies_to_a_prompt() -> None:
    (said,) = mistakes(stage="ppo", method="rloo")
    assert said == "rloo compares replies to one prompt: `samples` must be 2 or more"
    assert PpoRecipe.model_validate({"persona": "witty", "method": "rloo", "samples": 2}).samples == 2


@pytest.mark.parametrize(
    ("given", "of"),
    [
        ({"rollouts": 30}, "mini_batch_size"),
        ({"rollouts": 32, "samples": 3}, "samples"),
        ({"rollouts": 8}, "mini_batch_size"),
    ],
)
def test_a_round_is_so_many_whole_groups_and_minibatches(given: dict[str, int], of: str) -> None:
    (said,) = mistakes(stage="ppo", **given)
    assert said == f"`rollouts` ({given['rollouts']}) must be a multiple of `{of}`"


def test_every_key_of_the_file_is_taken(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.yaml",
        "persona: calm\nbase: gemma3-270m\ndata: rows.jsonl\nlora: {r: 4, alpha: 8}\n"
        "learning_rate: 1.0e-3\nepochs: 2\nseed: 7\nschedule: linear\n",
    )
    recipe = load_recipe(path)
    assert isinstance(recipe, SftRecipe)
    assert (recipe.persona, recipe.base, recipe.data) == ("calm", "gemma3-270m", Path("rows.jsonl"))
    assert (recipe.lora.r, recipe.lora.alpha) == (4, 8.0)
    assert (recipe.learning_rate, recipe.epochs, recipe.seed) == (0.001, 2, 7)
    assert recipe.schedule == "linear"


def test_three_mistakes_are_reported_at_once_with_file_key_and_remedy(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "persona: witty\nepoch: 3\nlearning_rate: 2\nlora: {rank: 8}\n")
    with pytest.raises(SpecError) as caught:
        load_recipe(path)
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
    recipe = load_recipe(path, {"epochs": 7, "data": Path("x.jsonl")})
    assert isinstance(recipe, SftRecipe)
    assert (recipe.epochs, recipe.seed, recipe.data) == (7, 5, Path("x.jsonl"))


def test_a_bad_override_is_reported_as_one(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "persona: witty\n")
    with pytest.raises(SpecError, match=r"with overrides.*\n.*epochs: input should be greater"):
        load_recipe(path, {"epochs": 0})


def test_no_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_recipe(tmp_path / "r.yaml")


def test_every_key_is_explained_or_speaks_for_itself() -> None:
    plain = {"lora", "learning_rate", "schedule", "weight_decay", "max_grad_norm", "seed"}
    unexplained = {key for key, field in SftRecipe.model_fields.items() if not field.description}
    assert unexplained <= plain


def test_the_command_line_replaces_one_key_inside_another_and_leaves_its_neighbours(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "r.yaml", "stage: dpo\npersona: witty\nlora: {r: 4, alpha: 8}\n")
    recipe = load_recipe(path, {"lora": {"r": 2}, "leash": {"prompts": 5}})
    assert isinstance(recipe, DpoRecipe)
    assert (recipe.lora.r, recipe.lora.alpha) == (2, 8)
    assert (recipe.leash.prompts, recipe.leash.checks) == (5, DpoRecipe(persona="witty").leash.checks)


@pytest.mark.parametrize("keys", [("init_kl_coef", "kl_coef"), ("kl_coef", "init_kl_coef")])
def test_a_classic_name_on_the_command_line_replaces_ours_in_the_file_and_the_other_way_round(
    tmp_path: Path, keys: tuple[str, str]
) -> None:
    path = write(tmp_path / "r.yaml", f"stage: ppo\npersona: witty\n{keys[0]}: 0.1\n")
    recipe = load_recipe(path, {keys[1]: 0.2})
    assert isinstance(recipe, PpoRecipe) and recipe.init_kl_coef == 0.2


def test_another_persona_on_the_command_line_is_paid_by_its_own_reward_model(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "stage: ppo\npersona: witty\n")
    recipe = load_recipe(path, {"persona": "calm"})
    assert isinstance(recipe, PpoRecipe) and recipe.signals[0].runs == ("calm",)


def test_the_schema_has_every_key_of_every_stage_and_needs_none_that_has_a_default() -> None:
    known = json_schema()["$defs"]
    for stage, kind in OF_PERSONAS.items():
        schema = known[kind.__name__]
        assert set(schema["properties"]) == set(kind.model_fields)
        # Without `stage` a file is one of SFT: were it left out in the others, it would be several.
        needed = {"persona"} if stage == "sft" else {"persona", "stage"}
        assert set(schema["required"]) == needed
        told = schema["properties"]["stage"]
        known_as = [name for name, each in RECIPES.items() if each is kind]
        assert told.get("enum", [told.get("const")]) == known_as


def test_a_recipe_of_every_stage_that_is_written_out_reads_as_itself(tmp_path: Path) -> None:
    for stage in OF_PERSONAS:
        recipe: Recipe = recipe_of({"stage": stage, "persona": "witty", "seed": 3}, source="here")
        again = load_recipe(write(tmp_path / f"{stage}.yaml", recipe.model_dump_json()))
        assert again == recipe and again.digest() == recipe.digest()
