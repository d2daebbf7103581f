"""What `/openapi.json` tells of each route: who may ask, what comes back, and how it is refused.

The shapes of replies are those of the official client, so that the page can promise no others. Each
constant is what `FastAPI.add_api_route` is told beside a path and who answers there.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Literal

from fastapi import Security
from fastapi.security import HTTPBearer
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

_ID = {"X-Request-Id": {"schema": {"type": "string"}, "required": True}}
_LATER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "required": True}}
_SCHEME = {"WWW-Authenticate": {"schema": {"type": "string"}, "required": True}}
_HEADERS = {401: _ID | _SCHEME, 429: _ID | _LATER, 503: _ID | _LATER}
_TEXT = {"schema": {"type": "string"}}
# What each event of a stream is, as OpenAPI 3.2 has it; its `data` is JSON, or `[DONE]` at the end.
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
_EVENTS = {"text/event-stream": {"itemSchema": _EVENT}}
_AT_THE_DOOR = (401, 408, 413, 503)
_KEY = HTTPBearer(auto_error=False, description="A key of `mien serve --keys`, where there are any.")


class Problem(BaseModel):
    """What is wrong; `code` is for programs."""

    message: str
    type: str
    param: str | None
    code: str


class Refusal(BaseModel):
    """An answer that is no reply."""

    error: Problem


class Models(BaseModel):
    """All that can be asked."""

    object: Literal["list"]
    data: list[Model]


class Health(BaseModel):
    """How the server is."""

    status: Literal["ok", "draining", "dead"]
    running: int | None
    waiting: int | None


def _open(good: dict[str, Any]) -> dict[str, Any]:
    """A route that everybody may ask."""
    return {"response_model": None, "responses": {200: good | {"headers": _ID}}}


def _api(answer: type[BaseModel], *refusals: int, **more: Any) -> dict[str, Any]:
    """A route of the API, which may want a key."""
    told = _open({"model": answer, "description": "OK"} | more)
    told["responses"] |= {status: _refused(status) for status in sorted({*_AT_THE_DOOR, *refusals})}
    return told | {"dependencies": [Security(_KEY)]}


def _writes(answer: type[BaseModel]) -> dict[str, Any]:
    """A route that replies, at once or as a stream."""
    told = _api(answer, 400, 403, 404, 422, 429, content=_EVENTS)
    return told | {"methods": ["POST"]}


def _refused(status: int) -> dict[str, Any]:
    headers = _HEADERS.get(status, _ID)
    return {"model": Refusal, "headers": headers, "description": HTTPStatus(status).phrase}


HEALTH = _open({"model": Health})
HEALTH["responses"][503] = {"model": Health, "description": "It answers nothing, or soon will not."}
METRICS = _open({"content": {"text/plain": _TEXT}})
MODELS = _api(Models)
MODEL = _api(Model, 400, 403, 404)
CHAT = _writes(ChatCompletion)
COMPLETION = _writes(Completion)
