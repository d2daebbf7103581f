"""The benches' scripts import each other by bare names, as Python finds them when started on one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import common

BENCH = Path(common.__file__).parent


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Python had been started on a script of the benches, or on an arm."""
    for folder in (BENCH, BENCH / "arms"):
        monkeypatch.syspath_prepend(str(folder))
