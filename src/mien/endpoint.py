"""A chat model behind any server that speaks OpenAI's chat protocol, local or far away.

Whatever goes wrong on the way is one of three things: `BusyError` (ask again), `ModelError` (it will not
answer this), or `AccessError` (it will not answer anything until an address, a name or a key is mended).
This room never asks again by itself, so that whoever does can count.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

import openai

from mien.chat import Reply, Sampling
from mien.errors import AccessError, BusyError, ModelError, first_line
from mien.schema import Message, digest

OPENAI_HOST = "api.openai.com"
OPENAI_KEY = "OPENAI_API_KEY"
_CONNECT = 10.0  # seconds; a server that is there answers the door sooner
_NEWER = "max_completion_tokens"  # OpenAI's newer name of `max_tokens`, which its newer models insist on
_NAME_IT = "Name the environment variable that holds its key: `--key-env NAME`."
_SET_IT = "Set it in the environment, and run this again."
_HOPELESS = (401, 402, 404)
_FIXES = {
    401: "Check the key: it is read from the environment variable {}.",
    402: "Give the account credit, and run this again: what was answered is kept.",
    403: "Ask for a model that this key may use, or change what the server objects to.",
    404: "Check the model's name, and that the address ends as the server wants it (often in /v1).",
}
_BUSY = {408: "time-out", 409: "conflict", 425: "too early", 429: "rate limit"}


class Endpoint:
    """A chat model behind a server that speaks OpenAI's chat protocol.

    The protocol has no `top_k` and no `repetition_penalty`: those two of `Sampling` stay behind. A key
    is read from the environment when this is made, sent to the server, and written nowhere.

    Args:
        base_url: Up to and with the version: `https://api.openai.com/v1`, `http://localhost:8000/v1`.
        model: As the server calls it.
        key_env: The environment variable that holds the key; `OPENAI_API_KEY` for OpenAI itself. A
            server in the local network needs none, and is sent none that is not named.
        timeout: Seconds of silence after which a call has failed.
        parallel: How many calls to have in flight.
        sampling: Of what is streamed.
        seed: Of what is streamed.

    Attributes:
        name: The model and the server.

    Raises:
        AccessError: The address is none, or the variable is needed and not set.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_env: str | None = None,
        timeout: float = 120.0,
        parallel: int = 8,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> None:
        server = address(base_url)
        host, port = server.hostname or "", f":{server.port}" if server.port else ""
        self.name = f"{model} at {host}{port}{server.path.rstrip('/')}"
        self.model, self.parallel = model, parallel
        self.sampling, self.seed = sampling or Sampling(), seed
        self._key_env = key_env or (OPENAI_KEY if host == OPENAI_HOST else None)
        near = is_near(host)
        self._key = self._read_key(near)
        self._limit = "max_tokens"
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=self._key or "none",
            timeout=openai.Timeout(timeout, connect=min(timeout, _CONNECT)),
            max_retries=0,
            http_client=openai.DefaultHttpxClient(trust_env=not near),  # no proxy to a neighbour
        )
        if host != OPENAI_HOST:  # whom OPENAI_ORG_ID and OPENAI_PROJECT_ID are no business of
            self._client.organization = self._client.project = None

    def reply(self, messages: Sequence[Message], sampling: Sampling, *, seed: int) -> Reply:
        """The next turn of the assistant.

        Raises:
            BusyError: Not now; `kind` says why, and `wait` for how long, if the server does.
            ModelError: Not to this conversation, however often it is asked.
            AccessError: Not from this server with this model and key.
        """
        with self._errors():
            answer = self._send(messages, sampling, seed, stream=False)
        with self._malformed():
            return self._reply(json.loads(answer.content))

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        """The next turn of the assistant, piece by piece as the server sends them.

        Raises:
            ModelError: As `reply`; in the middle too, where the server breaks off.
        """
        said = False
        with self._errors():
            answer = self._send(messages, self.sampling, self.seed, stream=True)
        with self._errors(), self._malformed():
            for chunk in answer.parse():
                if piece := chunk.choices[0].delta.content if chunk.choices else None:
                    said = True
                    yield piece
        if not said:
            raise BusyError(f"{self.name}: an empty reply.", kind="empty reply")

    def _send(self, messages: Sequence[Message], sampling: Sampling, seed: int, *, stream: bool) -> Any:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [message.model_dump(mode="json") for message in messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            self._limit: sampling.max_tokens,
            "seed": seed,
            "stream": stream,
        }
        key = {"Idempotency-Key": f"mien-{digest(body)}"}
        try:
            return self._client.chat.completions.with_raw_response.create(**body, extra_headers=key)
        except openai.BadRequestError as error:
            if self._limit == _NEWER or _NEWER not in str(error):
                raise
        self._limit = _NEWER
        return self._send(messages, sampling, seed, stream=stream)

    def _reply(self, answer: Any) -> Reply:
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        reply = Reply(
            text=choice["message"].get("content") or "",
            prompt_tokens=usage.get("prompt_tokens") or 0,
            completion_tokens=usage.get("completion_tokens") or 0,
            ended="length" if choice.get("finish_reason") == "length" else "stop",
        )
        if choice.get("finish_reason") == "content_filter" or choice["message"].get("refusal"):
            raise ModelError(f"{self.name}: refused to answer.", fix="Change the prompt.")
        if reply.text.strip():
            return reply
        if reply.ended == "length":
            raise ModelError(
                f"{self.name}: the {reply.completion_tokens} tokens it may write went before its reply.",
                fix="Let it write more tokens, or ask a model that does not think aloud first.",
            )
        raise BusyError(f"{self.name}: an empty reply.", kind="empty reply")

    @contextmanager
    def _malformed(self) -> Iterator[None]:
        try:
            yield
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise BusyError(f"{self.name}: the answer is not JSON.", kind="broken JSON") from None
        except (LookupError, TypeError, AttributeError, ValueError):
            raise BusyError(f"{self.name}: the answer has no choices.", kind="no choices") from None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the client's errors into ours, without their cause: a server may echo a key in it."""
        try:
            yield
        except openai.APITimeoutError:
            raise BusyError(f"{self.name}: no answer in time.", kind="time-out") from None
        except openai.APIConnectionError as error:
            reason = first_line(cast(Exception, error.__cause__ or error))
            raise BusyError(f"{self.name}: no connection ({reason}).", kind="connection") from None
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.APIError as error:  # told in the middle of a stream
            said = f"{self.name}: broke off{self._said(error)}."
            raise BusyError(said, kind="server error") from None

    def _refusal(self, error: openai.APIStatusError) -> ModelError:
        """What a status that is not 200 means to whoever asked."""
        status = error.status_code
        what = f"{self.name}: {status}{self._said(error)}."
        if error.code == "insufficient_quota":
            status = 402
        if status in _BUSY or status >= 500:
            kind = _BUSY.get(status, "server error")
            return BusyError(what, kind=kind, wait=retry_after(error.response.headers))
        fix = _FIXES.get(status, "Change what the server objects to.").format(self._key_env)
        fix = _NAME_IT if status == 401 and not self._key else fix
        return (AccessError if status in _HOPELESS else ModelError)(what, fix=fix)

    def _said(self, error: openai.APIError) -> str:
        """The server's own words, if they can be shown."""
        if not isinstance(error.body, Mapping) or getattr(error, "status_code", 0) == 401:
            return ""  # 401: many a server quotes a part of the key
        said = str(error.body.get("message") or "").replace(self._key or "\0", "...").strip()
        return f" ({said.splitlines()[0][:160]})" if said else ""

    def _read_key(self, near: bool) -> str:
        """The key, or nothing where none is needed."""
        if not self._key_env and near:
            return ""
        if not self._key_env:
            raise AccessError(f"{self.name}: this server needs a key.", fix=_NAME_IT)
        key = os.environ.get(self._key_env, "").strip()
        if not key:
            raise AccessError(f"{self._key_env}: not set; {self.name} needs a key.", fix=_SET_IT)
        if not (key.isascii() and key.isprintable()):
            raise AccessError(f"{self._key_env}: not a key (it has characters no key has).", fix=_SET_IT)
        return key


def address(url: str) -> SplitResult:
    """The parts of a server's address, with the user and the password if it has them.

    Raises:
        AccessError: It is none.
    """
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of a port
        fit = False
    if not fit:
        shown = url.rpartition("@")[2]  # without a password
        raise AccessError(f"{shown!r} is no server's address.", fix="As in http://localhost:8000/v1.")
    return parts


def is_near(host: str) -> bool:
    """Whether a host is this machine or in the local network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:  # a name
        return host == "localhost"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, if a server says: RFC 9110, section 10.2.3, which allows seconds and dates."""
    given = headers.get("retry-after", "")
    try:
        seconds = float(given)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or one without a zone or with a wild one
        return None
