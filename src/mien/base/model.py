"""The base model: loaded once, frozen, with adapters on top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from mien.base.fetch import DEFAULT_BASE, BaseFiles, Report, pull
from mien.base.flat import Flat
from mien.base.lora import Adapters
from mien.base.machine import choose_dtype, keep_freed_memory, probe
from mien.base.maths import BLOCKS, token_nll
from mien.base.render import Renderer
from mien.errors import BaseError, InputError, first_line
from mien.schema import Example

_UNLOADABLE = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
# What a model may do to its logits after the output head; `token_nll` knows of none of it.
_ON_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Base:
    """A frozen causal language model, its tokenizer and renderer, and the adapters on it.

    Use `Base.load`; the constructor takes the parts, for tests that make their own.

    Attributes:
        way: Whatever the decoder has found out about the model; None until it has.

    Raises:
        BaseError: Its output is more than hidden states times a matrix, or it has no linear layers.
    """

    def __init__(self, model: Any, tokenizer: Any, files: BaseFiles) -> None:
        self.files = files
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.renderer = Renderer(tokenizer)
        self.head = _plain_head(model)
        self.adapters = Adapters(model, self.head)
        self.way: Any = None

    @classmethod
    def load(
        cls, ref: str = DEFAULT_BASE, *, dtype: str = "auto", report: Report = lambda _: None
    ) -> Base:
        """Fetch if need be, and load.

        Args:
            ref: As for `pull`.
            dtype: `float32`, `bfloat16`, or `auto` for what this machine computes faster.
            report: Called with one line per stage.

        Raises:
            InputError: `dtype` is none of these.
            BaseError: The model cannot be had or loaded.
        """
        if dtype not in ("auto", *DTYPES):
            raise InputError(f"There is no dtype {dtype!r}.", fix=f"Use auto, {' or '.join(DTYPES)}.")
        files = pull(ref, report=report)
        keep_freed_memory()
        transformers_logging.disable_progress_bar()
        wanted = DTYPES[choose_dtype() if dtype == "auto" else dtype]
        try:
            model = AutoModelForCausalLM.from_pretrained(files.folder, dtype=wanted)
            tokenizer = AutoTokenizer.from_pretrained(files.folder)
        except _UNLOADABLE as error:
            raise BaseError(
                f"{files.folder}: transformers cannot load it ({first_line(error)}).",
                fix="Give a causal language model; for a cached one, remove the folder and pull again.",
            ) from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model.to(device), tokenizer, files)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device

    @property
    def dtype(self) -> str:
        """Type of the frozen weights."""
        return str(self.head.weight.dtype).removeprefix("torch.")

    @property
    def machine(self) -> str:
        """The machine it runs on, its threads and its type, for cards and reports."""
        found = probe()
        return f"{found.cuda or found.cpu}, {torch.get_num_threads()} threads, {self.dtype}"

    @property
    def max_tokens(self) -> int:
        """Longest sequence the positions were made for."""
        return int(getattr(self.model.config, "max_position_embeddings", 2048))

    def hidden(self, batch: Flat) -> Tensor:
        """Last hidden states, (tokens, d), under the adapter in force; differentiable in it."""
        device = self.device
        with self.blockwise():
            out = self.model.base_model(
                input_ids=batch.tokens[None].to(device),
                position_ids=batch.positions[None].to(device),
                use_cache=False,
                blocks=batch.blocks,
            )
        return torch.as_tensor(out.last_hidden_state[0])

    def nll(self, batch: Flat) -> Tensor:
        """-log p of each learnt token, (learnt,), under the adapter in force; differentiable in it."""
        before = self.hidden(batch).index_select(0, batch.index.to(self.device))
        return token_nll(before, self.head.weight, batch.targets.to(self.device))

    @torch.no_grad()
    def mean_nll(self, examples: Sequence[Example], *, batch: int = 16) -> list[float]:
        """Mean -log p per token of each example's completion, in nats, under the adapter in force."""
        pairs = [self.renderer.example(example) for example in examples]
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        means = [0.0] * len(pairs)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            flat = Flat.of([pairs[row] for row in rows])
            nll = self.nll(flat).cpu()
            for place, row in enumerate(rows):
                means[row] = float(nll[flat.owner == place].mean())
        return means

    @contextmanager
    def blockwise(self) -> Iterator[None]:
        """Attention within blocks for one forward pass; decoding keeps the model's own."""
        config = self.model.config
        before = config._attn_implementation
        config._attn_implementation = BLOCKS
        try:
            yield
        finally:
            config._attn_implementation = before


def _plain_head(model: Any) -> nn.Linear:
    """The output head, if a product with its weight is all that makes the logits."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    unknown = [key for key in _ON_LOGITS if getattr(config, key, None) not in (None, 1)]
    if getattr(head, "bias", None) is not None:
        unknown.append("a bias in its output head")
    if head is None or unknown:
        raise BaseError(
            f"{type(model).__name__} has {unknown[0] if unknown else 'no output head'}, which mien does"
            " not compute.",
            fix="Use a model without it: Llama, Qwen, Gemma 3 and SmolLM2 have none.",
        )
    return cast(nn.Linear, head)
