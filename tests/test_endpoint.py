"""The endpoint, against a server in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from mien.chat import Sampling
from mien.endpoint import Endpoint, address, retry_after
from mien.errors import AccessError, BusyError, ModelError
from mien.schema import Message, conversation
from tests.stub_server import Stub, answer, serving

ASKED = conversation("When does the ferry leave?", system="Be brief.")
SAMPLING = Sampling(max_tokens=200, temperature=0.3, top_p=0.8)


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with serving(tmp_path_factory.mktemp("stub")) as server:
        yield server


def fails(folder: Path, fault: str, **options: object) -> ModelError:
    """What a server that always has this fault makes of one call; it is asked once."""
    with serving(folder, f"{fault}:1", **options) as server:
        model = Endpoint(server.url, "stub", timeout=0.5 if fault == "timeout" else 20)
        with pytest.raises(ModelError) as caught:
            model.reply(ASKED, SAMPLING, seed=1)
        assert len(server.log()) == 1
    return caught.value


def test_a_reply_has_the_servers_text_and_its_count_of_tokens(stub: Stub) -> None:
    reply = Endpoint(stub.url, "stub").reply(ASKED, SAMPLING, seed=1)
    assert reply.text == answer([message.model_dump() for message in ASKED], 1)
    assert (reply.prompt_tokens, reply.completion_tokens) == (7, len(reply.text.split()))
    assert reply.ended == "stop"


def test_a_reply_that_was_cut_says_so(stub: Stub) -> None:
    reply = Endpoint(stub.url, "stub").reply(ASKED, Sampling(max_tokens=5), seed=1)
    assert (reply.ended, reply.completion_tokens) == ("length", 5)


def test_what_the_protocol_knows_is_sent_and_nothing_else(stub: Stub) -> None:
    Endpoint(stub.url, "stub").reply(ASKED, SAMPLING, seed=7)
    assert stub.log()[-1]["body"] == {
        "model": "stub",
        "messages": [message.model_dump() for message in ASKED],
        "temperature": 0.3,
        "top_p": 0.8,
        "max_tokens": 200,
        "seed": 7,
        "stream": False,
    }


def test_the_turns_of_tools_are_carried_along(stub: Stub) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    turns = (
        *ASKED,
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="nine", tool_call_id="a"),
    )
    Endpoint(stub.url, "stub").reply(turns, SAMPLING, seed=7)
    sent = stub.log()[-1]["body"]["messages"]
    assert sent[2]["tool_calls"] == [call] and sent[3]["tool_call_id"] == "a"


def test_the_same_call_has_the_same_idempotency_key_and_is_charged_once(stub: Stub) -> None:
    before = len(stub.log())
    for seed in (31, 31, 32):
        Endpoint(stub.url, "stub").reply(ASKED, SAMPLING, seed=seed)
    one, same, other = stub.log()[before:]
    assert one["key"] == same["key"] != other["key"]
    assert [row["paid"] for row in (one, same, other)] == [True, False, True]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", "rate limit"),
        ("500", "server error"),
        ("503", "server error"),
        ("408", "time-out"),
        ("timeout", "time-out"),
        ("drop", "connection"),
        ("broken", "broken JSON"),
        ("blank", "no choices"),
        ("empty", "empty reply"),
    ],
)
def test_what_may_pass_is_a_busy_error_of_a_kind_that_can_be_counted(
    tmp_path: Path, fault: str, kind: str
) -> None:
    error = fails(tmp_path, fault, silence=1)
    assert isinstance(error, BusyError)
    assert error.kind == kind
    assert error.wait is None


@pytest.mark.parametrize("fault", ["400", "403", "422", "length", "content_filter"])
def test_what_concerns_one_conversation_is_a_model_error_with_a_fix(tmp_path: Path, fault: str) -> None:
    error = fails(tmp_path, fault)
    assert type(error) is ModelError
    assert error.fix


@pytest.mark.parametrize("fault", ["401", "402", "404", "quota"])
def test_what_concerns_every_call_is_an_access_error_with_a_fix(tmp_path: Path, fault: str) -> None:
    error = fails(tmp_path, fault)
    assert type(error) is AccessError
    assert error.exit_code == 2
    assert error.fix and "None" not in error.fix


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("7", 7, 7), ("0.5", 0.5, 0.5), ("Fri, 01 Jan 2100 00:00:00 GMT", 1e9, 1e10)],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str, low: float, high: float) -> None:
    wait = retry_after({"retry-after": header})
    assert wait is not None and low <= wait <= high


@pytest.mark.parametrize(
    "header",
    ["", "soon", "inf", "1e999", "nan", "Fri, 01 Jan 2100", "Fri, 01 Jan 2100 00:00:00 +99999999999999"],
)
def test_a_retry_after_that_is_neither_is_none(header: str) -> None:
    assert retry_after({"retry-after": header}) is None


def test_a_busy_server_says_when_to_come_back(tmp_path: Path) -> None:
    error = fails(tmp_path, "429", retry_after="7")
    assert isinstance(error, BusyError) and error.wait == 7


def test_a_server_that_is_not_there_is_a_busy_error() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        model = Endpoint(f"http://127.0.0.1:{closed.getsockname()[1]}/v1", "stub")
        with pytest.raises(BusyError, match="no connection") as caught:
            model.reply(ASKED, SAMPLING, seed=1)
    assert caught.value.kind == "connection"


def test_a_server_that_wants_the_newer_name_of_the_limit_gets_it_from_then_on(tmp_path: Path) -> None:
    with serving(tmp_path, "newer:1") as server:
        model = Endpoint(server.url, "stub")
        assert model.reply(ASKED, SAMPLING, seed=1).text
        assert model.reply(ASKED, SAMPLING, seed=2).text
        bodies = [row["body"] for row in server.log()]
    limits = [{name for name in body if name.startswith("max")} for body in bodies]
    assert limits == [{"max_tokens"}, {"max_completion_tokens"}, {"max_completion_tokens"}]


def test_a_stream_comes_piece_by_piece_as_it_is_sent(tmp_path: Path) -> None:
    with serving(tmp_path, pace=0.03) as server:
        arrived = []
        begun = time.monotonic()
        said = ""
        for piece in Endpoint(server.url, "stub", seed=3).stream(ASKED):
            said += piece
            arrived.append(time.monotonic() - begun)
        wanted = server.log()[0]["text"]
    assert said.strip() == wanted
    assert len(arrived) == len(wanted.split())
    assert arrived[-1] - arrived[0] > 0.02 * len(arrived)


@pytest.mark.parametrize(("fault", "kind"), [("429", "rate limit"), ("empty", "empty reply")])
def test_a_stream_fails_as_a_reply_does(tmp_path: Path, fault: str, kind: str) -> None:
    with serving(tmp_path, f"{fault}:1") as server, pytest.raises(BusyError) as caught:
        list(Endpoint(server.url, "stub").stream(ASKED))
    assert caught.value.kind == kind


def test_a_key_is_sent_and_shown_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_KEY", " sk-secret\n")
    for fault in ("400", "401", "500"):
        with serving(tmp_path, f"{fault}:1") as server:
            model = Endpoint(server.url, "stub", key_env="STUB_KEY")
            with pytest.raises(ModelError) as caught:
                model.reply(ASKED, SAMPLING, seed=1)
            assert server.log()[-1]["authorization"] == "Bearer sk-secret"
        shown = "".join(traceback.format_exception(caught.value))
        assert "sk-secret" not in shown + str(caught.value) + repr(model) + model.name
        assert fault != "401" or "STUB_KEY" in caught.value.fix


def test_a_server_at_home_is_sent_no_key_that_is_not_named(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    Endpoint(stub.url, "stub").reply(ASKED, SAMPLING, seed=41)
    row = stub.log()[-1]
    assert "sk-secret" not in row["authorization"]
    assert not any("organization" in name.lower() for name in row["headers"])


def test_a_server_at_home_is_not_behind_a_proxy(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert Endpoint(stub.url, "stub").reply(ASKED, SAMPLING, seed=42).text


@pytest.mark.parametrize(
    ("url", "key_env", "value", "told"),
    [
        ("https://models.example.com/v1", None, None, "needs a key"),
        ("https://models.example.com/v1", "STUB_KEY", None, "STUB_KEY: not set"),
        ("https://api.openai.com/v1", None, None, "OPENAI_API_KEY: not set"),
        ("https://models.example.com/v1", "STUB_KEY", "päss", "STUB_KEY: not a key"),
        ("ftp://me:päss@host/v1", None, "päss", "no server's address"),
    ],
)
def test_a_wrong_address_or_a_missing_key_is_known_before_anything_is_sent(
    url: str, key_env: str | None, value: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if value:
        monkeypatch.setenv("STUB_KEY", value)
    with pytest.raises(AccessError, match=told) as caught:
        Endpoint(url, "stub", key_env=key_env)
    assert caught.value.fix
    assert value is None or value not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x", "http://", "http://x:port", "http://x:99999", "http://u:p@"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(AccessError, match="no server's address") as caught:
        address(url)
    assert "u:p" not in str(caught.value)


def test_the_name_tells_model_and_server_and_no_password() -> None:
    url = "http://me:hush@192.168.0.7:8000/v1/"
    assert Endpoint(url, "stub").name == "stub at 192.168.0.7:8000/v1"


@pytest.mark.parametrize("name", ["mien.chat", "mien.data.teacher", "mien.cli.teacher", "mien.cli.main"])
def test_whoever_does_not_call_a_server_does_not_import_the_client(name: str) -> None:
    code = f"import sys, {name}; assert 'openai' not in sys.modules, 'openai'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_endpoint_needs_no_torch() -> None:
    code = "import sys, mien.endpoint; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
