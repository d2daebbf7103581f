"""The group: help without weight, errors in two lines, exit codes, quiet pipes, nearest names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import click
import pytest
from click.testing import CliRunner, Result

import mien as package
from mien.cli.groups import Lazy, LazyGroup
from mien.cli.main import COMMANDS, ENVIRONMENT, mien
from tests.cli import commands
from tests.cli.running import modules_after, run

NAMES = [name for name, each in vars(commands).items() if isinstance(each, click.Command)]
ENDINGS = LazyGroup(
    name="endings",
    lazy={name: Lazy(f"tests.cli.commands:{name}", "") for name in NAMES},
    environment={},
)
WRITTEN = [name for name, each in COMMANDS.items() if find_spec(each.target.partition(":")[0])]


def end(name: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(ENDINGS, [name])


def test_help_lists_every_command_and_variable() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, each in COMMANDS.items():
        assert f"  {name}" in result.output and each.help in result.output
    assert all(name in result.output for name in ENVIRONMENT)


def test_help_fits_80_columns() -> None:
    assert max(map(len, run("--help").output.splitlines())) <= 80


def test_help_imports_nothing_heavy() -> None:
    assert not modules_after("--help") & {"torch", "transformers", "numpy", "pydantic", "rich"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("persona", "list"),
        ("persona", "show", "witty"),
        ("data", "show"),
        ("base", "list"),
        ("recipe", "schema"),
    ],
)
def test_what_needs_no_model_imports_no_torch(arguments: tuple[str, ...]) -> None:
    assert not modules_after(*arguments) & {"torch", "transformers"}


def test_version() -> None:
    assert run("--version").output == f"mien, version {package.__version__}\n"


def test_the_short_option_for_help_works_everywhere() -> None:
    assert (
        run("-h").exit_code
        == run("persona", "-h").exit_code
        == run("persona", "new", "-h").exit_code
        == 0
    )


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [(["perosna"], "persona"), (["docter"], "doctor"), (["persona", "shwo"], "show")],
)
def test_an_unknown_command_suggests_the_nearest(arguments: list[str], nearest: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert f"Did you mean `{nearest}`?" in result.stderr


def test_a_command_like_no_other_gets_the_list() -> None:
    assert "There are demo, base, " in run("zzz").stderr


def test_an_unknown_option_is_a_usage_error() -> None:
    assert run("--nope").exit_code == 2


@pytest.mark.parametrize("name", WRITTEN)
def test_every_command_is_where_the_literal_says(name: str) -> None:
    command = mien.get_command(click.Context(mien), name)
    assert isinstance(command, click.Command)
    assert command.name == name


def described(command: click.Command, path: str) -> Iterator[tuple[str, str | None]]:
    """(what, its help) of a command, its options, and everything below it."""
    yield path, command.help
    for each in command.params:
        if isinstance(each, click.Option):
            yield f"{path} {each.opts[-1]}", each.help
    for name, inner in getattr(command, "commands", {}).items():
        yield from described(inner, f"{path} {name}")


@pytest.mark.parametrize("name", WRITTEN)
def test_every_command_and_option_has_help(name: str) -> None:
    command = mien.get_command(click.Context(mien), name)
    assert command is not None
    assert [what for what, text in described(command, name) if not text] == []


@pytest.mark.parametrize("name", WRITTEN)
def test_no_short_help_is_cut_off(name: str) -> None:
    listed = run(name, "--help").output.partition("Commands:")[2]
    assert "..." not in listed


def test_a_good_end() -> None:
    assert end("fine").output == "fine\n"


def test_an_error_is_two_lines_on_stderr() -> None:
    result = end("missing")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: runs: no adapter of [bold]'captain'.\nFix: Run `mien train` first.\n"


def test_every_mistake_of_a_file_is_listed() -> None:
    result = end("mistaken")
    assert result.exit_code == 2
    assert "captain.yaml: name: missing\n  captain.yaml: title: missing\nFix: See" in result.stderr


def test_debug_shows_the_traceback_first() -> None:
    result = end("missing", MIEN_DEBUG="1")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr and result.stderr.endswith("Fix: Run `mien train` first.\n")


def test_ctrl_c_is_130_and_one_line() -> None:
    result = end("stopped")
    assert (result.exit_code, result.stderr) == (130, "\nInterrupted.\n")
    assert end("stopped_in_training").stderr == "\nStopped at step 12.\n"


@pytest.mark.parametrize("arguments", [("persona", "schema"), ("persona", "show", "calm")])
def test_a_closed_pipe_is_no_error_to_talk_about(arguments: tuple[str, ...]) -> None:
    code = "from mien.cli.main import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


def test_the_installed_command_answers_with_the_exit_code() -> None:
    code = "from mien.cli.main import main; main()"
    command = [sys.executable, "-c", code, "persona", "show", "nobody"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: There is no persona 'nobody'.\nFix: Built in: neutral, ")
