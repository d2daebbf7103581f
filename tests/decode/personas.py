"""Personas of the decoder's tests: adapters that make every reply another, and bases that wear them."""

from __future__ import annotations

import pytest
import torch

from mien.base.lora import LoraConfig
from mien.base.model import Base
from tests import models

PERSONAS = ("captain", "poet", "clerk", "sage")


def with_personas(base: Base, size: float) -> Base:
    """Adapters of ranks 3, 4, 5, 6; `size` is to make every reply another."""
    for i, name in enumerate(PERSONAS):
        base.adapters.create(name, LoraConfig(r=3 + i, alpha=8), seed=i)
        models.shake(base.adapters, name, seed=i, size=size)
    return base


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    """Tokens that are no marks."""
    draw = torch.Generator().manual_seed(1000 * seed + length)
    return tuple(torch.randint(10, 280, (length,), generator=draw).tolist())


@pytest.fixture(scope="package")
def llama() -> Base:
    return with_personas(models.tiny_base(), size=0.3)


@pytest.fixture(scope="package")
def gemma() -> Base:
    return with_personas(models.tiny_gemma(), size=1.0)


@pytest.fixture(params=["llama", "gemma"])
def base(request: pytest.FixtureRequest) -> Base:
    """Both ways through a model: written out, and by way of transformers."""
    found: Base = request.getfixturevalue(request.param)
    return found
