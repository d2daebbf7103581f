"""What a check of the corpus yields: findings, each with its place, and figures beside their bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from mien.schema import Strict

Severity = Literal["error", "note"]


class Finding(Strict):
    """One fault, or one thing worth knowing (`note`), and where: `row/voice`, `row`, or `corpus`."""

    check: str
    severity: Severity
    where: str
    message: str


class Figure(Strict):
    """One measured quantity of the corpus; without a bound it is there to be known, and passes."""

    name: str
    value: float
    bound: str
    passed: bool
    about: str


class Report(Strict):
    """Everything the checks found and measured."""

    findings: tuple[Finding, ...]
    figures: tuple[Figure, ...]

    @property
    def errors(self) -> list[Finding]:
        """The findings that are faults."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def passed(self) -> bool:
        """No fault was found, and every figure keeps its bound."""
        return not self.errors and all(figure.passed for figure in self.figures)

    def __str__(self) -> str:
        marks = {True: "ok", False: "FAILED"}
        lines = [
            f"{f.name:32} {f.value:8.3f}  {f.bound:9} {marks[f.passed]:6}  {f.about}"
            for f in self.figures
        ]
        return "\n".join(
            [*lines, *(f"{f.severity}: {f.check}: {f.where}: {f.message}" for f in self.findings)]
        )


Results: TypeAlias = Iterator[Finding | Figure]


def error(name: str, where: str, message: str) -> Finding:
    """A fault."""
    return Finding(check=name, severity="error", where=where, message=message)


def note(name: str, where: str, message: str) -> Finding:
    """Something worth knowing that is no fault."""
    return Finding(check=name, severity="note", where=where, message=message)


def at_most(name: str, value: float, bound: float, about: str) -> Figure:
    """A figure that passes up to a bound."""
    return Figure(name=name, value=value, bound=f"<= {bound:g}", passed=value <= bound, about=about)


def at_least(name: str, value: float, bound: float, about: str) -> Figure:
    """A figure that passes from a bound on."""
    return Figure(name=name, value=value, bound=f">= {bound:g}", passed=value >= bound, about=about)


def shown(name: str, value: float, about: str) -> Figure:
    """A figure without a bound."""
    return Figure(name=name, value=value, bound="", passed=True, about=about)
