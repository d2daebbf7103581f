"""The gateway as its clients see it: a real server, the official client, a tiny real model."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import openai
import pytest

from mien.base.model import Base
from mien.decode.choose import Likely
from mien.decode.request import Event
from mien.decode.rows import Row
from mien.persona.spec import library
from mien.registry.cards import newest
from mien.serve.settings import Settings
from mien.workspace import Workspace
from tests.serve.gateways import (
    SAMPLING,
    House,
    base,
    expected,
    house,
    logged,
    rendered,
    serving,
    shop,
    train,
    wait_for,
)
from tests.serve.serving import held

__all__ = ["base", "house", "shop"]


def ask(house: House, model: str, text: str = "hello there", **more: object) -> str:
    messages = [{"role": "user", "content": text}]
    reply = house.client().chat.completions.create(model=model, messages=messages, **more)  # type: ignore[call-overload]
    said: str = reply.choices[0].message.content
    return said


def test_a_name_stands_for_the_newest_adapter_and_a_version_for_its_own(
    house: House, base: Base, shop: Workspace
) -> None:
    digest = json.loads((shop.runs / "witty-1" / "manifest.json").read_text())["adapter_hash"]
    heard = {name: expected(base, name, "hello there") for name in (None, "captain", "poet", "clerk")}
    assert len(set(heard.values())) == 4
    assert ask(house, "base") == ask(house, "tiny") == heard[None]
    assert ask(house, "witty") == ask(house, "witty@witty-2") == heard["poet"]
    assert ask(house, "witty@witty-1") == ask(house, f"witty@{digest[:8]}") == heard["captain"]
    assert ask(house, "calm") == ask(house, "calm-1") == heard["clerk"]


def test_a_persona_by_its_prompt_alone_is_the_bare_base_under_it(house: House, base: Base) -> None:
    calm = library()["calm"].system_prompt.strip()
    heard = ask(house, "calm:prompt")
    assert heard == expected(base, None, "hello there", calm)
    assert heard not in (ask(house, "base"), ask(house, "calm"))
    own = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    reply = house.client().chat.completions.create(model="calm:prompt", messages=own)  # type: ignore[arg-type]
    wanted = expected(base, None, "hello", f"{calm}\n\nBe brief.")
    assert reply.choices[0].message.content == wanted


def test_what_a_reply_tells(house: House, base: Base, shop: Workspace) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "!"}]},
    ]
    raw = house.client().chat.completions.with_raw_response.create(
        model="witty",
        messages=messages,  # type: ignore[arg-type]
        extra_headers={"X-Request-Id": "mine-1"},
    )
    reply = raw.parse()
    assert raw.headers["x-request-id"] == "mine-1"
    assert reply.object == "chat.completion" and reply.model == "witty"
    assert reply.choices[0].message.content == expected(base, "poet", "hello!", "Be brief.")
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == len(rendered(base, "hello!", "Be brief."))
    assert reply.usage.completion_tokens == 8
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 8
    digest = newest(shop, "witty").adapter_hash
    assert reply.system_fingerprint == f"{base.files.sha256[:12]}-{digest[:12]}"
    assert house.client().models.retrieve("witty").model_dump()["version"] == digest
    assert ask(house, f"witty@{digest[:12]}") == ask(house, "witty")


def test_a_stream_joins_to_the_whole_and_ends_with_its_usage(house: House, base: Base) -> None:
    chunks = list(
        house.client().chat.completions.create(
            model="calm",
            messages=[{"role": "user", "content": "the wind"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert len([piece for piece in pieces if piece]) > 2
    assert "".join(pieces) == expected(base, "clerk", "the wind")
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:-1]] == ["length"]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 8
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_done(house: House) -> None:
    body = {"model": "base", "messages": [{"role": "user", "content": "x"}], "stream": True}
    answer = house.http.post("/v1/chat/completions", json=body)
    events = answer.text.strip().split("\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events[-1] == "data: [DONE]"
    assert all(json.loads(event.removeprefix("data: "))["choices"] for event in events[:-1])


def test_personas_asked_at_once_say_what_each_says_alone(house: House, base: Base) -> None:
    voices = {"base": None, "witty": "poet", "witty@witty-1": "captain", "calm": "clerk"}
    asked = [(model, f"hello {i}") for i in range(3) for model in voices]
    with ThreadPoolExecutor(8) as pool:
        heard = list(pool.map(lambda pair: ask(house, *pair), asked))
    assert heard == [expected(base, voices[model], text) for model, text in asked]


def test_several_replies_differ_by_seed_and_a_seed_repeats_them(house: House) -> None:
    def replies(seed: int, n: int) -> list[str | None]:
        answer = house.client().chat.completions.create(
            model="witty", messages=[{"role": "user", "content": "x"}], n=n, seed=seed, temperature=2
        )
        assert answer.usage is not None and answer.usage.completion_tokens <= 8 * n
        assert [choice.index for choice in answer.choices] == list(range(n))
        return [choice.message.content for choice in answer.choices]

    first = replies(7, 3)
    assert len(set(first)) == 3
    assert replies(8, 2) == first[1:]


def test_a_stop_text_ends_a_reply_and_is_no_part_of_it(house: House, base: Base) -> None:
    whole = expected(base, None, "hello there")
    stop = whole[4:6]
    wanted = whole[: whole.index(stop)].rstrip()
    assert ask(house, "base", stop=["never said", stop]) == wanted
    chunks = house.client().chat.completions.create(
        model="base", messages=[{"role": "user", "content": "hello there"}], stop=stop, stream=True
    )
    seen = [(chunk.choices[0].delta.content or "", chunk.choices[0].finish_reason) for chunk in chunks]
    assert "".join(text for text, _ in seen) == wanted
    assert seen[-1][1] == "stop"


def test_log_probabilities_come_with_their_tokens(house: House) -> None:
    answer = house.client().chat.completions.create(
        model="witty",
        messages=[{"role": "user", "content": "x"}],
        logprobs=True,
        top_logprobs=2,
        max_tokens=3,
    )
    told = answer.choices[0].logprobs
    assert told is not None and told.content is not None and len(told.content) == 3
    for row in told.content:
        assert len(row.top_logprobs) == 2
        assert row.logprob == row.top_logprobs[0].logprob < 0  # greedy: the likeliest was taken
    pieces = house.client().completions.create(
        model="witty", prompt="x", logprobs=1, max_tokens=3, stream=True
    )
    rows = [piece.choices[0].logprobs for piece in pieces if piece.choices[0].logprobs]
    assert [len(row.tokens or ()) for row in rows] == [1, 1, 1]


def test_a_text_is_continued_as_it_is(house: House, base: Base) -> None:
    ids = base.renderer.text("the ship")
    answer = house.client().completions.create(
        model="calm", prompt=[ids, base.renderer.text("hello")], max_tokens=4
    )
    alone = house.client().completions.create(model="calm", prompt="the ship", max_tokens=4)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].text == alone.choices[0].text
    assert alone.usage is not None and alone.usage.prompt_tokens == len(ids)


def test_the_models_are_listed_with_root_and_parent(house: House) -> None:
    cards = {card.id: card.model_dump() for card in house.client().models.list()}
    assert {"base", "witty", "witty:prompt", "calm", "witty@witty-1", "warm:prompt"} <= set(cards)
    assert "warm" not in cards
    assert (cards["base"]["root"], cards["base"]["parent"]) == ("tiny", None)
    assert (cards["witty"]["root"], cards["witty"]["parent"]) == ("witty-2", "tiny")
    assert cards["witty"]["title"] == "Dry and witty"
    assert house.client().models.retrieve("witty@witty-1").model_dump()["root"] == "witty-1"


def test_a_prompt_counts_once_however_many_replies_it_has(house: House) -> None:
    prompts = ["No ship leaves before 9 in the morning.", "Zu früh! Der Wind ist fort, und Ebbe ist."]

    def usage(n: int) -> tuple[int, int]:
        answer = house.client().completions.create(model="calm", prompt=prompts, max_tokens=2, n=n)
        assert answer.usage and answer.usage.prompt_tokens_details
        return answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens or 0

    usage(1)
    assert usage(1) == usage(3)
    assert 0 < usage(3)[1] < usage(3)[0]


def test_an_error_that_nobody_foresaw_is_told_at_the_end_of_a_stream_and_in_the_log(
    base: Base, shop: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take = Row.take

    def falls(row: Row, token: int, likely: Likely | None) -> list[Event]:
        if len(row.hand.said) == 3:
            raise RuntimeError("this device is no more")
        return take(row, token, likely)

    monkeypatch.setattr(Row, "take", falls)
    body = {"model": "base", "messages": [{"role": "user", "content": "x"}], "stream": True}
    headers = {"x-request-id": "mine-2"}
    with caplog.at_level("INFO", "mien.serve"), serving(base, shop) as house:
        answer = house.http.post("/v1/chat/completions", json=body, headers=headers)
        house.until_idle()
        assert house.metric('mien_requests_total{model="base",status="200"}') == 1
        assert house.metric('mien_reply_tokens_total{model="base"}') == 3
    events = answer.text.strip().split("\n\n")
    told = json.loads(events[-2].removeprefix("data: "))["error"]
    assert (told["code"], events[-1]) == ("internal_error", "data: [DONE]")
    assert "device" not in answer.text
    assert logged(caplog, "failed", answer) == {"request_id": "mine-2"}
    (trace,) = [each.exc_info for each in caplog.records if each.getMessage() == "failed"]
    assert trace and "no more" in str(trace[1])
    line = logged(caplog, "request", answer)
    assert (line["status"], line["error"], line["completion_tokens"]) == (200, "internal_error", 3)


def test_what_was_said_before_a_client_left_is_counted(
    base: Base, shop: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(base.renderer, "stop_ids", frozenset())
    body = {"model": "base", "prompt": "x", "max_tokens": 1000, "stream": True}
    with caplog.at_level("INFO", "mien.serve"), serving(base, shop, slots=1) as house:
        with house.http.stream("POST", "/v1/completions", json=body) as answer:
            events = (line for line in answer.iter_lines() if line)
            for _ in range(3):
                next(events)
        house.until_idle()
        counted = house.metric('mien_reply_tokens_total{model="base"}')
        assert house.metric('mien_queue_seconds_count{model="base"}') == 1
    line = logged(caplog, "request", answer)
    assert line["status"] == 499 and line["completion_tokens"] == counted >= 3


def test_who_gave_up_in_the_queue_is_among_the_figures_of_the_queue(base: Base, shop: Workspace) -> None:
    body = {"model": "base", "prompt": "x", "max_tokens": 2}
    with serving(base, shop, slots=1) as house:
        gate, _ = held(house.engine)  # has the only slot
        with pytest.raises(httpx2.ReadTimeout):
            house.http.post("/v1/completions", json=body, timeout=0.2)
        gate.opened.set()
        house.until_idle()
        assert house.metric('mien_queue_seconds_count{model="base"}') == 1
        assert house.metric('mien_queue_seconds_sum{model="base"}') > 0.1
        assert house.metric('mien_queue_seconds_bucket{le="100.0",model="base"}') == 1


def test_figures_tell_who_asked_for_no_model_from_who_named_none_that_there_is(
    base: Base, shop: Workspace
) -> None:
    with serving(base, shop) as house:
        house.client().models.list()
        with pytest.raises(openai.NotFoundError):
            ask(house, "nobody")
        assert house.metric('mien_requests_total{model="",status="200"}') == 1
        assert house.metric('mien_requests_total{model="unknown",status="404"}') == 1
        assert house.metric('mien_requests_total{model="unknown",status="200"}') == 0


def test_a_client_that_leaves_frees_its_slot(
    base: Base, shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base.renderer, "stop_ids", frozenset())  # so that it talks to the end
    body = {"model": "base", "prompt": "x", "max_tokens": 1000, "stream": True}
    with serving(base, shop, slots=1) as house:
        with house.http.stream("POST", "/v1/completions", json=body) as answer:
            next(answer.iter_lines())
        house.until_idle()
        with pytest.raises(httpx2.ReadTimeout):
            house.http.post("/v1/completions", json=body | {"stream": False}, timeout=0.05)
        house.until_idle()
        assert house.engine.figures().ended == {"cancelled": 2}
        assert house.metric('mien_requests_total{model="base",status="499"}') == 2


def test_a_request_that_takes_too_long_is_given_up(base: Base, shop: Workspace) -> None:
    hasty = Settings(sampling=SAMPLING, timeout=0.05)
    with serving(base, shop, settings=hasty) as house:
        gate, _ = held(house.engine)
        with pytest.raises(openai.InternalServerError, match="took too long") as caught:
            ask(house, "base")
        assert caught.value.status_code == 503 and caught.value.response.headers["retry-after"] == "5"
        body = {"model": "base", "messages": [{"role": "user", "content": "x"}], "stream": True}
        events = house.http.post("/v1/chat/completions", json=body).text.strip().split("\n\n")
        gate.opened.set()
        assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "timeout"
        assert events[-1] == "data: [DONE]"
        house.until_idle()


def test_a_full_queue_says_when_to_come_back(base: Base, shop: Workspace) -> None:
    with serving(base, shop, slots=1, waiting=1) as house:
        gate, _ = held(house.engine)
        with pytest.raises(openai.InternalServerError) as caught:
            ask(house, "base", n=2)
        gate.opened.set()
        assert caught.value.status_code == 503
        assert caught.value.response.headers["retry-after"] == "1"
        assert caught.value.response.json()["error"]["code"] == "overloaded"
        house.until_idle()
        assert ask(house, "base", n=2)


def test_what_could_never_be_taken_is_refused_for_good(base: Base, shop: Workspace) -> None:
    with serving(base, shop, slots=2, waiting=3) as house:
        with pytest.raises(openai.BadRequestError, match="6 replies are more than the 5"):
            house.client().completions.create(model="base", prompt=["a", "b", "c"], n=2)
        house.until_idle()
        reply = house.client().completions.create(model="base", prompt=["a"] * 5, max_tokens=2)
        assert len(reply.choices) == 5


def test_few_places_in_memory_serve_many_adapters(base: Base, shop: Workspace) -> None:
    with serving(base, shop, resident=1) as house:
        for _ in range(2):
            assert ask(house, "witty") == expected(base, "poet", "hello there")
            assert ask(house, "calm") == expected(base, "clerk", "hello there")
            assert set(house.engine.loaded) == {"calm-1"}


def test_a_new_run_is_served_without_a_restart(base: Base, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "shop")
    train(workspace, base, "calm-1", "calm", "clerk", 1)
    with serving(base, workspace, settings=Settings(sampling=SAMPLING, refresh=0.02)) as house:
        assert ask(house, "calm") == expected(base, "clerk", "hello there")
        train(workspace, base, "calm-2", "calm", "sage", 2)
        wait_for(lambda: house.gateway.catalogue.find("calm").id == "calm" and _run(house) == "calm-2")
        assert ask(house, "calm") == expected(base, "sage", "hello there")


def test_a_persona_of_which_there_are_only_imports_is_served_by_their_names(
    base: Base, tmp_path: Path
) -> None:
    workspace = Workspace.open(tmp_path / "shop")
    train(workspace, base, "calm-import-1", "calm", "clerk", 1, stage="import")
    train(workspace, base, "calm-import-2", "calm", "sage", 2, stage="import")
    with serving(base, workspace) as house:
        assert ask(house, "calm-import-1") == expected(base, "clerk", "hello there")
        assert ask(house, "calm@calm-import-2") == expected(base, "sage", "hello there")
        with pytest.raises(openai.NotFoundError):
            ask(house, "calm")


def _run(house: House) -> str:
    card = house.gateway.catalogue.find("calm").card
    return card.run if card else ""


def test_an_adapter_that_is_not_what_its_card_says_is_not_served(base: Base, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "shop")
    train(workspace, base, "calm-1", "calm", "clerk", 1)
    base.adapters.save("sage", workspace.runs / "calm-1" / "adapter", base="tiny")
    with serving(base, workspace) as house:
        with pytest.raises(openai.InternalServerError) as caught:
            ask(house, "calm")
        assert caught.value.status_code == 503
        assert str(workspace.root) not in caught.value.response.text
        assert ask(house, "base") == expected(base, None, "hello there")


def test_health_and_figures(base: Base, shop: Workspace) -> None:
    with serving(base, shop) as house:
        ask(house, "witty")
        assert house.http.get("/health").json() == {"status": "ok", "running": 0, "waiting": 0}
        assert house.metric("mien_up") == 1
        assert house.metric("mien_adapters_resident") == 1
        assert house.metric('mien_reply_tokens_total{model="witty"}') == 8
        assert house.metric('mien_requests_total{model="witty",status="200"}') == 1
        assert house.metric('mien_first_token_seconds_count{model="witty"}') == 1
        assert house.metric('mien_between_tokens_seconds_count{model="witty"}') == 7
        assert house.metric('mien_queue_seconds_count{model="witty"}') == 1
        house.engine.close()
        assert house.http.get("/health").status_code == 503
        with pytest.raises(openai.InternalServerError) as caught:
            ask(house, "witty")
        assert caught.value.status_code == 503


def test_while_it_drains_new_requests_are_refused(base: Base, shop: Workspace) -> None:
    with serving(base, shop) as house:
        house.gateway.door.draining = True
        house.gateway.door.inflight += 1  # one that is still being answered
        with pytest.raises(openai.InternalServerError) as caught:
            ask(house, "base")
        assert caught.value.status_code == 503
        assert caught.value.response.headers["retry-after"] == "5"
        assert house.http.get("/health").json()["status"] == "draining"
