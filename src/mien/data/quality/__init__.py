"""Proves what the parallel corpus claims: one content in every voice, and only style between voices."""

from mien.data.quality.findings import Figure, Finding, Report
from mien.data.quality.prose import Embed
from mien.data.quality.whole import check, check_all, to_embed

__all__ = ["Embed", "Figure", "Finding", "Report", "check", "check_all", "to_embed"]
