"""What is said of the ear: what it reaches, what that means, and what to be careful about."""

from __future__ import annotations

from mien.evaluate.evaluation import Hearing
from mien.evaluate.pages import ear
from tests.evaluate.pages import builders

CARE = "Read the voice with care: it falls by 0.30"


def heard(own: float, bag: float = 0.7, masked: float = 0.85, short: float = 0.88) -> Hearing:
    names = ("hearing/f1", "hearing/f1/bag_of_words", "hearing/f1/masked", "hearing/f1/length_matched")
    values = zip(names, (own, bag, masked, short), strict=True)
    apart = tuple(builders.score(name, "authored", value, 0.03) for name, value in values)
    return builders.hearing().model_copy(update={"apart": apart})


def test_it_is_said_what_the_ear_reaches_and_what_that_means() -> None:
    first, second = ear.says(heard(0.9))
    assert "macro-F1 of 0.90 (0.87 to 0.93); guessing would reach about 0.17" in first
    assert first.endswith("So what it hears is a manner that carries over from topic to topic.")
    assert "0.70 (0.67 to 0.73) by counting words alone" in second
    assert "0.85 (0.82 to 0.88) without the 30 words" in second


def test_an_ear_that_guesses_is_said_to() -> None:
    first, *_ = ear.says(heard(0.18, 0.18, 0.18, 0.18))
    assert first.endswith("its verdicts on the voice are worth little.")


def test_a_far_fall_is_a_caution_and_a_small_one_is_not() -> None:
    assert [line.startswith(CARE) for line in ear.says(heard(0.9, masked=0.6))] == [False, False, True]
    assert "a choice of words" in ear.says(heard(0.9, masked=0.6))[-1]
    assert "longer texts" in ear.says(heard(0.9, short=0.6))[-1]


def test_without_the_examination_nothing_is_said() -> None:
    assert ear.says(builders.hearing()) == []
