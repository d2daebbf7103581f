"""The public names are these, and everything public says what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mien

SOURCE = Path(mien.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def test_the_names_of_the_package() -> None:
    assert mien.__all__ == sorted(mien.__all__)
    assert mien.__all__ == [
        "Example",
        "Message",
        "MienError",
        "Persona",
        "Preference",
        "Score",
        "__version__",
    ]
    assert dir(mien) == mien.__all__


def public(node: ast.Module | ast.ClassDef) -> Iterator[Named]:
    """Public functions, classes, and methods of public classes."""
    for each in node.body:
        if isinstance(each, Named) and not each.name.startswith("_"):
            yield each
            if isinstance(each, ast.ClassDef):
                yield from public(each)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_everything_public_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module"
    assert [each.name for each in public(tree) if not ast.get_docstring(each)] == []
