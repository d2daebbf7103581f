"""The page: what it says, that it says it safely, and that its pictures are sound."""

from __future__ import annotations

import re
from functools import cache
from xml.etree import ElementTree

import pytest

from mien.evaluate.compare import compared
from mien.evaluate.evaluation import Evaluation
from mien.evaluate.finding import Finding, Transcript
from mien.evaluate.pages import pictures
from mien.evaluate.pages.render import render, scenes, subject_words
from mien.schema import Message
from tests.evaluate.pages import builders
from tests.page.reading import (
    HOSTILE,
    Page,
    assert_loads_and_runs_nothing,
    assert_themed,
    assert_well_formed,
    svgs,
)

SUITES = builders.suites()


@cache
def html() -> str:
    return render(builders.evaluation(), SUITES)


def text(evaluation: Evaluation) -> str:
    return Page(render(evaluation, SUITES)).text


def test_the_page_is_one_sound_file_that_loads_and_runs_nothing() -> None:
    assert_loads_and_runs_nothing(html())
    assert_well_formed(html())


def test_the_contents_name_every_section() -> None:
    attributes = Page(html()).attributes
    ids = {value for name, value in attributes if name == "id"}
    assert {value[1:] for name, value in attributes if name == "href" and value} == ids
    assert {"suite-voice", "suite-judged"} <= ids


def test_a_warning_about_safety_is_the_first_line() -> None:
    title, _, body = text(builders.less_safe()).partition("did the personality arrive?")
    assert "Less safe" not in title
    assert body.strip().startswith("Less safe than a control: the dpo adapter")
    assert 'role="alert"' not in html()


def test_a_label_alone_makes_nobody_a_control() -> None:
    found = subject_words([builders.evaluation()])
    assert found["base"] == "the untouched model" and "on neutral text" in found["null"]
    older = builders.evaluation().adapters | {"null": builders.adapter("sft")}
    found = subject_words([builders.evaluation(adapters=older, stand_ins=("base",))])
    assert found["base"] == "a system of its own"
    assert found["null"] == "the same model with an adapter trained on examples of the voice"


def test_doses_of_several_voices_are_a_span() -> None:
    def dosed(*doses: float | None) -> str:
        made = [builders.adapter("sft").model_copy(update={"dose": dose}) for dose in doses]
        told = subject_words([builders.evaluation(adapters={"sft": each}) for each in made])["sft"]
        return told.removeprefix("the same model with an adapter trained on examples of the voice")

    assert dosed(None, 1) == ""
    assert dosed(1.4, 1.4) == " (1.4 times its update is in force)"
    assert dosed(1.4, None, 0.8) == " (0.8 to 1.4 times its update is in force)"


def test_the_checks_of_the_gate_are_listed_for_an_adapter() -> None:
    checks = text(builders.less_safe()).partition("The release gate")[2]
    assert "harmful requests declined less base's (safety/safe) must be at least -0.10: -0.30" in checks
    alone = builders.evaluation({"base": 0.1, "prompt": 0.9}, adapters={})
    assert "The release gate" not in text(alone)


def test_how_differences_are_read_is_said_once() -> None:
    assert Page(html()).text.count("a sharper test") == 1


def test_every_score_appears_with_interval_and_n() -> None:
    found = Page(html()).text
    for score in builders.results().scores:
        assert f"n = {score.n}" in found
    assert "85 % 62 to 95 %, n = 40" in found
    assert "Share of attempts that the voice withstood. Higher is better." in found


def test_the_summary_has_a_line_per_suite() -> None:
    summary = Page(html().split('id="summary"')[1].split("</section>")[0]).text
    for suite in SUITES.values():
        assert suite.title in summary
    assert "Nothing could be measured." in summary
    assert "Held: 85 % (62 to 95 %), n = 40" in summary


def test_changes_are_shown_with_the_effect_over_the_null_adapter() -> None:
    found = Page(html()).text
    assert "dpo minus base" in found and "over null, in SD" in found
    assert "+80 points 56 to 97, n = 20 better" in found
    assert "2.44 1.62 to 3.02" in found


def test_without_a_null_adapter_there_is_no_column_of_effects() -> None:
    rates = {name: rate for name, rate in builders.GOOD.items() if name != "null"}
    assert "over null" not in text(builders.evaluation(rates))


def test_many_parts_are_folded_away() -> None:
    assert f"<summary>Held, by kind ({len(builders.KINDS)})</summary>" in html()


def test_what_is_missing_is_said_with_the_reason() -> None:
    found = Page(html()).text
    assert "base : nothing: the clock <stopped>" in found
    assert "base, prompt, null, sft, dpo : no judge was named" in found


def test_scores_of_no_subject_are_told_apart() -> None:
    assert "Other scores (4)" in Page(html()).text


def test_a_long_conversation_is_cut_and_says_so() -> None:
    # 16 turns, of which the first, the user's, is shared; 12 of the 15 others are shown.
    assert "3 more turns are left out here." in Page(html()).text


def test_turns_that_all_share_are_told_once() -> None:
    asked = Message(role="user", content="Why?")
    found = [
        Finding(
            suite="a",
            subject=name,
            transcripts=(
                Transcript(
                    title="A question", messages=(asked, Message(role="assistant", content=name))
                ),
            ),
        )
        for name in ("base", "sft")
    ]
    (scene,) = scenes(compared("p", ("base", "sft"), found), "a")
    assert scene.opening == (asked,)
    assert [[turn.content for turn in side.turns] for side in scene.said] == [["base"], ["sft"]]


def test_provenance_is_complete() -> None:
    evaluation = builders.evaluation()
    found = Page(html()).text
    for fact in (evaluation.command, evaluation.persona_hash, evaluation.base_hash, evaluation.made):
        assert fact in found
    assert "temperature 0.7, top k off, max tokens 160" in found
    assert "voice 91 s, pressure 130 s, latency 12 s, judged 0 s" in found
    assert "witty-dpo-0001" in found


def test_a_course_of_training_is_drawn_per_adapter_or_said_to_be_missing() -> None:
    assert html().count("Loss per step.") == 2  # null and sft; no losses were kept for dpo
    assert Page(html()).text.count("No losses were recorded.") == 1
    untrained = builders.evaluation({"base": 0.1, "prompt": 0.4})
    assert "Nothing was trained" in text(untrained)


def test_an_evaluation_with_nothing_in_it_still_renders() -> None:
    empty = compared("witty", ("base",), [])
    found = text(builders.evaluation({"base": 0.1}, results=empty, suites=(), seconds={}, command=""))
    assert "No suite was run." in found
    assert "was not measured" in found


def test_a_suite_that_found_nothing_says_so() -> None:
    empty = compared("witty", ("base",), [])
    assert "No score was measured." in text(builders.evaluation({"base": 0.1}, results=empty))


def hostile() -> Evaluation:
    said = (Message(role="user", content=HOSTILE), Message(role="assistant", content=HOSTILE))
    finding = Finding(
        suite="pressure",
        subject=HOSTILE,
        measures=(builders.measure(f"pressure/{HOSTILE}", builders.around(1.0)),),
        transcripts=(Transcript(title=HOSTILE, messages=said, note=HOSTILE),),
        missing=(HOSTILE,),
    )
    plain = builders.hearing()
    return builders.evaluation(
        {"base": 0.1},
        persona=HOSTILE,
        title=HOSTILE,
        description=HOSTILE,
        device=HOSTILE,
        command=HOSTILE,
        sampling={HOSTILE: 1.0},
        adapters={HOSTILE: builders.adapter("sft")},
        hearing=plain.model_copy(update={"labels": (HOSTILE, *plain.labels[1:])}),
        results=compared(HOSTILE, ("base", HOSTILE), [finding]),
    )


def test_hostile_text_is_shown_and_never_becomes_markup() -> None:
    page = render(hostile(), SUITES)
    assert "<script" not in page.lower()
    assert Page(page).text.count(HOSTILE) > 10
    assert len(svgs(page)) >= 1


# --- its pictures -------------------------------------------------------------------------------


def test_every_picture_is_xml_with_a_role_and_a_title() -> None:
    found = svgs(html())
    assert len(found) > 20
    for picture in found:
        assert picture.get("role") == "img"
        assert picture[0].tag == "title" and picture[0].text
        assert "nan" not in ElementTree.tostring(picture, encoding="unicode")


def test_pictures_take_their_colours_from_the_theme() -> None:
    for picture in svgs(html()):
        for element in picture.iter():
            for name in ("fill", "stroke"):
                colour = element.get(name, "none")
                assert colour in ("none", "currentColor") or colour.startswith("var(--")


def test_every_colour_is_defined_for_both_themes() -> None:
    every = pictures.colours([*map(str, range(9))]) | pictures.voice_colours(list("abcdefghi"), "a")
    assert_themed(html() + " ".join(every.values()))


def test_the_judged_subject_and_the_controls_keep_their_colours() -> None:
    alone, crowded = pictures.colours(["base", "sft"]), pictures.colours(builders.SUBJECTS)
    assert alone["base"] == crowded["base"]
    assert alone["sft"] == crowded["dpo"]
    assert len({crowded[name] for name in (*builders.SUBJECTS, pictures.AUTHORED)}) == 6


@pytest.mark.parametrize("name", ["Summary", "Voice", "Pressure", "How this was made"])
def test_the_contents_come_before_the_first_section(name: str) -> None:
    contents = re.search(r"<nav.*?</nav>", html(), re.DOTALL)
    assert contents and f">{name}</a>" in contents[0]
