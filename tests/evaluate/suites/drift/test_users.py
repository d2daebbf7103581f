"""Who talks: scripts without repetitions, pulling the other way, and a model that plays the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.chat import Sampling
from mien.decode.generate import generate
from mien.decode.talk import recent
from mien.errors import InputError
from mien.evaluate.subject import LocalSubject
from mien.evaluate.suites.drift.suite import run
from mien.evaluate.suites.drift.users import Played, Pull, book, check_turns, scenes
from mien.schema import Message, conversation
from tests import models
from tests.evaluate.suites.drift.acting import IN, Actor, setting, until


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


def test_as_many_turns_as_every_script_has_may_be_asked_for() -> None:
    most = min(len(book().turns(script)) for script in book().scripts)
    check_turns(most)
    for turns in (1, most + 1):
        with pytest.raises(InputError, match=f"has {turns} turns"):
            check_turns(turns)


def test_a_model_may_play_the_user(tmp_path: Path) -> None:
    player = Actor(lambda turn, each: f"question {each.seed}" if turn < 4 else "", "player")
    actor = until(99)
    run(actor, setting(tmp_path, turns=5, user=player))
    longest = max(actor.asked, key=lambda each: len(each.messages)).messages
    said = [message.content for message in longest if message.role == "user"]
    script = {scene.lines for scene in scenes(setting(tmp_path), 5, 4)}
    assert said[0] in {lines[0] for lines in script}
    assert all(text.startswith("question") for text in said[1:3])
    assert said[4] in {lines[4] for lines in script}  # it fell silent, and the script helps out
    roles = [message.role for message in player.asked[-1].messages]
    assert roles[0] == "system" and roles[-1] == "user"
    assert player.asked[-1].messages[-1].content == IN


def test_the_base_plays_the_user_as_if_it_read_the_whole_conversation_each_time(tmp_path: Path) -> None:
    base, sampling = models.tiny_base(), Sampling(max_tokens=5, temperature=1.0)
    (scene, _), here = scenes(setting(tmp_path), 3, 1), setting(tmp_path)
    say = Played(LocalSubject("user", base), sampling).begin(here)
    history: list[Message] = []
    for turn in range(3):
        (said,) = say([scene], [history])
        if turn == 0:
            assert said == scene.lines[0]
        else:
            roles = {"user": "assistant", "assistant": "user"}
            told = book().played["neutral"].replace("{opening}", scene.lines[0])
            turned = [Message(role=roles[each.role], content=each.content) for each in history]
            opening = (Message(role="system", content=told), *conversation("How can I help?"))
            asked = recent(base, [*opening, *turned], sampling.max_tokens)
            (ids,) = generate(base, [asked], sampling, seeds=[scene.seed + len(history)])
            assert said == (base.renderer.decode(ids).strip() or scene.lines[turn])
        history += [Message(role="user", content=said), Message(role="assistant", content="the ship")]
