"""A server that speaks as vLLM does, with faults on demand; a reply says who speaks and what was heard.

A fault is a status (`503`, `400`, ...), `early` (the line drops before the first word), `cut` (after the
second), `error` (told in the middle of the stream), `hang` (nothing after the second word), `half` (an
end without a reason), `filter` (an end by policy) or `nonsense`. Each befalls one reply, in order.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from tests import models
from tests.serve.gateways import wait_for

BASE = "tiny"
MARK = "<end>"
Json = dict[str, Any]


class Stub:
    """The server.

    Args:
        pushing: Whether adapters can be loaded while it runs.

    Attributes:
        adapters: Loaded, with the run that speaks.
        asked: Bodies of the replies that were asked for, with the route as `path`.
        done: Of `load` and `unload`, as they came.
        keys: The `Authorization` headers.
        left: Streams that their reader left.
        faults: To come.
        gate: Replies wait for it after their first word.
        newer: Whether only `max_completion_tokens` will do.
        shift: What it takes a token id for, less what it is.
        unfit: Whether it finds that adapters do not fit it.
    """

    tokenizer = models.chatml_tokenizer()

    def __init__(self, *, pushing: bool = True, longest: int = 1000) -> None:
        self.pushing, self.longest = pushing, longest
        self.port, self.gate = 0, threading.Event()
        self.adapters: dict[str, str] = {}
        self.reset()

    def reset(self) -> None:
        """Be as new, but for the adapters."""
        self.asked: list[Json] = []
        self.done: list[tuple[str, str]] = []
        self.keys: list[str | None] = []
        self.faults: deque[str] = deque()
        self.healthy, self.newer, self.unfit = True, False, False
        self.shift = self.left = 0
        self.gate.set()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def application(self) -> FastAPI:
        """Its routes."""
        app = FastAPI()
        app.add_api_route("/health", self._health)
        app.add_api_route("/v1/models", self._models)
        app.add_api_route("/detokenize", self._detokenize, methods=["POST"])
        for path in ("/completions", "/chat/completions"):
            app.add_api_route(f"/v1{path}", self._reply, methods=["POST"])
        if self.pushing:
            app.add_api_route("/v1/load_lora_adapter", self._load, methods=["POST"])
            app.add_api_route("/v1/unload_lora_adapter", self._unload, methods=["POST"])
        return app

    async def _health(self) -> Response:
        return Response(status_code=200 if self.healthy else 503)

    async def _models(self) -> Json:
        base = {"id": BASE, "object": "model", "parent": None, "max_model_len": self.longest}
        others = [{"id": name, "object": "model", "parent": BASE} for name in self.adapters]
        return {"object": "list", "data": [base, *others]}

    async def _detokenize(self, request: Request) -> Json:
        ids = (await request.json())["tokens"]
        return {"prompt": self.tokenizer.decode([each + self.shift for each in ids])}

    async def _load(self, request: Request) -> Response:
        body = await request.json()
        name, path = body["lora_name"], Path(body["lora_path"])
        if self.unfit:
            return _error(500, "its rank is above what was allowed")
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        passport = json.loads((path / "mien.json").read_text())
        self.adapters[name] = passport["card"]["run"]
        self.done.append(("load", name))
        return Response(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        del self.adapters[name]
        self.done.append(("unload", name))
        return Response(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _reply(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body | {"path": request.url.path})
        self.keys.append(request.headers.get("authorization"))
        if body["model"] not in (BASE, *self.adapters):
            return _error(404, f"The model `{body['model']}` does not exist.")
        fault = self.faults.popleft() if self.faults else ""
        if fault.isdigit():
            retry = {"Retry-After": "7"} if fault == "503" else {}
            return _error(int(fault), "planted by the test", retry)
        if self.newer and "max_tokens" in body:
            return _error(400, "Use 'max_completion_tokens' instead of 'max_tokens'.")
        return StreamingResponse(self._chunks(body, fault), media_type="text/event-stream")

    async def _chunks(self, body: Json, fault: str) -> AsyncIterator[str]:
        chat, said = "messages" in body, self._words(body)
        heard = len(body.get("messages") or body["prompt"])
        for i, word in enumerate(said):
            if i == (0 if fault == "early" else 2) and fault in ("early", "cut", "error", "hang"):
                if fault == "error":
                    yield _event({"error": {"message": "the engine is dead", "code": 500}})
                    return
                await self._fail(fault)
            choice = {"index": 0, "finish_reason": None, "stop_reason": None, **_word(body, word, chat)}
            yield _event({"choices": [choice], "usage": _usage(body, heard, i + 1)})
            await asyncio.to_thread(self.gate.wait, 20)
        if fault == "nonsense":
            yield _event({"choices": 5})
        if fault != "half":
            cut = len(said) < len(self._whole(body))
            reason = "content_filter" if fault == "filter" else "length" if cut else "stop"
            tokens = len(said) + (not cut)  # a mark ended it
            last = {"index": 0, "finish_reason": reason, "stop_reason": None}
            last |= _word(body, "" if cut else MARK, chat)
            yield _event({"choices": [last], "usage": _usage(body, heard, tokens)})
            ending = {"choices": [], "usage": _usage(body, heard, tokens, always=True)}
            yield _event(ending)
        yield "data: [DONE]\n\n"

    async def _fail(self, fault: str) -> None:
        if fault != "hang":
            raise RuntimeError("planted by the test")
        try:
            await asyncio.sleep(20)
        finally:
            self.left += 1

    def _whole(self, body: Json) -> list[str]:
        who = self.adapters.get(body["model"], body["model"])
        heard = body.get("messages") or body["prompt"]
        return [who, " heard", f" {len(heard)}", " with", " seed", f" {body.get('seed')}"]

    def _words(self, body: Json) -> list[str]:
        most = body.get("max_tokens") or body.get("max_completion_tokens")
        return self._whole(body)[:most]


def _word(body: Json, word: str, chat: bool) -> Json:
    """A word with its log-probability, if that is asked for; a mark is no text."""
    told, text = word and body.get("logprobs") is not None, "" if word == MARK else word
    if chat:
        row = {"token": word, "logprob": -0.5}
        content = [row | {"top_logprobs": [row] * body["top_logprobs"]}] if told else None
        return {"delta": {"content": text}, "logprobs": {"content": content} if content else None}
    logprobs = {"tokens": [word], "token_logprobs": [-0.5], "top_logprobs": [{"no": -9.0, word: -0.5}]}
    return {"text": text, "logprobs": logprobs if told else None}


def _usage(body: Json, heard: int, written: int, *, always: bool = False) -> Json | None:
    if not (always or body["stream_options"].get("continuous_usage_stats")):
        return None
    return {
        "prompt_tokens": heard,
        "completion_tokens": written,
        "prompt_tokens_details": {"cached_tokens": 3} if always else None,
    }


def _event(value: Json) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    error = {"message": message, "type": "x", "param": None, "code": status}
    return JSONResponse({"error": error}, status, headers)


@contextmanager
def running(stub: Stub) -> Iterator[Stub]:
    """Have it listen, where it listened before if it did."""
    config = uvicorn.Config(
        stub.application(), port=stub.port, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    stub.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield stub
    finally:
        stub.gate.set()
        server.should_exit = True
        thread.join(10)
