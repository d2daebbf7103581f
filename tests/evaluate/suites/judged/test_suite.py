"""The judge as a suite: marks, comparisons, bias, what is lost, and what the report says of it all."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.data.teacher import Calls, Teacher
from mien.endpoint import Endpoint
from mien.errors import UnableError
from mien.evaluate.compare import Results, compared
from mien.evaluate.finding import Finding
from mien.evaluate.judge import Judge
from mien.evaluate.pages.words import Glossary
from mien.evaluate.setting import Setting
from mien.evaluate.sizes import AMOUNTS
from mien.evaluate.subject import Subject
from mien.evaluate.suites.judged import suite as judged
from mien.evaluate.suites.judged.duels import Bout, meetings
from tests.evaluate.judging import (
    NAMES,
    Speaker,
    Weigher,
    always_first,
    chat_judge,
    likes,
    setting,
)
from tests.stub_server import serving

GOOD = "Rinse the rice until the water runs clear, and simmer it for fifteen minutes."
BAD = "Rice is sticky. It is sticky because it is rice. Rice is sticky, and so it is."
PAINT = {"base": "var(--system-0)", "prompt": "var(--system-1)", "sft": "var(--system-2)"}


def three() -> list[Subject]:
    """The base and the prompt say the same, and the adapter something else."""
    return [Speaker("base", BAD), Speaker("prompt", BAD), Speaker("sft", GOOD)]


def results(subjects: list[Subject], where: Setting) -> Results:
    findings = [judged.run(subject, where) for subject in subjects]
    findings += judged.together(subjects, where)
    return compared("witty", [subject.name for subject in subjects], findings)


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("fair")
    return results(three(), setting(folder, chat_judge(folder, likes("Rinse"))))


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("blind")
    return results(three(), setting(folder, chat_judge(folder, always_first)))


def value(found: Results, name: str, subject: str = "sft") -> float:
    score = found.score(f"judged/{name}", subject)
    assert score
    return score.value


def test_marks_are_reported_per_criterion_with_prompts_as_units(fair: Results) -> None:
    assert [value(fair, name) for name in NAMES[:2]] == [5, 5]
    assert [value(fair, name, "base") for name in NAMES[:2]] == [2, 2]
    gap = fair.difference("judged/persona_consistency", "sft", "base")
    assert gap
    assert (gap.value, gap.n) == (3, 6)


def test_an_uncalibrated_judge_is_called_so_wherever_its_number_stands(fair: Results) -> None:
    methods = [m.method for f in fair.findings for m in f.measures] + [s.method for s in fair.scores]
    assert methods
    assert all("uncalibrated judge scripted" in method for method in methods)
    assert any("uncalibrated" in said for said in judged.says(fair))
    pictures = judged.figures(fair, PAINT)
    assert pictures
    assert all("uncalibrated judge scripted" in figure.about for figure in pictures)


def test_a_judge_with_a_reason_prefers_the_better_in_both_orders(fair: Results) -> None:
    assert value(fair, "wins") == value(fair, "against/base") == 1
    assert value(fair, "flips") == 0
    assert value(fair, "first") == 0.5
    assert value(fair, "strength") > 100
    assert value(fair, "strength", "base") < 0


def test_a_system_copied_from_another_ties_with_it(fair: Results) -> None:
    assert value(fair, "against/base", "prompt") == 0.5
    assert value(fair, "equal_length/base", "prompt") == pytest.approx(0.5)
    assert value(fair, "strength", "prompt") == pytest.approx(value(fair, "strength", "base"))
    assert value(fair, "wins", "prompt") == value(fair, "wins", "base") == 0.25


def test_a_judge_that_always_prefers_the_first_is_reported_as_biased_and_its_wins_cancel(
    blind: Results,
) -> None:
    assert value(blind, "first") == value(blind, "flips") == 1
    for name in ("base", "prompt", "sft"):
        assert value(blind, "wins", name) == 0.5
        assert value(blind, "strength", name) == pytest.approx(0, abs=1e-9)
    said = " ".join(judged.says(blind))
    assert "biased" in said
    assert "shown first in 100" in said


def test_a_fair_judge_is_not_called_biased(fair: Results) -> None:
    assert "biased" not in " ".join(judged.says(fair))


def test_repeats_that_differ_are_told_by_their_spread(tmp_path: Path) -> None:
    def moody(told: str) -> str:
        return likes("Rinse")(told) if "no favourite" in told else always_first(told)

    found = results(three()[2:], setting(tmp_path, chat_judge(tmp_path, moody)))
    assert value(found, "spread") == 1  # 5 in the first wording, 3 in the second
    assert value(found, "naturalness") == 4


def test_answers_that_cannot_be_read_are_counted_and_said(tmp_path: Path) -> None:
    subject = three()[0]
    found = judged.run(subject, setting(tmp_path, chat_judge(tmp_path, lambda _: "I would rather not.")))
    measures = {measure.name: set(measure.values) for measure in found.measures}
    assert measures == {"judged/whole": {0.0}, "judged/lost": {1.0}}
    assert sum("answers of the judge can be read" in line for line in found.missing) == len(NAMES)


def test_comparisons_count_lost_answers_too(tmp_path: Path) -> None:
    def says(told: str) -> str:
        return "No." if told.startswith("You compare") else likes("Rinse")(told)

    found = judged.together(three(), setting(tmp_path, chat_judge(tmp_path, says)))
    assert [finding.measures for finding in found] == [(), (), ()]
    assert all("80 of 80 verdicts" in finding.missing[0] for finding in found)
    assert all("does not connect" in finding.missing[1] for finding in found)


def test_a_local_judge_by_likelihood_reports_mass_and_leaning_without_the_liking_for_a_place(
    tmp_path: Path,
) -> None:
    def likelihood(told: str, text: str) -> float:
        a, b = (told.partition(f"Reply {x}: ")[2].partition("\n\n")[0] for x in "AB")
        lean = 0.2 * (("Rinse" in a) - ("Rinse" in b))  # and 3 for the first, whatever it is
        return {" A": -1.0 + lean, " B": -4.0}.get(text[-2:], -2.0 if text[-1].isdigit() else 0.0)

    found = results(three(), setting(tmp_path, Judge.local(Weigher(likelihood))))
    assert value(found, "leaning/base") == pytest.approx(0.2)
    assert value(found, "leaning/base", "prompt") == pytest.approx(0, abs=1e-12)
    assert value(found, "against/base") == 1
    assert value(found, "against/base", "prompt") == 0.5
    assert value(found, "first") == value(found, "flips") == 1
    assert value(found, "mass") == pytest.approx(5 * 0.1353, abs=1e-3)
    assert "it cannot rewrite them" in found.findings[0].missing[0]


def test_without_a_judge_it_says_so_and_compares_nothing(tmp_path: Path) -> None:
    finding = judged.run(three()[0], setting(tmp_path))
    assert finding.missing == (judged.NOBODY,)
    assert judged.together(three(), setting(tmp_path)) == []
    nothing = results(three(), setting(tmp_path))
    assert judged.says(nothing) == []
    assert judged.figures(nothing, PAINT) == []


def test_one_subject_alone_is_compared_with_nobody(tmp_path: Path) -> None:
    assert judged.together(three()[:1], setting(tmp_path, chat_judge(tmp_path, always_first))) == []


def test_four_subjects_meet_around_a_ring_and_in_full_each_meets_everybody(tmp_path: Path) -> None:
    four = ("base", "prompt", "sft", "dpo")
    ring = [("base", "prompt"), ("prompt", "sft"), ("sft", "dpo"), ("dpo", "base")]
    assert meetings(four, setting(tmp_path)) == ring
    assert len(meetings(four, setting(tmp_path, amounts=AMOUNTS["full"]))) == 6


def test_a_subject_that_cannot_answer_is_left_out_of_the_comparisons_and_told(tmp_path: Path) -> None:
    def fails(_: str) -> str:
        raise UnableError("It has no such recording.")

    subjects = [*three(), Speaker("file", fails)]
    found = judged.together(subjects, setting(tmp_path, chat_judge(tmp_path, always_first)))
    told = {finding.subject: finding.missing for finding in found}
    assert told["file"] == ("comparisons: It has no such recording.",)
    assert told["sft"] == ()


def test_a_bout_turned_round_is_the_same_bout() -> None:
    bout = Bout("p", "a", "b", 3, "helpfulness", before=0.9, after=0.3)
    assert bout.turned() == Bout("p", "b", "a", -3, "helpfulness", before=0.7, after=pytest.approx(0.1))
    assert bout.won == 1 - bout.turned().won == 1  # odds of 9 and 3/7, whose product is above 1
    assert bout.first == bout.turned().first == 1
    assert bout.leaning == pytest.approx(-bout.turned().leaning)


@pytest.mark.parametrize(
    ("before", "after", "won"), [(1, 1, 1), (1, 0, 0.5), (1, 0.5, 0.75), (0.5, 0.5, 0.5), (0, 0, 0)]
)
def test_verdicts_in_words_are_averaged_over_the_orders(before: float, after: float, won: float) -> None:
    assert Bout("p", "a", "b", 0, "helpfulness", before, after).won == won


def test_every_measure_has_a_meaning_and_every_transcript_its_marks(fair: Results) -> None:
    glossary = Glossary(judged.MEANINGS)
    names = {score.name for score in fair.scores}
    assert all(glossary[name].about for name in names)
    finding: Finding = fair.findings[0]
    assert finding.transcripts[0].note.startswith("The judge: persona consistency 2.0")


def test_the_judges_own_faults_and_wins_over_others_are_no_price_of_the_persona() -> None:
    glossary = Glossary(judged.MEANINGS)
    neither = ("flips", "spread", "lost", "whole", "mass", "first", "wins", "wins/helpfulness")
    assert {glossary[f"judged/{name}"].better for name in neither} == {0}
    assert glossary["judged/against/base"].better == 1


def test_the_pictures_show_marks_wins_and_strengths(fair: Results) -> None:
    titles = [figure.title for figure in judged.figures(fair, PAINT)]
    assert titles[-2:] == ["Who is preferred to whom", "Strength in comparisons"]
    table = judged.figures(fair, PAINT)[-2].picture
    assert "sft wins 100% against base" in table


def test_a_judge_behind_a_server_with_broken_json_is_heard_repaired_and_counted(tmp_path: Path) -> None:
    with serving(tmp_path, "429:0.1", answers="tests.evaluate.stub_judge:answers") as stub:
        model = Endpoint(stub.url, "qwen-judge", parallel=4)
        judge = Judge.behind(Teacher(model, Calls(tmp_path / "calls.db"), wait=lambda _: None))
        found = results(three()[1:], setting(tmp_path, judge))
    assert value(found, "persona_consistency") == 4
    assert 0 < value(found, "lost") < 0.5
    assert 0 < value(found, "whole") < 0.5
    plain = next(m for m in found.findings[1].measures if m.name == "judged/helpfulness")
    assert "on a rewrite without style" in plain.method
    assert value(found, "first") == 1
    assert value(found, "against/prompt") == 0.5
    assert "could not be read" in " ".join(judged.says(found))
    assert "uncalibrated judge qwen-judge at 127.0.0.1" in plain.method
