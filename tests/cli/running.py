"""Runs `mien` as a user would: in this process, and in one of its own."""

from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner, Result

from mien.cli.main import mien


def run(*arguments: str, stdin: str | None = None, width: int = 80) -> Result:
    """`mien ARGUMENTS` in this process, in a terminal of `width` columns."""
    runner = CliRunner(env={"COLUMNS": str(width)})
    return runner.invoke(mien, arguments, input=stdin, prog_name="mien")


def modules_after(*arguments: str) -> set[str]:
    """What a process has imported when `mien ARGUMENTS` has ended well in it."""
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from mien.cli.main import mien\n"
        "result = CliRunner().invoke(mien, sys.argv[1:])\n"
        "assert result.exit_code == 0, result.output\n"
        "print(*sys.modules)\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())
