"""The report: what it says, that it says it safely, and that its pictures are sound."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from mien.evaluate import pictures, report
from mien.evaluate.results import Evaluation, TrainingPoint
from mien.page import svg
from tests.evaluate import builders
from tests.page.reading import (
    HOSTILE,
    Page,
    assert_loads_and_runs_nothing,
    assert_themed,
    assert_well_formed,
    svgs,
)


def page(evaluation: Evaluation) -> Page:
    return Page(report.render(evaluation))


# --- the page ---------------------------------------------------------------------------------


def test_hostile_text_is_shown_and_never_becomes_markup() -> None:
    html = report.render(builders.hostile())
    assert "<script" not in html.lower()
    assert page(builders.hostile()).text.count(HOSTILE) > 10
    assert len(svgs(html)) >= 4


def test_the_page_is_one_sound_file_that_loads_and_runs_nothing() -> None:
    html = report.render(builders.evaluation())
    assert_loads_and_runs_nothing(html)
    assert_well_formed(html)


def test_the_contents_name_every_section() -> None:
    attributes = page(builders.evaluation()).attributes
    ids = {value for name, value in attributes if name == "id"}
    assert {value[1:] for name, value in attributes if name == "href" and value} == ids


def test_every_score_appears_with_interval_and_n() -> None:
    evaluation = builders.evaluation()
    text = page(evaluation).text
    for score in evaluation.scores:
        means = report.meaning(score.name)
        largest = max(s.high for s in evaluation.scores if s.name == score.name)
        low, high = (means.show(end, largest, unit=False) for end in (score.low, score.high))
        value = means.show(score.value, largest).replace("\N{NO-BREAK SPACE}", " ")
        assert f"{value} {low} to {high}, n = {score.n}" in text
        assert score.name in text and means.label in text and means.about in text


def test_unknown_and_missing_scores_are_no_trouble() -> None:
    extra = builders.score("sparkle", "witty", 0.42)
    evaluation = builders.evaluation(scores=(extra,), differences=(), bands={}, quantiles={})
    text = page(evaluation).text
    assert "sparkle" in text and "0.42" in text
    assert text.count("not measured") >= 2
    assert report.verdict(evaluation).grade == "unknown"
    assert "This persona states no target bands." in text


def test_an_evaluation_with_nothing_in_it_still_renders() -> None:
    listed = dict.fromkeys(("scores", "differences", "replies", "training"), ())
    named: dict[str, object] = {name: {} for name in ("quantiles", "bands", "authored", "sampling")}
    text = page(builders.evaluation().model_copy(update={**listed, **named})).text
    assert "No replies were kept." in text
    assert "was not measured" in text


def test_without_training_the_page_says_why_there_are_no_curves() -> None:
    assert "No losses were recorded" in page(builders.evaluation(training=())).text
    untrained = builders.evaluation(training=(), adapter=None)
    assert "Nothing was trained" in page(untrained).text


def test_provenance_is_complete() -> None:
    evaluation = builders.evaluation()
    text = page(evaluation).text
    assert "mien eval --persona witty" in text
    for fact in (evaluation.persona_hash, evaluation.base_hash, evaluation.made, evaluation.device):
        assert fact in text
    assert "temperature 0.7, top_p 0.9, max_new_tokens 160" in text
    assert "Seeds 0, 1" in text


def test_examples_take_topics_in_turn_and_keep_to_eight() -> None:
    topics = ["advice"] * 7 + ["facts"] * 3
    replies = [builders.reply("base", n).model_copy(update={"topic": t}) for n, t in enumerate(topics)]
    html = report.render(builders.evaluation(replies=tuple(replies))).split("<details>")[0]
    shown = re.findall(r"<blockquote>Question (\d+):", html)
    assert shown == ["0", "7", "1", "8", "2", "9", "3", "4"]


def test_every_reply_is_in_the_details() -> None:
    evaluation = builders.evaluation()
    details = report.render(evaluation).split("<details>")[1]
    assert f"All {len(evaluation.replies)} replies" in details
    assert details.count('<p class="reply"') == len(evaluation.replies)


# --- the verdict ------------------------------------------------------------------------------


def said(evaluation: Evaluation) -> str:
    found = report.verdict(evaluation)
    return " ".join([found.headline, *found.sentences]).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("rates", "grade", "headline"),
    [
        (builders.GOOD, "good", "The personality arrived."),
        (builders.PARTIAL, "partial", "The personality arrived in part."),
        (builders.NO_BETTER, "partial", "no more clearly than with a system prompt alone"),
        ({"base": 0.04, "prompt": 0.8, "witty": 0.6}, "partial", "a system prompt alone does better"),
        (builders.FAILED, "failed", "The personality did not arrive."),
        ({"base": 0.01, "prompt": 0.01, "witty": 0.15}, "failed", "The personality did not arrive."),
    ],
)
def test_the_grade_follows_the_numbers(rates: dict[str, float], grade: str, headline: str) -> None:
    found = report.verdict(builders.evaluation(rates))
    assert found.grade == grade
    assert headline in found.headline
    assert found.headline in page(builders.evaluation(rates)).text


def test_the_verdict_gives_the_interval_and_the_gain() -> None:
    text = said(builders.evaluation())
    assert "In 83 % of the replies" in text
    assert "(95 % interval 79 to 87 %; guessing would give 17 %)" in text
    assert "52 points more than the system prompt alone gives (46 to 58)" in text
    assert "79 points more than the untouched base model gives" in text


def test_a_gain_that_is_not_clear_is_not_claimed() -> None:
    text = said(builders.evaluation(builders.NO_BETTER))
    assert "not clearly different from the system prompt alone (1 points; \N{MINUS SIGN}5 to 7)" in text


def test_a_loss_against_the_prompt_counts_in_one_direction() -> None:
    text = said(builders.evaluation({"base": 0.04, "prompt": 0.8, "witty": 0.6}))
    assert "20 points fewer than the system prompt alone gives (14 to 26)" in text


def test_without_paired_differences_only_intervals_that_lie_apart_count() -> None:
    clear = builders.evaluation(differences=())
    assert report.verdict(clear).grade == "good"
    close = {"base": 0.04, "prompt": 0.60, "witty": 0.66}
    assert report.verdict(builders.evaluation(close, differences=())).grade == "partial"


def test_a_price_is_named_with_its_numbers() -> None:
    evaluation = builders.evaluation()
    worse = builders.score("repetition", "witty", 0.12, 0.01)
    rest = tuple(s for s in evaluation.scores if (s.name, s.system) != ("repetition", "witty"))
    found = (*rest, worse)
    changed = evaluation.model_copy(update={"scores": found, "differences": builders.differences(found)})
    assert "more repetition (3 % to 12 %)" in said(changed)
    unpaired = changed.model_copy(update={"differences": ()})
    assert "It has a price" in said(unpaired)


def test_without_loss_the_verdict_says_so() -> None:
    assert "no clear loss of fluency or content is seen" in said(builders.evaluation())


def test_a_weak_classifier_is_a_reason_for_doubt() -> None:
    doubt = "Read this with care: the classifier itself names the true voice of only 61 %"
    assert doubt in said(builders.evaluation(judge=builders.judge(0.61)))
    assert doubt not in said(builders.evaluation())


def test_the_order_of_the_systems_does_not_matter() -> None:
    evaluation = builders.evaluation()
    turned = evaluation.model_copy(update={"systems": ("witty", "prompt", "base")})
    assert said(turned) == said(evaluation)


def test_without_an_adapter_the_last_system_is_judged() -> None:
    gap = builders.score("voice_rate", "prompt - base", 0.27)
    changes = {"systems": ("base", "prompt"), "adapter": None, "differences": (gap,)}
    untrained = builders.evaluation().model_copy(update=changes)
    assert report.verdict(untrained).grade == "partial"
    assert "In 31 % of the replies of the system prompt alone" in said(untrained)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("voice_rate", 0.5, "better"),
        ("voice_rate", -0.5, "worse"),
        ("repetition", -0.5, "better"),
        ("repetition", 0.5, "worse"),
        ("sparkle", 0.5, "higher"),
        ("sparkle", -0.5, "lower"),
        ("sparkle", 0.0, "no clear difference"),
    ],
)
def test_outcome_knows_which_way_is_better(name: str, value: float, word: str) -> None:
    assert report.outcome(builders.score(name, "witty - base", value)) == word


# --- the pictures -----------------------------------------------------------------------------


def test_every_picture_is_xml_with_a_role_and_a_title() -> None:
    found = svgs(report.render(builders.evaluation()))
    assert len(found) > 20
    for picture in found:
        assert picture.get("role") == "img"
        title = picture[0]
        assert title.tag == "title" and title.text
        assert "nan" not in ElementTree.tostring(picture, encoding="unicode")


def test_pictures_take_their_colours_from_the_theme() -> None:
    for picture in svgs(report.render(builders.evaluation())):
        for element in picture.iter():
            for name in ("fill", "stroke"):
                colour = element.get(name, "none")
                assert colour in ("none", "currentColor") or colour.startswith("var(--")


def test_every_colour_is_defined_for_both_themes() -> None:
    html = report.render(builders.evaluation())
    every = pictures.colours(map(str, range(9))) | pictures.voice_colours([*map(str, range(9))], "0")
    assert_themed(html + " ".join(every.values()))


def test_a_system_keeps_its_colour_whatever_else_is_there() -> None:
    alone, crowded = pictures.colours(["base", "witty"]), pictures.colours(["prompt", "base", "witty"])
    assert alone["base"] == crowded["base"]
    assert alone["witty"] == crowded["witty"]
    many = pictures.colours(["base", "prompt", "a", "b", "c"])
    assert len({many[name] for name in ("base", "prompt", "a", "b", "c", "authored")}) == 6


def test_a_dot_plot_puts_dots_in_the_order_of_the_values() -> None:
    found = [builders.score("x", name, value) for name, value in builders.GOOD.items()]
    paint = pictures.colours(builders.SYSTEMS)
    drawn = pictures.dot_plot("X", found, paint=paint, show=svg.number, within=(0, 1))
    places = [float(dot.get("cx", "")) for dot in ElementTree.fromstring(drawn).iter("circle")]
    assert places == sorted(places)
    assert "witty: 0.83, 95 % interval 0.78 to 0.88, n = 96" in drawn


def test_a_score_that_is_not_finite_is_left_out_of_the_plot() -> None:
    fine = builders.score("x", "witty", 1.0)
    found = [fine.model_copy(update={"system": "base", "value": float("nan")}), fine]
    drawn = pictures.dot_plot("X", found, paint={}, show=svg.number)
    assert len(list(ElementTree.fromstring(drawn).iter("circle"))) == 1


def test_a_band_without_width_can_still_be_seen() -> None:
    rows = {"base": (0.0, 0.0, 0.0, 0.0, 0.0)}
    picture = ElementTree.fromstring(pictures.band_plot("questions", (0.0, 0.0), rows, paint={}))
    band = next(each for each in picture.iter("rect") if each.get("fill") == "var(--band)")
    assert float(band.get("width", "0")) >= 2
    free = ElementTree.fromstring(pictures.band_plot("questions", None, rows, paint={}))
    assert not [each for each in free.iter("rect") if each.get("fill") == "var(--band)"]


def test_curves_mark_the_best_validation_loss() -> None:
    drawn = pictures.curves(builders.training(120))
    assert "best validation loss 1.90 at step 80" in drawn
    assert len(list(ElementTree.fromstring(drawn).iter("polyline"))) == 2


@pytest.mark.parametrize(
    "points",
    [
        [TrainingPoint(step=1, epoch=0, loss=2.0)],
        [TrainingPoint(step=5, epoch=0, validation_loss=2.0)],
        [TrainingPoint(step=1, epoch=0, loss=2.0), TrainingPoint(step=2, epoch=0, loss=float("nan"))],
    ],
)
def test_curves_survive_little_and_broken_data(points: list[TrainingPoint]) -> None:
    drawn = pictures.curves(points)
    assert "nan" not in drawn
    assert ElementTree.fromstring(drawn).get("role") == "img"
    assert pictures.curves([]) == ""


def test_confusion_shows_every_count_and_shades_by_the_share_of_the_row() -> None:
    picture = ElementTree.fromstring(pictures.confusion(["a", "b"], [[9, 1], [0, 5]]))
    cells = [float(each.get("fill-opacity", "")) for each in picture.iter("rect")]
    assert cells == pytest.approx([0.5, 0.1, 0.05, 0.55])
    texts = [each.text for each in picture.iter("text")]
    assert [text for text in texts if text and text.isdigit()] == ["9", "1", "0", "5"]
    assert "14 of 15" in (picture[0].text or "")


def test_the_bar_starts_with_the_intended_voice_and_fills_its_row() -> None:
    rows = {"witty": {"warm": 0.25, "witty": 0.75}}
    picture = ElementTree.fromstring(pictures.stacked(rows, intended="witty", voices=["warm", "witty"]))
    bars = picture.findall("svg")
    assert [bar.get("width") for bar in bars] == ["75.000%", "25.000%"]
    assert [bar.get("x") for bar in bars] == ["0.000%", "75.000%"]


def test_control_characters_do_not_break_a_picture() -> None:
    picture = pictures.stacked({"a\x00b": {"w": 1.0}}, intended="w", voices=["w"])
    assert ElementTree.fromstring(picture)[1].text == "a b"


# --- the terminal -----------------------------------------------------------------------------


def test_the_table_has_a_row_per_score_and_a_column_per_system() -> None:
    shown = report.table(builders.evaluation())
    assert [str(column.header) for column in shown.columns] == ["score", *builders.SYSTEMS]
    assert shown.row_count == 12
    console = Console(width=120)
    with console.capture() as capture:
        console.print(shown)
    assert "0.83 [0.79, 0.87]" in capture.get()
    assert "[95 % interval]" in capture.get()


def test_markup_in_names_is_shown_as_it_is() -> None:
    found = builders.evaluation(title="[red]x[/red]", scores=(builders.score("[b]y", "base", 0.5),))
    console = Console(width=120)
    with console.capture() as capture:
        console.print(report.table(found))
    assert "[red]x[/red]" in capture.get() and "[b]y" in capture.get()
