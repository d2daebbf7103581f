"""TRL's side of the DPO bench: DPOTrainer on pairs that are already tokens. Runs without mien."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from measured import Clock, Stopwatch, receive, send, versions
from peft import LoraConfig, load_peft_weights, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")


class Trainer(DPOTrainer):
    """TRL's trainer on ready token ids, with the time that its pass over the reference takes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.asking = Stopwatch()
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, *args: Any) -> Dataset:
        with self.asking:
            return super()._precompute_ref_logps(*args)


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Train once and say how it went."""
    clock = Clock()
    pairs = json.loads(Path(job["pairs"]).read_text(encoding="utf-8"))[: job["limit"]]
    trainer = build(job, pairs, clock)
    logps = {
        "policy": per_token(trainer, pairs[: job["probed"]]),
        "reference": per_token(trainer, pairs[: job["probed"]], reference=True),
    }
    trainer.train()
    steps = [step for step in trainer.state.log_history if "loss" in step]
    return clock.costs() | {
        "reference_seconds": round(trainer.asking.wall, 2),
        "reference_cpu_seconds": round(trainer.asking.cpu, 2),
        "losses": [step["loss"] for step in steps],
        "gradients": [step["grad_norm"] for step in steps],
        "logps": logps,
        "dtype": "bfloat16 autocast" if trainer.args.bf16 else "float32",
        "versions": versions(),
    }


def build(job: dict[str, Any], pairs: list[list[list[int]]], clock: Clock) -> Trainer:
    """The trainer on the base, with the adapter that our side starts from.

    TRL makes the adapter itself, so that its reference is the bare base, as ours is; an adapter that it
    is given becomes the reference as well.
    """
    config = LoraConfig.from_pretrained(job["start"])
    config.inference_mode = False
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32),
        args=DPOConfig(**arguments(job)),
        train_dataset=Dataset.from_list([dict(zip(_COLUMNS, pair, strict=True)) for pair in pairs]),
        processing_class=AutoTokenizer.from_pretrained(job["folder"]),
        callbacks=[clock],
        peft_config=config,
    )
    set_peft_model_state_dict(trainer.model, load_peft_weights(job["start"], device="cpu"))
    return trainer


def arguments(job: dict[str, Any]) -> dict[str, Any]:
    """Our recipe in TRL's words; `flags` are what one setting of TRL differs in."""
    recipe = job["recipe"]
    needed = {} if torch.cuda.is_available() else {"use_cpu": True, "bf16": False}
    return {
        **needed,
        "output_dir": job["out"],
        "per_device_train_batch_size": recipe["batch_size"],
        "num_train_epochs": recipe["epochs"],
        "learning_rate": recipe["learning_rate"],
        "lr_scheduler_type": recipe["schedule"],
        "warmup_steps": recipe["warmup"],
        "weight_decay": recipe["weight_decay"],
        "max_grad_norm": recipe["max_grad_norm"],
        "seed": recipe["seed"],
        "beta": recipe["beta"],
        "loss_type": [recipe["loss"]],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    } | job["flags"]


@torch.no_grad()
def per_token(
    trainer: Trainer, pairs: list[list[list[int]]], *, reference: bool = False
) -> list[list[float]]:
    """Log p of every token, of a pair's chosen reply and then its rejected one, in TRL's own batches."""
    trainer.model.eval()
    found: list[list[float]] = []
    for start in range(0, len(pairs), 4):
        rows = [dict(zip(_COLUMNS, pair, strict=True)) for pair in pairs[start : start + 4]]
        inputs = trainer.data_collator(rows)
        mask = inputs.pop("completion_mask")
        labels = inputs["input_ids"].masked_fill(mask == 0, -100)
        bare = trainer.model.disable_adapter() if reference else nullcontext()
        with bare, trainer.accelerator.autocast():
            out = trainer.model(**inputs, labels=labels, use_cache=False, fused_lm_head=True)
        learnt = mask[:, 1:].bool()
        replies = [row[keep].tolist() for row, keep in zip(out.log_probs, learnt, strict=True)]
        for chosen, rejected in zip(replies[: len(rows)], replies[len(rows) :], strict=True):
            found += [chosen, rejected]
    return found


if __name__ == "__main__":
    send(main(receive()))
