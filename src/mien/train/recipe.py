"""The recipe of one training stage: everything that decides what comes out, and nothing else.

A recipe is a strict YAML file whose `stage` says which keys it has. Precedence, in one sentence: what
the command line says replaces what the file says, which replaces the defaults below. How the defaults
were chosen is in `docs/guides/which-training.md`. Keys that the field has a classic name for have that
name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, ConfigDict, Field, TypeAdapter, model_validator

from mien import specfile
from mien.base.fetch import DEFAULT_BASE
from mien.errors import InputError
from mien.registry.cards import NULLS
from mien.schema import Strict

Share = Annotated[float, Field(ge=0, le=1)]
NOBODY = "neutral"  # whose voice a null adapter is trained in


class Lora(Strict):
    """The adapter's shape."""

    r: int = Field(default=16, ge=1, le=256, description="rank of the update")
    alpha: float = Field(default=32, gt=0, description="the update is scaled by alpha / r")


class Recipe(Strict):
    """What every stage of training a persona has."""

    model_config = ConfigDict(title="mien recipe")

    stage: str = Field(description="the objective")
    persona: str = Field(min_length=1, description="a built-in name or the path of a .yaml file")
    base: str = Field(default=DEFAULT_BASE, description="a known name, folder, .gguf file or hub id")
    data: Path | None = Field(
        default=None, description="JSONL to learn from; without it, the built-in corpus in this voice"
    )
    under_prompt: bool = Field(
        default=False, description="train under the persona's system prompt instead of none"
    )
    lora: Lora = Lora()
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=1024, ge=16, description="tokens; longer rows are left out")
    checkpointing: bool = Field(
        default=False, description="recompute activations in the backward pass: slower, less memory"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of the frozen base; auto takes what this machine computes faster"
    )
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _nobody_unless_told(cls, value: Any) -> Any:
        """A null adapter needs no persona to be named."""
        null = isinstance(value, dict) and value.get("stage") in NULLS
        return {"persona": NOBODY, **value} if null else value

    @model_validator(mode="after")
    def _null_is_nobody_s(self) -> Self:
        if self.stage in NULLS and self.persona != NOBODY:
            raise ValueError("a null adapter is nobody's: leave `persona` out")
        return self


class Passes(Recipe):
    """A stage that passes over its rows, and is held to others after each pass."""

    validation: Path | None = Field(
        default=None,
        description="JSONL to validate on; without it, prompts of `data` are held out by their hash",
    )
    epochs: int = Field(default=3, ge=1, description="most passes over the data")
    patience: int = Field(
        default=2, ge=1, description="stop after this many epochs without a better validation loss"
    )
    batch_size: int = Field(
        default=4, ge=1, description="rows a step, laid end to end; a dialogue counts as one"
    )
    accumulate: int = Field(default=1, ge=1, description="batches a step, where one does not fit")


class SftRecipe(Passes):
    """Supervised fine-tuning: the persona's own replies become likely.

    As `null`, the same recipe on neutral replies: what post-training does to a model whoever speaks.
    """

    stage: Literal["sft", "null"] = Field(default="sft", description="the objective")
    keep: Literal["last", "best"] = Field(
        default="last",
        description="the adapter of the last epoch, or of the best validation loss; a voice goes on"
        " arriving after that loss has turned (docs/log.md)",
    )
    dose: Annotated[float, Field(gt=0, le=3)] | Literal["auto"] = Field(
        default="auto",
        description="what the finished update is multiplied by: more voice, less content. `auto` is the"
        " least at which the voice is heard on held-out prompts; 1 where nobody can hear it",
    )


class Leash(Strict):
    """How far a run may go from where it started, and who looks."""

    kl_budget: float = Field(
        default=40.0, gt=0, description="nats a reply from the reference, at which training stops"
    )
    checks: int = Field(default=6, ge=1, description="how often in a run the held-out prompts are asked")
    prompts: int = Field(default=24, ge=2, description="held-out prompts that are asked")
    max_tokens: int = Field(default=128, ge=8, description="longest reply to them")
    displacement: float = Field(
        default=1.0,
        gt=0,
        description="fall of the held-out chosen log-probability, in nats a token, at which a run on"
        " pairs stops",
    )


_START: Any = Field(
    default=None,
    description="the run, or the persona, whose adapter training starts from; by default this"
    " persona's newest SFT run; `fresh` is a new adapter",
)
_ANCHOR: Any = Field(
    default="start", description="the frozen reference: what the run starts from, or the bare base"
)


class DpoRecipe(Passes):
    """Direct preference optimisation: the chosen reply rises over the rejected.

    As `null-dpo`, the same recipe on neutral-versus-neutral pairs, from the newest `null` run.
    """

    stage: Literal["dpo", "null-dpo"] = Field(default="dpo", description="the objective")
    start: str | None = _START
    anchor: Literal["start", "base"] = _ANCHOR
    loss: Literal["sigmoid", "robust", "hinge", "ipo", "apo_zero", "softmax"] = "sigmoid"
    beta: float = Field(default=0.1, gt=0, description="strength of the pull back to the reference")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="share of pairs that are labelled the wrong way round"
    )
    length_normalised: bool = Field(default=False, description="log-ratios per token, not per reply")
    nll: float = Field(
        default=1.0, ge=0, description="weight of -log p per token of the chosen reply (RPO, 2404.19733)"
    )
    learning_rate: float = Field(default=5e-5, gt=0, lt=1)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps")
    epochs: int = Field(default=1, ge=1, description="passes over the data")
    batch_size: int = Field(default=4, ge=1, description="prompts a step, each with its pairs")
    leash: Leash = Leash()

    @model_validator(mode="after")
    def _smooths_what_can_be_smoothed(self) -> DpoRecipe:
        if self.label_smoothing and self.loss not in ("sigmoid", "robust"):
            raise ValueError(f"`label_smoothing` is for the losses sigmoid and robust, not {self.loss}")
        return self


class RewardRecipe(Passes):
    """A reward model: a score that is higher for the chosen reply (Bradley and Terry 1952)."""

    stage: Literal["reward"] = Field(default="reward", description="the objective")
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    epochs: int = Field(default=1, ge=1, description="most passes over the data")
    batch_size: int = Field(default=8, ge=1, description="prompts a step, each with its pairs")
    margin: bool = Field(
        default=True, description="ask for the row's margin, where it has one (2307.09288)"
    )
    centre: float = Field(
        default=0.01, ge=0, description="pull of a pair's summed score to 0 (2312.09244)"
    )


class Signal(Strict):
    """One thing that a rollout is paid for."""

    kind: Literal["learned", "bands", "length", "repetition", "toxicity", "words", "judge"]
    weight: float = Field(default=1.0, description="negative to pay for less of it")
    runs: tuple[str, ...] = Field(default=(), description="learned: reward runs, one or an ensemble")
    combine: Literal["mean", "conservative", "worst", "weights"] = Field(
        default="conservative", description="learned: what several say is made one by"
    )
    caution: float = Field(
        default=1.0, ge=0, description="learned: standard deviations below the mean (2310.02743)"
    )
    target: int = Field(default=60, ge=1, description="length: words that are wanted")
    words: tuple[str, ...] = Field(default=(), description="words: what is paid for, per occurrence")
    model: str | None = Field(default=None, description="judge: the model that is asked")
    base_url: str = Field(
        default="https://api.openai.com/v1", description="judge: a server that speaks OpenAI's protocol"
    )
    key_env: str | None = Field(
        default=None, description="judge: the environment variable with the server's key"
    )

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Signal:
        if self.kind == "learned" and not self.runs:
            raise ValueError("a learned signal needs `runs`")
        if self.kind == "judge" and not self.model:
            raise ValueError("a judge's signal needs `model`")
        if self.kind == "words" and not self.words:
            raise ValueError("a signal of words needs `words`")
        return self


class PpoRecipe(Recipe):
    """Proximal policy optimisation under a KL leash, or RLOO without a critic."""

    stage: Literal["ppo"] = Field(default="ppo", description="the objective")
    start: str | None = _START
    anchor: Literal["start", "base"] = _ANCHOR
    method: Literal["ppo", "rloo"] = Field(
        default="ppo", description="with a value function (1707.06347), or without one (2402.14740)"
    )
    signals: tuple[Signal, ...] = Field(
        default=(),
        description="what rollouts are paid for; by default the persona's newest reward model",
    )
    steps: int = Field(default=16, ge=1, description="rounds of rollouts")
    rollouts: int = Field(default=32, ge=2, description="replies a round")
    samples: int = Field(default=1, ge=1, description="replies to each prompt of a round; RLOO needs 2")
    max_tokens: int = Field(
        default=128,
        ge=4,
        description="longest reply; a reward model has only seen replies that end",
        validation_alias=AliasChoices("max_tokens", "response_length", "max_new_tokens"),
    )
    max_prompt_length: int = Field(default=512, ge=8, description="tokens; longer prompts are left out")
    temperature: float = Field(default=0.8, gt=0, le=2)
    ppo_epochs: int = Field(
        default=2,
        ge=1,
        description="passes over a round's rollouts",
        validation_alias=AliasChoices("ppo_epochs", "num_ppo_epochs", "num_iterations"),
    )
    mini_batch_size: int = Field(default=16, ge=1, description="rollouts an optimiser step")
    init_kl_coef: float = Field(
        default=0.1,
        ge=0,
        description="price of a nat from the reference, taken off the reward token by token",
        validation_alias=AliasChoices("init_kl_coef", "kl_coef"),
    )
    kl_penalty: Literal["kl", "abs", "mse"] = Field(
        default="kl", description="the estimator that is paid for: k1, its size, or k2; k3 is logged"
    )
    target_kl: float | None = Field(
        default=None,
        gt=0,
        description="nats a reply that the price is steered to (1909.08593); none: the price is fixed",
        validation_alias=AliasChoices("target_kl", "target"),
    )
    horizon: float = Field(default=1000, gt=0, description="rollouts in which the price follows")
    gamma: Share = 1.0
    lam: Share = 0.95
    cliprange: float = Field(default=0.2, gt=0)
    cliprange_value: float = Field(default=0.2, gt=0)
    vf_coef: float = Field(default=0.1, ge=0)
    entropy_coef: float = Field(default=0.0, ge=0)
    ratio_threshold: float = Field(
        default=10.0, gt=1, description="mean ratio of new to old policy above which a step is skipped"
    )
    whiten_rewards: bool = False
    reward_clip: float | None = Field(default=10.0, gt=0)
    missing_stop_penalty: float = Field(
        default=1.0,
        ge=0,
        description="taken off a reply that does not end",
        validation_alias=AliasChoices("missing_stop_penalty", "missing_eos_penalty"),
    )
    value_learning_rate: float = Field(default=1e-3, gt=0, lt=1, description="of the value head")
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    schedule: Literal["linear", "cosine", "constant"] = "constant"
    warmup: float = Field(default=0.0, ge=0, lt=1, description="share of the steps")
    leash: Leash = Leash()

    @model_validator(mode="before")
    @classmethod
    def _paid_by_the_persona_s_own(cls, value: Any) -> Any:
        """Without signals, the persona's newest reward model is what pays."""
        if isinstance(value, dict) and not value.get("signals") and value.get("persona"):
            return {**value, "signals": [{"kind": "learned", "runs": [value["persona"]]}]}
        return value

    @model_validator(mode="after")
    def _rounds_add_up(self) -> PpoRecipe:
        if self.method == "rloo" and self.samples < 2:
            raise ValueError("rloo compares replies to one prompt: `samples` must be 2 or more")
        for name in ("samples", "mini_batch_size"):
            if self.rollouts % getattr(self, name):
                raise ValueError(f"`rollouts` ({self.rollouts}) must be a multiple of `{name}`")
        return self


RECIPES: dict[str, type[Recipe]] = {
    "sft": SftRecipe,
    "dpo": DpoRecipe,
    "reward": RewardRecipe,
    "ppo": PpoRecipe,
    "null": SftRecipe,
    "null-dpo": DpoRecipe,
}


def json_schema() -> dict[str, Any]:
    """The JSON schema of a recipe of any stage, for editors."""
    either = Annotated[SftRecipe | DpoRecipe | RewardRecipe | PpoRecipe, Field(discriminator="stage")]
    schema = TypeAdapter(either).json_schema() | {"title": Recipe.model_config["title"]}
    for kind in {*RECIPES.values()}:
        if kind is not SftRecipe:  # a file without a stage is of this one, and of no other
            schema["$defs"][kind.__name__]["required"].append("stage")
    return schema


def recipe_of(value: dict[str, Any], *, source: str) -> Recipe:
    """A mapping as the recipe of its `stage`, by default `sft`.

    Raises:
        InputError: There is no such stage.
        SpecError: It has mistakes; all are reported at once.
    """
    stage = value.get("stage", "sft")
    if "stage" in value and stage is None:  # YAML's own null
        value, stage = value | {"stage": NULLS[0]}, NULLS[0]
    if not isinstance(stage, str) or stage not in RECIPES:
        raise InputError(f"{source}: no stage {stage!r}.", fix=f"Stages: {', '.join(RECIPES)}.")
    return specfile.validate(value, RECIPES[stage], source=source)


def load_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe file; `overrides` replace its keys, one by one also inside another key.

    Raises:
        InputError: The file is missing or no YAML mapping, or there is no such stage.
        SpecError: It has mistakes; all are reported at once.
    """
    given = specfile.mapping(path)
    recipe = recipe_of(given, source=str(path))
    if not overrides:
        return recipe
    kind = type(recipe)
    replaced = _replaced(_renamed(given, kind), _renamed(overrides, kind))
    return specfile.validate(replaced, kind, source=f"{path} with overrides")


def _replaced(given: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    return given | {
        key: _replaced(given[key], value)
        if isinstance(value, dict) and isinstance(given.get(key), dict)
        else value
        for key, value in by.items()
    }


def _renamed(value: dict[str, Any], kind: type[Recipe]) -> dict[str, Any]:
    """Classic names as ours, so that one replaces the other."""
    ours = {
        classic: name
        for name, field in kind.model_fields.items()
        if isinstance(field.validation_alias, AliasChoices)
        for classic in field.validation_alias.choices
    }
    return {ours.get(key, key): each for key, each in value.items()}
