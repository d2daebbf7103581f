"""One server that replies are asked of: how it is, what it has, and what its refusals mean here.

It speaks OpenAI's protocol. Its address and its words about itself go into the log; a client is told
only what concerns the request.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import openai

from mien.endpoint import address, is_near, retry_after
from mien.errors import AccessError, BusyError, InputError, ModelError
from mien.serve.logs import log

_CONNECT = 5.0  # seconds; a server that is there answers the door sooner
_LOOK = 10.0  # seconds that a server has to say how it is; one at full load takes its time
_NEWER = "max_completion_tokens"  # OpenAI's newer name of `max_tokens`, which its newer models insist on
_REFUSED = (400, 413, 422)
Json = dict[str, Any]


class Probe(NamedTuple):
    """A text as tokens of the base, to see whether a server reads them so."""

    ids: tuple[int, ...]
    text: str


class UnknownModelError(BusyError):
    """The server has no such model, or not any more."""

    def __init__(self) -> None:
        super().__init__("The model server does not have this model.", kind="unknown model")


class Upstream:
    """A server. Use `look` on a thread, and the rest on one event loop.

    Args:
        url: As in `http://host:8000`; `/v1` is added where there is no path.
        key: What it is to be sent as a bearer token; empty: nothing.
        timeout: Seconds of silence after which a reply has failed.

    Attributes:
        name: Its address, for the log.
        alive: Whether it answered when it was last asked.
        models: What it lists, by name; empty until it has been looked at.
        inflight: Replies that it is at for us.

    Raises:
        AccessError: The address is none.
    """

    def __init__(self, url: str, *, key: str = "", timeout: float = 120.0) -> None:
        parts = address(url)
        server, path = parts.netloc.rpartition("@")[2], parts.path.rstrip("/") or "/v1"
        self.name = f"{parts.scheme}://{server}{path}"
        self._root = self.name.removesuffix("/v1")
        self._state: str | None = None
        self.alive, self.inflight = False, 0
        self.models: Mapping[str, Json] = {}
        self._newer = False
        near = is_near(parts.hostname or "")
        given: Any = {"base_url": self.name, "api_key": key or "none", "max_retries": 0}
        self._client = openai.AsyncOpenAI(
            **given,
            timeout=openai.Timeout(timeout, connect=_CONNECT),
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not near),  # no proxy to a neighbour
        )
        self._looker = openai.OpenAI(
            **given, timeout=_LOOK, http_client=openai.DefaultHttpxClient(trust_env=not near)
        )
        for client in (self._client, self._looker):
            client.organization = client.project = None  # which are between a user and OpenAI

    def look(self, probe: Probe | None) -> None:
        """See whether it answers, and what it lists.

        Args:
            probe: Of its tokenizer, of a server like vLLM; None: of one that has its own.
        """
        try:
            if probe:
                self._looker.get(f"{self._root}/health", cast_to=object)
            listed: Any = self._looker.get("/models", cast_to=object)
            self.models = {entry["id"]: entry for entry in listed["data"]}
            self._now("" if self.alive or not probe else self._misreads(probe))
        except openai.NotFoundError:  # many a server lists nothing, and answers all the same
            self._now("it has no /health or no /v1/models, so it is not vLLM" if probe else "")
        except (openai.APIError, ValueError, LookupError, TypeError) as error:
            self._now(_reason(error))

    def _misreads(self, probe: Probe) -> str:
        """What is wrong with its tokenizer, if it can be asked."""
        body = {"tokens": probe.ids}
        try:
            told: Any = self._looker.post(f"{self._root}/detokenize", body=body, cast_to=object)
        except openai.NotFoundError:
            return ""
        same = told["prompt"].strip() == probe.text
        return "" if same else "its tokenizer is not the base's, so it serves another base"

    def _now(self, why: str) -> None:
        """Note how it is; `why` says what keeps it from answering."""
        before, self.alive = self._state, not why
        self._state = why
        if before != why:
            level = logging.WARNING if why else logging.INFO
            log(level, "server away" if why else "server up", server=self.name, why=why)

    async def send(self, path: str, body: Json) -> None:
        """Have something done.

        Raises:
            MienError: As `stream`; vLLM calls it an error of its own that an adapter does not fit.
        """
        with self._errors(refused=(*_REFUSED, 500)):
            await self._client.post(path, body=body, cast_to=object)

    async def stream(self, path: str, body: Json) -> AsyncGenerator[Json | None, None]:
        """Ask for one reply; None once it is under way, then its chunks.

        Raises:
            BusyError: Not now.
            UnknownModelError: Not by that name.
            InputError: Not this.
            AccessError: Not to us.
        """
        with self._errors():
            async with await self._open(path, body | {"stream": True}) as chunks:
                yield None
                async for chunk in chunks:
                    yield _object(chunk)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count a reply as one that it is at."""
        self.inflight += 1
        try:
            yield
        finally:
            self.inflight -= 1

    async def _open(self, path: str, body: Json) -> openai.AsyncStream[object]:
        if self._newer and "max_tokens" in body:
            body = {(_NEWER if name == "max_tokens" else name): value for name, value in body.items()}
        try:
            return await self._client.post(
                path, body=body, cast_to=object, stream=True, stream_cls=openai.AsyncStream[object]
            )
        except openai.BadRequestError as error:
            if _NEWER in body or _NEWER not in str(error):
                raise
        self._newer = True
        return await self._open(path, body)

    @contextmanager
    def _errors(self, refused: tuple[int, ...] = _REFUSED) -> Iterator[None]:
        try:
            yield
        except openai.APIStatusError as error:
            raise self._refusal(error, refused) from None
        except openai.APIConnectionError as error:  # a time-out is one too
            late = isinstance(error, openai.APITimeoutError)
            raise self._away(error, "time-out" if late else "connection") from None
        except openai.APIError as error:  # told in the middle of a stream
            raise self._away(error, "server error") from None
        except ValueError as error:  # of JSON
            raise self._away(error, "broken JSON") from None

    def _away(self, error: Exception, kind: str, wait: float | None = None) -> BusyError:
        log(logging.WARNING, "server failed", server=self.name, kind=kind, why=_reason(error))
        return BusyError("The model server does not answer.", kind=kind, wait=wait)

    def _refusal(
        self, error: openai.APIStatusError, refused: tuple[int, ...]
    ) -> ModelError | InputError:
        status = error.status_code
        if status == 404:
            log(logging.WARNING, "server knows no such thing", server=self.name, why=_said(error))
            return UnknownModelError()
        if status in refused:
            return InputError(f"The model server refuses this: {_said(error)}", fix="Change it.")
        if status == 429 or status >= 500:
            return self._away(error, f"status {status}", retry_after(error.response.headers))
        log(logging.ERROR, "server refused us", server=self.name, status=status)
        return AccessError(f"{self.name}: {status}.", fix="Check the key: `--key-env NAME`.")


def read_key(variable: str | None) -> str:
    """A key from the environment; empty where none is asked for.

    Raises:
        AccessError: The variable is not set.
    """
    if variable is None:
        return ""
    if key := os.environ.get(variable, "").strip():
        return key
    raise AccessError(f"{variable}: not set, and it is to hold the server's key.", fix="Set it.")


def _object(chunk: object) -> Json:
    if not isinstance(chunk, dict):
        raise ValueError("a chunk that is no object")
    return chunk


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error)[:160] or type(error).__name__


def _said(error: openai.APIStatusError) -> str:
    """The server's own words about the request."""
    told = error.body.get("message") if isinstance(error.body, Mapping) else None
    return (str(told or "it does not say why").splitlines() or [""])[0][:300]
