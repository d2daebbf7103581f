"""Our side of the DPO bench: makes the pairs and the first adapter, and trains on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from measured import Clock, Stopwatch, receive, send, shake, versions
from sft_mien import NAME, sample
from transformers import trainer as transformers_trainer

from mien.base.flat import Flat, Tree
from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.persona.spec import find
from mien.train.data import Ranked, encode, load_dataset
from mien.train.dpo import Dpo, Referred
from mien.train.loop import METRICS, Course, fit
from mien.train.recipe import DpoRecipe
from mien.train.reference import References, reference_logps

_SHAKEN = 0.003  # moves a reply by a nat or so


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Write the pairs and an adapter that all arms share; it differs a little from the base."""
    recipe = DpoRecipe.model_validate(job["recipe"])
    base = Base.load(recipe.base, dtype="float32")
    rows = sample(encode(base, load_dataset(recipe, find(recipe.persona)), recipe).train, job["rows"])
    pairs = [(row.tree.prompt, *row.tree.completions) for row in rows]
    Path(job["pairs"]).write_text(json.dumps(pairs), encoding="utf-8")
    base.adapters.create(NAME, LoraConfig(recipe.lora.r, recipe.lora.alpha), seed=recipe.seed)
    base.adapters.save(NAME, Path(job["start"]), base=base.files.name)
    shake(Path(job["start"]), _SHAKEN)
    return {"folder": str(base.files.folder.absolute()), "base_sha256": base.files.sha256}


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train as `mien.train` does, without validation and leash, which TRL has not."""
    recipe = DpoRecipe.model_validate(job["recipe"])
    base = Base.load(recipe.base, dtype=recipe.dtype)
    base.adapters.load(NAME, Path(job["start"]))
    pairs = json.loads(Path(job["pairs"]).read_text(encoding="utf-8"))
    trees = [Tree(prompt, (chosen, rejected)) for prompt, chosen, rejected in pairs]
    asking, clock, objective = Stopwatch(), Clock(), Dpo(base, NAME, recipe)
    with asking:
        reference = reference_logps(base, None, trees, store=References(Path(job["store"])))
    logps = {
        "policy": per_token(base, NAME, trees[: job["probed"]]),
        "reference": per_token(base, None, trees[: job["probed"]]),
    }
    rows = [Referred(Ranked(tree, (0.0,)), each) for tree, each in zip(trees, reference, strict=True)]
    folder = Path(job["out"])
    folder.mkdir(parents=True)
    transformers_trainer.DEFAULT_CALLBACKS.append(clock)
    course = Course(rows, (), recipe.epochs, recipe.batch_size, recipe.accumulate)
    fit(objective, course, recipe, folder, lambda *_: None)
    steps = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    return clock.costs() | {
        "reference_seconds": round(asking.wall, 2),
        "reference_cpu_seconds": round(asking.cpu, 2),
        "losses": [step["loss"] for step in steps],
        "gradients": [step["grad_norm"] for step in steps],
        "logps": logps,
        "dtype": base.dtype,
        "versions": versions(),
    }


@torch.no_grad()
def per_token(base: Base, adapter: str | None, trees: list[Tree]) -> list[list[float]]:
    """Log p of every token, for each pair of its chosen reply and then of its rejected one."""
    found: list[list[float]] = []
    for start in range(0, len(trees), 4):
        flat = Flat.branching(trees[start : start + 4])
        with base.adapters.use(adapter):
            logps = -base.nll(flat)
        found += [each.tolist() for each in logps.split(flat.counts().tolist())]
    return found


if __name__ == "__main__":
    task = receive()
    send({"prepare": prepare, "train": train}[task["do"]](task))
