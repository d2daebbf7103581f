"""The whole story in two seconds: a tiny base, word counts for embeddings, few rows, short replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.base import model
from mien.base.embed import Embedder
from mien.base.machine import Machine
from mien.base.model import Base
from mien.chat import Sampling
from mien.data import corpus
from mien.data.corpus import Split, rows_of
from mien.data.wording import bag_of_words
from mien.evaluate import bare, gold, order
from mien.evaluate.suites import held_out
from mien.evaluate.suites.voice import suite as voice
from mien.schema import Example
from mien.train import dose
from mien.workspace import Workspace
from tests import models

SAMPLING = Sampling(max_tokens=6, temperature=1.0)
SEEDS = (0,)
TRAINED, HELD, ASKED = 6, 2, 3  # rows of each kind


class Words:
    """Stands in for the sentence embedder."""

    size = 2048

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return bag_of_words(texts, self.size)


class Seams:
    """Where a story runs, and how often the base was loaded."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder / "work")
        self.loaded: list[str] = []

    def load(self, ref: str = "smollm2-135m", *, dtype: str = "auto", report: Any = None) -> Base:
        """Stands in for `Base.load`; a fresh base each time, as in a process of its own."""
        self.loaded.append(ref)
        return models.tiny_base()


def install(patch: pytest.MonkeyPatch, folder: Path) -> Seams:
    """Put the small things in place of the large ones."""
    seams = Seams(folder)
    few = {"train": TRAINED, "validation": HELD}
    all_examples: Callable[[str, Split], list[Example]] = corpus.examples
    machine = Machine("cpu", 1, 50.0, None, None)

    def examples(voice: str, split: Split) -> list[Example]:
        return all_examples(voice, split)[: few[split]]

    patch.setenv("MIEN_HOME", str(folder / "home"))
    patch.setenv("MIEN_WORKSPACE", str(seams.workspace.root))
    patch.setattr(Base, "load", seams.load)
    patch.setattr(Embedder, "load", lambda **_: Words())
    patch.setattr(corpus, "examples", examples)
    patch.setattr("mien.train.plan.probe", lambda: machine)
    patch.setattr(model, "probe", lambda: machine)
    patch.setattr(gold, "SAMPLING", SAMPLING)
    patch.setattr(bare, "BARE_PROMPTS", 4)
    patch.setattr(bare, "told_apart", lambda _: ())
    patch.setattr(order, "SAMPLING", SAMPLING)
    patch.setattr(dose, "_SAMPLING", SAMPLING)
    patch.setattr(voice, "SEEDS", SEEDS)
    patch.setattr(held_out, "rows_of", lambda split: rows_of(split)[:ASKED])
    return seams
