"""The error tree is as drawn, and no message leaves the reader without a next step."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import mien
from mien import errors
from mien.errors import DataError, MienError, SpecError, first_line

SOURCE = Path(mien.__file__).parent
CLASSES = {
    name: each
    for name, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, MienError)
}


def drawn() -> dict[str, int]:
    """Class names in the docstring's tree, with their depth."""
    tree, _, _ = (errors.__doc__ or "").partition("Each is one line")
    rows = [line for line in tree.splitlines() if "Error " in line[:34]]
    names = {row: row.split("Error")[0].strip(" |`-") + "Error" for row in rows}
    return {name: (row.index(name) - 4) // 4 for row, name in names.items()}


def test_the_tree_in_the_docstring_lists_every_class_at_its_depth() -> None:
    depths = {name: len(each.__mro__) - len(MienError.__mro__) for name, each in CLASSES.items()}
    assert drawn() == depths


KNOWING = {"BusyError", "UnableError"}  # what to do is the same each time, and they say it


def constructions() -> Iterator[tuple[str, ast.Call]]:
    """Every place in the package that makes one of our errors."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in CLASSES
                and node.func.id not in KNOWING
            ):
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", node


def test_every_error_made_in_the_package_says_what_to_do_next() -> None:
    found = list(constructions())
    silent = [where for where, call in found if "fix" not in {keyword.arg for keyword in call.keywords}]
    assert len(found) > 20, "the search itself must find something"
    assert silent == []


def test_every_fix_written_out_is_a_sentence() -> None:
    for where, call in constructions():
        fix = next(keyword.value for keyword in call.keywords if keyword.arg == "fix")
        if isinstance(fix, ast.Constant):
            assert fix.value[:1].isupper(), where
            assert fix.value.endswith((".", "?")), where


def test_an_error_prints_what_is_wrong_and_then_what_to_do() -> None:
    error = MienError("The sky fell.", fix="Look up.")
    assert str(error) == "The sky fell. Look up."
    assert (error.what, error.fix) == ("The sky fell.", "Look up.")
    assert str(MienError("Alone.")) == "Alone."


def test_bad_input_exits_with_2_and_everything_else_with_1() -> None:
    codes = {name: each.exit_code for name, each in CLASSES.items()}
    assert {name for name, code in codes.items() if code == 2} == {
        "InputError",
        "SpecError",
        "DataError",
        "AccessError",
    }
    assert set(codes.values()) == {1, 2}


@pytest.mark.parametrize(
    ("problems", "count"), [(["a: x"], "1 mistake:"), (["a: x", "b: y"], "2 mistakes:")]
)
def test_a_spec_error_lists_every_mistake_with_its_file(problems: list[str], count: str) -> None:
    error = SpecError("captain.yaml", problems, fix="Mend them.")
    assert count in str(error)
    assert all(f"\n  captain.yaml: {problem}" in str(error) for problem in problems)
    assert str(error).endswith("Mend them.")
    assert error.problems == tuple(problems)


def test_the_tree_is_caught_by_its_root() -> None:
    with pytest.raises(MienError):
        raise DataError("x", fix="y")


def test_the_first_line_of_another_error_is_short_and_never_missing() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(OSError()) == "OSError"
    assert first_line(ValueError("\n\n lost \n")) == "lost"
    assert len(first_line(ValueError("x" * 999))) == 160
