"""JSON by a schema, over the official protocol."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field

from mien.base.model import Base
from tests.serve.gateways import House, base, expected, house, shop

__all__ = ["base", "house", "shop"]
ASKED: list[Any] = [{"role": "user", "content": "hello there"}]
WILD: dict[str, Any] = {"temperature": 2, "max_tokens": 300}


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mood: Literal["fair", "foul"]
    says: str = Field(max_length=12)
    knots: list[int] = Field(max_length=2)


def form(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def test_the_official_client_gets_its_own_type_back_beside_those_who_talk(
    house: House, base: Base
) -> None:
    def parsed(i: int) -> Any:
        model = ("witty", "calm", "base", "witty@witty-1")[i % 4]
        return house.client().chat.completions.parse(
            model=model, messages=ASKED, response_format=Answer, seed=i, n=2, **WILD
        )

    def talked(i: int) -> str | None:
        reply = house.client().chat.completions.create(model="witty", messages=ASKED)
        return reply.choices[0].message.content

    with ThreadPoolExecutor(8) as pool:
        replies, texts = pool.map(parsed, range(4)), list(pool.map(talked, range(4)))
    choices = [choice for reply in replies for choice in reply.choices]
    assert len(choices) == 8 and all(isinstance(each.message.parsed, Answer) for each in choices)
    assert {choice.finish_reason for choice in choices} == {"stop"}
    assert texts == [expected(base, "poet", "hello there")] * 4


def test_a_stream_joins_to_json(house: House) -> None:
    wanted = form(Answer.model_json_schema())
    chunks = house.client().chat.completions.create(
        model="calm", messages=ASKED, response_format=wanted, stream=True, **WILD
    )
    seen = [chunk.choices[0] for chunk in chunks]
    assert Answer.model_validate_json("".join(each.delta.content or "" for each in seen))
    assert seen[-1].finish_reason == "stop"


def test_any_object_will_do_and_a_text_is_held_to_it_as_well(house: House) -> None:
    body = {"model": "base", "prompt": "x", "response_format": {"type": "json_object"}, "seed": 3}
    more = {"temperature": 2, "max_tokens": 60, "n": 8}
    told = house.http.post("/v1/completions", json=body | more).json()["choices"]
    whole = [each["text"] for each in told if each["finish_reason"] == "stop"]
    assert whole and all(isinstance(json.loads(text), dict) for text in whole)
    assert all(each["text"].startswith("{") for each in told)


def test_a_reply_that_is_cut_says_so(house: House) -> None:
    reply = house.client().chat.completions.create(
        model="witty", messages=ASKED, response_format=form(Answer.model_json_schema()), max_tokens=3
    )
    assert reply.choices[0].finish_reason == "length"
    assert '{"mood": "f'.startswith((reply.choices[0].message.content or "")[:11])
    with pytest.raises(openai.LengthFinishReasonError):
        house.client().chat.completions.parse(
            model="witty", messages=ASKED, response_format=Answer, max_tokens=3
        )


def test_a_schema_that_cannot_be_kept_to_is_a_400_with_the_reason(house: House) -> None:
    for schema, why in (
        ({"type": "colour"}, "colour"),
        ({"type": "string", "pattern": "(?=a)b"}, "look"),
        ({"enum": ["x" * 2**14]}, "more than 16384 characters"),
    ):
        with pytest.raises(openai.BadRequestError, match=why) as caught:
            house.client().chat.completions.create(
                model="witty", messages=ASKED, response_format=form(schema)
            )
        assert caught.value.code == "schema_unsupported" and caught.value.param == "response_format"


@pytest.mark.parametrize(
    "wrong",
    [
        "json_object",
        {"type": "yaml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "x"}},
        {"type": "json_schema", "json_schema": {"schema": [1]}},
    ],
)
def test_a_malformed_form_is_told_where(house: House, wrong: Any) -> None:
    body = {"model": "base", "messages": ASKED, "response_format": wrong}
    answer = house.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"].startswith("response_format")


def test_plain_text_is_no_form(house: House, base: Base) -> None:
    body = {"model": "base", "messages": ASKED, "response_format": {"type": "text"}}
    told = house.http.post("/v1/chat/completions", json=body).json()
    assert told["choices"][0]["message"]["content"] == expected(base, None, "hello there")
