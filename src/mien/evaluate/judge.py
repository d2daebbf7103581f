"""A chat model as a judge of replies, by a rubric."""

from __future__ import annotations


class Judge:
    """Rates replies."""
