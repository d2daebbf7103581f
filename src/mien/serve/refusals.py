"""What a client is told when it does not get what it asked for, in the shape of OpenAI's protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mien.errors import AdapterError, BusyError, InputError, MienError, ModelError

_SHOWN = 5  # mistakes of one request that are told


class TooLongError(InputError):
    """Prompt and reply do not fit into the context."""


class RefusedError(Exception):
    """An answer that is no reply.

    Args:
        status: Of HTTP.
        message: What is wrong, and what to do.
        code: For programs; stable.
        param: The part of the request that is meant.
        wait: Seconds after which it is worth asking again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        wait: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.wait = status, message, code, param, wait

    @property
    def kind(self) -> str:
        """The class of errors that OpenAI's protocol calls `type`."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        server = "server_error" if self.status >= 500 else "invalid_request_error"
        return kinds.get(self.status, server)

    @property
    def body(self) -> dict[str, Any]:
        """As JSON."""
        told = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": told}

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After`, in whole seconds (RFC 9110, section 10.2.3); `WWW-Authenticate`."""
        headers = {} if self.wait is None else {"Retry-After": str(max(1, math.ceil(self.wait)))}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def refusal(error: MienError, *, prompt: str = "messages") -> RefusedError:
    """What an error of ours means to a client; `prompt` is what its request calls that."""
    message = str(error)
    if isinstance(error, BusyError):
        return RefusedError(503, message, "overloaded", wait=error.wait or 1)
    if isinstance(error, TooLongError):
        return RefusedError(400, message, "context_length_exceeded", param=prompt)
    if isinstance(error, InputError):
        return RefusedError(400, message, "invalid_request")
    if isinstance(error, AdapterError):  # its file was taken away or broken: not the client's doing
        return RefusedError(
            503, "This model's adapter cannot be used now.", "model_unavailable", wait=30
        )
    if isinstance(error, ModelError):
        return RefusedError(503, "The model does not answer now.", "model_unavailable", wait=5)
    return RefusedError(500, "The request failed.", "internal_error")


def malformed(mistakes: Sequence[Mapping[str, Any]]) -> RefusedError:
    """Of a body that pydantic refused; what was sent is not repeated."""
    lines = [_line(mistake) for mistake in mistakes[:_SHOWN]]
    first = _where(mistakes[0]) if mistakes else None
    return RefusedError(422, "; ".join(lines) or "The request is malformed.", "malformed", param=first)


def _line(mistake: Mapping[str, Any]) -> str:
    said = str(mistake["msg"]).removeprefix("Value error, ")
    where = _where(mistake)
    return f"{where}: {said[:1].lower()}{said[1:]}" if where else said


def _where(mistake: Mapping[str, Any]) -> str | None:
    return ".".join(str(part) for part in mistake["loc"] if part != "body") or None
