"""The peers of the serving bench: PEFT's `adapter_names`, and `generate` with an adapter merged."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from measured import peak_memory_mb, receive, send, versions
from peft import PeftModel
from transformers import AutoModelForCausalLM

PAD = 0
Said = Callable[[int], list[list[int]]]


def load(job: dict[str, Any]) -> Any:
    """The base, as transformers loads it."""
    return AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32).eval()


def mixed(job: dict[str, Any]) -> dict[str, Any]:
    """A row for each adapter."""
    first, *rest = job["adapters"]
    model = PeftModel.from_pretrained(load(job), first, adapter_name="voice-0")
    names = [f"voice-{i}" for i in range(len(job["adapters"]))]
    for name, folder in zip(names[1:], rest, strict=True):
        model.load_adapter(folder, adapter_name=name)
    return {"eight": measured(speaking(model.eval(), job["prompts"], adapter_names=names), job)}


def merged(job: dict[str, Any]) -> dict[str, Any]:
    """One adapter for all, in the weights."""
    model = PeftModel.from_pretrained(load(job), job["adapters"][0]).merge_and_unload().eval()
    return {
        "one": measured(speaking(model, job["prompts"]), job),
        "alone": measured(speaking(model, job["prompts"][:1]), job),
    }


def speaking(model: Any, prompts: list[list[int]], **more: Any) -> Said:
    """Greedy replies of a fixed length."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(each)) + each for each in prompts])
    mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in prompts])

    def say(tokens: int) -> list[list[int]]:
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=tokens,
            eos_token_id=None,
            pad_token_id=PAD,
            **more,
        )
        return [row.tolist() for row in out[:, longest:]]

    return say


@torch.no_grad()
def measured(say: Said, job: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second after each row's first: what a long reply takes beyond one of a single token."""
    say(2)
    walls, cpus, replies = [], [], [[0]]
    for tokens in (1, job["tokens"]):
        wall, cpu = time.perf_counter(), time.process_time()
        replies = say(tokens)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    made = sum(map(len, replies)) - len(replies)
    return {
        "tokens_per_second": round(made / (walls[1] - walls[0]), 2),
        "tokens_per_cpu_second": round(made / (cpus[1] - cpus[0]), 2),
        "replies": replies,
    }


if __name__ == "__main__":
    job = receive()
    found = {"mixed": mixed, "merged": merged}[job["do"]](job)
    send(found | {"peak_memory_mb": round(peak_memory_mb(), 1), "versions": versions()})
