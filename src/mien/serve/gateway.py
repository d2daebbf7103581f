"""The gateway: OpenAI's protocol in front of a backend, as an ASGI application.

To serve an engine that is open::

    gateway = Gateway(Local(engine), Catalogue(base.files, workspace))
    Server(gateway, host="127.0.0.1", port=8000).run()
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

import mien
from mien.chat import Sampling
from mien.errors import MienError
from mien.serve import described, page
from mien.serve.answers import Answer, Kind
from mien.serve.backends import Backend, Piece, Stream, Wanted, is_chat
from mien.serve.catalogue import Catalogue, Served
from mien.serve.door import GONE, Door, Visit
from mien.serve.feedback import FeedbackRequest
from mien.serve.keys import Keys
from mien.serve.limits import Lease, Limits
from mien.serve.logs import log
from mien.serve.metrics import NONE, UNKNOWN, Metrics
from mien.serve.protocol import Asking, ChatRequest, CompletionRequest
from mien.serve.refusals import RefusedError, malformed, refusal
from mien.serve.settings import Settings
from mien.serve.trials import ROUTE, Trial, Trials

_SSE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_CHAT, _TEXT = "/v1/chat/completions", "/v1/completions"
_BROKEN = RefusedError(500, "The request failed.", "internal_error")


class Gateway:
    """An ASGI application that answers for personas.

    Args:
        backend: Makes the replies.
        catalogue: The models that there are.
        keys: Who may ask; without any, everybody.
        settings: Of whoever runs it.
        limits: Of the keys.

    Attributes:
        app: The FastAPI application, without the door before it; more routes may be added.
    """

    def __init__(
        self,
        backend: Backend,
        catalogue: Catalogue,
        *,
        keys: Keys | None = None,
        settings: Settings | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.backend, self.catalogue = backend, catalogue
        self.settings, self.limits = settings or Settings(), limits or Limits()
        self.trials = Trials(catalogue)
        self.app = self._application()
        self.door = Door(
            self.app,
            keys=keys or Keys(),
            max_body=self.settings.max_body,
            timeout=self.settings.timeout,
            on_end=self._ended,
        )
        self.metrics = Metrics(backend, lambda: self.door.inflight)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self.door.inflight

    @property
    def draining(self) -> bool:
        """Whether new requests are refused."""
        return self.door.draining

    def drain(self) -> None:
        """Take no more requests; those that run are finished."""
        self.door.draining = True

    def _application(self) -> FastAPI:
        app = FastAPI(
            title="mien",
            version=mien.__version__,
            lifespan=self._lifespan,
            docs_url=None,
            redoc_url=None,
        )
        app.add_api_route("/health", self.health, **described.HEALTH)
        app.add_api_route("/metrics", self.scrape, **described.METRICS)
        app.add_api_route("/v1/models", self.list_models, **described.MODELS)
        app.add_api_route("/v1/models/{name:path}", self.show_model, **described.MODEL)
        app.add_api_route(_CHAT, self.chat, **described.CHAT)
        app.add_api_route(_TEXT, self.complete, **described.COMPLETION)
        app.add_api_route("/v1/feedback", self.feedback, **ROUTE)
        page.add_to(app, self.catalogue, self.trials, self.settings)
        app.add_exception_handler(RefusedError, _refused)
        app.add_exception_handler(MienError, _failed)
        app.add_exception_handler(RequestValidationError, _malformed)
        app.add_exception_handler(HTTPException, _off_the_map)
        app.add_exception_handler(Exception, _broken)
        return app

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(self._refresh())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(self.trials.close)

    async def _refresh(self) -> None:
        """Look for new adapters and experiments now and then."""
        while True:
            await asyncio.sleep(self.settings.refresh)
            try:
                await asyncio.to_thread(self.trials.refresh)
                if await asyncio.to_thread(self.catalogue.refresh):
                    log(logging.INFO, "models changed", models=list(self.catalogue.models))
            except Exception as error:  # a card that is being written, a disk that is gone
                log(logging.ERROR, "models not read", error)

    async def health(self) -> Response:
        """200 while requests are answered, else 503."""
        state = "dead" if not self.backend.alive else "draining" if self.draining else "ok"
        figures = self.backend.figures()
        told = {"status": state} | {name: figures.get(name) for name in ("running", "waiting")}
        return JSONResponse(told, 200 if state == "ok" else 503)

    async def scrape(self) -> Response:
        """Figures in Prometheus' text format."""
        return Response(self.metrics.page(), media_type="text/plain; version=0.0.4")

    async def list_models(self) -> Response:
        """The models, their versions, the prompts and the experiments."""
        entries = [*self.catalogue.entries(), *self.trials.entries().values()]
        return JSONResponse({"object": "list", "data": entries})

    async def show_model(self, name: str) -> Response:
        """One of them."""
        return JSONResponse(self.trials.entries().get(name) or self._find(name).entry())

    async def chat(self, request: Request, body: ChatRequest) -> Response:
        """Answer a conversation; whoever asks an experiment is answered by one of its arms."""
        trial = self.trials.trial(body, _visit(request).key)
        if trial:
            body = body.model_copy(update={"model": trial.arm})
        model = self._model(request, body)
        wanted = self._wanted(body, model, (body.conversation(model.system),))
        return await self._answer(request, body, wanted, "chat", trial)

    async def complete(self, request: Request, body: CompletionRequest) -> Response:
        """Continue a text."""
        self.trials.refuse(body)
        model = self._model(request, body)
        if model.system and not model.adapter:
            message = f"{model.id!r} is a system prompt, which only `/v1/chat/completions` has."
            raise RefusedError(400, message, "unsupported", param="model")
        return await self._answer(request, body, self._wanted(body, model, body.prompts()), "text")

    async def feedback(self, request: Request, body: FeedbackRequest) -> Response:
        """Take down what a user did about a reply of an experiment."""
        visit = _visit(request)
        if lease := self.limits.take(visit.key, 0):
            visit.held.callback(lease.release)
        return JSONResponse(await self.trials.feedback(body, visit.key))

    def _model(self, request: Request, body: Asking) -> Served:
        model, visit = self._find(body.model), _visit(request)
        visit.model, visit.said["model"] = model.label, model.id
        body.refuse_what_is_not_supported()
        return model

    def _find(self, name: str) -> Served:
        return self.catalogue.find(name, blends=self.settings.blends)

    def _wanted(self, body: Asking, model: Served, prompts: tuple[Any, ...]) -> Wanted:
        form = body.response_format
        return Wanted(
            model=model,
            prompts=prompts,
            sampling=Sampling.model_validate(self.settings.sampling.model_dump() | body.sampling()),
            seed=secrets.randbits(62) if body.seed is None else body.seed,
            n=body.n or 1,
            limited=body.limit is not None,
            stop=body.stops,
            logprobs=body.likeliest,
            schema=form.wanted if form else None,
            strict=bool(form and form.json_schema and form.json_schema.strict),
        )

    async def _answer(
        self, request: Request, body: Asking, wanted: Wanted, kind: Kind, trial: Trial | None = None
    ) -> Response:
        visit = _visit(request)
        stream = await self.backend.prepare(wanted)
        lease = self.limits.take(visit.key, stream.reserved)
        if lease:
            visit.held.callback(lease.release)
        visit.held.callback(stream.cancel)
        await stream.start()
        answer = Answer(
            kind,
            body.model,
            prompts=len(wanted.prompts),
            n=wanted.n,
            prompt_tokens=stream.prompt_tokens,
            fingerprint=stream.fingerprint,
        )
        visit.held.callback(self._account, visit, wanted, stream, answer, lease)
        if trial:
            await self.trials.begin(trial, visit, answer, stream.fingerprint)
        pieces = self._pieces(visit, stream, answer)
        if body.stream:
            visit.complete = False
            events = self._events(visit, pieces, answer, usage=body.usage_in_stream)
            return StreamingResponse(events, media_type="text/event-stream", headers=_SSE)
        if not await _unless_gone(request, _exhaust(pieces)):
            visit.complete = False
            return Response(status_code=GONE)
        return JSONResponse(answer.whole())

    async def _pieces(self, visit: Visit, stream: Stream, answer: Answer) -> AsyncIterator[Piece]:
        """The pieces, each noted in the answer and the figures.

        Raises:
            RefusedError: They take too long.
        """
        model, last = visit.model or UNKNOWN, dict[int, float]()
        async for piece in _by(visit.started + self.settings.timeout, stream):
            answer.choices[piece.index].add(piece)
            now = time.monotonic()
            if piece.tokens:
                self._time(visit, model, now, last.get(piece.index))
                last[piece.index] = now
            if piece.ended and piece.ended.waited is not None:
                self.metrics.queue.labels(model).observe(piece.ended.waited)
            yield piece
        # Where another server reads the prompt, only its end says how long it was.
        answer.prompt_tokens = stream.prompt_tokens

    def _time(self, visit: Visit, model: str, now: float, last: float | None) -> None:
        if last is not None:
            self.metrics.between_tokens.labels(model).observe(now - last)
            return
        self.metrics.first_token.labels(model).observe(now - visit.started)
        visit.said.setdefault("first_ms", round(1000 * (now - visit.started), 1))

    async def _events(
        self, visit: Visit, pieces: AsyncIterator[Piece], answer: Answer, *, usage: bool
    ) -> AsyncIterator[str]:
        """Server-sent events; what goes wrong in the middle is one of them.

        Each yield is a system call, so an end is sent together with what follows it.
        """
        more: dict[str, Any] = {"usage": None} if usage else {}
        told = ""
        try:
            for opening in answer.opening():
                yield _event(opening | more)
            async for piece in pieces:
                if chunk := answer.chunk(piece):
                    told += _event(chunk | more)
                    if not piece.ended:
                        yield told
                        told = ""
            if usage:
                told += _event(answer.usage_chunk())
            visit.complete = True
        except Exception as error:
            refused = _told(visit, error)
            visit.said["error"], visit.complete = refused.code, True
            told += _event(refused.body)
        yield told + "data: [DONE]\n\n"

    def _account(
        self, visit: Visit, wanted: Wanted, stream: Stream, answer: Answer, lease: Lease | None
    ) -> None:
        """Tokens and time of a request that is over, for its key, the figures and the log."""
        answer.prompt_tokens = stream.prompt_tokens
        model, usage = visit.model or UNKNOWN, answer.usage()
        if lease:
            lease.used = usage["total_tokens"]
        for seconds in stream.waits():
            self.metrics.queue.labels(model).observe(seconds)
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        self.metrics.prompt_tokens.labels(model).inc(usage["prompt_tokens"])
        self.metrics.reply_tokens.labels(model).inc(usage["completion_tokens"])
        self.metrics.cached_tokens.labels(model).inc(cached)
        visit.said |= {name: usage[name] for name in ("prompt_tokens", "completion_tokens")}
        if self.settings.log_text:
            visit.said |= {"prompts": [_plain(each) for each in wanted.prompts]}
            visit.said |= {"replies": [choice.text for choice in answer.choices]}

    def _ended(self, visit: Visit) -> None:
        """One request less."""
        status = visit.status if visit.complete else GONE
        seconds = time.monotonic() - visit.started
        asked = visit.model or (UNKNOWN if visit.path in (_CHAT, _TEXT) else NONE)
        self.metrics.requests.labels(asked, str(status)).inc()
        if visit.model:
            self.metrics.request.labels(visit.model).observe(seconds)
        told = {"request_id": visit.id, "model": visit.model, "status": status, **visit.said}
        told["key"] = visit.key.name if visit.key else None
        log(logging.INFO, "request", None, ms=round(1000 * seconds, 1), **told)


def _visit(request: Request) -> Visit:
    return cast(Visit, request.state.visit)


async def _by(deadline: float, stream: Stream) -> AsyncIterator[Piece]:
    """What comes before the deadline, a time of `time.monotonic`."""
    pieces, loop = aiter(stream), asyncio.get_running_loop()
    until = loop.time() + deadline - time.monotonic()
    while True:
        try:
            async with asyncio.timeout_at(until):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            message = "The reply took too long. Ask for a shorter one, or again later."
            raise RefusedError(503, message, "timeout", wait=5) from None
        yield piece


async def _exhaust(pieces: AsyncIterator[Piece]) -> None:
    async for _ in pieces:
        pass


async def _unless_gone(request: Request, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work; False if the client went away first, and the work was given up."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _plain(prompt: Any) -> Any:
    """A prompt as JSON."""
    return [message.model_dump(mode="json") for message in prompt] if is_chat(prompt) else prompt


def _told(visit: Visit, error: Exception) -> RefusedError:
    """What a client is told of an error in the middle of a stream."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, MienError):
        return refusal(error)
    log(logging.ERROR, "failed", error, request_id=visit.id)
    return _BROKEN


async def _refused(_: Request, error: Exception) -> Response:
    refused = cast(RefusedError, error)
    return JSONResponse(refused.body, refused.status, refused.headers)


async def _failed(request: Request, error: Exception) -> Response:
    prompt = "messages" if _visit(request).path == _CHAT else "prompt"
    refused = refusal(cast(MienError, error), prompt=prompt)
    if refused.status >= 500:
        log(logging.WARNING, "not answered", request_id=_visit(request).id, why=str(error))
    return await _refused(request, refused)


async def _malformed(request: Request, error: Exception) -> Response:
    return await _refused(request, malformed(cast(RequestValidationError, error).errors()))


async def _off_the_map(request: Request, error: Exception) -> Response:
    found = cast(HTTPException, error)
    code = {404: "not_found", 405: "method_not_allowed"}.get(found.status_code, "malformed")
    return await _refused(request, RefusedError(found.status_code, str(found.detail), code))


async def _broken(request: Request, _: Exception) -> Response:
    """The door writes the traceback down."""
    return await _refused(request, _BROKEN)
