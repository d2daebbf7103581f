"""What must stay light: everything that needs no model imports without torch."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

import mien

ROOMS = (
    "errors",
    "show",
    "schema",
    "stats",
    "specfile",
    "workspace",
    "page",
    "chat",
    "endpoint",
    "persona",
    "data",
    "registry.cards",
    "cli",
)
HEAVY = ("torch", "transformers")


def modules(room: str) -> list[str]:
    """A module of the package, with those below it."""
    spec = find_spec(f"mien.{room}")
    assert spec is not None
    inner = pkgutil.iter_modules(spec.submodule_search_locations or [], f"mien.{room}.")
    return [spec.name, *(each.name for each in inner)]


LIGHT = [name for room in ROOMS for name in modules(room)]


def test_light_modules_import_without_torch() -> None:
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [each for each in {HEAVY!r} if each in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *LIGHT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_package_itself_imports_none_of_its_rooms() -> None:
    code = "import sys, mien; print(*(name for name in sys.modules if name.startswith('mien')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["mien"]


@pytest.mark.parametrize("name", mien.__all__)
def test_a_name_of_the_package_is_loaded_on_first_use(name: str) -> None:
    assert getattr(mien, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mien.nothing
