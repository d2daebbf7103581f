"""vLLM's build for processors as a peer of the serving bench, with its engine in this process."""

from __future__ import annotations

import os
from typing import Any

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # so that processor time and memory are this process's
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_LOGGING_LEVEL": "ERROR",
}

from decoding import WARM_UP, Prompts, Say, speeds
from report import peak_memory_mb, receive, send, versions
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """All settings, on a base of one type."""
    folders = job["adapters"]
    model = LLM(
        job["folder"],
        dtype=job["dtype"],
        enable_lora=True,
        max_loras=len(folders),
        max_lora_rank=job["rank"],
        max_num_seqs=len(job["prompts"]),
        max_model_len=max(map(len, job["prompts"])) + max(WARM_UP, job["tokens"]),
        skip_tokenizer_init=True,
    )
    personas = {folder: LoRARequest(f"voice-{i}", i + 1, folder) for i, folder in enumerate(folders)}

    def saying(prompts: Prompts, adapters: list[str]) -> Say:
        asked = [{"prompt_token_ids": [*ids]} for ids in prompts]
        voices = [personas[folder] for folder in adapters]

        def say(tokens: int) -> list[list[int]]:
            sampling = SamplingParams(
                temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False
            )
            told = model.generate(asked, sampling, lora_request=voices, use_tqdm=False)
            return [list(each.outputs[0].token_ids) for each in told]

        return say

    return speeds(job, saying)


if __name__ == "__main__":
    found = answer(receive())
    send(found | {"peak_memory_mb": round(peak_memory_mb(), 1), "versions": versions()})
