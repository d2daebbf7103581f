"""A gateway in a process of its own, to be measured and killed; `python -m tests.serve.apart` is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mien.workspace import Workspace
from tests.serve.gateways import roomy_base, serving, stocked


@dataclass(frozen=True)
class Apart:
    """Where it listens, and what runs it."""

    url: str
    process: subprocess.Popen[str]

    @property
    def megabytes(self) -> float:
        """Resident memory."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20

    def kill(self) -> None:
        """At once, as kill -9 does."""
        self.process.kill()
        self.process.wait()


@contextmanager
def apart(folder: Path, **options: Any) -> Iterator[Apart]:
    """Serve a stocked workspace in `folder`; the options are those of `serving`."""
    command = [sys.executable, "-m", "tests.serve.apart", str(folder), json.dumps(options)]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=alone, stderr=subprocess.DEVNULL, **pipes) as process:
        assert process.stdout is not None
        try:
            yield Apart(process.stdout.readline().strip(), process)
        finally:
            process.kill()


def main() -> None:
    """Until its input is closed."""
    folder, base = Path(sys.argv[1]), roomy_base()
    workspace = Workspace.open(folder) if folder.exists() else stocked(folder, base)
    with serving(base, workspace, **json.loads(sys.argv[2])) as house:
        print(house.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
