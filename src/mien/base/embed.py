"""Sentence embeddings: MiniLM (Wang et al. 2020), tuned on sentence pairs, pooled and normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers import logging as transformers_logging

from mien.base.fetch import Report, embedder_folder
from mien.errors import BaseError

MAX_TOKENS = 256  # the length the model was tuned for; a longer text is cut there
_BATCH = 32


class Embedder:
    """Turns texts into vectors whose inner product says how near they are in meaning.

    Use `Embedder.load`; the constructor takes the parts, for tests that make their own.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, *, report: Report = lambda _: None) -> Embedder:
        """Fetch if need be, and load in float32 on the CPU, where it is fast enough for any corpus here.

        Raises:
            DownloadError: The registry is out of reach.
            BaseError: The files cannot be loaded.
        """
        folder = embedder_folder(report=report)
        transformers_logging.disable_progress_bar()
        try:
            model = AutoModel.from_pretrained(folder, dtype=torch.float32)
            return cls(model, AutoTokenizer.from_pretrained(folder))
        except (OSError, ValueError, KeyError) as error:
            raise BaseError(
                f"{folder}: transformers cannot load the embedder ({str(error).splitlines()[0][:160]}).",
                fix="Remove that folder; it is fetched again on the next use.",
            ) from error

    @property
    def size(self) -> int:
        """Numbers per vector."""
        return int(self.model.config.hidden_size)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector of length 1 per text.

        Returns:
            (texts, size) float32. The order of `texts` and what they are batched with play no part.
        """
        out = np.empty((len(texts), self.size), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            out[rows] = self._batch([texts[row] for row in rows]).numpy()
        return out

    def _batch(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        hidden = self.model(**tokens).last_hidden_state
        weights = tokens["attention_mask"][..., None].to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(pooled, dim=-1)
