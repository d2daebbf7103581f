"""Bases of the decoder's tests: their own, since their weights are rearranged."""

from tests.decode.personas import base, gemma, llama

__all__ = ["base", "gemma", "llama"]
