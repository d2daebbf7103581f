"""The table for the terminal."""

from __future__ import annotations

from rich.console import Console

from mien.evaluate.pages.terminal import table
from tests.evaluate.pages import builders


def shown(width: int = 120, **changes: object) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table(builders.evaluation(**changes), builders.suites()))
    return capture.get()


def test_it_has_a_column_per_subject_and_main_measures_only() -> None:
    found = table(builders.evaluation(), builders.suites())
    assert [str(column.header) for column in found.columns] == ["measure", *builders.SUBJECTS]
    text = shown()
    assert "Voice heard ↑" in text and "85% 62..95" in text
    assert "topic" not in text and "suffix" not in text


def test_scores_of_no_subject_have_no_row() -> None:
    assert "Sparkle" not in shown() and "Slope" in shown()


def test_a_suite_without_scores_is_named() -> None:
    assert "judged: nothing" in shown()


def test_it_fits_a_narrow_terminal() -> None:
    assert "62..95" in shown(80)
    assert "…" not in shown(80)
    assert "0.58..0.62" in shown(80)


def test_markup_in_names_is_shown_as_it_is() -> None:
    assert "[red]x[/red]" in shown(title="[red]x[/red]")
