"""Experiments as clients see them: a real server, the official client, a real database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from mien.base.model import Base
from mien.data.pairs import Feedback, feedback
from mien.serve.experiments import Experiment, arms, start, stop
from mien.serve.feedback import collected
from mien.serve.keys import Key, Keys
from mien.serve.outcomes import read_out
from mien.serve.settings import Settings
from mien.workspace import Workspace
from tests.serve.gateways import SAMPLING, House, base, expected, serving, stocked, train, wait_for
from tests.serve.serving import held

__all__ = ["base"]

QUICK = Settings(sampling=SAMPLING, refresh=0.02)
VOICES = {"witty": "poet", "calm": "clerk"}
EVEN = arms("witty:0.5,calm:0.5")
SECRET = "my cat is called Ozymandias"


@pytest.fixture(scope="module")
def shop(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """With an experiment that keeps no texts and one that does."""
    workspace = stocked(tmp_path_factory.mktemp("shop"), base)
    start(workspace, "style", EVEN)
    start(workspace, "kept", EVEN, keep_text=True)
    return workspace


@pytest.fixture(scope="module")
def house(base: Base, shop: Workspace) -> Iterator[House]:
    with serving(base, shop, settings=QUICK) as house:
        yield house


def ask(
    house: House, user: str, model: str = "style", text: str = "hello there", **more: Any
) -> openai.types.chat.ChatCompletion:
    messages: Any = [{"role": "user", "content": text}]
    client = house.client(more.pop("key", "none"))
    answer: openai.types.chat.ChatCompletion = client.chat.completions.create(
        model=model, messages=messages, user=user, **more
    )
    return answer


def ended(house: House, user: str, text: str, seed: int) -> openai.types.chat.ChatCompletion:
    """A reply that comes to an end of its own, and not by its length."""
    drawn: dict[str, Any] = {"text": text, "temperature": 2, "seed": seed}
    whole = ask(house, user, "kept", **drawn).choices[0].message.content or ""
    return ask(house, user, "kept", **drawn, stop=whole[4:6])


def say(house: House, reply: Any, kind: str, user: str, **more: Any) -> httpx2.Response:
    body = {"completion_id": getattr(reply, "id", reply), "kind": kind, "user": user} | more
    headers = {"authorization": f"Bearer {body.pop('key')}"} if "key" in body else {}
    return house.http.post("/v1/feedback", json=body, headers=headers)


def someone_of(experiment: Experiment, arm: str, key: str = "") -> str:
    names = (f"user {i}" for i in range(100))
    return next(name for name in names if experiment.arm(experiment.person(key, name)) == arm)


def key(name: str, **limits: int) -> Key:
    return Key(name=name, sha256=hashlib.sha256(f"sk-{name}".encode()).hexdigest(), **limits)


def running(shop: Workspace, name: str = "style") -> Experiment:
    return start(shop, name, EVEN, keep_text=name == "kept")  # the same arms: it goes on


@pytest.mark.parametrize("arm", VOICES)
def test_a_user_is_answered_by_one_arm_which_the_reply_names(
    house: House, base: Base, shop: Workspace, arm: str
) -> None:
    user = someone_of(running(shop), arm)
    for text in ("hello there", "the wind"):
        reply = ask(house, user, text=text)
        assert reply.model == arm
        assert reply.choices[0].message.content == expected(base, VOICES[arm], text)
    assert ask(house, "", extra_body={"user": None, "safety_identifier": user}).model == arm
    messages: Any = [{"role": "user", "content": "hello there"}]
    chunks = list(
        house.client().chat.completions.create(model="style", messages=messages, user=user, stream=True)
    )
    assert {chunk.model for chunk in chunks} == {arm}
    told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert told == expected(base, VOICES[arm], "hello there")


def test_after_a_restart_every_user_meets_the_same_arm(
    base: Base, shop: Workspace, house: House
) -> None:
    users = [*(someone_of(running(shop), arm) for arm in VOICES), "ann", "bob", "eve"]
    before = [ask(house, user).model for user in users]
    assert set(before) == set(VOICES)
    with serving(base, shop) as again:
        assert [ask(again, user).model for user in users] == before


def test_an_experiment_is_listed_without_its_arms(house: House) -> None:
    assert {"style", "kept", "witty"} <= {model.id for model in house.client().models.list()}
    told = house.client().models.retrieve("style").model_dump()
    assert told["owned_by"] == "mien" and "witty" not in str(told)


def test_start_and_stop_are_heard_of_without_a_restart(base: Base, tmp_path: Path) -> None:
    shop = Workspace.open(tmp_path / "shop")
    train(shop, base, "calm-1", "calm", "clerk", 1)
    with serving(base, shop, settings=QUICK) as house:
        with pytest.raises(openai.NotFoundError):
            ask(house, "ann", "new")
        start(shop, "new", arms("calm:1"))
        wait_for(lambda: "new" in house.gateway.trials.running)
        reply = ask(house, "ann", "new")
        start(shop, "new", arms("base:1"))
        wait_for(lambda: house.gateway.trials.running["new"].epoch == 2)
        assert ask(house, "ann", "new").model == "base"
        stop(shop, "new")
        wait_for(lambda: "new" not in house.gateway.trials.running)
        with pytest.raises(openai.NotFoundError):
            ask(house, "ann", "new")
        assert say(house, reply, "thumb_up", "ann").status_code == 200  # of an epoch that is over


def test_a_model_that_comes_to_have_the_name_is_the_one_that_is_meant(
    base: Base, tmp_path: Path
) -> None:
    shop = Workspace.open(tmp_path / "shop")
    train(shop, base, "calm-1", "calm", "clerk", 1)
    start(shop, "witty", arms("calm:1"))
    with serving(base, shop, settings=QUICK) as house:
        assert ask(house, "ann", "witty").model == "calm"
        train(shop, base, "witty-1", "witty", "poet", 2)
        wait_for(lambda: "witty" in house.gateway.catalogue.models)
        reply = ask(house, "ann", "witty")
        assert reply.choices[0].message.content == expected(base, "poet", "hello there")


@pytest.mark.parametrize("user", [None, "", 7, ["ann"], "x" * 513])
def test_whoever_does_not_say_for_which_user_is_refused(house: House, user: Any) -> None:
    body = {"model": "style", "messages": [{"role": "user", "content": "x"}], "user": user}
    answer = house.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("user_needed", "user")


def test_half_a_character_in_a_name_is_a_name_all_the_same(house: House) -> None:
    body = b'{"model": "style", "messages": [{"role": "user", "content": "x"}], "user": "\\ud800"}'
    headers = {"content-type": "application/json"}
    assert house.http.post("/v1/chat/completions", content=body, headers=headers).status_code == 200


def test_texts_are_not_continued_by_an_experiment(house: House) -> None:
    answer = house.http.post("/v1/completions", json={"model": "style", "prompt": "x", "user": "ann"})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "unsupported"
    assert "only `/v1/chat/completions`" in answer.json()["error"]["message"]


def test_what_users_do_is_told_of_by_arm(base: Base, shop: Workspace, house: House) -> None:
    experiment = start(shop, "told", EVEN)
    wait_for(lambda: "told" in house.gateway.trials.running)
    witty, calm = (someone_of(experiment, arm) for arm in VOICES)
    first, second = ask(house, witty, "told"), ask(house, witty, "told", n=2, temperature=2)
    thumb = {"completion_id": first.id, "kind": "thumb_down", "user": witty}
    answer: Any = house.client().post("/feedback", cast_to=object, body=thumb)
    assert answer["object"] == "feedback" and answer["completion_id"] == first.id
    assert say(house, first, "thumb_up", witty).status_code == 200  # thought better of it
    assert say(house, first, "regenerate", witty, replaced_by=second.id).status_code == 200
    assert say(house, second, "edit", witty, other="Better so.", index=1).status_code == 200
    assert say(house, ask(house, calm, "told"), "thumb_down", calm).status_code == 200
    told = {side.arm: side for side in read_out(shop, experiment).arms}
    assert (told["witty"].users, told["witty"].replies, told["calm"].replies) == (1, 3, 1)
    values = {name: round(3 * score.value) for name, score in told["witty"].scores.items()}
    assert values == {"thumbs_up": 3, "regenerated": 1, "edited": 1}
    assert told["calm"].scores["thumbs_up"].value == 0
    fingerprints = [side.versions for side in told.values()]
    assert all(len(each) == 1 for each in fingerprints) and fingerprints[0] != fingerprints[1]


def test_another_server_of_the_workspace_takes_it_too(base: Base, shop: Workspace, house: House) -> None:
    reply = ask(house, "ann")
    with serving(base, shop) as other:
        assert say(other, reply, "thumb_up", "ann").status_code == 200


def test_a_thumb_may_come_before_the_reply_has_ended(house: House) -> None:
    gate, _ = held(house.engine)
    body = {"model": "style", "messages": [{"role": "user", "content": "x"}], "user": "ann"}
    with house.http.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as answer:
        lines = answer.iter_lines()
        chunk = json.loads(next(lines).removeprefix("data: "))
        assert say(house, chunk["id"], "thumb_up", "ann").status_code == 200
        gate.opened.set()
        assert [line for line in lines if line][-1] == "data: [DONE]"


BAD: list[tuple[dict[str, Any], int, str | None]] = [
    ({"kind": "thumb"}, 422, "kind"),
    ({"kind": None}, 422, "kind"),
    ({"user": ""}, 422, "user"),
    ({"user": 7}, 422, "user"),
    ({"user": "bob"}, 404, "completion_id"),
    ({"completion_id": "chatcmpl-0"}, 404, "completion_id"),
    ({"completion_id": "' or 1=1 --"}, 404, "completion_id"),
    ({"completion_id": "\ud800"}, 422, "completion_id"),
    ({"index": 1}, 400, "index"),
    ({"index": -1}, 422, "index"),
    ({"index": 10**30}, 400, "index"),
    ({"kind": "edit"}, 422, None),
    ({"kind": "edit", "other": ""}, 422, "other"),
    ({"other": "x"}, 422, None),
    ({"replaced_by": "x"}, 422, None),
    ({"kind": "regenerate", "other": "x", "replaced_by": "x"}, 422, None),
    ({"kind": "regenerate", "replaced_by": "x"}, 404, "replaced_by"),
    ({"comment": "x"}, 422, "comment"),
]


@pytest.mark.parametrize(("change", "status", "param"), BAD)
def test_feedback_that_is_none_is_refused_with_its_reason(
    house: House, change: dict[str, Any], status: int, param: str | None
) -> None:
    whole = {"completion_id": ask(house, "ann").id, "kind": "thumb_up", "user": "ann"} | change
    content = json.dumps(whole).encode()
    answer = house.http.post(
        "/v1/feedback", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert param is None or error["param"] == param


def test_a_reply_does_not_come_instead_of_itself(house: House) -> None:
    reply = ask(house, "ann")
    answer = say(house, reply, "regenerate", "ann", replaced_by=reply.id)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "replaced_by"


def test_a_user_is_one_of_the_key_that_asks(base: Base, shop: Workspace) -> None:
    keys = Keys([key("web"), key("app"), key("few", requests_per_minute=2)])
    user = someone_of(running(shop), "witty", key="web")
    with serving(base, shop, keys=keys) as house:
        reply = ask(house, user, key="sk-web")
        assert reply.model == "witty"
        assert say(house, reply, "thumb_up", user).status_code == 401
        assert say(house, reply, "thumb_up", user, key="sk-app").status_code == 404
        assert say(house, reply, "thumb_up", user, key="sk-web").status_code == 200
        mine = ask(house, "ann", key="sk-few")
        assert say(house, mine, "thumb_up", "ann", key="sk-few").status_code == 200
        refused = say(house, mine, "thumb_up", "ann", key="sk-few")
        assert refused.status_code == 429 and "retry-after" in refused.headers


def test_nobodys_words_and_names_are_kept_unless_that_was_asked_for(
    shop: Workspace, house: House
) -> None:
    def on_disk(text: str) -> bool:
        return any(text.encode() in path.read_bytes() for path in shop.root.glob("mien.db*"))

    reply = ask(house, "ann@example.org", text=SECRET)
    assert say(house, reply, "edit", "ann@example.org", other=f"{SECRET}!").status_code == 200
    house.until_idle()
    assert on_disk(reply.id)
    assert not on_disk("Ozymandias") and not on_disk("ann@example")
    assert collected(shop, "style")[0] == []
    ask(house, "ann@example.org", "kept", SECRET)
    wait_for(lambda: on_disk("Ozymandias"))
    assert not on_disk("ann@example")


def test_what_was_kept_becomes_preferences(base: Base, shop: Workspace, house: House) -> None:
    experiment = running(shop, "kept")
    user = someone_of(experiment, "witty")
    first = ended(house, user, "tell me", seed=1)
    second = ended(house, user, "tell me", seed=2)
    third = ended(house, user, "the wind", seed=3)
    texts = [each.choices[0].message.content or "" for each in (first, second, third)]
    endless = ask(house, user, "kept")
    assert endless.choices[0].finish_reason == "length"
    say(house, endless, "thumb_up", user)
    assert all(texts) and texts[0] != texts[1]
    say(house, first, "thumb_down", user)
    say(house, second, "thumb_up", user)
    say(house, first, "regenerate", user, replaced_by=second.id)
    say(house, third, "edit", user, other="The wind blows.")
    say(house, third, "regenerate", user)
    house.until_idle()
    rows, dropped = collected(shop, "kept", arm="witty")
    assert dropped == {
        "the other text is not known": 1,
        "the reply is empty or was cut short": 1,
    }
    assert {row.user for row in rows} == {experiment.person("", user)}
    assert [message.content for message in rows[0].prompt] == ["tell me"]
    pairs = {
        (each.source, each.chosen[0].content, each.rejected[0].content)
        for each in feedback(rows)
        if not isinstance(each, tuple)
    }
    assert pairs == {
        ("feedback/thumbs", texts[1], texts[0]),
        ("feedback/regenerate", texts[1], texts[0]),
        ("feedback/edit", "The wind blows.", texts[2]),
    }
    assert collected(shop, "kept", arm="calm")[0] == []
    assert all(Feedback.model_validate_json(row.model_dump_json()) == row for row in rows)


def test_what_cannot_be_written_down_is_refused_until_it_can(base: Base, tmp_path: Path) -> None:
    shop = Workspace.open(tmp_path / "shop")
    train(shop, base, "calm-1", "calm", "clerk", 1)
    start(shop, "style", arms("calm:1"))
    with closing(shop.database()) as db, serving(base, shop) as house:
        db.execute("alter table answer rename to gone")
        with pytest.raises(openai.InternalServerError) as caught:
            ask(house, "ann")
        assert caught.value.status_code == 503 and caught.value.response.headers["retry-after"] == "5"
        db.execute("alter table gone rename to answer")
        assert ask(house, "ann").model == "calm"
        house.until_idle()
