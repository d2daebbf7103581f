"""llama.cpp as a peer of the serving bench, by the C functions that llama-cpp-python binds.

A context of llama.cpp has one adapter in force for all of its batch, so personas never share one. Rows
of one persona are one batch in one context; eight personas are eight contexts on one model, each with
its own adapter, which take turns.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
from decoding import Prompts, Say, speeds
from report import peak_memory_mb, receive, send, versions

_CACHE = {"f32": llama_cpp.GGML_TYPE_F32}  # where the base is rounded, so is the cache
_ROOM = 32  # a context's length is a multiple of this


class Model:
    """The base, and the adapters by folder."""

    def __init__(self, job: dict[str, Any]) -> None:
        llama_cpp.llama_backend_init()
        self.kind = job["kind"]
        params = llama_cpp.llama_model_default_params()
        # Weights laid out for AMX, which kill the process where that is advertised and not allowed.
        params.use_extra_bufts = job["matrix_units"]
        self.model = llama_cpp.llama_model_load_from_file(job["gguf"][self.kind].encode(), params)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.adapters = {
            folder: llama_cpp.llama_adapter_lora_init(self.model, path.encode())
            for folder, path in job["gguf_adapters"].items()
        }

    def context(self, adapter: str, rows: int, room: int) -> Any:
        """One for so many rows of so many tokens, with an adapter in force."""
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = rows * -(-room // _ROOM) * _ROOM
        params.n_seq_max = rows
        params.n_threads = params.n_threads_batch = int(os.environ["OMP_NUM_THREADS"])
        params.type_k = params.type_v = _CACHE.get(self.kind, llama_cpp.GGML_TYPE_F16)
        context = llama_cpp.llama_init_from_model(self.model, params)
        handles = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(self.adapters[adapter])
        llama_cpp.llama_set_adapters_lora(context, handles, 1, (ctypes.c_float * 1)(1.0))
        return context


class Rows:
    """Rows of one persona, in a context of their own."""

    def __init__(self, model: Model, adapter: str, prompts: Prompts, tokens: int) -> None:
        self.model, self.prompts = model, prompts
        self.context = model.context(adapter, len(prompts), max(map(len, prompts)) + tokens)
        self.batch = llama_cpp.llama_batch_init(max(map(len, prompts)), 0, 1)
        self.replies: list[list[int]] = []

    def begin(self) -> None:
        """Read the prompts; each row has its first token."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        self.replies = []
        for row, prompt in enumerate(self.prompts):
            last = len(prompt) - 1
            self._decode([(token, at, row, at == last) for at, token in enumerate(prompt)])
            self.replies.append([self._likeliest(last)])

    def step(self) -> None:
        """A token more for each."""
        self._decode(
            [
                (said[-1], len(prompt) + len(said) - 1, row, True)
                for row, (prompt, said) in enumerate(zip(self.prompts, self.replies, strict=True))
            ]
        )
        for row, said in enumerate(self.replies):
            said.append(self._likeliest(row))

    def _decode(self, tokens: Sequence[tuple[int, int, int, bool]]) -> None:
        """Tokens with their place and row, and whether their scores are wanted."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, place, row, wanted) in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.logits[i] = token, place, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
        if code := llama_cpp.llama_decode(self.context, batch):
            raise RuntimeError(f"llama_decode said {code}")

    def _likeliest(self, i: int) -> int:
        scores = llama_cpp.llama_get_logits_ith(self.context, i)
        return int(np.ctypeslib.as_array(scores, (self.model.vocabulary,)).argmax())


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """All settings, on a base of one type."""
    model = Model(job)

    def saying(prompts: Prompts, adapters: list[str]) -> Say:
        shared: dict[str, list[Sequence[int]]] = {}
        for ids, adapter in zip(prompts, adapters, strict=True):
            shared.setdefault(adapter, []).append(ids)
        groups = [Rows(model, adapter, asked, job["tokens"]) for adapter, asked in shared.items()]

        def say(tokens: int) -> list[list[int]]:
            for rows in groups:
                rows.begin()
            for _ in range(tokens - 1):
                for rows in groups:
                    rows.step()
            return [said for rows in groups for said in rows.replies]

        return say

    return speeds(job, saying)


if __name__ == "__main__":
    found = answer(receive())
    send(found | {"peak_memory_mb": round(peak_memory_mb(), 1), "versions": versions()})
