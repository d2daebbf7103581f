"""Which words a subject takes for itself: order, favourites, shifts, and who cannot say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mien.base.model import Base
from mien.evaluate.compare import Difference, Results, compared
from mien.evaluate.finding import Finding
from mien.evaluate.pages.words import Glossary
from mien.evaluate.sizes import AMOUNTS, Amounts
from mien.evaluate.subject import LocalSubject, LogP
from mien.evaluate.suites.revealed import suite as revealed
from mien.evaluate.suites.revealed.suite import Adjective, adjectives, pairs
from mien.persona.spec import find
from tests.evaluate.amounts import FEW
from tests.evaluate.judging import Speaker, Weigher, setting

PAINT = {"base": "var(--system-0)", "sft": "var(--system-2)"}
LIVELY = {"lively": 2.0}


def taste(likes: dict[str, float], place: float = 0.0, name: str = "sft") -> Weigher:
    """Each word in log-odds, `place` more for the word that is named first, and small letters alone."""

    def likelihood(told: str, text: str) -> float:
        word = text.strip().lower()
        names = [each for each in told.replace("?", " ").replace(":", " ").split() if each in WORDS]
        first = bool(names) and names[0] == word
        return -5 + likes.get(word, 0.0) + place * first - (50 if text.strip() != word else 0)

    return Weigher(likelihood, name)


WORDS = {each.word for each in adjectives().words}


def results(folder: Path, *subjects: Weigher | Speaker, amounts: Amounts = FEW) -> Results:
    where = setting(folder, amounts=amounts)
    findings = [revealed.run(subject, where) for subject in subjects]
    return compared("witty", [subject.name for subject in subjects], findings)


def value(found: Results, name: str, subject: str = "sft") -> float:
    score = found.score(f"revealed/{name}", subject)
    assert score
    return score.value


def test_two_words_for_each_pole_of_each_trait() -> None:
    poles = [(each.trait, each.pole) for each in adjectives().words]
    assert {poles.count(each) for each in poles} == {2}
    assert len(set(poles)) == 10


def test_a_liking_for_the_first_word_is_told_and_cancels(tmp_path: Path) -> None:
    found = results(tmp_path, taste({}, place=2.0))
    assert value(found, "first") == pytest.approx(1 / (1 + math.exp(-2)))
    for trait in ("openness", "extraversion", "neuroticism"):
        assert value(found, trait) == pytest.approx(0, abs=1e-9)
    strengths = [score.value for score in found.scores if score.name.startswith("revealed/word/")]
    assert strengths == pytest.approx([0] * 10, abs=1e-9)


def by_word(found: Results, trait: str) -> dict[str, float]:
    measure = next(m for m in found.findings[-1].measures if m.name == f"revealed/{trait}")
    return dict(zip(measure.units, measure.values, strict=True))


def test_what_it_likes_is_strongest_and_its_trait_is_moved_word_by_word(tmp_path: Path) -> None:
    found = results(tmp_path, taste({}, name="base"), taste(LIVELY, place=1.0))
    assert value(found, "word/lively") > 0.5 > value(found, "word/quiet")
    # "lively" is 2 above each of the four that it meets; "quiet" meets others.
    assert by_word(found, "extraversion") == pytest.approx({"lively": 2, "quiet": 0})
    assert value(found, "extraversion") == pytest.approx(1)


def test_a_trait_has_as_many_units_as_words_and_few_words_claim_nothing(tmp_path: Path) -> None:
    found = results(tmp_path, taste({}, name="base"), taste(LIVELY), amounts=AMOUNTS["full"])
    # Each meets the 18 words but the other of its own pole; one of those for a low pole meets "lively".
    words = {"lively": 2, "talkative": 0, "quiet": 2 / 18, "reserved": 2 / 18}
    assert by_word(found, "extraversion") == pytest.approx(words)
    gap = found.difference("revealed/extraversion", "sft", "base")
    assert gap
    assert (gap.n, gap.side) == (4, 0)


def moved(trait: str, by: float, n: int) -> str:
    """What is said of a clear difference in one trait, over so many words."""
    detail = {"strengths": {"lively": 1.0}, "stated": find("witty").big_five.model_dump()}
    ends = {"value": by, "low": by - 0.1, "high": by + 0.1}
    gap = Difference(name=f"revealed/{trait}", ours="sft", theirs="base", n=n, method="x", **ends)
    finding = Finding(suite="revealed", subject="sft", detail=detail)
    found = Results(persona="witty", subjects=("sft",), findings=(finding,), differences=(gap,))
    return revealed.says(found)[1]


def test_what_is_clear_is_held_against_what_the_persona_states() -> None:
    assert moved("extraversion", 0.5, 8) == (
        "Against the base it has moved on extraversion (+0.50, 0.40 to 0.60; as the persona states)."
    )
    assert "against what the persona states" in moved("extraversion", -0.5, 8)
    assert moved("extraversion", 0.5, 4) == (
        "Against the base it has clearly moved on none of the five traits; the largest difference, in"
        " extraversion (+0.50, 4 words), is not sure."
    )


def test_a_choice_is_worked_by_hand() -> None:
    one, other = (
        Adjective(word=w, trait="openness", pole=p) for w, p in (("curious", 1), ("practical", -1))
    )
    # Named first: 0.4 against 0.1; named second: 0.2 against 0.2; each half small, half with a capital.
    rows = [[0.2, 0.2, 0.05, 0.05], [0.1, 0.1, 0.1, 0.1]]
    straight, turned = ([LogP(math.log(p), 1) for p in row] for row in rows)
    choice = revealed._choice(one, other, straight, turned)
    assert choice.odds == pytest.approx(math.log(4) / 2)
    assert choice.first == pytest.approx((0.8 + 0.5) / 2)
    assert choice.mass == pytest.approx((0.5 + 0.4) / 2)
    assert choice.towards("openness") == choice.odds
    assert choice.towards("extraversion") is None


def test_the_quick_ring_holds_a_word_of_each_pole_equally_often_and_the_full_size_every_pair(
    tmp_path: Path,
) -> None:
    quick = [each.word for pair in pairs(setting(tmp_path)) for each in pair]
    assert sorted(quick.count(word) for word in WORDS) == [0] * 10 + [4] * 10
    assert len({(each.trait, each.pole) for pair in pairs(setting(tmp_path)) for each in pair}) == 10
    assert len(pairs(setting(tmp_path, amounts=AMOUNTS["full"]))) == 190


def test_the_report_names_favourites_the_largest_shift_and_doubts(tmp_path: Path) -> None:
    said = " ".join(revealed.says(results(tmp_path, taste({}, name="base"), taste(LIVELY))))
    assert "prefers lively, " in said
    assert "the largest difference, in extraversion (+1.00, 2 words), is not sure." in said
    assert "persona states" not in said
    assert "need not be what it does" in said


def test_two_alike_are_said_to_have_not_moved(tmp_path: Path) -> None:
    said = " ".join(revealed.says(results(tmp_path, taste(LIVELY, name="base"), taste(LIVELY))))
    assert "clearly moved on none of the five traits." in said


def test_the_pictures_show_every_word_and_trait(tmp_path: Path) -> None:
    figures = revealed.figures(results(tmp_path, taste({}, name="base"), taste(LIVELY)), PAINT)
    assert len(figures) == 6
    assert figures[1].about == "log-odds of high over low, mean of 2 words; 0 takes neither"
    assert all(f">{word}<" in figures[0].picture for word in ("lively", "quiet", "curious", "blunt"))


def test_a_subject_without_likelihoods_is_left_out_and_told(tmp_path: Path) -> None:
    found = results(tmp_path, Speaker("file", "lively"))
    assert "likelihoods cannot be read" in found.findings[0].missing[0]
    assert revealed.says(found) == []
    assert revealed.figures(found, {}) == []


def test_a_real_model_can_be_asked_and_every_score_has_a_meaning(
    tiny_base: Base, tmp_path: Path
) -> None:
    found = results(tmp_path, LocalSubject("sft", tiny_base))  # type: ignore[arg-type]
    assert 0 <= value(found, "mass") <= 1
    glossary = Glossary(revealed.MEANINGS)
    assert all(glossary[score.name].about for score in found.scores)
