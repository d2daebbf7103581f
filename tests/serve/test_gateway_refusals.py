"""What the gateway will not do, and how it says so: never with a 500."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.base.model import Base
from mien.errors import InputError
from mien.serve.keys import Key, Keys
from mien.serve.protocol import ChatRequest
from mien.serve.settings import Settings
from mien.workspace import Workspace
from tests.serve.gateways import SAMPLING, House, base, logged, serving, shop
from tests.serve.serving import held

__all__ = ["base", "shop"]
SECRETS = {"few": "sk-few", "short": "sk-short", "one": "sk-one", "free": "sk-free"}
HELLO = [{"role": "user", "content": "hello"}]
CHAT = {"model": "base", "messages": HELLO, "max_tokens": 2}


def key(name: str, **limits: int) -> Key:
    return Key(name=name, sha256=hashlib.sha256(SECRETS[name].encode()).hexdigest(), **limits)


@pytest.fixture(scope="module")
def house(base: Base, shop: Workspace) -> Iterator[House]:
    """Open to everybody."""
    with serving(base, shop, settings=Settings(sampling=SAMPLING, max_body=20_000)) as house:
        yield house


@pytest.fixture(scope="module")
def locked(base: Base, shop: Workspace) -> Iterator[House]:
    """With four keys."""
    keys = Keys(
        [
            key("few", requests_per_minute=2),
            key("short", tokens_per_minute=60),
            key("one", concurrency=1),
            key("free"),
        ]
    )
    with serving(base, shop, keys=keys, slots=1) as house:
        yield house


def post(house: House, body: Any, path: str = "chat/completions", **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | headers
    return house.http.post(f"/v1/{path}", content=content, headers=headers)


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    """The error, which has all its four parts."""
    told: dict[str, Any] = answer.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    return told


def test_an_unknown_model_names_the_nearest(house: House) -> None:
    with pytest.raises(openai.NotFoundError, match="did you mean 'witty'") as caught:
        house.client().chat.completions.create(model="wity", messages=HELLO)  # type: ignore[arg-type]
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    assert "base, witty, calm" in error_of(post(house, CHAT | {"model": "zzzzzz"}))["message"]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "witty@../witty-1",
        "witty@",
        "__base__",
        "wіtty",  # noqa: RUF001
        "witty@ffffffff",
        "witty@witty",
        "a" * 5000,
        "base\n",
        "captain",
        "witty-1/adapter",
        "null",
    ],
)
def test_what_names_no_model_is_not_found(house: House, name: str) -> None:
    answer = post(house, CHAT | {"model": name})
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "model_not_found"


def test_what_does_not_fit_is_told_with_its_length(house: House) -> None:
    long = post(house, CHAT | {"messages": [{"role": "user", "content": "x" * 2000}]})
    assert long.status_code == 400
    assert error_of(long)["code"] == "context_length_exceeded" and error_of(long)["param"] == "messages"
    assert "more than the 1024 that fit" in error_of(long)["message"]
    reply = post(house, CHAT | {"max_tokens": 1020})
    assert reply.status_code == 400 and "a reply of 1020" in error_of(reply)["message"]
    # Who names no length gets the room there is: 1024 less the prompt.
    text = {"model": "base", "prompt": [5] * 1020}
    fits = post(house, text, "completions").json()
    assert fits["usage"]["completion_tokens"] == 4
    assert error_of(post(house, text | {"max_tokens": 5}, "completions"))["param"] == "prompt"


def test_a_body_that_is_too_large_is_not_read(house: House) -> None:
    answer = post(house, b" " * 20_001)
    assert answer.status_code == 413 and error_of(answer)["code"] == "body_too_large"
    chunks = (b" " * 1000 for _ in range(100))
    answer = house.http.post("/v1/chat/completions", content=chunks)
    assert answer.status_code == 413


NOT_SUPPORTED: list[dict[str, Any]] = [
    {"frequency_penalty": 0.5},
    {"presence_penalty": -1},
    {"logit_bias": {"5": 10}},
    {"tools": [{"type": "function"}]},
    {"function_call": {"name": "x"}},
    {"reasoning_effort": "high"},
    {"min_p": 0.1},
    {"min_tokens": 2},
    {"ignore_eos": True},
    {"bad_words": ["x"]},
    {"guided_json": {"type": "object"}},
    {"prompt": "x"},
    {"temprature": 0},
]


@pytest.mark.parametrize("part", NOT_SUPPORTED, ids=lambda part: next(iter(part)))
def test_what_would_change_the_reply_and_is_not_supported_is_refused(
    house: House, part: dict[str, Any]
) -> None:
    answer = post(house, CHAT | part)
    assert answer.status_code == 400
    assert error_of(answer) | {"message": ""} == {
        "message": "",
        "type": "invalid_request_error",
        "param": next(iter(part)),
        "code": "unsupported",
    }


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("temprature", "`temprature` is not supported: leave it out, or did you mean `temperature`?"),
        ("max_new_tokens", "did you mean `max_tokens`?"),
        ("min_p", "`min_p` is not supported: leave it out."),
        ("qqq", "`qqq` is not supported: leave it out."),
        ("q" * 5000, f"`{'q' * 64}` is not supported: leave it out."),
    ],
)
def test_a_name_that_is_not_known_is_told_with_the_nearest(house: House, name: str, told: str) -> None:
    answer = post(house, CHAT | {name: 0.5})
    assert answer.status_code == 400 and error_of(answer)["message"].endswith(told)


def test_what_cannot_change_it_is_let_through(house: House) -> None:
    harmless = {"user": "u", "metadata": {"a": "b"}, "store": False, "frequency_penalty": 0, "n": None}
    of_vllm = {"min_p": 0, "ignore_eos": False, "skip_special_tokens": True, "guided_json": None}
    assert post(house, CHAT | harmless | of_vllm).status_code == 200


def test_a_reply_that_comes_back_as_the_client_has_it_is_let_through_and_tool_calls_are_not(
    house: House,
) -> None:
    reply = house.client().chat.completions.create(model="base", messages=HELLO)  # type: ignore[arg-type]
    said = reply.choices[0].message.model_dump() | {"content": "x", "annotations": []}
    assert {"tool_calls", "refusal", "audio"} <= set(said)
    assert post(house, CHAT | {"messages": [*HELLO, said, *HELLO]}).status_code == 200
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    answer = post(house, CHAT | {"messages": [*HELLO, said | {"tool_calls": calls}, *HELLO]})
    assert answer.status_code == 400 and error_of(answer)["param"] == "messages.1.tool_calls"


MALFORMED: list[tuple[Any, str | None]] = [
    (b"", None),
    (b"{", None),
    (b"[" * 10_000, None),
    (b"\xff\xfe", None),
    ([], None),
    ({}, "model"),
    (CHAT | {"messages": []}, "messages"),
    (CHAT | {"messages": "hello"}, "messages"),
    (CHAT | {"messages": [{"role": "user"}]}, "messages.0.content"),
    (CHAT | {"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
    (CHAT | {"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
    (CHAT | {"messages": [{"role": "user", "content": None}]}, None),
    (CHAT | {"messages": [*HELLO, {"role": "assistant", "content": "x"}]}, None),
    (CHAT | {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None),
    (CHAT | {"messages": [{"role": "tool", "content": "x"}]}, None),
    (b'{"model": "base", "messages": [{"role": "user", "content": "\\ud800"}]}', None),
    (b'{"model": "\\ud800", "messages": [{"role": "user", "content": "x"}]}', None),
    (b'{"model": "base", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}', None),
    (b'{"model": "base", "messages": [{"role": "user", "content": "x"}], "top_p": Infinity}', None),
    (CHAT | {"temperature": -1}, "temperature"),
    (CHAT | {"temperature": "hot"}, "temperature"),
    (CHAT | {"top_p": 0}, "top_p"),
    (CHAT | {"n": 0}, "n"),
    (CHAT | {"n": 10**30}, "n"),
    (CHAT | {"seed": 2**70}, "seed"),
    (CHAT | {"max_tokens": 0}, "max_tokens"),
    (CHAT | {"stop": ""}, None),
    (CHAT | {"stop": ["x"] * 50}, None),
    (CHAT | {"top_logprobs": 5}, None),
    (CHAT | {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    (CHAT | {"stream_options": 5}, "stream_options"),
]


@pytest.mark.parametrize(("body", "param"), MALFORMED)
def test_a_malformed_request_is_told_where(house: House, body: Any, param: str | None) -> None:
    answer = post(house, body)
    assert answer.status_code in (400, 422), answer.text
    told = error_of(answer)
    assert told["type"] == "invalid_request_error" and told["message"]
    if param:
        assert told["param"] == param


@pytest.mark.parametrize(
    "prompt", ["", [], [[]], [""], [-1], [10**20], [[5], "x"], {}, None, [0.5], ["x"] * 100]
)
def test_a_malformed_text_is_refused(house: House, prompt: Any) -> None:
    answer = post(house, {"model": "base", "prompt": prompt}, "completions")
    assert answer.status_code in (400, 422), answer.text
    assert error_of(answer)["message"]


@pytest.mark.parametrize("more", [{"echo": True}, {"suffix": "x"}, {"best_of": 3}])
def test_what_a_completion_cannot_do_is_refused(house: House, more: dict[str, Any]) -> None:
    answer = post(house, {"model": "base", "prompt": "x"} | more, "completions")
    assert answer.status_code == 400 and error_of(answer)["param"] == next(iter(more))


def test_a_prompt_alone_has_nothing_to_continue(house: House) -> None:
    answer = post(house, {"model": "witty:prompt", "prompt": "x"}, "completions")
    assert answer.status_code == 400 and "only `/v1/chat/completions`" in error_of(answer)["message"]


def test_what_is_not_there_is_an_error_of_the_same_shape(house: House) -> None:
    assert error_of(house.http.get("/v1/nothing"))["code"] == "not_found"
    assert error_of(house.http.get("/v1/models/nothing"))["code"] == "model_not_found"
    answer = house.http.get("/v1/chat/completions")
    assert answer.status_code == 405 and error_of(answer)["code"] == "method_not_allowed"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from([*ChatRequest.model_fields, "prompt", "tools", "logit_bias", "best_of"])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=3),
    st.sampled_from(("chat/completions", "completions")),
)
def test_nothing_that_is_sent_breaks_it(house: House, changes: dict[str, Any], path: str) -> None:
    prompt = {"messages": HELLO} if path.startswith("chat") else {"prompt": "x"}
    whole = {"model": "base", "max_tokens": 2} | prompt | changes
    answer = post(house, whole, path)
    assert answer.status_code < 500, (whole, answer.text)
    if answer.status_code >= 400:
        assert error_of(answer)["message"]


def test_a_request_id_that_is_unfit_for_a_header_is_replaced(house: House) -> None:
    def given(text: str) -> str:
        return house.http.get("/health", headers={"x-request-id": text}).headers["x-request-id"]

    assert given("job-7:a.b_c") == "job-7:a.b_c"
    assert given("a b").startswith("req-")
    assert given("a" * 200).startswith("req-")


def test_without_a_known_key_nobody_comes_in(locked: House) -> None:
    for authorization in (None, "Bearer nothing", "Bearer", "sk-free", "Basic sk-free"):
        headers = {"authorization": authorization} if authorization else {}
        answer = post(locked, b"{", **headers)  # before the body is looked at
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert error_of(answer)["type"] == "authentication_error"
    with pytest.raises(openai.AuthenticationError):
        locked.client("sk-wrong").models.list()
    assert locked.client("sk-free").models.list().data
    assert locked.http.get("/health").status_code == 200


def test_requests_a_minute_are_counted_by_key(locked: House) -> None:
    def status(name: str) -> httpx2.Response:
        return post(locked, CHAT, authorization=f"Bearer {SECRETS[name]}")

    assert [status("few").status_code for _ in range(2)] == [200, 200]
    third = status("few")
    assert third.status_code == 429 and error_of(third)["code"] == "request_limit"
    assert 1 <= int(third.headers["retry-after"]) <= 30  # half a minute brings one more
    assert status("free").status_code == 200


def test_tokens_a_minute_count_what_was_used(locked: House) -> None:
    def answer(limit: int) -> httpx2.Response:
        body = {"model": "base", "prompt": [5] * 10, "max_tokens": limit, "logit_bias": {}}
        return post(locked, body, "completions", authorization="Bearer sk-short")

    assert answer(51).status_code == 400  # 61 tokens are never to be had
    assert answer(30).status_code == 200  # 40 of 60
    refused = answer(30)
    assert refused.status_code == 429 and error_of(refused)["code"] == "token_limit"
    assert 1 <= int(refused.headers["retry-after"]) <= 20


def test_requests_at_once_are_counted_and_let_go_of(locked: House) -> None:
    bearer = {"authorization": "Bearer sk-one"}
    body = CHAT | {"stream": True}
    gate, _ = held(locked.engine)  # has the only slot
    with locked.http.stream("POST", "/v1/chat/completions", json=body, headers=bearer) as answer:
        lines = answer.iter_lines()  # which leaves when it is let go of
        next(lines)
        second = post(locked, CHAT, **bearer)
        assert second.status_code == 429 and error_of(second)["code"] == "concurrency_limit"
        gate.opened.set()
    locked.until_idle()
    assert post(locked, CHAT, **bearer).status_code == 200


def test_the_log_has_no_words_unless_asked(
    base: Base, shop: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    def line(log_text: bool) -> dict[str, Any]:
        caplog.clear()
        given = Settings(sampling=SAMPLING, log_text=log_text)
        with caplog.at_level("INFO", "mien.serve"), serving(base, shop, settings=given) as house:
            answer = post(house, CHAT | {"messages": [{"role": "user", "content": "my secret"}]})
            house.until_idle()
        return logged(caplog, "request", answer)

    quiet = line(log_text=False)
    assert "secret" not in str(quiet)
    assert (quiet["model"], quiet["status"], quiet["completion_tokens"]) == ("base", 200, 2)
    told = line(log_text=True)
    assert told["prompts"] == [[{"role": "user", "content": "my secret"}]]
    assert len(told["replies"]) == 1


def test_keys_come_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("keys:\n  - {name: web, env: WEB_KEY, concurrency: 3}\n", encoding="utf-8")
    monkeypatch.setenv("WEB_KEY", "sk-web")
    found = Keys.read(path).check("Bearer sk-web")
    assert found is not None and (found.name, found.concurrency) == ("web", 3)
    keys = Keys.read(None, {"MIEN_API_KEYS": "a=sk-a, b=sk-b=c"})
    assert [key.name for key in (keys.check("Bearer sk-a"), keys.check("bearer sk-b=c")) if key] == [
        "a",
        "b",
    ]
    assert Keys.read(None, {}).check(None) is None


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("sk-secret", "has no name, or is empty"),
        ("web=", "has no name, or is empty"),
        ("web site=sk-secret", "keys.0.name"),
        ("=sk-secret", "keys.0.name"),
        ("web=sk-secret,web=sk-other", "two of them have the same name"),
    ],
)
def test_a_mistake_in_the_variable_is_told_without_a_key(keys: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Keys.read(None, {"MIEN_API_KEYS": keys})
    assert "MIEN_API_KEYS" in caught.value.what and "name=KEY,name=KEY" in caught.value.fix
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["keys:\n  - {name: web, sha256: sk-secret}\n", "- sk-secret\n"])
def test_a_mistake_in_the_file_of_keys_is_told_without_a_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="yaml") as caught:
        Keys.read(path)
    assert "`sha256: HASH`" in caught.value.fix and "schema" not in caught.value.fix
    assert "sk-secret" not in str(caught.value)
