"""Give a language model a personality, and prove that it holds.

The nouns of the project are here, ready for `from mien import Persona`; the verbs live in the
subpackages, in the order in which data flows: `persona`, `data`, `base`, `train`, `registry` and
`evaluate`. Importing this package imports none of them, nor torch: a
name is loaded when it is first used, so that `mien --help` need not wait for what it does not show.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.errors import MienError
    from mien.persona import Persona
    from mien.schema import Example, Message, Preference, Score

__version__ = "0.1.0"

__all__ = ["Example", "Message", "MienError", "Persona", "Preference", "Score", "__version__"]

_HOME = {"MienError": "mien.errors", "Persona": "mien.persona"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "mien.schema")), name)


def __dir__() -> list[str]:
    return __all__
