"""What the stub server answers where a test wants a judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.stub_server import answer


def answers(messages: Sequence[dict[str, Any]], seed: int) -> str:
    """A mark that follows from what is judged; elsewhere two sentences."""
    told = messages[0]["content"]
    return str(1 + len(told) % 10) if told.startswith("You judge") else answer(messages, seed)
