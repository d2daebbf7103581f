"""Our side of the PPO bench: makes prompts, first adapter and reward, trains, and checks the maths."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from measured import Clock, receive, send, shake, versions
from safetensors.torch import load_file, save_file
from sft_mien import NAME, sample
from torch import Tensor
from transformers import trainer as transformers_trainer

from mien.base.flat import Flat, Tree
from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.persona.spec import find
from mien.schema import conversation
from mien.train.advantage import gae, kl_estimates, policy_loss, token_rewards, value_loss, whiten
from mien.train.data import Prompt, encode, load_dataset
from mien.train.loop import METRICS, Course, fit
from mien.train.ppo import Ppo
from mien.train.recipe import PpoRecipe
from mien.train.reward import RewardModel, new_head
from mien.train.signals import signal

REWARD = "reward"
_SHAKEN = 0.003


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Write prompts, a policy that differs a little from the base, and the head of the reward."""
    recipe = PpoRecipe.model_validate(job["recipe"])
    base = Base.load(recipe.base, dtype="float32")
    prompts = encode(base, load_dataset(recipe, find(recipe.persona)), recipe).train
    text = json.dumps([list(each.ids) for each in sample(prompts, job["rows"])])
    Path(job["prompts"]).write_text(text, encoding="utf-8")
    base.adapters.create(NAME, LoraConfig(recipe.lora.r, recipe.lora.alpha), seed=recipe.seed)
    base.adapters.save(NAME, Path(job["start"]), base=base.files.name)
    shake(Path(job["start"]), _SHAKEN)
    save_file({"weight": new_head(base, recipe.seed).weight.detach()}, job["head"])
    stop = base.renderer.style.stop
    marks = {"stop": stop, "pad": unused(base, prompts)}
    return {"folder": str(base.files.folder.absolute()), "base_sha256": base.files.sha256, **marks}


def unused(base: Base, prompts: list[Prompt]) -> str:
    """A special token that no prompt has: what TRL fills up with must be no part of the text."""
    used = {token for prompt in prompts for token in prompt.ids} | base.renderer.stop_ids
    marks = base.tokenizer.added_tokens_decoder
    return str(marks[min(marks.keys() - used)].content)


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train as `mien.train` does, without the leash, which TRL has not."""
    recipe = PpoRecipe.model_validate(job["recipe"])
    base = Base.load(recipe.base, dtype=recipe.dtype)
    base.adapters.load(NAME, Path(job["start"]))
    ids = json.loads(Path(job["prompts"]).read_text(encoding="utf-8"))[: job["limit"]]
    prompts = [Prompt(tuple(each), conversation(base.renderer.decode(each))) for each in ids]
    folder, clock = Path(job["out"]), Clock()
    folder.mkdir(parents=True)
    paid = signal(recipe.signals[0], find(recipe.persona), [rewarding(base, job)])
    objective = Ppo(base, NAME, None, recipe, prompts, {"learned": (1.0, paid)}, folder)
    rows = range(recipe.steps * objective.updates)
    course = Course(rows, (), 1, 1, shuffle=False, save_every=objective.updates)
    transformers_trainer.DEFAULT_CALLBACKS.append(clock)
    fit(objective, course, recipe, folder, lambda *_: None)
    lines = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    lengths = [line["reply_tokens"] for line in lines if "reply_tokens" in line]
    how = {"reply_tokens": round(fmean(lengths), 1), "dtype": base.dtype, "versions": versions()}
    return clock.costs() | how


def rewarding(base: Base, job: dict[str, Any]) -> RewardModel:
    """A reward model with the shared head; its adapter costs what any does, and changes nothing."""
    base.adapters.create(REWARD, LoraConfig(), seed=1)
    head = new_head(base, 0)
    with torch.no_grad():
        head.weight.copy_(load_file(job["head"])["weight"])
    return RewardModel(base, REWARD, head.requires_grad_(False))


@torch.no_grad()
def check(job: dict[str, Any]) -> dict[str, Any]:
    """What TRL's own loop held in one step, against ours on the same: models first, then maths."""
    seen = load_file(job["witness"])
    recipe = PpoRecipe.model_validate(job["recipe"])
    base = Base.load(recipe.base, dtype="float32")
    base.adapters.load(NAME, Path(job["start"]))
    share = {"clipped_share": float(seen["clipped"])}
    return share | {"models": same_models(base, job, seen), "maths": same_maths(recipe, seen)}


def same_models(base: Base, job: dict[str, Any], seen: dict[str, Tensor]) -> dict[str, float]:
    """Log-probabilities and scores of TRL's replies, by our models."""
    tokens = seen["tokens"]
    trees = [
        Tree(prompt[asked].tolist(), (reply[said].tolist(),))
        for prompt, asked, reply, said in zip(
            seen["queries"], seen["asked"], seen["responses"], tokens, strict=True
        )
    ]
    flat = Flat.branching(trees)
    model, found = rewarding(base, job), {}
    for name, adapter in {"logprobs": NAME, "ref_logprobs": None}.items():
        with base.adapters.use(adapter):
            logps = -flat.table(base.nll(flat))
        theirs = seen[name][:, : logps.shape[1]] * tokens[:, : logps.shape[1]]
        found[name] = apart(logps, theirs)
    scores = torch.tensor([score for (score,) in model.score(trees)])
    return found | {"scores": apart(scores, seen["scores"])}


def same_maths(recipe: PpoRecipe, seen: dict[str, Tensor]) -> dict[str, float]:
    """Rewards, advantages, returns and losses, from TRL's tables under TRL's masks.

    An episode of TRL's has one more state than the reply has tokens, if the reply ended; that state's
    mask is `states`.
    """
    tokens, states = seen["tokens"], seen["states"]
    penalties = kl_estimates(seen["logprobs"], seen["ref_logprobs"])["kl"]
    rewards = token_rewards(seen["scores"], penalties, states, recipe.init_kl_coef)
    white = whiten(rewards, states, shift=False)
    gains, returns = gae(white, seen["values"], states, gamma=recipe.gamma, lam=recipe.lam)
    of = {name.removeprefix("mb_"): seen[name] for name in seen if name.startswith("mb_")}
    policy = policy_loss(
        of["new_logprobs"], of["logprobs"], of["advantage"], of["tokens"], recipe.cliprange
    )
    value = value_loss(of["vpred"], of["values"], of["return"], of["states"], recipe.cliprange_value)
    ours = {
        "rewards": rewards,
        "white_rewards": white,
        "returns": returns,
        "advantages": whiten(gains, tokens),
        "policy_loss": policy.loss,
        "clipped": policy.clipped,
        "value_loss": value,
    }
    masks = {"rewards": states, "white_rewards": states, "returns": states, "advantages": tokens}
    return {
        name: apart(mine * masks.get(name, 1), seen[name] * masks.get(name, 1))
        for name, mine in ours.items()
    }


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference; endless where one is no number."""
    most = float((ours - theirs).abs().max())
    return most if math.isfinite(most) else math.inf


if __name__ == "__main__":
    task = receive()
    send({"prepare": prepare, "train": train, "check": check}[task["do"]](task))
