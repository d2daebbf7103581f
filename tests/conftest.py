"""Fixtures for every test; the builders are in `tests/models.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.base.model import Base
from mien.workspace import Workspace
from tests import models, seams


@pytest.fixture(scope="session")
def tiny_base() -> Base:
    return models.tiny_base()


@pytest.fixture(scope="session")
def tiny_gemma() -> Base:
    return models.tiny_gemma()


@pytest.fixture(scope="session")
def smollm() -> Base:
    """The default base, from the user's own MIEN_HOME; float32, so that tests need no probe."""
    return Base.load(dtype="float32")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "work")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("MIEN_HOME", str(folder))
    return folder


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> seams.Seams:
    """Training and evaluation as they are, on small things."""
    return seams.install(monkeypatch, tmp_path)
