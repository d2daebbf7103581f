"""What every request passes on its way in and out: an id, the drain, the key, the size, the log.

It lies around the application as plain ASGI. So whatever becomes of a request, be it answered, refused,
broken or left by its client, what it holds is let go of here and one line is written about it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.serve.keys import Key, Keys
from mien.serve.logs import log
from mien.serve.refusals import RefusedError

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
GONE = 499  # nginx's number for a client that left before its answer was complete


@dataclass
class Visit:
    """One request, for as long as it is in the house.

    Attributes:
        held: What to let go of at the end.
        model: Whom it asked, once that is known.
        said: More for its line in the log.
        complete: False while a stream is under way.
    """

    id: str
    path: str
    started: float
    key: Key | None = None
    model: str | None = None
    status: int = 0
    complete: bool = True
    said: dict[str, Any] = field(default_factory=dict)
    held: ExitStack = field(default_factory=ExitStack)


class Door:
    """Middleware around the gateway's application.

    Args:
        app: What is behind it.
        keys: Who may come in.
        max_body: Largest request, in bytes.
        timeout: Seconds in which it has to arrive.
        on_end: Told of every visit to the API when it is over.

    Attributes:
        inflight: Requests to the API that are inside.
        draining: Whether new ones are sent away.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        max_body: int,
        timeout: float,
        on_end: Callable[[Visit], None],
    ) -> None:
        self._app, self._keys, self._on_end = app, keys, on_end
        self._max_body, self._timeout = max_body, timeout
        self.inflight, self.draining = 0, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the start and end of the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visit = Visit(_id(headers.get("x-request-id", "")), scope["path"], time.monotonic())
        scope.setdefault("state", {})["visit"] = visit
        api = scope["path"].startswith("/v1/")
        with visit.held:
            if api:
                self.inflight += 1
                visit.held.callback(self._leave, visit)
            await self._serve(scope, receive, _signed(visit, send), visit, headers, api)

    def _leave(self, visit: Visit) -> None:
        """The last thing of a visit: who waits until nobody is inside finds it booked."""
        try:
            self._on_end(visit)
        finally:
            self.inflight -= 1

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, visit: Visit, headers: Headers, api: bool
    ) -> None:
        try:
            if api:
                self._check(visit, headers)
                receive = await self._in_time(receive)
            await self._app(scope, receive, send)
        except RefusedError as refused:
            await _refuse(refused, send)
        except _LeftError:
            visit.complete = False
        except Exception as error:
            log(logging.ERROR, "failed", error, request_id=visit.id)
            if not visit.status:
                await _refuse(RefusedError(500, "The request failed.", "internal_error"), send)

    def _check(self, visit: Visit, headers: Headers) -> None:
        visit.key = self._keys.check(headers.get("authorization"))
        if self.draining:
            raise RefusedError(503, "The server is stopping. Ask again in a while.", "draining", wait=5)
        length = headers.get("content-length", "0")
        if length.isdigit() and len(length) < 20 and int(length) > self._max_body:
            raise self._too_large()

    async def _in_time(self, receive: Receive) -> Receive:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._body(receive)
        except TimeoutError:
            message = f"The request did not arrive within {self._timeout:g} seconds."
            raise RefusedError(408, message, "timeout") from None

    async def _body(self, receive: Receive) -> Receive:
        """Read the body, as far as it may go, and hand it on in one piece."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _LeftError
            body += message.get("body", b"")
            if len(body) > self._max_body:
                raise self._too_large()
            if not message.get("more_body", False):
                return _again(bytes(body), receive)

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"A request may have {self._max_body} bytes.", "body_too_large")


class _LeftError(Exception):
    """The client went away before it had said what it wants."""


def _id(given: str) -> str:
    """The client's own id, if it is fit for a header and a log, or a new one."""
    return given if _ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that tells the body first."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _signed(visit: Visit, send: Send) -> Send:
    """A `send` that adds the request's id, and remembers the status."""

    async def signed(message: Message) -> None:
        if message["type"] == "http.response.start":
            visit.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = visit.id
        await send(message)

    return signed


async def _refuse(refused: RefusedError, send: Send) -> None:
    headers = {"content-type": "application/json"} | refused.headers
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    body = json.dumps(refused.body, ensure_ascii=False).encode()
    await send({"type": "http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
