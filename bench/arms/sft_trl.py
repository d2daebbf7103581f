"""TRL's side of the SFT bench: SFTTrainer on rows that are already tokens. Runs without mien."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from measured import Clock, receive, send, versions
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

Pair = list[list[int]]


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Train once and say how it went."""
    clock = Clock()
    trainer = build(job, clock)
    start_loss = held_out(trainer)
    trainer.train()
    trainer.model.save_pretrained(Path(job["out"]) / "adapter")
    how = {"start_loss": start_loss, "dtype": autocast(trainer.args), "versions": versions()}
    return clock.figures(int(trainer._total_train_tokens)) | how


def build(job: dict[str, Any], clock: Clock) -> SFTTrainer:
    """The trainer, on the base and the adapter that our side starts from."""
    rows = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32)
    return SFTTrainer(
        model=PeftModel.from_pretrained(model, job["start"], is_trainable=True),
        args=SFTConfig(**arguments(job)),
        train_dataset=dataset(rows["train"][: job["limit"]]),
        eval_dataset=dataset(rows["held_out"]),
        processing_class=AutoTokenizer.from_pretrained(job["folder"]),
        callbacks=[clock],
    )


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
        "completion_only_loss": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    } | job["flags"]


def dataset(pairs: list[Pair]) -> Dataset:
    """Token ids with the mask that says which are learnt."""
    ids = [prompt + completion for prompt, completion in pairs]
    masks = [[0] * len(prompt) + [1] * len(completion) for prompt, completion in pairs]
    return Dataset.from_dict({"input_ids": ids, "completion_mask": masks})


def held_out(trainer: SFTTrainer) -> float:
    """TRL's own loss in TRL's own batches, as a mean over all completion tokens.

    Where it packs or flattens, rows that saw each other would show here.
    """
    trainer.model.eval()
    total, count = 0.0, 0
    for inputs in trainer.get_eval_dataloader():
        learnt = int((inputs["labels"][:, 1:] != -100).sum())
        loss, _, _ = trainer.prediction_step(trainer.model, inputs, True)
        total, count = total + float(loss) * learnt, count + learnt
    return round(total / count, 6)


def autocast(args: SFTConfig) -> str:
    """What it computes in; the weights are float32 in any case."""
    return "bfloat16 autocast" if args.bf16 else "float32"


if __name__ == "__main__":
    send(main(receive()))
