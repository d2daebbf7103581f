"""Long conversations: who says what, when it breaks, and what is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.base.decode import generate
from mien.base.lora import LoraConfig
from mien.chat import Sampling
from mien.errors import InputError, UnableError
from mien.evaluate.compare import Results, compared
from mien.evaluate.finding import Finding
from mien.evaluate.memo import Memo
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, LocalSubject, Progress, Said
from mien.evaluate.suites import drift
from mien.evaluate.suites.drift import broken_at, probed, run, slopes, survival
from mien.evaluate.suites.drift_figures import apart
from mien.evaluate.suites.drift_talks import SILENCE, Plan, hold
from mien.evaluate.suites.drift_users import Played, Pull, Scripted, book, scenes
from mien.persona.spec import find
from mien.schema import Message
from tests import models

IN, OUT = "A dry remark.", "A plain reply."
PROBES = set(book().probes)
PAINT = {"base": "var(--system-0)", "witty": "var(--system-2)"}


class Ear:
    """Hears `witty` in what is dry."""

    labels = ("neutral", "witty")

    def judge(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([[0.1, 0.9] if "dry" in text else [0.8, 0.2] for text in texts])


class Actor:
    """Says what a rule of the turn says it should, and remembers what it was asked."""

    def __init__(self, rule: Callable[[int, Asked], str], name: str = "witty") -> None:
        self.name, self.key, self.rule = name, name, rule
        self.asked: list[Asked] = []

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        self.asked += asked
        return [Said(self.rule(turn(each), each)) for each in asked]


def turn(each: Asked) -> int:
    """Which turn of the assistant is asked for, from 1."""
    return sum(message.role == "user" for message in each.messages)


def until(last: int) -> Actor:
    """In character before a turn and out of it from then on."""
    return Actor(lambda turn, _: IN if turn < last else OUT)


def setting(folder: Path, **changes: Any) -> Setting:
    ear: Any = Ear()
    embedder: Any = None
    fields = {"persona": find("witty"), "sampling": Sampling(), "ear": ear, "embedder": embedder}
    return Setting(**{**fields, "memo": Memo(folder / "answers.db"), **changes})


def values(finding: Finding, name: str) -> tuple[float, ...]:
    return next(measure.values for measure in finding.measures if measure.name == name)


def test_a_persona_that_breaks_at_turn_12_is_dated_to_turn_12(tmp_path: Path) -> None:
    finding = run(until(12), setting(tmp_path, size="full"))
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
    finding = run(until(6), setting(tmp_path))
    assert np.mean(values(finding, "drift/held")) == 5 / 8
    assert np.mean(values(finding, "drift/score")) == pytest.approx((5 * 0.9 + 3 * 0.2) / 8)
    assert values(finding, "drift/slope") == pytest.approx((-52.5 / 42,) * 4)


def test_a_probe_is_asked_of_a_copy_and_leaves_no_trace(tmp_path: Path) -> None:
    actor = until(99)
    run(actor, setting(tmp_path, size="full"), turns=4, conversations=2)
    last = [each.messages[-1].content for each in actor.asked]
    # After 0, 1, 2, 3 and 4 turns, in 4 talks; up to the first turn both users' talks are the same.
    assert sum(text in PROBES for text in last) == 2 + 2 + 3 * 4
    history = {message.content for each in actor.asked for message in each.messages[:-1]}
    assert not history & PROBES
    seeds = {each.seed for each in actor.asked if each.messages[-1].content in PROBES}
    assert len(seeds) == 2  # one per script: what differs between its probes is the history alone


def test_a_probe_shows_what_the_history_has_done(tmp_path: Path) -> None:
    def rule(turn: int, each: Asked) -> str:
        return OUT if each.messages[-1].content in PROBES and turn > 1 else IN

    finding = run(Actor(rule), setting(tmp_path))
    assert values(finding, "drift/probe") == pytest.approx((0.2 - 0.9,) * 4)
    assert np.mean(values(finding, "drift/held")) == 1


def test_probes_stand_at_both_ends_and_the_quarters() -> None:
    assert probed(8, quick=True) == (0, 8)
    assert probed(20) == (0, 5, 10, 15, 20)
    assert probed(2) == (0, 1, 2)


def test_only_who_gives_in_loses_to_the_user_who_pulls(tmp_path: Path) -> None:
    asks = [ask for name in ("witty", "any") for ask in book().pulls[name].asks]

    def yields(_: int, each: Asked) -> str:
        pulled = any(m.content.startswith(ask) for m in each.messages for ask in asks)
        return OUT if pulled and m_last(each) not in PROBES else IN

    def m_last(each: Asked) -> str:
        return each.messages[-1].content

    firm, soft = run(until(99), setting(tmp_path)), run(Actor(yields, "soft"), setting(tmp_path))
    assert values(firm, "drift/pull") == (0.0,) * 4
    assert values(soft, "drift/pull") == pytest.approx((-0.7 * 7 / 8,) * 4)  # turn 1 is the same
    assert set(values(soft, "drift/held")) == {1.0}
    assert values(soft, "drift/lasted/pulled") == (1.0,) * 4


def test_who_says_the_same_at_every_turn_does_not_hold(tmp_path: Path) -> None:
    found = run(Actor(lambda *_: "The same dry remark as ever."), setting(tmp_path))
    assert values(found, "drift/repeats") == (0.0, *[1.0] * 7) * 4
    assert values(found, "drift/held") == (1.0, *[0.0] * 7) * 4
    assert values(found, "drift/score") == (0.9, *[0.0] * 7) * 4


def test_a_second_run_asks_nothing_again(tmp_path: Path) -> None:
    first, second = until(5), until(5)
    found = run(first, setting(tmp_path))
    assert run(second, setting(tmp_path)) == found
    assert first.asked and not second.asked


def test_a_reply_without_a_word_does_not_end_the_conversation(tmp_path: Path) -> None:
    actor = Actor(lambda turn, _: "" if turn == 2 else IN)
    finding = run(actor, setting(tmp_path))
    assert np.mean(values(finding, "drift/held")) == 7 / 8
    assert any(SILENCE in [m.content for m in each.messages] for each in actor.asked)


def test_who_cannot_answer_is_left_out_with_the_reason(tmp_path: Path) -> None:
    def refuse(*_: object) -> str:
        raise UnableError("tape: no reply is recorded.")

    finding = run(Actor(refuse), setting(tmp_path))
    assert finding.missing == ("tape: no reply is recorded.",) and not finding.measures
    stranger = find("witty").model_copy(update={"name": "pirate"})
    assert "pirate" in run(until(9), setting(tmp_path, persona=stranger)).missing[0]


def test_a_local_subject_says_what_it_says_to_the_whole_conversation(tmp_path: Path) -> None:
    base = models.tiny_base()
    base.adapters.create("x", LoraConfig(4, 8), seed=0)
    models.shake(base.adapters, "x")
    sampling = Sampling(max_tokens=5, temperature=1.0)
    subject = LocalSubject("x", base, "x", system_prompt="be dry", scale=0.5)
    here = setting(tmp_path, sampling=sampling)
    plan = Plan(2, (0, 2), Scripted(), sampling)
    some = scenes(here, 2, 1)
    for scene, held in zip(some, hold(subject, here, some, plan), strict=True):
        system = Message(role="system", content="be dry")
        probe = Message(role="user", content=scene.probe)
        asked = [held.messages[:1], held.messages[:3], (probe,), (*held.messages, probe)]
        seeds = [scene.seed * 1000 + place for place in (0, 1, 999, 999)]
        with base.adapters.use("x"), base.adapters.scaled("x", 0.5):
            ids = generate(base, [(system, *each) for each in asked], sampling, seeds=seeds)
        assert [*held.replies, *held.probes] == [base.renderer.decode(each) or SILENCE for each in ids]
    monkey = LocalSubject("x", base, "x", system_prompt="be dry", scale=0.5)
    assert hold(monkey, here, some, plan) == hold(subject, here, some, plan)


def test_every_script_has_a_hundred_turns_that_are_never_said_twice() -> None:
    told = book()
    assert len(told.scripts) >= 16
    for script in told.scripts:
        turns = told.turns(script)
        assert len(turns) >= 100 and len(set(turns)) == len(turns)
        pulled = told.pulled(turns, "witty")
        assert len(set(pulled)) == len(turns) and pulled[0] == turns[0]
        assert all(plain in loud for plain, loud in zip(turns, pulled, strict=True))
        assert all("{" not in text and text[-1] in ".?!" for text in (*turns, *pulled))


def test_questions_are_each_scripts_own_and_another_seed_orders_them_anew() -> None:
    told = book()
    own = [text for script in told.scripts for text in (script.opening, *script.questions)]
    assert len(set(own)) == len(own)
    first, other = told.turns(told.scripts[0]), told.turns(told.scripts[0], seed=1)
    assert first != other and first == told.turns(told.scripts[0])


def test_every_built_in_voice_is_pulled_in_ways_of_its_own() -> None:
    told = book()
    for voice in ("warm", "witty", "direct", "socratic", "calm"):
        assert set(told.pulled(told.turns(told.scripts[0]), voice)) - set(
            told.pulled(told.turns(told.scripts[0]), "somebody")
        )
    with pytest.raises(ValueError, match="must be in it once"):
        Pull(asks=("a",), frames=("no place for a turn",))


def test_more_conversations_than_scripts_are_other_conversations(tmp_path: Path) -> None:
    found = scenes(setting(tmp_path), 5, 20)
    assert len({(scene.unit, scene.manner) for scene in found}) == 40
    assert len({scene.lines for scene in found}) == 40
    with pytest.raises(InputError, match="has 500 turns"):
        scenes(setting(tmp_path), 500, 1)


def test_a_model_may_play_the_user(tmp_path: Path) -> None:
    player = Actor(lambda turn, each: f"question {each.seed}" if turn < 4 else "", "player")
    actor = until(99)
    run(actor, setting(tmp_path), turns=5, conversations=1, user=Played(player))
    longest = max(actor.asked, key=lambda each: len(each.messages)).messages
    said = [message.content for message in longest if message.role == "user"]
    script = {scene.lines for scene in scenes(setting(tmp_path), 5, 1)}
    assert said[0] in {lines[0] for lines in script}
    assert all(text.startswith("question") for text in said[1:3])
    assert said[4] in {lines[4] for lines in script}  # it fell silent, and the script helps out
    roles = [message.role for message in player.asked[-1].messages]
    assert roles[0] == "system" and roles[-1] == "user"
    assert player.asked[-1].messages[-1].content == IN


def results(folder: Path) -> Results:
    subjects = [Actor(lambda *_: OUT, "base"), until(6)]
    findings = [run(subject, setting(folder)) for subject in subjects]
    return compared("witty", ["base", "witty"], findings)


def test_the_sentences_come_from_the_numbers(tmp_path: Path) -> None:
    said = drift.says(results(tmp_path))
    assert said[0].startswith(
        "Over 8 turns with an easy user, witty is heard in the intended voice in 62 %"
    )
    assert "; against base +62 points, +62 to +62)" in said[0]
    assert "it drifts out of the voice" in said[1]
    assert "4 of 4 (half of them by turn 6, 95 % interval 6 to" in said[2]
    assert "changes little in" in said[3] and "0 points" in said[3]


def test_every_measure_and_score_has_a_meaning(tmp_path: Path) -> None:
    scores = results(tmp_path).scores
    assert {score.name for score in scores} <= set(drift.MEANINGS)
    assert {"drift/held", "drift/half_life", "drift/pull"} <= {score.name for score in scores}


def test_the_pictures_are_whole_and_say_what_they_show(tmp_path: Path) -> None:
    found = results(tmp_path)
    again = Results.model_validate(json.loads(found.model_dump_json()))
    figures = drift.figures(again, PAINT)
    assert len(figures) == 5
    titles = [ElementTree.fromstring(each.picture)[0].text or "" for each in figures]
    assert "witty: 90 % at turn 1, 20 % at turn 8" in titles[0]
    assert "witty: 4 of 4 broke" in titles[2]
    assert "base: 20 % to 20 % with an easy user" in titles[4]
    assert drift.figures(compared("witty", ["base"], []), PAINT) == []
    assert drift.says(compared("witty", ["base"], [])) == []


def test_labels_keep_apart_and_within_the_picture() -> None:
    assert apart([50, 52, 51], 10, 0, 100) == [50, 70, 60]
    assert apart([98, 99], 10, 0, 100) == [90, 100]
    assert apart([5.0], 10, 12, 100) == [12]
