"""Everything that can go wrong on purpose, and what to do about it.

    MienError                 catch this to catch them all
    |-- InputError            what was given cannot be used as it is; fix it and run again
    |   |-- SpecError         a persona or recipe file: every mistake in it, at once
    |   `-- DataError         a row of a data set, named by file and line
    |-- BaseError             the base model cannot be had, read or used
    |   |-- DownloadError     the registry is out of reach or has no such file
    |   `-- ChecksumError     what arrived is not what was promised
    |-- ModelError            a chat model does not answer
    |   |-- BusyError         not now; it is worth asking again
    |   |-- UnableError       not this; something else can be asked of it
    |   `-- AccessError       nothing at all, until an address, a name or a key is mended
    |-- BudgetError           a job has used up what it may spend; what it has is kept
    |-- AdapterError          an adapter is missing, broken, or belongs to another base
    `-- TrainError            training cannot start or go on
        `-- DivergedError     the loss is no longer a number

Each is one line that says what is wrong and where, and a second part, `fix`, that says what to do
next. The command line prints both and exits with `exit_code`; a library user would write::

    try:
        persona = Persona.load("captain.yaml")
    except SpecError as error:
        for problem in error.problems:
            print(problem)
"""

from __future__ import annotations

from collections.abc import Sequence


def first_line(error: Exception) -> str:
    """What another library's error says, short enough to be part of one line of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


class MienError(Exception):
    """The root of the tree.

    Args:
        what: One line: what is wrong, and where.
        fix: What the reader can do about it; always given by code of this package.
    """

    exit_code = 1

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what} {self.fix}".strip()


class InputError(MienError):
    """What was given cannot be used as it is."""

    exit_code = 2


class SpecError(InputError):
    """A persona or recipe file with one or more mistakes, all of them collected.

    Args:
        source: The file the mistakes are in.
        problems: One line each, beginning with the key.
    """

    def __init__(self, source: str, problems: Sequence[str], *, fix: str = "") -> None:
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(problems)} mistake{'s' if len(problems) != 1 else ''}"
        lines = "".join(f"\n  {source}: {problem}" for problem in problems)
        super().__init__(f"{source} has {count}:{lines}\n", fix=fix)


class DataError(InputError):
    """A data set, or a row of it, that cannot be read."""


class BaseError(MienError):
    """The base model cannot be had, read or used."""


class DownloadError(BaseError):
    """The registry is out of reach or has no such file."""


class ChecksumError(BaseError):
    """A file arrived whole but is not the file that was promised."""


class ModelError(MienError):
    """A chat model does not answer."""


class BusyError(ModelError):
    """A chat model does not answer now; it is worth asking again.

    Args:
        kind: Why, in a word or two that can be counted: `rate limit`, `server error`, `time-out`.
        wait: Seconds that the model asks to be left alone for, if it says.
    """

    def __init__(self, what: str, *, kind: str, wait: float | None = None) -> None:
        super().__init__(what, fix="Try again in a while; nothing is lost.")
        self.kind = kind
        self.wait = wait


class UnableError(ModelError):
    """A chat model cannot do what it is asked for; a suite that needs it is left out, which is said."""

    def __init__(self, what: str) -> None:
        super().__init__(what, fix="Ask this of another system.")


class AccessError(ModelError):
    """A chat model answers nothing at all until an address, a model's name or a key is mended."""

    exit_code = 2


class BudgetError(MienError):
    """A job has used up what it may spend."""


class AdapterError(MienError):
    """An adapter is missing, broken, or was made for another base."""


class TrainError(MienError):
    """Training cannot start or go on."""


class DivergedError(TrainError):
    """The loss is no longer a number."""
