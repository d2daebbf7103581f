"""A client of the gateway for the serving bench: one request for each line it reads.

It is a process of its own, so that it takes no time from the gateway's, and uses the standard library
alone, so that little of what is measured is its own.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from typing import Any

_PATH = "/v1/chat/completions"
_HEADERS = {"Content-Type": "application/json"}


def ask(connection: http.client.HTTPConnection, body: dict[str, Any]) -> dict[str, Any]:
    """One request, from before it is sent until its answer is complete."""
    warm(connection)
    start = time.perf_counter()
    connection.request("POST", _PATH, json.dumps(body), _HEADERS)
    answer = connection.getresponse()
    told = answer.read()
    seconds = time.perf_counter() - start
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {told.decode()}")
    return {"seconds": seconds, "text": streamed(told) if body["stream"] else whole(told)}


def warm(connection: http.client.HTTPConnection) -> None:
    """Have the connection open and in use: the gateway closes those that are idle for a while."""
    connection.close()
    connection.request("GET", "/health")
    connection.getresponse().read()


def whole(told: bytes) -> str:
    """The text of an answer."""
    return str(json.loads(told)["choices"][0]["message"]["content"])


def streamed(told: bytes) -> str:
    """The text of all events."""
    lines = [line.removeprefix("data: ") for line in told.decode().splitlines() if line]
    if lines.pop() != "[DONE]":
        raise RuntimeError("the stream was cut off")
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
    return "".join(delta.get("content", "") for delta in deltas)


def main() -> None:
    """The port on the first line, then requests; what goes wrong with one is its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.stdin.readline()), timeout=120)
    for line in sys.stdin:
        try:
            told = ask(connection, json.loads(line))
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
