"""TRL's side of the PPO bench: the last PPOTrainer it had. Runs without mien."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from measured import Clock, receive, send, versions
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


class Witness:
    """Keeps what TRL's `train` holds at the moments when it calls `masked_whiten` and `masked_mean`.

    So nothing of it is stated again here: rewards, advantages, returns and losses are those that its own
    code made, in the last minibatch of its first step.
    """

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}
        self.whiten, self.mean = ppo_trainer.masked_whiten, ppo_trainer.masked_mean
        ppo_trainer.masked_whiten, ppo_trainer.masked_mean = self.on_whiten, self.on_mean

    def on_whiten(self, values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
        """First the rewards are whitened, then the advantages."""
        white, held = self.whiten(values, mask, shift_mean), _caller()
        if not shift_mean:
            self._keep(rewards=values, white_rewards=white)
        else:
            names = ("responses", "logprobs", "ref_logprobs", "values", "scores", "returns", "queries")
            self._keep(
                advantages=white,
                tokens=~held["padding_mask"],
                states=~held["padding_mask_p1"],
                asked=held["queries"] != held["processing_class"].pad_token_id,
                **{name: held[name] for name in names},
            )
        return white

    def on_mean(self, values: Tensor, mask: Tensor, *rest: Any) -> Tensor:
        """The share that was clipped is the last mean of a minibatch; by then all is there."""
        mean, held = self.mean(values, mask, *rest), _caller()
        if "pg_loss" in held:
            chosen = held["micro_batch_inds"]
            names = ("logprobs", "values", "advantage", "return")
            self._keep(
                clipped=mean,
                policy_loss=held["pg_loss"],
                value_loss=held["vf_loss"],
                mb_new_logprobs=held["new_logprobs"],
                mb_vpred=held["vpred"],
                mb_tokens=~held["padding_mask"][chosen],
                mb_states=~held["padding_mask_p1"][chosen],
                **{f"mb_{name}": held[f"mb_{name}"] for name in names},
            )
        return mean

    def _keep(self, **tensors: Tensor) -> None:
        self.seen |= {name: each.detach().clone().contiguous() for name, each in tensors.items()}


def _caller() -> dict[str, Any]:
    """The local variables of whoever called the function that calls this."""
    return inspect.currentframe().f_back.f_back.f_locals


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Train once and say how it went."""
    clock, witness = Clock(), Witness() if job.get("witness") else None
    trainer = build(job, clock)
    trainer.train()
    if witness:
        save_file(witness.seen, job["witness"])
    return clock.costs() | {"dtype": "float32", "versions": versions()}


def build(job: dict[str, Any], clock: Clock) -> PPOTrainer:
    """The trainer, with the policy and the reward that our side has, and a value model."""
    tokenizer = AutoTokenizer.from_pretrained(job["folder"], padding_side="left")
    tokenizer.eos_token, tokenizer.pad_token = job["stop"], job["pad"]
    model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    prompts = json.loads(Path(job["prompts"]).read_text(encoding="utf-8"))[: job["limit"]]
    reward, value = scorer(job["folder"]), scorer(job["folder"])
    reward.score.weight.data.copy_(load_file(job["head"])["weight"])
    nn.init.zeros_(value.score.weight)
    value.model.requires_grad_(job["whole_value"])
    return PPOTrainer(
        args=PPOConfig(**arguments(job, len(prompts))),
        processing_class=tokenizer,
        model=PeftModel.from_pretrained(model, job["start"], is_trainable=True),
        ref_model=None,
        reward_model=reward.requires_grad_(False),
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": prompts}),
        callbacks=[clock],
    )


def scorer(folder: str) -> Any:
    """A model of its own with a head of one row."""
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)


def arguments(job: dict[str, Any], episodes: int) -> dict[str, Any]:
    """Our recipe in TRL's words; `flags` are what one run differs in.

    A batch is as large as a round, so that each minibatch is one step of the optimiser, as ours are.
    """
    recipe = job["recipe"]
    needed = {} if torch.cuda.is_available() else {"use_cpu": True, "bf16": False}
    return {
        **needed,
        "output_dir": job["out"],
        "per_device_train_batch_size": recipe["rollouts"],
        "num_mini_batches": recipe["rollouts"] // recipe["mini_batch_size"],
        "num_ppo_epochs": recipe["ppo_epochs"],
        "total_episodes": episodes,
        "response_length": recipe["max_tokens"],
        "stop_token": "eos",
        "missing_eos_penalty": recipe["missing_stop_penalty"],
        "temperature": recipe["temperature"],
        "kl_coef": recipe["init_kl_coef"],
        "gamma": recipe["gamma"],
        "lam": recipe["lam"],
        "cliprange": recipe["cliprange"],
        "cliprange_value": recipe["cliprange_value"],
        "vf_coef": recipe["vf_coef"],
        "learning_rate": recipe["learning_rate"],
        "lr_scheduler_type": recipe["schedule"],
        "weight_decay": recipe["weight_decay"],
        "max_grad_norm": recipe["max_grad_norm"],
        "seed": recipe["seed"],
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    } | job["flags"]


if __name__ == "__main__":
    send(main(receive()))
