"""Bases of the engine's tests: their own, since an engine has its base to itself."""

from tests.decode.personas import base, gemma, llama

__all__ = ["base", "gemma", "llama"]
