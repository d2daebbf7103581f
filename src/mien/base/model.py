"""The base model: loaded once, frozen, with adapters on top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from mien.base.fetch import DEFAULT_BASE, BaseFiles, Report, pull
from mien.base.lora import Adapters
from mien.base.machine import choose_dtype, keep_freed_memory, probe
from mien.base.maths import BLOCKS, token_nll
from mien.base.render import Renderer
from mien.errors import BaseError, InputError, first_line
from mien.schema import Example

_UNLOADABLE = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
# What a model may do to its logits after the output head; `token_nll` knows of none of it.
_ON_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
Row = Sequence[Sequence[int]]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Flat:
    """Sequences laid end to end, without padding.

    Attributes:
        tokens: (tokens,) all ids.
        positions: (tokens,) place of each token in its own sequence.
        blocks: Tokens per sequence.
        index: (learnt,) flat places *before* each learnt token.
        targets: (learnt,) the learnt tokens.
        owner: (learnt,) the sequence each learnt token belongs to.
    """

    tokens: Tensor
    positions: Tensor
    blocks: tuple[int, ...]
    index: Tensor
    targets: Tensor
    owner: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Flat:
        """From rows of stretches, read and learnt in turn: a prompt and its completion, and so on."""
        tokens: list[int] = []
        index: list[int] = []
        owner: list[int] = []
        blocks: list[int] = []
        for number, row in enumerate(rows):
            start = len(tokens)
            for place, stretch in enumerate(row):
                if place % 2:
                    index += range(len(tokens) - 1, len(tokens) - 1 + len(stretch))
                    owner += [number] * len(stretch)
                tokens += stretch
            blocks.append(len(tokens) - start)
        ids, places = torch.tensor(tokens), torch.tensor(index, dtype=torch.long)
        return cls(
            tokens=ids,
            positions=torch.cat([torch.arange(length) for length in blocks]),
            blocks=tuple(blocks),
            index=places,
            targets=ids[places + 1],
            owner=torch.tensor(owner, dtype=torch.long),
        )


class Base:
    """A frozen causal language model, its tokenizer and renderer, and the adapters on it.

    Use `Base.load`; the constructor takes the parts, for tests that make their own.

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

    def nll(self, batch: Flat) -> Tensor:
        """-log p of each learnt token, (learnt,), under the adapter in force; differentiable in it."""
        device = self.device
        with self.blockwise():
            out = self.model.base_model(
                input_ids=batch.tokens[None].to(device),
                position_ids=batch.positions[None].to(device),
                use_cache=False,
                blocks=batch.blocks,
            )
        hidden = out.last_hidden_state[0].index_select(0, batch.index.to(device))
        return token_nll(hidden, self.head.weight, batch.targets.to(device))

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
