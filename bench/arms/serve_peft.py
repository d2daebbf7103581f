"""The peers of the serving bench: PEFT's `adapter_names`, and `generate` with an adapter merged."""

from __future__ import annotations

from typing import Any

import torch
from decoding import ALONE, EIGHT, ONE, Prompts, Say, speeds
from peft import PeftModel
from report import peak_memory_mb, receive, send, versions
from transformers import AutoModelForCausalLM

PAD = 0


def load(job: dict[str, Any]) -> Any:
    """The base, as transformers loads it."""
    return AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32).eval()


def mixed(job: dict[str, Any]) -> dict[str, Any]:
    """A row for each adapter, or one of them for all rows; none is merged."""
    names = {folder: f"voice-{i}" for i, folder in enumerate(job["adapters"])}
    first, *rest = job["adapters"]
    model = PeftModel.from_pretrained(load(job), first, adapter_name=names[first])
    for folder in rest:
        model.load_adapter(folder, adapter_name=names[folder])
    model.eval()

    def saying(prompts: Prompts, folders: list[str]) -> Say:
        return speaking(model, prompts, adapter_names=[names[folder] for folder in folders])

    return speeds(job, saying, (EIGHT, ONE))


def merged(job: dict[str, Any]) -> dict[str, Any]:
    """One adapter for all, in the weights."""
    model = PeftModel.from_pretrained(load(job), job["adapters"][0]).merge_and_unload().eval()
    return speeds(job, lambda prompts, _: speaking(model, prompts), (ONE, ALONE))


def speaking(model: Any, prompts: Prompts, **more: Any) -> Say:
    """Greedy replies of a fixed length."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(each)) + [*each] for each in prompts])
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


if __name__ == "__main__":
    job = receive()
    with torch.no_grad():
        found = {"mixed": mixed, "merged": merged}[job["do"]](job)
    send(found | {"peak_memory_mb": round(peak_memory_mb(), 1), "versions": versions()})
