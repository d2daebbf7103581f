"""Our side of the SFT bench: makes the rows, trains on them, and judges every adapter."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from measured import Clock, receive, send, versions
from transformers import trainer as transformers_trainer

from mien.base.flat import Chain, Flat
from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.persona.spec import find
from mien.train.data import encode, load_dataset
from mien.train.loop import Course, fit
from mien.train.recipe import SftRecipe
from mien.train.sft import Sft

NAME = "bench"


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Write the rows and a fresh adapter that all arms share."""
    recipe = SftRecipe.model_validate(job["recipe"])
    base = Base.load(recipe.base, dtype="float32")
    encoded = encode(base, load_dataset(recipe, find(recipe.persona)), recipe)
    train = sample(encoded.train, job["most_rows"])
    held_out = sample(encoded.validation, job["most_held_out"])
    Path(job["rows"]).write_text(json.dumps({"train": train, "held_out": held_out}), encoding="utf-8")
    base.adapters.create(NAME, LoraConfig(recipe.lora.r, recipe.lora.alpha), seed=recipe.seed)
    base.adapters.save(NAME, Path(job["start"]), base=base.files.name)
    return {"folder": str(base.files.folder.absolute()), "base_sha256": base.files.sha256}


def sample(pairs: list[Chain], most: int | None) -> list[Chain]:
    """Some of the rows, from all over: the corpus is in order of topic."""
    if most is None or most >= len(pairs):
        return pairs
    return random.Random(0).sample(pairs, most)


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train as `mien.train` does, without validation: every arm ends after its last epoch."""
    recipe = SftRecipe.model_validate(job["recipe"])
    base = Base.load(recipe.base, dtype=recipe.dtype)
    base.adapters.load(NAME, Path(job["start"]))
    rows = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
    pairs = rows["train"][: job["limit"]]
    objective, clock = Sft(base, NAME), Clock()
    start_loss = held_out(base, NAME, rows["held_out"])
    transformers_trainer.DEFAULT_CALLBACKS.append(clock)
    folder = Path(job["out"])
    folder.mkdir(parents=True)
    course = Course(pairs, (), recipe.epochs, recipe.batch_size, recipe.accumulate)
    fit(objective, course, recipe, folder, lambda *_: None)
    base.adapters.save(NAME, folder / "adapter", base=base.files.name)
    tokens = recipe.epochs * sum(len(prompt) + len(completion) for prompt, completion in pairs)
    how = {"start_loss": start_loss, "dtype": base.dtype, "versions": versions()}
    return clock.figures(tokens) | how


def judge(job: dict[str, Any]) -> dict[str, Any]:
    """Held-out loss of every adapter, all by the same code and in float32."""
    base = Base.load(job["base"], dtype="float32")
    pairs = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))["held_out"]
    losses = {}
    for folder in job["adapters"]:
        base.adapters.load(folder, Path(folder))
        losses[folder] = held_out(base, folder, pairs)
        base.adapters.drop(folder)
    return {"losses": losses}


def held_out(base: Base, adapter: str, pairs: list[Chain]) -> float:
    """Mean -log p over all completion tokens, in nats."""
    total, count = 0.0, 0
    with torch.no_grad(), base.adapters.use(adapter):
        for start in range(0, len(pairs), 8):
            nll = base.nll(Flat.of(pairs[start : start + 8]))
            total, count = total + float(nll.sum()), count + len(nll)
    return round(total / count, 6)


if __name__ == "__main__":
    task = receive()
    send({"prepare": prepare, "train": train, "judge": judge}[task["do"]](task))
