"""The rules that say whether a reply is as asked, and the questions themselves."""

from __future__ import annotations

import re
from operator import add, floordiv, mul, sub
from typing import Any

import pytest
from pydantic import ValidationError

from mien.evaluate.suites.ability.items import Check, Choice, Items, items

AS_ASKED: list[tuple[dict[str, Any], str]] = [
    ({"contains": ["old", "piano"]}, "The OLD piano hums."),
    ({"without": ["star"]}, "The sun starts the day."),
    ({"starts": "in my view"}, '"In my view, spring."'),
    ({"ends": "thank you"}, "I like oaks. Thank you!"),
    ({"exactly": "the kettle is on"}, '"The kettle is on."'),
    ({"words": [1, 3]}, "For sitting down."),
    ({"sentences": [2, 2]}, "Flour. And water."),
    ({"asks": True}, 'He asked: "Where to?"'),
    ({"letters": "upper"}, "GOOD MORNING, 2 OF YOU!"),
    ({"lines": 2}, "Roses are red\n\nViolets too"),
    ({"numbered": 2}, "Here you are:\n1. Walk\n2) Run"),
    ({"bulleted": 2}, "- carrots\n* peas"),
    ({"parts": 3}, "red, dark blue, green"),
    ({"json_keys": ["city"]}, '```json\n{"city": "Rome"}\n```'),
    ({"json_length": 2}, '["red", "blue"]'),
    ({"pattern": r"(yes|no)\W*"}, "Yes."),
    ({"holds": r"<b>[^<]+</b>"}, "It is <b>Rome</b>, I think."),
    ({"without_pattern": ","}, "Soup and bread."),
]
NOT_AS_ASKED: list[tuple[dict[str, Any], str]] = [
    ({"contains": ["old"]}, "A cold piano."),
    ({"without": ["star"]}, "A star."),
    ({"starts": "no"}, "Nobody can."),
    ({"ends": "home"}, "We stayed at home today."),
    ({"exactly": "lantern"}, "The word is lantern."),
    ({"words": [1, 3]}, "It is for sitting."),
    ({"sentences": [1, 1]}, "Flour. And water."),
    ({"asks": True}, "Why not? Because."),
    ({"letters": "lower"}, "A pear"),
    ({"letters": "upper"}, "42"),
    ({"lines": 2}, "Roses are red"),
    ({"numbered": 2}, "1. Walk\n1. Run"),
    ({"bulleted": 2}, "- carrots\npeas"),
    ({"parts": 2}, "The sky is blue, but in truth it is red."),
    ({"json_keys": ["city"]}, '{"city": "Rome", "land": "Italy"}'),
    ({"json_keys": ["city"]}, 'Here: {"city": "Rome"}'),
    ({"json_length": 2}, '{"a": 1, "b": 2}'),
    ({"pattern": r"(yes|no)\W*"}, "No, it is not."),
    ({"holds": r"<b>[^<]+</b>"}, "<b></b>"),
    ({"without_pattern": r"\d"}, "7 days"),
]


@pytest.mark.parametrize(("rule", "reply"), AS_ASKED)
def test_a_reply_as_asked_passes(rule: dict[str, Any], reply: str) -> None:
    assert Check(**rule).passes(f" {reply}\n")


@pytest.mark.parametrize(("rule", "reply"), NOT_AS_ASKED)
def test_a_reply_that_is_not_as_asked_fails(rule: dict[str, Any], reply: str) -> None:
    assert not Check(**rule).passes(reply)


def test_all_rules_must_hold_and_an_empty_reply_keeps_none() -> None:
    check = Check(without=("white",), words=(2, 5))
    assert check.passes("Cold and soft.")
    assert not check.passes("Cold, soft and white.")
    assert not check.passes("Cold.")
    assert not Check(without=("white",)).passes(" \n")


def test_a_check_without_a_rule_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs a rule"):
        Check()


def test_an_open_reply_is_searched_for_the_answer_as_whole_words() -> None:
    fact = Choice(ask="How many?", answer="eight", also=("8",), others=("six", "four", "ten"))
    assert fact.told("It has 8 legs.")
    assert fact.told("Eight!")
    assert not fact.told("It has 80 or eighteen.")


def test_a_question_with_the_same_answer_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="twice"):
        Choice(ask="How many?", answer="six", others=("six", "four", "ten"))


def test_every_kind_has_thirty_questions_or_more_and_none_is_asked_twice() -> None:
    kinds = {name: getattr(items(), name) for name in Items.model_fields}
    assert min(map(len, kinds.values())) >= 30
    asked = [each.ask for kind in kinds.values() for each in kind]
    assert len(set(asked)) == len(asked)


def test_no_wrong_answer_counts_as_told() -> None:
    facts = [*items().facts, *items().arithmetic]
    assert all(fact.told(fact.answer) for fact in facts)
    assert not [(fact.ask, each) for fact in facts for each in fact.others if fact.told(each)]


def test_the_sums_are_right_and_their_answers_are_of_one_length() -> None:
    how = {"+": add, "-": sub, "times": mul, "divided by": floordiv}
    found = [
        (re.fullmatch(r"What is (\d+) (\D+) (\d+)\?", each.ask), each) for each in items().arithmetic
    ]
    sums = [(match, each) for match, each in found if match]
    assert len(sums) >= 25
    for match, each in sums:
        assert str(how[match[2]](int(match[1]), int(match[3]))) == each.answer
    assert all(
        {len(other) for other in each.others} == {len(each.answer)} for each in items().arithmetic
    )
