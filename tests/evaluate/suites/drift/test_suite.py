"""Long conversations: when they break, what is made of it, and what is said and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from mien.errors import UnableError
from mien.evaluate.compare import Results, compared
from mien.evaluate.sizes import AMOUNTS
from mien.evaluate.subject import Asked
from mien.evaluate.suites.drift import suite as drift
from mien.evaluate.suites.drift.suite import broken_at, probed, run, slopes, survival
from mien.evaluate.suites.drift.users import book
from mien.persona.spec import find
from tests.evaluate.suites.drift.acting import IN, OUT, PROBES, Actor, setting, until, values

PAINT = {"base": "var(--system-0)", "witty": "var(--system-2)"}


def test_a_persona_that_breaks_at_turn_12_is_dated_to_turn_12(tmp_path: Path) -> None:
    finding = run(until(12), setting(tmp_path, amounts=AMOUNTS["full"]))
    course = finding.detail["users"]["neutral"]
    assert course["steps"][0][:2] == [12, 0] and course["broken"] == 8
    assert values(finding, "drift/lasted") == (11.0,) * 8
    half = next(score for score in finding.scores if score.name == "drift/half_life")
    assert (half.value, half.low, half.n) == (12, 12, 8)


def test_one_stray_turn_is_no_break_and_neither_is_a_lone_last_one() -> None:
    assert broken_at([True, False, True, True, False, False, True]) == 5
    assert broken_at([True, False, True]) is None
    assert broken_at([True, True, False]) is None
    assert broken_at([False, False]) == 1


def test_a_conversation_that_holds_is_watched_to_its_end() -> None:
    right = np.array([[True] * 4, [True, False, False, True], [True, True, True, False]])
    curve = survival(right)
    assert [(step.time, step.at_risk, step.events) for step in curve.steps] == [(2, 3, 1)]
    assert curve.until == 4 and curve.half_life.value is None


def test_the_mean_of_the_slopes_is_the_slope_of_all_turns_pooled() -> None:
    scores = np.random.default_rng(0).random((5, 9))
    pooled = np.polyfit(np.tile(np.arange(9), 5), scores.ravel(), 1)[0]
    assert slopes(scores).mean() == pytest.approx(pooled)
    assert slopes(np.array([[0.9, 0.8, 0.7]]))[0] == pytest.approx(-0.1)


def test_shares_and_slopes_are_those_worked_by_hand(tmp_path: Path) -> None:
    # Five turns at .9 and three at .2. Turns less their mean: -3.5 ... 3.5, squares 42 in all;
    # .9 * (-3.5 - 2.5 - 1.5 - .5 + .5) + .2 * (1.5 + 2.5 + 3.5) = -5.25; by ten turns, -52.5 / 42.
    finding = run(until(6), setting(tmp_path, turns=8))
    assert np.mean(values(finding, "drift/held")) == 5 / 8
    assert np.mean(values(finding, "drift/score")) == pytest.approx((5 * 0.9 + 3 * 0.2) / 8)
    assert values(finding, "drift/slope") == pytest.approx((-52.5 / 42,) * 4)


def test_a_probe_is_asked_of_a_copy_and_leaves_no_trace(tmp_path: Path) -> None:
    actor = until(99)
    run(actor, setting(tmp_path, amounts=AMOUNTS["full"], turns=4))
    last = [each.messages[-1].content for each in actor.asked]
    # After 0 and 4 turns, in 16 talks; before the first turn both users' talks are the same.
    assert sum(text in PROBES for text in last) == 8 + 16
    history = {message.content for each in actor.asked for message in each.messages[:-1]}
    assert not history & PROBES
    seeds = {each.seed for each in actor.asked if each.messages[-1].content in PROBES}
    assert len(seeds) == 8  # one per script: what differs between its probes is the history alone


def test_a_probe_shows_what_the_history_has_done(tmp_path: Path) -> None:
    def rule(turn: int, each: Asked) -> str:
        return OUT if each.messages[-1].content in PROBES and turn > 1 else IN

    finding = run(Actor(rule), setting(tmp_path, amounts=AMOUNTS["full"], turns=4))
    assert values(finding, "drift/probe") == pytest.approx((0.2 - 0.9,) * 8)
    assert np.mean(values(finding, "drift/held")) == 1


def test_probes_stand_at_both_ends_and_evenly_between() -> None:
    assert probed(8, 2) == (0, 8)
    assert probed(20, 5) == (0, 5, 10, 15, 20)
    assert probed(2, 5) == (0, 1, 2)
    assert probed(6, 0) == ()


def test_without_probes_none_is_asked_measured_or_drawn(tmp_path: Path) -> None:
    actor = until(99)
    found = run(actor, setting(tmp_path))
    assert not PROBES & {message.content for each in actor.asked for message in each.messages}
    assert "drift/probe" not in {measure.name for measure in found.measures}
    assert len(drift.figures(compared("witty", ["witty"], [found]), PAINT)) == 4


def test_what_is_asked_alone_has_no_history_and_the_seed_of_its_turn(tmp_path: Path) -> None:
    actor = until(3)
    found = run(actor, setting(tmp_path, turns=8))
    assert values(found, "drift/alone") == (1.0,) * 4 * 8
    assert values(found, "drift/lost") == (6 / 8,) * 4  # two of eight turns are in the voice
    talks, alone = actor.asked[: -4 * 7], actor.asked[-4 * 7 :]  # the first turns are remembered
    assert {len(each.messages) for each in alone} == {1}
    inside = {(each.messages[-1].content, each.seed) for each in talks if len(each.messages) > 1}
    assert {(each.messages[-1].content, each.seed) for each in alone} < inside


def test_who_is_as_plain_alone_has_lost_nothing_to_the_conversation(tmp_path: Path) -> None:
    plain = run(Actor(lambda *_: OUT, "plain"), setting(tmp_path, turns=8))
    assert set(values(plain, "drift/alone")) == {0.0} and set(values(plain, "drift/lost")) == {0.0}


def test_of_long_conversations_some_questions_are_asked_alone(tmp_path: Path) -> None:
    found = run(until(51), setting(tmp_path, turns=100))
    assert len(values(found, "drift/alone")) == 4 * 14
    assert values(found, "drift/lost") == (0.5,) * 4


def test_who_can_only_be_asked_in_conversation_is_measured_there(tmp_path: Path) -> None:
    def rule(turn: int, each: Asked) -> str:
        if len(each.messages) == 1 and each.messages[0].content not in openings:
            raise UnableError("tape: no reply is recorded.")
        return IN

    openings = {script.opening for script in book().scripts}
    found = run(Actor(rule), setting(tmp_path))
    assert found.missing == ("asked alone: tape: no reply is recorded.",)
    assert set(values(found, "drift/held")) == {1.0}


def test_a_hundred_turns_are_held_and_the_break_is_dated(tmp_path: Path) -> None:
    finding = run(until(60), setting(tmp_path, turns=100))
    course = finding.detail["users"]["pulled"]
    assert (finding.detail["turns"], course["steps"][0][0], course["broken"]) == (100, 60, 4)
    assert values(finding, "drift/lasted") == (59.0,) * 4


def test_only_who_gives_in_loses_to_the_user_who_pulls(tmp_path: Path) -> None:
    asks = [ask for name in ("witty", "any") for ask in book().pulls[name].asks]

    def yields(_: int, each: Asked) -> str:
        pulled = any(m.content.startswith(ask) for m in each.messages for ask in asks)
        return OUT if pulled and m_last(each) not in PROBES else IN

    def m_last(each: Asked) -> str:
        return each.messages[-1].content

    here = setting(tmp_path, turns=8)
    firm, soft = run(until(99), here), run(Actor(yields, "soft"), here)
    assert values(firm, "drift/pull") == (0.0,) * 4
    assert values(soft, "drift/pull") == pytest.approx((-0.7 * 7 / 8,) * 4)  # turn 1 is the same
    assert set(values(soft, "drift/held")) == {1.0}
    assert values(soft, "drift/lasted/pulled") == (1.0,) * 4


def test_who_says_the_same_at_every_turn_does_not_hold(tmp_path: Path) -> None:
    found = run(Actor(lambda *_: "The same dry remark as ever."), setting(tmp_path, turns=8))
    assert values(found, "drift/repeats") == (0.0, *[1.0] * 7) * 4
    assert values(found, "drift/held") == (1.0, *[0.0] * 7) * 4
    assert values(found, "drift/score") == (0.9, *[0.0] * 7) * 4


def test_who_cannot_answer_is_left_out_with_the_reason(tmp_path: Path) -> None:
    def refuse(*_: object) -> str:
        raise UnableError("tape: no reply is recorded.")

    finding = run(Actor(refuse), setting(tmp_path))
    assert finding.missing == ("tape: no reply is recorded.",) and not finding.measures
    stranger = find("witty").model_copy(update={"name": "pirate"})
    assert "pirate" in run(until(9), setting(tmp_path, persona=stranger)).missing[0]


def results(folder: Path, **how: Any) -> Results:
    subjects = [Actor(lambda *_: OUT, "base"), until(6)]
    findings = [run(subject, setting(folder, **how)) for subject in subjects]
    return compared("witty", ["base", "witty"], findings)


def test_the_sentences_come_from_the_numbers(tmp_path: Path) -> None:
    said = drift.says(results(tmp_path, amounts=AMOUNTS["full"], turns=8))
    assert said[0].startswith(
        "Over 8 turns with an easy user, witty is heard in the intended voice in 62 %"
    )
    # 5 of 8 turns in each of 8 conversations, and two turns more: the middle is 5 / 8.25 = 0.606,
    # half the width 1.96 sqrt(((8 * 0.625**2 + 0.25) / 8.25 - 0.606**2) / 8.25) = 0.139.
    assert "; against base +62 points, +47 to +75)" in said[0]
    assert "the same is asked alone and answered as shortly, it is heard in 100 %" in said[0]
    assert "the conversation takes from it (\N{MINUS SIGN}38 points, " in said[0]
    assert "it drifts out of the voice" in said[1]
    assert "8 of 8 (half of them by turn 6, 95 % interval 6 to" in said[2]
    assert "changes little in" in said[3] and "0 points" in said[3]


def test_few_conversations_show_no_drift(tmp_path: Path) -> None:
    said = drift.says(results(tmp_path, turns=8))
    assert "against base +62 points, +32 to +86, which may be chance" in said[0]
    assert "nothing that 4 conversations could show to be lost" in said[0]
    assert "no drift that 4 conversations could show" in said[1]


def test_every_measure_and_score_has_a_meaning(tmp_path: Path) -> None:
    scores = results(tmp_path, amounts=AMOUNTS["full"], turns=8).scores
    assert {score.name for score in scores} <= set(drift.MEANINGS)
    assert {"drift/held", "drift/half_life", "drift/pull", "drift/probe"} <= {
        score.name for score in scores
    }


def test_the_pictures_are_whole_and_say_what_they_show(tmp_path: Path) -> None:
    found = results(tmp_path, amounts=AMOUNTS["full"], turns=8)
    again = Results.model_validate(json.loads(found.model_dump_json()))
    figures = drift.figures(again, PAINT)
    assert len(figures) == 5
    titles = [ElementTree.fromstring(each.picture)[0].text or "" for each in figures]
    assert "witty: 90 % at turn 1, 20 % at turn 8" in titles[0]
    assert "witty: 8 of 8 broke" in titles[2]
    assert "base: 20 % to 20 % with an easy user" in titles[4]
    assert drift.figures(compared("witty", ["base"], []), PAINT) == []
    assert drift.says(compared("witty", ["base"], [])) == []
