"""A plain OpenAI-compatible server as a backend: the base and the prompts are asked of it, and no more.

One such server is our own gateway; what it must not be, such as newer or in a mood, a stub is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from mien.base.fetch import BaseFiles
from mien.base.model import Base
from mien.persona.spec import library
from mien.serve.dialects import OpenAI
from mien.serve.remote import Remote
from mien.serve.settings import Settings
from mien.serve.upstream import Probe, Upstream
from mien.workspace import Workspace
from tests.serve.gateways import SAMPLING, base, expected, serving, shop
from tests.serve.remotes import Front, before
from tests.serve.stub_vllm import BASE, Stub, running

__all__ = ["base", "shop"]
HELLO = [{"role": "user", "content": "hello there"}]
PLAIN = Settings(sampling=SAMPLING.model_copy(update={"top_k": None}))


@contextmanager
def before_any(url: str, workspace: Workspace, model: str = BASE) -> Iterator[Front]:
    """A gateway before a server of which only the address and a model's name are known."""
    backend = Remote([Upstream(url)], OpenAI(), model=model)
    with before(backend, BaseFiles(model, Path(), ""), workspace, settings=PLAIN) as front:
        yield front


@pytest.fixture
def stub() -> Iterator[Stub]:
    with running(Stub()) as stub:
        yield stub


@pytest.fixture
def front(stub: Stub, shop: Workspace) -> Iterator[Front]:
    with before_any(stub.url, shop) as front:
        yield front


def ask(front: Front, model: str, **more: Any) -> str:
    reply = front.client().chat.completions.create(model=model, messages=HELLO, **more)  # type: ignore[call-overload]
    said: str = reply.choices[0].message.content
    return said


def test_a_real_server_says_the_same_through_the_gateway(base: Base, shop: Workspace) -> None:
    calm = library()["calm"].system_prompt.strip()
    with serving(base, shop) as house, before_any(house.url, shop, "base") as front:
        assert ask(front, "base", seed=1) == expected(base, None, "hello there")
        assert ask(front, "calm:prompt", max_tokens=8) == expected(base, None, "hello there", calm)
        text = front.client().completions.create(model="base", prompt="the ship", max_tokens=4)
        direct = house.client().completions.create(model="base", prompt="the ship", max_tokens=4)
        assert text.choices[0].text == direct.choices[0].text
        told = front.client().chat.completions.create(
            model="base",
            messages=HELLO,  # type: ignore[arg-type]
            logprobs=True,
            top_logprobs=2,
        )
        rows = told.choices[0].logprobs
        assert (
            rows and rows.content and len(rows.content) == 8 and len(rows.content[0].top_logprobs) == 2
        )
        assert told.usage and told.usage.completion_tokens == 8


def test_only_the_base_and_prompts_are_there_to_ask(front: Front) -> None:
    names = {card.id for card in front.client().models.list()}
    assert {"base", "witty:prompt"} <= names and "witty" not in names and "@" not in "".join(names)
    with pytest.raises(openai.NotFoundError):
        ask(front, "witty")


def test_a_chat_is_sent_as_messages_with_the_personas_before_it(front: Front, stub: Stub) -> None:
    assert ask(front, "calm:prompt", seed=2) == f"{BASE} heard 2 with seed 2"
    (asked,) = stub.asked
    assert asked["path"] == "/v1/chat/completions" and asked["model"] == BASE
    calm = library()["calm"].system_prompt.strip()
    assert asked["messages"] == [{"role": "system", "content": calm}, *HELLO]
    assert not {"top_k", "repetition_penalty", "stop_token_ids"} & asked.keys()


@pytest.mark.parametrize(
    ("said", "sent"), [({}, False), ({"strict": False}, False), ({"strict": True}, True)]
)
def test_a_schema_is_as_strict_as_the_client_says(
    front: Front, stub: Stub, said: dict[str, bool], sent: bool
) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False, "required": []}
    named = {"name": "mine", "schema": schema, **said}
    assert ask(front, "base", response_format={"type": "json_schema", "json_schema": named})
    told = stub.asked[0]["response_format"]["json_schema"]
    assert (told["schema"], told["strict"]) == (schema, sent)


def test_what_the_protocol_does_not_know_is_refused(front: Front, stub: Stub) -> None:
    with pytest.raises(openai.BadRequestError, match="knows no `top_k`"):
        ask(front, "base", extra_body={"top_k": 5})
    with pytest.raises(openai.BadRequestError, match="Token ids mean something else"):
        front.client().completions.create(model="base", prompt=[1, 2])
    assert stub.asked == []


def test_a_server_that_wants_the_newer_name_of_the_length_gets_it(front: Front, stub: Stub) -> None:
    stub.newer = True
    assert ask(front, "base", max_tokens=2) == f"{BASE} heard"
    assert ask(front, "base", max_tokens=2) == f"{BASE} heard"
    assert ["max_tokens" in each for each in stub.asked] == [True, False, False]


def test_what_the_server_filters_is_said_to_be_filtered(front: Front, stub: Stub) -> None:
    stub.faults.append("filter")
    with pytest.raises(openai.BadRequestError, match="filters this"):
        ask(front, "base")


def test_a_server_without_a_list_of_models_is_alive(shop: Workspace) -> None:
    stub = Stub()
    with running(stub):
        server = Upstream(f"{stub.url}/elsewhere")
        server.look(None)
        assert server.alive and server.models == {}
        server.look(Probe((5,), "x"))
        assert not server.alive  # as vLLM it would not do
