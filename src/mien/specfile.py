"""Reads a YAML file into a strict model and reports every mistake in it at once.

Personas and recipes are both written by hand; both go through here, so that a typing error gets the
same answer everywhere: the key, what is wrong, and the nearest key that would have been right.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from yaml.error import MarkedYAMLError

from mien.errors import InputError, SpecError

Model = TypeVar("Model", bound=BaseModel)
Key = int | str


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, where YAML would quietly keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def load(path: Path, model: type[Model], *, fix: str = "") -> Model:
    """Read `path` as `model`.

    Args:
        path: The file.
        model: What it is to be.
        fix: What to do about mistakes, for a model of which no command shows the schema.

    Raises:
        InputError: The file is missing or is no YAML mapping.
        SpecError: It has mistakes; all of them are in `problems`.
    """
    return validate(mapping(path, fix=fix), model, source=str(path), fix=fix)


def mapping(path: Path, *, fix: str = "") -> dict[str, Any]:
    """What a YAML file says, before it is checked; `fix` as for `load`.

    Raises:
        InputError: The file is missing or is no YAML mapping.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file.", fix="Check the spelling of the path.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason}).", fix="Save it as UTF-8.") from error
    return _parsed(text, source=str(path), fix=fix)


def parse(text: str, model: type[Model], *, source: str) -> Model:
    """Read YAML `text` as `model`; `source` names it in messages."""
    return validate(_parsed(text, source=source), model, source=source)


def _parsed(text: str, *, source: str, fix: str = "") -> dict[str, Any]:
    try:
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-13-01
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        reason = getattr(error, "problem", None) or "cannot be parsed"
        raise InputError(f"{where}: not valid YAML ({reason}).", fix="Mend that line.") from error
    if not isinstance(value, dict):
        fix = fix or "`mien persona schema` and `mien recipe schema` say which."
        raise InputError(f"{source}: expected `key: value` lines.", fix=fix)
    return value


def validate(value: Mapping[str, Any], model: type[Model], *, source: str, fix: str = "") -> Model:
    """Check a mapping as `model`, collecting every mistake; `fix` as for `load`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [_line(problem, model) for problem in error.errors()]
        raise SpecError(source, problems, fix=fix or f"See {_help(model)}.") from error


def _help(model: type[BaseModel]) -> str:
    return f"`{model.model_config.get('title') or f'mien {model.__name__.lower()}'} schema`"


def _line(problem: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{_nearest(problem['loc'], model)}"
    if problem["type"] == "missing":
        return f"{key}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    given = None if model.model_config.get("hide_input_in_errors") else problem.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
    place = f"{key}: " if key else ""
    return f"{place}{message[:1].lower()}{message[1:]}{shown}"


def _nearest(path: tuple[Key, ...], model: type[BaseModel]) -> str:
    names = list(_siblings(path, model))
    close = difflib.get_close_matches(str(path[-1]), names, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known keys: {', '.join(names)}"


def _siblings(path: tuple[Key, ...], model: type[BaseModel]) -> Iterator[str]:
    """The keys that are allowed where `path` ends."""
    for part in path[:-1]:
        field = model.model_fields.get(str(part))
        inner = next(_models(field.annotation), None) if field else None
        model = inner or model
    yield from model.model_fields


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
