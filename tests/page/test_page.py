"""A page: escaped, complete, and in the theme."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from mien import page
from tests.page.reading import (
    HOSTILE,
    Page,
    assert_loads_and_runs_nothing,
    assert_themed,
    assert_well_formed,
)


def render(**values: object) -> str:
    return page.render("tests.page", "sample.html", **values)


def test_a_page_is_sound_and_loads_nothing() -> None:
    html = render(heading="Sample", colour="var(--system-2)", picture="")
    assert html.startswith("<!doctype html>")
    assert_loads_and_runs_nothing(html)
    assert_well_formed(html)
    assert_themed(html)


def test_values_are_escaped_in_words_titles_and_shared_parts() -> None:
    html = render(heading=HOSTILE, colour=HOSTILE, picture=HOSTILE)
    assert "<script" not in html
    assert Page(html).text.count(HOSTILE) == 4


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="heading"):
        render(colour="red", picture="")
