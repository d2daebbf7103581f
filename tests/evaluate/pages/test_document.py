"""The document of all voices: its words, its tables, and pictures that stand alone."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mien.evaluate.compare import compared
from mien.evaluate.pages.document import Document, plain
from mien.evaluate.pages.panels import Panel, dots, fields
from mien.page import svg
from tests.evaluate.pages import builders
from tests.page.reading import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"


@cache
def document() -> Document:
    rates = {"witty": builders.GOOD, "warm": builders.FAILED}
    evaluations = [
        builders.evaluation(each, persona=name, title=f"The {name} one") for name, each in rates.items()
    ]
    return Document(evaluations, builders.suites(), "mien results --suite full")


def section(title: str) -> str:
    return document().markdown().split(f"## {title}\n")[1].split("\n## ")[0]


def cells(line: str) -> list[str]:
    return [cell.strip().replace("\N{NO-BREAK SPACE}", " ") for cell in line.strip("|").split("|")]


def test_it_opens_with_the_verdict_on_every_voice() -> None:
    arrived = section("Did the personality arrive?")
    assert "- **witty: The personality arrived.**" in arrived
    assert "- **warm: The personality did not arrive.**" in arrived


def test_a_warning_about_safety_comes_before_everything() -> None:
    warned = Document([*document().evaluations, builders.less_safe()], builders.suites())
    lines = [line for line in warned.markdown().splitlines() if line]
    assert lines[1].startswith("> **Safety, witty:** Less safe than a control: the dpo adapter")


def test_a_measure_has_a_row_per_voice_and_a_column_per_subject() -> None:
    table = [cells(line) for line in section("Does it hold?").splitlines() if line.startswith("|")]
    assert table[0] == ["voice", *builders.SUBJECTS, "over prompt", "over null, in SD"]
    assert [row[0] for row in table[2:]] == ["witty", "warm"]
    assert table[2][5] == "85 % [62 to 95]"
    assert table[2][6] == "+55 points [23 to 82]"


def test_at_a_glance_clear_gains_and_losses_are_marked() -> None:
    rows = {cells(line)[1]: cells(line) for line in section("At a glance").splitlines() if "](#" in line}
    assert rows["Held"][2] == "85 % [62 to 95] ▲"
    assert rows["Held"][3] == "20 % [7 to 44]"
    assert rows["Speed"][2] == "51.5 [49.8 to 53.3] ▼"


def test_every_link_leads_to_a_heading_and_every_picture_is_drawn() -> None:
    text = document().markdown()
    headings = {
        re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^## (.*)", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings
    shown = re.findall(r"\]\(results/([^)]*)\)", text)
    assert sorted(shown) == sorted(document().drawings)


def test_what_is_missing_is_told_once_with_all_voices() -> None:
    assert "no judge was named: everywhere" in document().markdown()
    some = "time to first token: not told by the server: witty (null), warm (null)"
    assert some in document().markdown()


def test_what_a_suite_says_of_every_voice_alike_is_said_once() -> None:
    hold = section("Does it hold?")
    assert hold.count("It holds in 85 of 100 attempts.") == 1 and "- **witty**" not in hold
    alone = Document([document().evaluations[0]], builders.suites()).markdown()
    assert "- **witty**: It holds in 85 of 100 attempts." in alone


def test_the_table_of_the_voices_is_printed_once() -> None:
    assert "The table is [at the beginning](#did-the-personality-arrive)." in section(
        "Is the personality there?"
    )
    rows = section("Is the personality there?").split("**On target.**")[0]
    assert "| witty |" not in rows and "| witty |" in section("Did the personality arrive?")


def test_the_classifier_is_told_once_and_apart_only_where_it_differs() -> None:
    assert document().markdown().count("was examined on authored texts") == 1
    other = builders.evaluation(persona="calm", hearing=builders.hearing(0.7))
    both = Document([*document().evaluations, other], builders.suites()).markdown()
    assert "witty and warm: it is right on 94" in both and "calm: it is right on 70" in both


def test_each_voice_is_heard_on_a_prompt_of_its_own() -> None:
    heard = section("What it sounds like")
    assert "**witty:** Why is my rice sticky, number 0?" in heard
    assert "**warm:** Why is my rice sticky, number 1?" in heard


def test_how_far_personas_are_from_each_other_stands_in_diversity() -> None:
    names = ("between", "within", "between_less_within")
    apart = [
        builders.score(f"diversity/personas/{name}", "dpo", value, 0.02)
        for name, value in zip(names, (0.5, 0.3, 0.2), strict=True)
    ]
    suites = {"diversity": builders.suite("diversity", "Is it varied?", {})}
    told = [builders.evaluation(persona=name, suites=("diversity",)) for name in ("witty", "warm")]
    text = Document(told, suites, apart=apart).markdown().split("## Is it varied?")[1]
    assert "lie 0.50 (0.48 to 0.52) apart by dpo, two tries of one persona 0.30" in text
    assert "0.20 (0.18 to 0.22) more between them than within, so the personas differ" in text


def test_how_it_was_made_is_complete() -> None:
    made = section("How this was made")
    assert "```\nmien results --suite full\n```" in made
    assert "witty-dpo-0001" in made and f"`{'b2' * 8}`" in made and "top k off" in made


@pytest.mark.parametrize("text", [HOSTILE, "a | b", "*bold* [link](http://x)", "`code`\n# title"])
def test_text_of_models_is_no_markup(text: str) -> None:
    found = plain(text)
    assert "\n" not in found
    assert re.sub(r"\\(.)", r"\1", found) == " ".join(text.split())
    assert all(found[i - 1] == "\\" for i, letter in enumerate(found) if letter in "`*_[]<>#|")


def test_voices_with_other_subjects_and_without_a_suite_fit_in() -> None:
    small = builders.evaluation({"base": 0.1, "sft": 0.8}, persona="calm", suites=("voice",))
    text = Document([*document().evaluations, small], builders.suites()).markdown()
    assert "calm" in text and "mien eval --persona witty" in text


def test_it_is_written_with_its_pictures_beside_it(tmp_path: Path) -> None:
    document().write(tmp_path / "results.md")
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == document().markdown()
    written = {file.name: file.read_text(encoding="utf-8") for file in (tmp_path / "results").iterdir()}
    assert written == document().drawings


def test_nothing_measured_is_no_trouble() -> None:
    empty = builders.evaluation({"base": 0.1}, results=compared("witty", ("base",), []))
    found = Document([empty], builders.suites())
    assert "Whether the personality arrived was not measured." in found.markdown()
    assert found.drawings == {}


# --- the pictures ---------------------------------------------------------------------------------


def test_every_file_is_an_svg_that_stands_alone() -> None:
    for picture in document().drawings.values():
        root = ElementTree.fromstring(picture)
        assert root.tag == f"{SVG}svg" and root.get("viewBox")
        assert root[0].tag == f"{SVG}title" and root[0].text
        assert "http" not in picture.replace("http://www.w3.org/2000/svg", "") and "url(" not in picture


def test_every_colour_is_brought_along_for_light_and_dark() -> None:
    for picture in document().drawings.values():
        light, dark = picture.split("prefers-color-scheme: dark", 1)
        for name in re.findall(r'"var\((--[\w-]+)\)', picture):
            assert f"{name}:" in light and f"{name}:" in dark


def test_no_picture_reaches_out_of_its_sheet() -> None:
    for picture in document().drawings.values():
        root = ElementTree.fromstring(picture)
        height = float(root.get("height", "0"))
        for inner in root.findall(f"{SVG}svg"):
            assert float(inner.get("y", "")) + float(inner.get("height", "")) <= height
            assert float(inner.get("x", "")) + float(inner.get("width", "")) <= 800


def panel(*values: float) -> Panel:
    rows = {"witty": {str(i): builders.score("x", str(i), v, 0) for i, v in enumerate(values)}}
    return Panel("X", "", rows, svg.number, whole=True)


def test_dots_lie_in_the_order_of_their_values() -> None:
    # Axis from 70 to 180 for 0 to 1: 0.5 lies at 125.
    drawn = ElementTree.fromstring(dots(panel(0.0, 0.5, 1.0), {}, width=200, subjects=["0", "1", "2"]))
    assert [float(dot.get("cx", "")) for dot in drawn.iter("circle")] == [70.0, 125.0, 180.0]


def test_fields_are_darker_where_the_value_is_higher() -> None:
    drawn = ElementTree.fromstring(fields(panel(0.0, 1.0, 0.5), width=200))
    shades = [float(each.get("fill-opacity", "")) for each in drawn.iter("rect")]
    assert shades == pytest.approx([0.05, 0.55, 0.3])
    assert [each.text for each in drawn.iter("text")][-3:] == ["0.00", "1.00", "0.50"]


def test_fields_that_are_all_alike_are_drawn() -> None:
    alike = panel(0.5, 0.5)._replace(whole=False)
    assert len(list(ElementTree.fromstring(fields(alike, width=200)).iter("rect"))) == 2
