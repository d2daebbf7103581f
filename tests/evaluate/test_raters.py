"""A chat model asked for JSON, and a local model whose likelihoods are weighed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mien.base.model import Base
from mien.errors import AccessError, ModelError
from mien.evaluate.raters import ChatRater, LikelyRater, families, maker
from mien.evaluate.rubric import Question, rubric
from mien.evaluate.subject import ChatSubject, LocalSubject
from mien.persona.spec import find
from mien.schema import conversation
from tests.evaluate.judging import NAMES, Speaker, Weigher, marks, setting, teacher

ASKED = conversation("How do I cook rice?")
RATE = Question(ASKED, ("Rinse it.",), rubric().criteria, find("witty"))
COMPARE = Question(ASKED, ("Rinse it.", "Boil it."), rubric().criteria, find("witty"))


def likelihood(_: str, text: str) -> float:
    """After any lead: 3 and 4 at 40 % each, B three times as likely as A, all else hardly."""
    ends = {" 3": 0.4, " 4": 0.4, " A": 0.2, " B": 0.6}
    return math.log(0.01) + math.log(ends.get(text[-2:], 0.001 if text[-1].isdigit() else 1.0))


def test_a_mark_is_the_expected_value_and_the_mass_of_all_marks_is_told(tmp_path: Path) -> None:
    (answer,) = LikelyRater(Weigher(likelihood)).answers([RATE], setting(tmp_path))
    # (0.4 * 3 + 0.4 * 4 + 0.001 * (1 + 2 + 5)) / 0.803
    assert answer.values == pytest.approx(dict.fromkeys(NAMES, 2.808 / 0.803))
    assert answer.mass == pytest.approx(dict.fromkeys(NAMES, 0.803))


def test_a_verdict_is_the_odds_of_the_two_letters(tmp_path: Path) -> None:
    (answer,) = LikelyRater(Weigher(likelihood)).answers([COMPARE], setting(tmp_path))
    assert answer.values == pytest.approx(dict.fromkeys(NAMES, 0.25))
    assert answer.mass == pytest.approx(dict.fromkeys(NAMES, 0.8))


def test_a_real_model_gives_marks_within_the_scale_and_shares_within_0_and_1(
    tiny_base: Base, tmp_path: Path
) -> None:
    short = [
        each._replace(messages=conversation("?"), criteria=rubric().criteria[:1])
        for each in (RATE, COMPARE)
    ]
    plain = [each._replace(persona=None) for each in short]
    rate, compare = LikelyRater(LocalSubject("judge", tiny_base)).answers(plain, setting(tmp_path))
    assert 1 <= rate.values[NAMES[0]] <= 5
    assert 0 <= compare.values[NAMES[0]] <= 1
    assert 0 <= rate.mass[NAMES[0]] <= 1


def test_an_answer_that_the_model_refuses_is_lost_with_the_reason_and_the_others_stand(
    tmp_path: Path,
) -> None:
    def says(told: str) -> str:
        if "Boil" in told:
            raise ModelError("It will not.", fix="Ask something else.")
        return marks(2)

    whole, lost = ChatRater(teacher(tmp_path, says)).answers([RATE, COMPARE], setting(tmp_path))
    assert whole.values == dict.fromkeys(NAMES, 2)
    assert (lost.state, lost.said) == ("lost", "It will not.")


def test_a_key_that_is_refused_ends_the_evaluation(tmp_path: Path) -> None:
    def says(_: str) -> str:
        raise AccessError("No key.", fix="Set it.")

    with pytest.raises(AccessError):
        ChatRater(teacher(tmp_path, says)).answers([RATE], setting(tmp_path))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("SmolLM2-135M-Instruct", {"smollm"}),
        ("meta-llama/Llama-3.1-8B at host/v1", {"llama"}),
        ("qwen2.5:7b", {"qwen"}),
        ("google/gemma-3-270m-it", {"gemma"}),
        ("gpt-4o-mini", {"gpt"}),
        ("o3-mini", {"gpt"}),
        ("claude-sonnet-4", {"claude"}),
        ("Mixtral-8x7B", {"mistral"}),
        ("DeepSeek-R1-Distill-Qwen-7B", {"deepseek", "qwen"}),
        ("a model of my own", set()),
    ],
)
def test_a_model_s_name_tells_its_family(name: str, family: set[str]) -> None:
    assert families(name) == family


def test_who_writes_the_replies_is_known_of_local_and_served_subjects(
    tiny_base: Base, tmp_path: Path
) -> None:
    served = ChatSubject("x", teacher(tmp_path, str, "qwen"))
    assert [maker(each) for each in (LocalSubject("x", tiny_base), served, Speaker("x", "Hm."))] == [
        "tiny",
        "qwen",
        None,
    ]
