from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mien.evaluate.ocean.administer import Sheet, answers, chosen, parsed, read
from mien.evaluate.ocean.items import forms, scenes, statements
from mien.evaluate.ocean.trials import acquiescence
from mien.evaluate.subject import LogP
from tests.evaluate.ocean.people import Scripted, setting

FORMS = {(form.labels, form.falling): form for form in forms("statements", 6)}
WORRIED = next(each for each in statements() if each.id == "ipip-1")  # neuroticism, key +
CALM = next(each for each in statements() if each.id == "ipip-116")  # neuroticism, key -
FLAT = np.full(5, 0.2)


def test_an_answer_is_the_expectation_over_its_options() -> None:
    # Half 'accurate', half 'very accurate': agreement .75, so level 3 + 2 * .75.
    found = read(1, np.array([0, 0, 0, 0.4, 0.4]), FLAT)
    assert (found.agreement, found.level, found.mass) == pytest.approx((0.75, 4.5, 0.8), abs=1e-6)


def test_a_reversed_key_turns_the_level_and_not_the_agreement() -> None:
    found = read(-1, np.array([0, 0, 0, 0.4, 0.4]), FLAT)
    assert (found.agreement, found.level) == pytest.approx((0.75, 1.5), abs=1e-6)


def test_the_prior_is_divided_out_of_the_level() -> None:
    # Who says 'very accurate' to anything at .6 says nothing with it: level 3. Agreement shows it.
    habit = np.array([0.1, 0.1, 0.1, 0.1, 0.6])
    found = read(1, habit, habit)
    assert found.level == pytest.approx(3)
    assert found.agreement == pytest.approx(0.5)  # .6 * 1 + .1 * (.5 + 0 - .5 - 1)


def test_spellings_are_summed_into_their_option() -> None:
    sheet = Sheet(WORRIED, FORMS["letters", False])
    options = sheet.options()
    assert options.texts == ("A", "a", "B", "b", "C", "c", "D", "d", "E", "e")
    shares = sheet.shares([LogP(math.log(0.1), 1)] * 10)
    assert shares == pytest.approx([0.2] * 5)


def test_a_prior_is_asked_in_the_same_form_without_the_content() -> None:
    scene = scenes()[0]
    (blank, _) = Sheet(scene, forms("scenes", 4)[0]).blanks()
    assert scene.text not in blank.messages[-1].content
    assert blank.messages[-1].content.count("N/A") == 1 + len(scene.choices)
    (blank, _) = Sheet(WORRIED, FORMS["digits", True]).blanks()
    assert "(1) very accurate" in blank.messages[-1].content


@pytest.mark.parametrize(
    ("labels", "falling", "reply", "choice"),
    [
        ("digits", False, "I would say 4.", 3),
        ("digits", True, "(4)", 1),
        ("digits", False, "That is very inaccurate of me", 0),
        ("letters", False, "A friend said so", 0),
        ("letters", False, "as a rule, C", 2),
        ("words", False, "Very accurate!", 4),
        ("words", False, "It is inaccurate, not accurate", 1),
        ("digits", False, "I like cats.", None),
        ("digits", False, "14 of them", None),
    ],
)
def test_a_written_answer_is_read(labels: str, falling: bool, reply: str, choice: int | None) -> None:
    sheet = Sheet(WORRIED, FORMS[labels, falling])  # type: ignore[index]
    assert parsed(sheet, reply) == choice


def test_agreeing_with_opposites_is_acquiescence() -> None:
    given = [(WORRIED, 1.0), (CALM, 0.5)]
    (found,) = acquiescence("statement", given)
    assert found.values == (0.75,)
    (found,) = acquiescence("statement", [(WORRIED, 1.0), (CALM, -1.0)])
    assert found.values == (0.0,)


def test_a_named_choice_is_an_answer() -> None:
    assert chosen(WORRIED, 4).level == pytest.approx(5, abs=1e-6)
    assert chosen(CALM, 4).level == pytest.approx(1, abs=1e-6)


def test_answers_come_back_in_order(tmp_path: Path) -> None:
    def script(options: object) -> list[float]:
        texts, asked = options.texts, options.messages[-1].content  # type: ignore[attr-defined]
        wanted = "5" if "worry" in asked else "1" if "calm" in asked else ""
        return [math.log(0.9 if text == wanted else 0.02) for text in texts]

    form = FORMS["digits", False]
    sheets = [Sheet(CALM, form), Sheet(WORRIED, form)]
    calm, worried = answers(setting(tmp_path), Scripted("x", script), sheets)
    assert calm.agreement < -0.8 < 0.8 < worried.agreement
    assert calm.level == pytest.approx(worried.level)  # both say: neurotic
    assert calm.mass == pytest.approx(0.98)
