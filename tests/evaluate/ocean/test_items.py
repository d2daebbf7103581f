from __future__ import annotations

import itertools
from collections import Counter

import pytest

from mien.evaluate.ocean.items import (
    TRAITS,
    contrasts,
    forms,
    halved,
    norms,
    respondents,
    scenes,
    statements,
    t_score,
    wordings,
)


def test_poles_of_a_contrast_are_near_equal_in_length() -> None:
    for trait in TRAITS:
        own = [each for each in contrasts() if each.trait == trait]
        gaps = [len(each.high.split()) - len(each.low.split()) for each in own]
        assert len(own) >= 12
        assert max(map(abs, gaps)) <= 2
        assert abs(sum(gaps)) <= 3  # over the trait, no pole is the longer one


def test_scenes_are_balanced_in_their_keys() -> None:
    found = Counter((each.trait, each.key) for each in scenes())
    assert set(found.values()) == {4}
    assert len(found) == 2 * len(TRAITS)
    assert all(
        each.choices[0].startswith("No") and each.choices[-1].startswith("Yes") for each in scenes()
    )


def test_the_questionnaire_is_keyed_as_johnson_keys_it() -> None:
    found = {each.id: each for each in statements()}
    assert Counter(each.trait for each in found.values()) == dict.fromkeys(TRAITS, 24)
    assert sum(each.key == -1 for each in found.values()) == 55  # as in five-factor-e 1.13.1
    assert found["ipip-1"].trait == "neuroticism"
    assert (found["ipip-9"].trait, found["ipip-9"].key) == ("agreeableness", -1)


@pytest.mark.parametrize(
    ("kind", "count"), [("statements", 6), ("statements", 12), ("scenes", 4), ("scenes", 8)]
)
def test_forms_are_balanced(kind: str, count: int) -> None:
    found = forms(kind, count)  # type: ignore[arg-type]
    labels = Counter(form.labels for form in found)
    assert len(set(labels.values())) == 1
    assert sum(form.falling for form in found) == count / 2
    wordings_met = {(form.instruction, form.ending.ask) for form in found}
    assert len(wordings_met) == count  # no wording twice
    assert len(set(found)) == count


def test_no_answer_of_a_form_begins_another() -> None:
    # Otherwise the probability of the longer one would be counted twice.
    choices = wordings().statements.choices
    for form in forms("statements", 6):
        for a, b in itertools.permutations(form.marks(choices), 2):
            assert not b.startswith(a)


def test_a_falling_form_lists_the_most_agreeing_choice_first() -> None:
    form = next(each for each in forms("statements", 6) if each.falling and each.labels == "digits")
    choices = wordings().statements.choices
    assert "(1) very accurate" in form.ask("I sing.", choices)
    assert form.marks(choices)[-1] == "1"  # the last is always the most agreeing one


def test_described_respondents_are_balanced_and_so_is_every_second_one() -> None:
    for group in (respondents(), respondents()[1::2]):
        for trait in TRAITS:
            assert sum(each.leans.get(trait, 0) for each in group) == 0
    assert len({each.says for each in respondents()}) == 20


def test_t_scores_of_the_norms() -> None:
    # Extraversion: men 78.9 (15.21) and women 80.78 (14.64) over 24 items, so a mean level of 3.3267.
    mean, deviation = norms()["extraversion"]
    assert (mean, deviation) == pytest.approx(((78.9 + 80.78) / 48, (15.21 + 14.64) / 48))
    assert t_score("extraversion", mean) == pytest.approx(50)
    assert t_score("extraversion", mean + deviation) == pytest.approx(60)
    # All answers in the middle (sum 72), as five-factor-e 1.13.1 scores sex N and age 30.
    assert t_score("extraversion", 3) == pytest.approx(44.75, abs=0.01)


def test_a_half_of_each_key_is_taken() -> None:
    found = halved(statements(), 4)
    assert set(Counter((each.trait, each.key) for each in found).values()) == {2}
