"""The leash as a page: what it says of runs, where it draws them, and that it is sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mien.errors import InputError
from mien.page import svg
from mien.train import leash_page, leash_pictures
from mien.train.leash import LOOKS, Verdict
from mien.train.leash_page import Run, differences, labels, readings, render
from mien.train.leash_pictures import Point, Track, Trail, course, running_mean, trails
from mien.train.loop import METRICS
from mien.train.run import train
from tests.page.reading import (
    HOSTILE,
    Page,
    assert_loads_and_runs_nothing,
    assert_themed,
    assert_well_formed,
    svgs,
)
from tests.train.pairs import planned_pairs
from tests.train.watched import LOOKED, look, put, sample

TOO_FAR = Verdict(word="over-optimised", best=40, since=40, stopped="enough", text="Since step 40.")


def page(*folders: Path) -> str:
    return render([Run.read(folder) for folder in folders])


def text(*folders: Path) -> str:
    return Page(page(*folders)).text


def four(runs: Path) -> list[Path]:
    """Four coefficients, one of them over-optimised, one collapsed and one not finished."""
    verdicts = {
        0.0: Verdict(word="collapsed", best=0, since=0, text="Collapsed after step 0."),
        0.02: TOO_FAR,
        0.05: Verdict(word="healthy", best=80, text="Healthy."),
        0.2: None,
    }
    return [
        put(
            runs,
            f"witty-ppo-{place}",
            verdict=verdict,
            finished=coefficient < 0.2,
            init_kl_coef=coefficient,
        )
        for place, (coefficient, verdict) in enumerate(verdicts.items())
    ]


# --- what it says -----------------------------------------------------------------------------


def test_the_verdict_stands_on_top_in_its_colour_with_what_is_kept(tmp_path: Path) -> None:
    folder = put(tmp_path, "witty-ppo-1", verdict=TOO_FAR)
    html = page(folder)
    assert "--grade: var(--partial)" in html
    said = Page(html).text
    assert "It went too far. Since step 40. The adapter of step 40 is kept." in said
    assert "Training was stopped: enough." in said


def test_where_nothing_was_better_than_the_start_it_says_so(tmp_path: Path) -> None:
    looks = [look(0, 0, 0.1, (0.9, 0.9)), look(9, 1, 0.2, (0.1, 0.1))]
    said = text(put(tmp_path, "witty-ppo-1", looks))
    assert "It fell apart. Collapsed after step 0" in said
    assert "The adapter that training started from is kept" in said


def test_a_run_that_is_not_finished_says_how_far_it_is(tmp_path: Path) -> None:
    html = page(put(tmp_path, "witty-ppo-1", finished=False))
    assert "--grade: var(--unknown)" in html
    assert "Not finished yet. 3 looks so far; at the last, step 80, it is 16.0 nats" in Page(html).text


def test_the_looks_are_a_table_with_the_interval_of_the_gold_score(tmp_path: Path) -> None:
    said = text(put(tmp_path, "witty-ppo-1", verdict=TOO_FAR))
    assert "0 0.00 0.10 0.30 0.20 to 0.40 0.50 0.60 0.02 31.0" in said
    assert "40 kept 4.00 0.90 0.50 0.40 to 0.60 0.50 0.60 0.02 31.0" in said
    assert "80 16.0 1.50 0.40 0.30 to 0.50 0.50 0.60 0.02 31.0" in said


def test_a_run_without_a_gold_score_has_one_curve_and_fewer_columns(tmp_path: Path) -> None:
    html = page(put(tmp_path, "witty-dpo-1", [look(0, 0, 0), look(9, 1, 0.2)], stage="dpo", metrics=()))
    said = Page(html).text
    assert "Not judged. There is no gold score for this persona" in said
    assert len(svgs(html)) == 1
    assert "Step KL Proxy Repetition Words 0 0.00 0.00 0.02 31.0" in said


def test_several_runs_are_called_by_what_their_recipes_differ_in(tmp_path: Path) -> None:
    folders = four(tmp_path)
    assert labels([Run.read(each) for each in folders]) == [
        f"init_kl_coef {value}" for value in ("0", "0.02", "0.05", "0.2")
    ]
    said = text(*folders)
    for letter, headline in zip(
        "ABCD",
        ("It fell apart.", "It went too far.", "The leash held.", "Not finished yet."),
        strict=True,
    ):
        assert f"{letter} init_kl_coef" in said and headline in said
    assert "They differ in init_kl_coef." in said
    assert "only the shapes can be compared" not in said


def test_lists_of_a_recipe_are_compared_item_by_item(tmp_path: Path) -> None:
    def signals(weight: float, *more: str) -> list[dict[str, object]]:
        return [{"kind": "words", "words": ["!", *more], "weight": weight}]

    one = put(tmp_path, "a", signals=signals(0.5))
    two = put(tmp_path, "b", signals=signals(1, "sir"), target_kl=6.0)
    runs = [Run.read(one), Run.read(two)]
    assert differences(runs) == [
        {"signals.1.weight": "0.5", "signals.1.words": "!", "target_kl": "none"},
        {"signals.1.weight": "1", "signals.1.words": "!, sir", "target_kl": "6"},
    ]
    assert "only the shapes can be compared" in Page(render(runs)).text


def test_runs_of_two_stages_differ_in_what_both_have(tmp_path: Path) -> None:
    runs = [Run.read(put(tmp_path, stage, stage=stage)) for stage in ("dpo", "ppo")]
    first = differences(runs)[0]
    assert first["stage"] == "dpo" and "beta" not in first and "init_kl_coef" not in first


def test_runs_with_one_recipe_are_called_by_their_names(tmp_path: Path) -> None:
    folders = [put(tmp_path, name) for name in ("witty-ppo-1", "witty-ppo-2")]
    assert labels([Run.read(each) for each in folders]) == ["witty-ppo-1", "witty-ppo-2"]
    assert "They are the same" in text(*folders)


def test_replies_are_from_the_start_the_middle_and_the_end(tmp_path: Path) -> None:
    rounds = (1, 9, 17, 25)
    rows = [
        sample(step, f"q{step}{side}", f"r{step}{side}", learned=0.5) for step in rounds for side in "ab"
    ]
    folder = put(tmp_path, "witty-ppo-1", samples=rows)
    told = readings(Run.read(folder), each=2)
    assert [[(each.when, each.reply) for each in row] for row in told] == [
        [("Start", f"r1{side}"), ("Middle", f"r17{side}"), ("End", f"r25{side}")] for side in "ab"
    ]
    assert "Middle, step 17 q17a r17a learned 0.50" in text(folder)


def test_a_run_of_one_round_has_one_reading(tmp_path: Path) -> None:
    run = Run.read(put(tmp_path, "witty-ppo-1", samples=[sample(1, "q", "r")]))
    assert [[each.reply for each in row] for row in readings(run)] == [["r"]]


# --- that it is sound -------------------------------------------------------------------------


def test_the_page_is_one_sound_file_in_the_theme(tmp_path: Path) -> None:
    folders = four(tmp_path)
    samples = [sample(1, "how?", "so!", learned=0.5)]
    single = page(put(tmp_path, "witty-ppo-9", samples=samples))
    for html in (page(*folders), single):
        assert_loads_and_runs_nothing(html)
        assert_well_formed(html)
        assert_themed(html)
        assert len(svgs(html)) == 5  # gold, proxy, reward, KL, entropy


def test_hostile_text_is_shown_and_never_becomes_markup(tmp_path: Path) -> None:
    verdict = Verdict(word="healthy", best=0, stopped=HOSTILE, text=HOSTILE)
    samples = [sample(1, HOSTILE, HOSTILE, **{HOSTILE: 1.0})]
    metrics = [{"step": step, f"reward_{HOSTILE}": step} for step in (1, 2)]
    hostile = {"verdict": verdict, "samples": samples, "metrics": metrics}
    folders = [put(tmp_path, name, data=f"{HOSTILE}{name}", **hostile) for name in "ab"]
    html = page(*folders)
    assert "<script" not in html.lower()
    assert Page(html).text.count(HOSTILE) > 10
    assert len(svgs(html)) == 3


@pytest.mark.usefixtures("home")
def test_what_training_writes_is_what_the_page_reads(tmp_path: Path) -> None:
    ready = planned_pairs(tmp_path, "dpo", epochs=1)
    card = train(ready)
    run = Run.read(ready.folder)
    assert run.verdict and run.verdict.text == card.verdict
    assert run.looks[-1].step == run.metrics[-1]["step"] == card.steps
    assert_well_formed(render([run]))


def test_a_line_that_is_being_written_is_left_for_the_next_time(tmp_path: Path) -> None:
    folder = put(tmp_path, "witty-ppo-1", finished=False)
    for name in (LOOKS, METRICS):
        with (folder / name).open("a") as file:
            file.write('{"step": 120, "kl"')
    run = Run.read(folder)
    assert (len(run.looks), len(run.metrics)) == (3, 3)


@pytest.mark.parametrize(
    ("content", "says"), [("{}\n", "leash.jsonl: not what"), ("[\n", "leash.jsonl:1: ")]
)
def test_a_broken_file_is_told_with_its_name(tmp_path: Path, content: str, says: str) -> None:
    folder = put(tmp_path, "witty-ppo-1")
    (folder / LOOKS).write_text(content)
    with pytest.raises(InputError, match=says):
        Run.read(folder)


def test_a_run_that_nobody_has_looked_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody has looked at"):
        Run.read(put(tmp_path, "witty-sft-1", (), finished=False))


# --- where it draws ---------------------------------------------------------------------------


def parts(picture: str, tag: str) -> Iterator[dict[str, str]]:
    return (each.attrib for each in ElementTree.fromstring(picture).iter(tag))


def drawn(*points: Point, **settings: float) -> str:
    return trails("Title", [Trail("A", "var(--system-2)", points)], furthest=16, **settings)


def points(kept: int = -1) -> list[Point]:
    """At KL 0, 4 and 16: on the scale of roots, the second is in the middle."""
    worth = (0.3, 0.5, 0.4)
    return [
        Point(kl, value, (value - 0.1, value + 0.1), "words", place == kept)
        for place, (kl, value) in enumerate(zip((0, 4, 16), worth, strict=True))
    ]


def test_a_run_is_drawn_over_the_root_of_its_distance_and_upwards_by_its_value() -> None:
    (line,) = parts(drawn(*points()), "polyline")
    (x0, y0), (x1, y1), (x2, y2) = (map(float, each.split(",")) for each in line["points"].split())
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.3)  # up by 0.2, down by 0.1


def test_the_start_is_a_square_and_what_is_kept_has_a_ring() -> None:
    picture = drawn(*points(kept=1))
    assert len(list(parts(picture, "rect"))) == 1
    dots = list(parts(picture, "circle"))
    assert [each["fill"] == "none" for each in dots] == [False, True, False]
    assert dots[1]["cx"] == dots[0]["cx"]


def test_the_budget_is_drawn_where_the_scale_has_it() -> None:
    assert "budget" in drawn(*points(), budget=9)
    assert "budget" not in drawn(*points(), budget=40)


def test_a_run_that_has_not_moved_is_drawn() -> None:
    still = Trail("", "red", [Point(0.0, 0.1, None, "words", False)])
    assert list(parts(trails("Title", [still], furthest=0.0), "rect"))


def test_labels_that_would_overlap_are_moved_apart_and_others_stay() -> None:
    heights = svg.spread([(300, 100), (300, 102), (300, 98), (50, 101)], gap=13)
    assert heights[3] == 101
    assert heights[2] < heights[0] < heights[1]
    assert heights[0] - heights[2] == pytest.approx(13, abs=0.01)
    assert heights[1] - heights[0] == pytest.approx(13, abs=0.01)


def test_the_running_mean_is_over_a_tenth_of_the_values() -> None:
    line = [(step, float(step)) for step in range(40)]
    found = running_mean(line)
    assert [step for step, _ in found] == [step for step, _ in line]
    assert found[0][1] == 1.0 and found[20][1] == 20.0  # (0 + 1 + 2) / 3 at the end, five elsewhere
    assert running_mean(line[:5]) == line[:5]


def test_a_measure_has_its_held_out_values_as_rings() -> None:
    track = Track("A", "red", [(1, 0.0), (2, 1.0)], held=[(0, 0.1), (2, 0.8)])
    assert len(list(parts(course("Title", [track], 2), "circle"))) == 2


def test_the_course_of_dpo_shows_both_sides_and_leaves_out_what_never_changes(tmp_path: Path) -> None:
    metrics = [
        {"step": n, "chosen_moved": -n / 9, "rejected_moved": -n / 5, "margin": 0.0} for n in (1, 2, 3)
    ]
    looks = [look(0, 0, 0, chosen_moved=0.0), look(3, 1, 0.2, chosen_moved=-0.2)]
    folder = put(tmp_path, "witty-dpo-1", looks, stage="dpo", metrics=metrics)
    shown = leash_page.Shown(Run.read(folder), "label", "", leash_pictures.PAINTS[0])
    (figure,) = leash_page.charts([shown])
    assert figure.label == "Log-probability moved" and figure.note.endswith("rings: held out")
    title = ElementTree.fromstring(figure.picture).findtext("title") or ""
    assert "chosen: -0.11 to -0.20; rejected: -0.20 to -0.60" in title.replace("\N{MINUS SIGN}", "-")


def test_every_picture_says_its_numbers_in_words(tmp_path: Path) -> None:
    titles = [each.findtext("title") for each in svgs(page(put(tmp_path, "witty-ppo-1", LOOKED)))]
    assert titles[0] == "Gold: what it is worth, against the KL divergence. It: 0.30 to 0.40."
    assert titles[1] == "Proxy: what it was paid for, against the KL divergence. It: 0.10 to 1.50."
