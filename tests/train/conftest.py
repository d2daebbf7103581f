"""Training as it is, without the trial of this machine's speed."""

from __future__ import annotations

import pytest

from mien.base import model
from mien.base.machine import Machine


@pytest.fixture(autouse=True)
def _no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.train.plan.probe", lambda: Machine("cpu", 1, 50.0, None, None))
    monkeypatch.setattr(model, "probe", lambda: Machine("cpu", 1, 50.0, None, None))
