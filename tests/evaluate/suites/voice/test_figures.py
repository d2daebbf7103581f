"""The voice suite in words and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from mien.evaluate.compare import compared
from mien.evaluate.finding import Finding
from mien.evaluate.pages import pictures
from mien.evaluate.suites.voice import suite as voice
from mien.persona.voice import MEASURES
from tests.evaluate.pages import builders

PAINT = pictures.colours(builders.SUBJECTS)


def said(rates: Mapping[str, float] = builders.GOOD) -> list[str]:
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in voice.says(builders.results(rates))]


def test_the_rate_is_told_beside_the_controls() -> None:
    assert said()[0] == (
        "The witty voice is heard in 85 % (62 to 95 %) of 40 replies, against 5 % from the untouched"
        " base model, 30 % from the system prompt alone and 10 % from the null adapter."
    )


def test_without_controls_the_rate_stands_alone() -> None:
    assert said({"sft": 0.7})[0].endswith("heard in 70 % (46 to 86 %) of 40 replies.")


def test_the_worst_topic_is_named_with_its_interval() -> None:
    # 7 of 9: Wilson's interval is 45.3 to 93.7 %.
    assert "The worst topic is facts, with 78 % (45 to 94 %) of 9 replies." in said()


def test_a_topic_of_few_replies_is_not_called_the_worst() -> None:
    few = [builders.measure(f"voice/topic/{n}", [0.0, 1.0], scale="share") for n in ("a", "b")]
    rate = builders.measure("voice/rate", [0.0, 1.0], scale="share")
    finding = Finding(suite="voice", subject="sft", measures=(rate, *few))
    assert not any("worst" in line for line in voice.says(compared("witty", ("sft",), [finding])))


def test_on_all_topics_is_said_only_where_it_is_so() -> None:
    def told(rare: float) -> str:
        topics = {"a": [1.0] * 4, "b": [1.0] * 4, "c": [1.0, rare]}  # too few to be called the worst
        found = [builders.measure(f"voice/topic/{n}", v, scale="share") for n, v in topics.items()]
        rate = builders.measure("voice/rate", [1.0] * 9 + [rare], scale="share")
        finding = Finding(suite="voice", subject="sft", measures=(rate, *found))
        return " ".join(voice.says(compared("witty", ("sft",), [finding])))

    assert "It is heard in all of them, on all 3 topics." in told(1.0)
    assert "heard in all" not in told(0.0) and "worst topic" not in told(0.0)


def test_the_commonest_mistake_is_named() -> None:
    assert "What is not heard as witty is most often heard as neutral (6 of 40)." in said()


def test_a_suite_that_was_not_run_says_nothing_and_draws_nothing() -> None:
    empty = compared("witty", ("base", "sft"), [Finding(suite="voice", subject="sft", missing=("x",))])
    assert voice.says(empty) == []
    assert voice.figures(empty, PAINT) == []


def test_figures_show_voices_scores_dimensions_and_every_band() -> None:
    found = voice.figures(builders.results(), PAINT)
    titles = [figure.title for figure in found]
    assert titles[0] == "Which voice is heard" and found[0].wide
    assert {"Voice heard", "Perplexity", "On target, by dimension", "Tone: sentiment"} <= set(titles)
    assert len(found) == 1 + 7 + 1 + len(MEASURES)
    for figure in found:
        assert ElementTree.fromstring(figure.picture).get("role") == "img"


def test_authored_replies_stand_beside_the_subjects() -> None:
    bands = {figure.title: figure.picture for figure in voice.figures(builders.results(), PAINT)}
    # "An authored reply, with a raised eyebrow." has 7 words, "Another. Quite dry." has 3.
    assert "authored: median 5" in bands["Pacing: reply words"]
    assert "target 0.75 to 0.85" in bands["Pacing: reply words"]


def test_the_bar_begins_with_the_intended_voice() -> None:
    picture = ElementTree.fromstring(voice.figures(builders.results(), PAINT)[0].picture)
    first = next(picture.iter("svg"))
    segments = first.findall("svg")
    assert segments[0].get("width") == "5.000%" and segments[0].get("x") == "0.000%"
