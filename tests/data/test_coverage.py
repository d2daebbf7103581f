"""The picture of what is covered."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from mien.data.cells import coverage, draw
from mien.data.coverage import bars, matrix, overview, page
from mien.data.plan import Plan
from mien.persona import library

PLAN = Plan.of(library()["neutral"])
FOUND = coverage(PLAN, draw(PLAN, 40, 0))


def texts(picture: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(picture).iter("text")]


def test_the_page_has_a_bar_for_every_dimension_and_a_matrix_for_every_pair() -> None:
    text = page(PLAN, FOUND, "Test [x] <b>")
    assert text.count("<svg") == 11 + 55 + 1
    assert "Test [x] &lt;b&gt;" in text and "<b>:" not in text
    assert "<script" not in text and "http://" not in text and "prefers-color-scheme: dark" in text
    assert all(each.about in text for each in PLAN.dimensions.values())


def test_every_picture_is_well_formed_and_says_itself_in_words() -> None:
    for picture in re.findall(r"<svg.*?</svg>", page(PLAN, FOUND, "T"), re.DOTALL):
        assert ET.fromstring(picture).findtext("title")


def test_bars_show_the_count_beside_the_exact_share() -> None:
    picture = bars("register", FOUND)
    assert texts(picture) == ["casual", "16", "polite", "16", "formal", "8"]
    assert "casual: 16 of 16.0" in picture


def test_a_matrix_tells_empty_from_forbidden() -> None:
    pair = next(each for each in FOUND.pairs if (each.first, each.second) == ("turns", "pressure"))
    picture = matrix(pair, FOUND)
    assert "drop-the-act, 1: never, the plan forbids it" in picture
    assert picture.count("stroke-dasharray") == sum(n == 0 for row in pair.counts for n in row) > 0


def test_the_overview_counts_the_empty_pairs_of_every_two_dimensions() -> None:
    figures = [int(text) for text in texts(overview(FOUND)) if text.isdigit()]
    assert len(figures) == 55 and sum(figures) == len(FOUND.empty)


def test_the_verdict_is_good_only_if_nothing_is_missing() -> None:
    small = Plan.model_validate(
        {
            "sparks": ["a", "b"],
            "dimensions": {
                name: {"about": name, "told": ["user"], "levels": {1: {"text": "x"}, 2: {"text": "y"}}}
                for name in ("turns", "other")
            },
        }
    )
    cells = draw(small, 8, 0)
    assert 'var(--good)">' in page(small, coverage(small, cells), "T")
    poor = page(small, coverage(small, [cells[0]] * 3), "T")
    assert 'var(--partial)">' in poor and "off their share" in poor


def test_no_dialogue_at_all_can_be_drawn() -> None:
    assert "0 dialogues, 0 of" in page(PLAN, coverage(PLAN, []), "T")
