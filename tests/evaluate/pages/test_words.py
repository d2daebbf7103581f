"""Measures in words: the glossary, values as text, differences in a word."""

from __future__ import annotations

import math

import pytest

from mien.evaluate.compare import Difference, Results, compared
from mien.evaluate.finding import Finding, Meaning
from mien.evaluate.pages import words
from mien.evaluate.pages.words import Glossary
from tests.evaluate.pages import builders

GLOSSARY = Glossary(
    {
        "a/held": Meaning("Held", "How often.", 1, True),
        "a/held/*": Meaning("Held, by kind", "The same.", 1, True),
        "a/held/odd/*": Meaning("Held, by odd kind"),
        "a/lost": Meaning("Lost", better=-1),
    }
)


def change(name: str, low: float, high: float) -> Difference:
    ends = {"low": low, "high": high, "value": (low + high) / 2}
    return Difference(name=name, ours="sft", theirs="base", n=9, method="made-up", **ends)


def test_a_name_is_explained_by_itself_or_by_the_longest_pattern() -> None:
    assert GLOSSARY["a/held"].label == "Held"
    assert GLOSSARY["a/held/suffix"].label == "Held, by kind"
    assert GLOSSARY["a/held/odd/suffix"].label == "Held, by odd kind"
    assert GLOSSARY["b/new_thing"] == Meaning("new thing")


def test_a_part_is_labelled_with_what_the_pattern_leaves_open() -> None:
    assert GLOSSARY.label("a/held/self_pity/short") == "Held, by kind: self pity, short"
    assert GLOSSARY.label("a/held") == "Held"


def test_names_come_in_the_order_of_the_glossary_and_unknown_ones_last() -> None:
    names = ["z/z", "a/lost", "a/held/x", "a/held", "a/lost"]
    assert GLOSSARY.order(names) == ["a/held", "a/held/x", "a/lost", "z/z"]


def test_the_main_measures_are_the_wholes_or_all_parts_where_there_are_no_wholes() -> None:
    assert GLOSSARY.main(["a/lost", "a/held/x", "a/held"]) == ["a/held", "a/lost"]
    assert GLOSSARY.main(["a/held/odd/y", "a/held/x"]) == ["a/held/x", "a/held/odd/y"]


def test_a_few_parts_stand_beneath_their_measure() -> None:
    (block,) = GLOSSARY.blocks(["a/held/x", "a/lost", "a/held"])
    told = [(row.name, row.label, row.part) for row in block.rows]
    assert told == [("a/held", "Held", False), ("a/held/x", "X", True), ("a/lost", "Lost", False)]


def test_many_parts_are_folded_away_under_the_label_of_their_pattern() -> None:
    first, folded = GLOSSARY.blocks(["a/held", *(f"a/held/{n}" for n in range(4))])
    assert [row.name for row in first.rows] == ["a/held"]
    assert folded.title == "Held, by kind" and len(folded.rows) == 4


def test_parts_without_a_whole_get_a_line_that_names_them() -> None:
    (block,) = GLOSSARY.blocks(["a/held/x"])
    assert [(row.name, row.label) for row in block.rows] == [("", "Held, by kind"), ("a/held/x", "X")]


@pytest.mark.parametrize(
    ("value", "largest", "text"),
    [
        (0.834, None, "83 %"),
        (0.034, None, "3.4 %"),
        (0.034, 0.5, "3 %"),
        (-0.05, 0.5, "\N{MINUS SIGN}5 %"),
        (0.0, None, "0 %"),
        (math.nan, None, "not finite"),
    ],
)
def test_shares_are_shown_in_per_cent(value: float, largest: float | None, text: str) -> None:
    assert words.show(Meaning("x", share=True), value, largest) == text.replace(" %", words.PERCENT)


@pytest.mark.parametrize(
    ("text", "signed"), [("3", "+3"), ("\N{MINUS SIGN}3", "\N{MINUS SIGN}3"), ("0.0", "0.0")]
)
def test_a_difference_has_a_sign_unless_it_is_nothing(text: str, signed: str) -> None:
    assert words.signed(text) == signed


@pytest.mark.parametrize(
    ("name", "low", "high", "word"),
    [
        ("a/held", 0.1, 0.2, "better"),
        ("a/held", -0.2, -0.1, "worse"),
        ("a/lost", 0.1, 0.2, "worse"),
        ("a/lost", -0.2, -0.1, "better"),
        ("b/new", 0.1, 0.2, "higher"),
        ("b/new", -0.2, -0.1, "lower"),
        ("a/held", -0.1, 0.2, "no clear difference"),
        ("a/held", 0.0, 0.2, "no clear difference"),
    ],
)
def test_outcome_knows_which_way_is_better(name: str, low: float, high: float, word: str) -> None:
    assert words.outcome(GLOSSARY[name], change(name, low, high)) == word


def test_perplexities_are_compared_as_ratios_in_per_cent() -> None:
    # ln 1.25 = 0.2231: a quarter more; ln 0.5 = -0.6931: half.
    trial = builders.measure("a/x", [1.0, 2.0], scale="exp")
    results = compared("p", ("sft",), [Finding(suite="a", subject="sft", measures=(trial,))])
    value, interval = words.gap(results, Meaning("x"), change("a/x", math.log(0.5), math.log(2)))
    assert value == f"0{words.PERCENT}"
    assert interval == f"\N{MINUS SIGN}50 to 100{words.PERCENT}"


def test_differences_of_shares_are_points() -> None:
    results = builders.results()
    found = results.difference("voice/rate", "dpo", "base")
    assert found is not None
    assert words.gap(results, Meaning("x", share=True), found) == ("+80 points", "56 to 97")


@pytest.mark.parametrize(("parts", "text"), [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b and c")])
def test_words_in_a_row(parts: list[str], text: str) -> None:
    assert words.listed(parts) == text


def test_a_label_begins_with_a_capital_wherever_it_stands() -> None:
    glossary = Glossary({"a/x": Meaning("as claimed"), "a/y/*": Meaning("leaning")})
    assert (glossary.label("a/x"), glossary.label("a/y/openness")) == ("As claimed", "Leaning: openness")
    assert [row.label for row in glossary.blocks(["a/x"])[0].rows] == ["As claimed"]


def test_parts_without_a_whole_that_are_explained_one_by_one_need_no_heading() -> None:
    glossary = Glossary({"a/said/x": Meaning("Parsed", "One."), "a/said/y": Meaning("Agrees", "Two.")})
    (block,) = glossary.blocks(["a/said/x", "a/said/y"])
    assert [(row.label, row.about, row.part) for row in block.rows] == [
        ("Parsed", "One.", False),
        ("Agrees", "Two.", False),
    ]


def test_a_share_and_the_ends_of_its_interval_have_as_many_digits() -> None:
    score = builders.score("a/x", "sft", 0.21, 0.12)  # 9 to 33 %
    assert words.share(score) == "21\N{NO-BREAK SPACE}% (9 to 33\N{NO-BREAK SPACE}%)"
    small = builders.score("a/x", "sft", 0.02, 0.01)
    assert words.share(small) == "2.0\N{NO-BREAK SPACE}% (1.0 to 3.0\N{NO-BREAK SPACE}%)"


def test_the_controls_stand_beside_a_share() -> None:
    scores = tuple(builders.score("a/x", name, 0.2) for name in ("base", "null", "sft"))
    found = Results(persona="witty", subjects=("base", "null", "sft"), findings=(), scores=scores)
    told = words.beside(found, "a/x").replace("\N{NO-BREAK SPACE}", " ")
    assert told == ", against 20 % from the untouched base model and 20 % from the null adapter"
    assert words.beside(found, "a/y") == ""
