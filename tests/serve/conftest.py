"""Bases of the engine's tests: their own, since an engine has its base to itself."""

from __future__ import annotations

import pytest

from mien.base.model import Base
from tests import models
from tests.serve.serving import with_personas


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
