"""The README's commands exist: `mien` lines parse and `make` targets are there. Nothing is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from mien.cli.main import mien

TREE = Path(__file__).parents[2]
README = TREE / "README.md"
_FENCED = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4}(\S.*\n?(?: {4}.*\n?)*)", re.MULTILINE)


def commands(text: str) -> list[str]:
    """The lines of the shell blocks, fenced or indented; continued ones joined, without prompts."""
    blocks = "\n".join(_FENCED.findall(text) + _INDENTED.findall(text)).replace("\\\n", " ")
    lines = (line.strip().removeprefix("$ ") for line in blocks.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def words_of(line: str) -> list[str]:
    """The words of one simple command, without comment, environment and path of the program."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words.pop(0)
    ends = [place for place, word in enumerate(words) if word in ("|", ">", "&&", ";", "&")]
    return words[: min(ends, default=len(words))]


def targets() -> set[str]:
    makefile = (TREE / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))


LINES = commands(README.read_text(encoding="utf-8")) if README.exists() else []
MIEN = [line for line in LINES if words_of(line)[:1] and Path(words_of(line)[0]).name == "mien"]
MAKE = [line for line in LINES if words_of(line)[:1] == ["make"]]


def parse(arguments: list[str]) -> None:
    """Walk the command tree and parse the options of each; nothing is invoked."""
    command: click.Command = mien
    context = click.Context(mien, info_name="mien", **mien.context_settings)
    rest = arguments
    while isinstance(command, click.Group):
        context = command.make_context(context.info_name, list(rest), **mien.context_settings)
        rest = [*context._protected_args, *context.args]
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        context, command = click.Context(found, context, name), found
    command.make_context(command.name, list(rest), parent=context.parent, **mien.context_settings)


@pytest.mark.parametrize("line", MIEN)
def test_a_command_of_the_readme_exists_with_its_options(line: str) -> None:
    parse(words_of(line)[1:])


@pytest.mark.parametrize("line", MAKE)
def test_a_make_target_of_the_readme_exists(line: str) -> None:
    wanted = [word for word in words_of(line)[1:] if not word.startswith("-") and "=" not in word]
    assert set(wanted) <= targets()


@pytest.mark.parametrize(
    "line",
    [
        "mien trian sft",
        "mien train sft --epoch 3",
        "mien recipe nwe x y",
        "mien chat --temperature hot",
        "mien eval",
    ],
)
def test_a_mistake_in_a_command_would_be_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(words_of(line)[1:])


def test_lines_are_read_as_a_shell_would() -> None:
    text = (
        "```sh\n$ mien demo  # all\nX=1 mien eval \\\n  --persona witty | less\n```\n"
        "```py\nmien no\n```\nmien is not a command here.\n\n    mien doctor    # in a block\n"
    )
    read = commands(text)
    assert [words_of(line) for line in read] == [
        ["mien", "demo"],
        ["mien", "eval", "--persona", "witty"],
        ["mien", "doctor"],
    ]


def test_the_readme_says_how_to_begin() -> None:
    if not README.exists():
        pytest.skip("no README yet")
    assert MIEN and MAKE
