"""Other servers as a backend, as clients of the gateway see it; the other side is a stub of vLLM."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from mien.base.lora import CONFIG
from mien.base.model import Base
from mien.persona.spec import library
from mien.registry.cards import newest
from mien.registry.vllm import version_name
from mien.serve.dialects import Call, OpenAI
from mien.serve.remote import Remote, Reply
from mien.serve.settings import Settings
from mien.serve.upstream import Probe, Upstream
from mien.workspace import Workspace
from tests.serve.gateways import SAMPLING, base, rendered, shop, train, wait_for
from tests.serve.remotes import Front, before_vllm
from tests.serve.stub_vllm import Stub, running

__all__ = ["base", "shop"]
HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def pair(base: Base, shop: Workspace) -> Iterator[tuple[Stub, Front]]:
    with running(Stub()) as stub, before_vllm([stub.url], base, shop) as front:
        yield stub, front


@pytest.fixture
def stub(pair: tuple[Stub, Front]) -> Stub:
    pair[0].reset()
    return pair[0]


@pytest.fixture
def front(pair: tuple[Stub, Front]) -> Front:
    """A gateway before the stub, to which some adapters may have been brought already."""
    return pair[1]


@pytest.fixture
def bare() -> Iterator[Stub]:
    """A stub without adapters."""
    with running(Stub()) as stub:
        yield stub


def ask(front: Front, model: str, **more: Any) -> str:
    reply = front.client().chat.completions.create(model=model, messages=HELLO, **more)  # type: ignore[call-overload]
    said: str = reply.choices[0].message.content
    return said


def name_of(shop: Workspace, model: str) -> str:
    return version_name(newest(shop, model))


def events(front: Front, model: str, **more: Any) -> list[Any]:
    """What is streamed; the last, `[DONE]`, as text."""
    body = {"model": model, "messages": HELLO, "stream": True, **more}
    lines = front.http.post("/v1/chat/completions", json=body).text.strip().split("\n\n")
    told = [line.removeprefix("data: ") for line in lines]
    return [*map(json.loads, told[:-1]), told[-1]]


def test_a_version_answers_by_the_tokens_of_our_renderer_under_a_name_of_its_hash(
    front: Front, stub: Stub, base: Base, shop: Workspace
) -> None:
    ids = rendered(base, "hello there")
    assert ask(front, "witty", seed=5) == f"witty-2 heard {len(ids)} with seed 5"
    (asked,) = stub.asked
    assert asked["path"] == "/v1/completions" and asked["prompt"] == ids
    digest = newest(shop, "witty").adapter_hash
    assert asked["model"] == name_of(shop, "witty") == f"witty-2-{digest[:12]}"
    assert asked["stop_token_ids"] == sorted(base.renderer.stop_ids)
    assert ask(front, "witty@witty-1").startswith("witty-1 heard")
    assert ask(front, "base").startswith("tiny heard")
    assert stub.asked[1]["model"] == name_of(shop, "witty-1")


def test_a_persona_by_its_prompt_alone_is_the_base_under_it(
    front: Front, stub: Stub, base: Base
) -> None:
    assert ask(front, "calm:prompt").startswith("tiny heard")
    assert stub.asked[0]["prompt"] == rendered(
        base, "hello there", library()["calm"].system_prompt.strip()
    )


def test_what_a_reply_tells(front: Front, base: Base, shop: Workspace) -> None:
    reply = front.client().chat.completions.create(model="witty", messages=HELLO, seed=1)  # type: ignore[arg-type]
    card = newest(shop, "witty")
    assert reply.system_fingerprint == f"{base.files.sha256[:12]}-{card.adapter_hash[:12]}"
    assert reply.choices[0].finish_reason == "stop" and reply.usage
    told = len(rendered(base, "hello there"))
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (told, 6)  # without the mark
    assert reply.usage.prompt_tokens_details and reply.usage.prompt_tokens_details.cached_tokens == 3
    cut = front.client().chat.completions.create(model="witty", messages=HELLO, max_tokens=2)  # type: ignore[arg-type]
    assert cut.choices[0].finish_reason == "length" and cut.choices[0].message.content == "witty-2 heard"
    assert cut.usage and cut.usage.completion_tokens == 2


def test_a_stream_comes_word_by_word_and_ends_with_its_usage(front: Front, base: Base) -> None:
    told = events(front, "calm", seed=3, stream_options={"include_usage": True})
    pieces = [each["choices"][0]["delta"].get("content") for each in told[1:-2]]
    words = len(rendered(base, "hello there"))
    assert "".join(piece or "" for piece in pieces) == f"calm-1 heard {words} with seed 3"
    assert len(pieces) > 5
    assert told[-2]["usage"]["completion_tokens"] == 6 and told[-1] == "[DONE]"


def test_what_is_asked_for_is_passed_on(front: Front, stub: Stub) -> None:
    sampling = {"temperature": 0.3, "top_p": 0.8, "stop": ["x", "y"], "seed": 7, "n": 3, "max_tokens": 8}
    more = {"extra_body": {"top_k": 9, "repetition_penalty": 1.2}, "logprobs": True, "top_logprobs": 1}
    reply = front.client().chat.completions.create(model="base", messages=HELLO, **sampling, **more)  # type: ignore[call-overload]
    assert [choice.message.content[-1] for choice in reply.choices] == ["7", "8", "9"]  # seeds
    wanted = {"temperature": 0.3, "top_p": 0.8, "top_k": 9, "repetition_penalty": 1.2, "max_tokens": 8}
    assert stub.asked[0] | wanted | {"stop": ["x", "y"], "logprobs": 1} == stub.asked[0]
    rows = reply.choices[2].logprobs.content
    assert [row.token for row in rows][:2] == ["tiny", " heard"] and len(rows) == 6  # without the mark
    assert rows[0].logprob == rows[0].top_logprobs[0].logprob == -0.5 and len(rows[0].top_logprobs) == 1
    assert reply.usage.prompt_tokens == len(stub.asked[0]["prompt"])  # once for all choices
    schema = {"type": "object"}
    named = {"type": "json_schema", "json_schema": {"name": "mine", "schema": schema}}
    ask(front, "base", extra_body={"top_k": 0}, response_format=named)
    assert stub.asked[-1]["top_k"] == -1
    assert stub.asked[-1]["response_format"]["json_schema"]["schema"] == schema


def test_texts_and_token_ids_are_continued(front: Front, stub: Stub, base: Base) -> None:
    reply = front.client().completions.create(model="base", prompt=["the ship", "a"], seed=0)
    assert [choice.text[:10] for choice in reply.choices] == ["tiny heard", "tiny heard"]
    assert stub.asked[0]["prompt"] == base.renderer.text("the ship")
    front.client().completions.create(model="base", prompt=[5, 6, 7])
    assert stub.asked[-1]["prompt"] == [5, 6, 7]


def test_what_does_not_fit_the_servers_context_is_refused_here(base: Base, shop: Workspace) -> None:
    with running(Stub(longest=40)) as stub, before_vllm([stub.url], base, shop) as front:
        with pytest.raises(openai.BadRequestError, match="more than the 40 that fit"):
            ask(front, "base", max_tokens=30)
        assert stub.asked == []


def test_an_adapter_is_brought_once_as_a_folder_of_peft(base: Base, shop: Workspace, bare: Stub) -> None:
    name = name_of(shop, "calm")
    with before_vllm([bare.url], base, shop) as front:
        bare.unfit = True  # first of all, which is for the log only
        with pytest.raises(openai.InternalServerError, match="cannot be used now"):
            ask(front, "calm")
        bare.unfit = False
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _: ask(front, "calm", seed=1)[:6], range(4))) == {"calm-1"}
        assert bare.done == [("load", name)] and front.metric("mien_adapters_resident") == 1
    config = json.loads((shop.root / "served" / name / CONFIG).read_text())
    assert config["peft_type"] == "LORA"


def test_an_adapter_that_is_listed_is_not_brought(base: Base, shop: Workspace) -> None:
    stub = Stub(pushing=False)
    stub.adapters[name_of(shop, "calm")] = "calm-1"
    with running(stub), before_vllm([stub.url], base, shop) as front:
        assert ask(front, "calm").startswith("calm-1 heard")
        with pytest.raises(openai.InternalServerError, match="cannot be used now") as caught:
            ask(front, "witty")
        assert caught.value.status_code == 503 and caught.value.response.headers["retry-after"] == "30"
        assert ask(front, "base").startswith("tiny heard")


def test_a_new_version_takes_over_and_the_old_one_goes_when_its_requests_have_ended(
    base: Base, tmp_path: Path, bare: Stub
) -> None:
    workspace = Workspace.open(tmp_path / "shop")
    train(workspace, base, "calm-1", "calm", "clerk", 1)
    old = name_of(workspace, "calm")
    often = Settings(sampling=SAMPLING, refresh=0.02)
    with before_vllm([bare.url], base, workspace, settings=often) as front, ThreadPoolExecutor() as pool:
        bare.gate.clear()
        slow = pool.submit(ask, front, "calm")
        wait_for(lambda: len(bare.asked) == 1)
        train(workspace, base, "calm-2", "calm", "sage", 2)
        new = name_of(workspace, "calm")
        wait_for(lambda: "calm@calm-2" in str(front.gateway.catalogue.entries()))
        quick = pool.submit(ask, front, "calm")
        wait_for(lambda: len(bare.asked) == 2)
        assert bare.done == [("load", old), ("load", new)]
        bare.gate.set()
        assert slow.result()[:6] == "calm-1" and quick.result()[:6] == "calm-2"
        wait_for(lambda: bare.done[2:] == [("unload", old)])
        assert ask(front, "calm").startswith("calm-2") and new in bare.adapters


def test_no_more_adapters_are_left_there_than_wanted(base: Base, shop: Workspace, bare: Stub) -> None:
    with before_vllm([bare.url], base, shop, resident=1) as front:
        for model in ("witty", "calm", "witty"):
            assert ask(front, model)[:4] == model[:4]
            front.until_idle()
        wait_for(lambda: set(bare.adapters) == {name_of(shop, "witty")})


def test_a_server_that_has_lost_its_adapters_gets_them_again(
    front: Front, stub: Stub, shop: Workspace
) -> None:
    assert ask(front, "calm").startswith("calm-1")
    stub.adapters.clear()
    stub.done.clear()
    assert ask(front, "calm").startswith("calm-1")
    assert stub.done == [("load", name_of(shop, "calm"))]


@pytest.mark.parametrize("fault", ["500", "early"])
def test_it_asks_again_as_long_as_nothing_was_said(front: Front, stub: Stub, fault: str) -> None:
    stub.faults.extend([fault, fault])
    assert ask(front, "base", seed=4).endswith("seed 4")
    assert len(stub.asked) == 3


def test_a_server_that_is_busy_is_left_alone_for_as_long_as_it_asks(front: Front, stub: Stub) -> None:
    stub.faults.append("503")
    with pytest.raises(openai.InternalServerError) as caught:
        ask(front, "base")
    assert caught.value.status_code == 503 and caught.value.response.headers["retry-after"] == "7"
    assert len(stub.asked) == 1


@pytest.mark.parametrize("fault", ["cut", "error", "half", "nonsense"])
def test_what_fails_in_the_middle_is_told_in_the_stream_and_not_asked_again(
    front: Front, stub: Stub, fault: str
) -> None:
    stub.faults.append(fault)
    told = events(front, "base")
    assert told[-2]["error"]["code"] == "overloaded" and told[-1] == "[DONE]"
    assert told[1]["choices"][0]["delta"]["content"] == "tiny"
    stub.faults.append(fault)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(front, "base")
    assert caught.value.status_code == 503 and len(stub.asked) == 2


def test_a_refusal_is_passed_on_with_the_servers_words(front: Front, stub: Stub) -> None:
    stub.faults.append("400")
    with pytest.raises(openai.BadRequestError, match="planted by the test"):
        ask(front, "base")
    assert len(stub.asked) == 1


def test_a_key_is_sent_and_its_refusal_tells_the_client_nothing(
    base: Base, shop: Workspace, stub: Stub
) -> None:
    with before_vllm([stub.url], base, shop, key="sk-secret") as front:
        assert ask(front, "base") and stub.keys == ["Bearer sk-secret"]
        stub.faults.append("401")
        with pytest.raises(openai.InternalServerError) as caught:
            ask(front, "base")
        assert caught.value.status_code == 503
        assert "secret" not in caught.value.response.text and str(stub.port) not in str(caught.value)


def test_a_client_that_leaves_is_not_answered_any_further(front: Front, stub: Stub) -> None:
    stub.faults.append("hang")
    body = {"model": "witty", "messages": HELLO, "stream": True}
    with front.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        wait_for(lambda: "witty-2" in next(lines))
        assert front.backend.figures() == {"running": 1, "waiting": 0}
    front.until_idle()
    wait_for(lambda: stub.left == 1)
    assert front.metric('mien_requests_total{model="witty",status="499"}') == 1


def test_a_reply_that_takes_too_long_is_given_up_there_too(
    base: Base, shop: Workspace, stub: Stub
) -> None:
    hasty = Settings(sampling=SAMPLING, timeout=0.3)
    with before_vllm([stub.url], base, shop, settings=hasty) as front:
        stub.faults.append("hang")
        with pytest.raises(openai.InternalServerError, match="took too long"):
            ask(front, "base")
        wait_for(lambda: stub.left == 1)


def test_only_so_many_may_wait(base: Base, shop: Workspace, stub: Stub) -> None:
    with before_vllm([stub.url], base, shop, waiting=2) as front:
        somebody = Reply(0, Call("", {}, prompt_tokens=1, most=1, chat=False, top=0))
        front.backend.replies.add(somebody)
        with pytest.raises(openai.InternalServerError, match="wait already") as caught:
            ask(front, "base", n=2)
        assert caught.value.response.headers["retry-after"] == "1"
        front.backend.replies.remove(somebody)
        assert ask(front, "base", n=2)
        with pytest.raises(openai.BadRequestError, match="3 replies are more than the 2"):
            ask(front, "base", n=3)  # however long it came again


def test_health_is_that_of_the_servers(
    base: Base, shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.serve.remote._EVERY", 0.02)
    stub = Stub()
    with running(stub):
        pass  # so that the port is one where nobody listens
    with before_vllm([stub.url], base, shop) as front:
        assert front.http.get("/health").json()["status"] == "dead"
        with pytest.raises(openai.InternalServerError, match="No model server answers") as caught:
            ask(front, "base")
        assert caught.value.status_code == 503 and caught.value.response.headers["retry-after"] == "5"
        with running(stub):
            wait_for(lambda: front.http.get("/health").status_code == 200)
            assert ask(front, "witty").startswith("witty-2") and front.metric("mien_up") == 1
            stub.healthy = False  # as when the engine has died
            wait_for(lambda: front.http.get("/health").status_code == 503)
            assert front.metric("mien_up") == 0


def test_a_server_with_another_base_is_not_asked(
    base: Base, shop: Workspace, stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    stub.shift = 1
    with caplog.at_level("WARNING", "mien.serve"), before_vllm([stub.url], base, shop) as front:
        assert front.http.get("/health").status_code == 503
        with pytest.raises(openai.InternalServerError, match="No model server answers"):
            ask(front, "witty")
    assert "it serves another base" in str([vars(each)["fields"] for each in caplog.records])
    assert stub.asked == []


def test_of_several_servers_the_one_that_is_at_the_fewest_answers(
    base: Base, shop: Workspace, bare: Stub
) -> None:
    with running(Stub()) as other, before_vllm([bare.url, other.url], base, shop) as front:
        bare.gate.clear()
        other.gate.clear()
        with ThreadPoolExecutor(4) as pool:
            replies = [pool.submit(ask, front, "calm") for _ in range(4)]
            wait_for(lambda: len(bare.asked) == len(other.asked) == 2)
            bare.gate.set()
            other.gate.set()
            assert all(reply.result().startswith("calm-1") for reply in replies)
        assert len(bare.done) == len(other.done) == 1
        bare.faults.extend(["early"] * 9)
        assert ask(front, "calm").startswith("calm-1") and bare.faults
        assert ask(front, "calm").startswith("calm-1")


def test_a_server_that_cannot_be_reached_is_passed_over(base: Base, shop: Workspace, stub: Stub) -> None:
    with running(Stub()) as other:
        pair = before_vllm([other.url, stub.url], base, shop)
        front = pair.__enter__()
    try:  # the first has gone since it was last looked at
        assert ask(front, "calm").startswith("calm-1") and stub.asked
    finally:
        pair.__exit__(None, None, None)


def test_a_server_that_takes_no_adapters_is_passed_over(base: Base, shop: Workspace, bare: Stub) -> None:
    with (
        running(Stub(pushing=False)) as unfit,
        running(Stub(pushing=False)) as other,
        running(Stub(pushing=False)) as third,
        before_vllm([unfit.url, other.url, third.url, bare.url], base, shop) as front,
    ):
        for seed in range(3):  # though it is at nothing, and so would be the first each time
            assert ask(front, "calm", seed=seed).startswith("calm-1")
        assert len(bare.asked) == 3 and unfit.asked == []
        bare.faults.extend(["500"])
        assert ask(front, "calm").startswith("calm-1")  # the last that is left is asked again
        bare.unfit = True
        with pytest.raises(openai.InternalServerError, match="cannot be used now") as caught:
            ask(front, "witty")
        assert caught.value.response.headers["retry-after"] == "30"


def test_a_server_that_refuses_our_key_is_passed_over(base: Base, shop: Workspace, stub: Stub) -> None:
    with running(Stub()) as other, before_vllm([other.url, stub.url], base, shop) as front:
        other.faults.append("401")
        assert ask(front, "base", seed=3).endswith("seed 3")
        assert len(other.asked) == len(stub.asked) == 1
        for each in (other, stub):
            each.faults.append("401")
        with pytest.raises(openai.InternalServerError, match="does not answer now"):
            ask(front, "base")
        assert len(other.asked) == len(stub.asked) == 2


class Hung(Upstream):
    """Answers how it is once, and then not until `over`."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.looks, self.over = 0, threading.Event()

    def look(self, _: Probe | None) -> None:
        self.looks += 1
        assert self.looks == 1 or self.over.wait(20)


def test_a_server_that_hangs_keeps_nobody_from_looking_at_the_others(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.serve.remote._SELDOM", 0.01)
    hung, other = Hung(), Upstream(stub.url)
    looks = list[float]()
    monkeypatch.setattr(other, "look", lambda _: looks.append(time.monotonic()))
    with Remote([hung, other], OpenAI()):
        wait_for(lambda: hung.looks == 2)
        before = len(looks)
        wait_for(lambda: len(looks) > before + 3)
        left = time.monotonic()
    assert time.monotonic() - left < 10
    hung.over.set()


def test_an_address_has_the_version_added_and_a_password_taken_out() -> None:
    assert Upstream("http://me:secret@host:8000/").name == "http://host:8000/v1"
    assert Upstream("https://host/api/v2/").name == "https://host/api/v2"


def test_a_blend_is_not_made_there(base: Base, shop: Workspace, stub: Stub) -> None:
    blending = Settings(sampling=SAMPLING, blends=True)
    with before_vllm([stub.url], base, shop, settings=blending) as front:
        with pytest.raises(openai.BadRequestError, match="have no such adapter"):
            ask(front, "witty:0.5+calm:0.5")
        assert stub.asked == stub.done == []
