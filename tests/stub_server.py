"""A server process that speaks OpenAI's chat protocol, with faults on demand and a log of every call.

    python -m tests.stub_server --port 0 --faults "429:0.05,timeout:0.02" --seed 1 --log calls.jsonl

Its first line on stdout is its address. An answer is a function of the conversation. Whether an attempt
fails, and how, is a function of the seed, the call's key and the number of the attempt, so a run can be
repeated. A call whose key was answered before gets the same answer and is not charged again.

A fault is a status (`429`, `500`, `401`, ...), `timeout` (silence, then the line drops), `drop` (the
line drops at once), `broken` (half of the JSON), `empty` (a reply without text), `blank` (no choices),
`length` (no text before the limit), `content_filter` (no text, by policy), `quota` (no credit), `newer`
(only the newer name of `max_tokens` will do) or `late` (answered and charged, but after the client has
gone). With a share of 1 it happens each time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

_EMPTY = ("empty", "length", "content_filter")
Answer = Callable[[Sequence[dict[str, Any]], int], str]

WORDS = """the morning ferry leaves before nine and the harbour is quiet then bring a coat because rain
comes early here so ask me again later you could write it down first and read it aloud to a friend"""


def answer(messages: Sequence[dict[str, Any]], seed: int) -> str:
    """Two sentences drawn by the conversation, with a word of what was said last."""
    draw = random.Random(f"{seed} {json.dumps(messages, sort_keys=True)}")
    last = (messages[-1].get("content") or "nothing").split()
    said = [draw.choice(WORDS.split()) for _ in range(draw.randint(12, 30))]
    middle = len(said) // 2
    first, second = " ".join(said[:middle]), " ".join(said[middle:])
    return f"{first.capitalize()}. About {draw.choice(last)}: {second}."


class Server(ThreadingHTTPServer):
    """What is to be answered, what goes wrong, and what has happened."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", options.port), Handler)
        self.options = options
        self.answer = named(options.answers) if options.answers else answer
        self.faults = parse_faults(options.faults)
        self.answered: dict[str, str] = {}
        self.attempts: Counter[str] = Counter()
        self.busy = 0
        self.lock = threading.Lock()
        self.log = Path(options.log).open("a", encoding="utf-8") if options.log else None  # noqa: SIM115
        if options.log:  # what a server of the same log has answered is not charged again
            for row in map(json.loads, Path(options.log).read_text(encoding="utf-8").splitlines()):
                if row["paid"]:
                    self.answered[row["key"]] = row["text"]

    def fault(self, key: str, attempt: int) -> str | None:
        """What goes wrong with this attempt, if anything."""
        draw = random.Random(f"{self.options.seed} {key} {attempt}").random()
        for kind, share in self.faults:
            if draw < share:
                return kind
            draw -= share
        return None

    def write(self, **row: Any) -> None:
        """A line in the log."""
        if self.log:
            with self.lock:
                self.log.write(json.dumps(row) + "\n")
                self.log.flush()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """The log is elsewhere."""

    def do_POST(self) -> None:
        """Answer, or fail to."""
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body, server = json.loads(raw), self.server
        key = self.headers["Idempotency-Key"] or hashlib.sha256(raw).hexdigest()
        with server.lock:
            server.attempts[key] += 1
            server.busy += 1
            attempt, busy = server.attempts[key], server.busy
        try:
            self._respond(key, attempt, busy, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with server.lock:
                server.busy -= 1

    def _respond(self, key: str, attempt: int, busy: int, body: dict[str, Any]) -> None:
        server, fault = self.server, self.server.fault(key, attempt)
        moot = _EMPTY if key in server.answered else ("newer",) if "max_tokens" not in body else ()
        fault = None if fault in moot else fault
        sound = fault in (None, "late")
        if sound:
            time.sleep(server.options.latency)
        with server.lock:
            paid = sound and key not in server.answered
            if paid:
                server.answered[key] = server.answer(body["messages"], body.get("seed", 0))
        text = server.answered.get(key, "") if sound else ""
        server.write(
            key=key, attempt=attempt, fault=fault, paid=paid, in_flight=busy, text=text,
            body=body, headers=sorted(self.headers), authorization=self.headers["Authorization"],
            at=time.time(),
        )  # fmt: skip
        if sound:
            time.sleep(server.options.silence if fault else 0)
            self._stream(text) if body.get("stream") else self._send(200, completion(body, text))
        else:
            self._fail(str(fault), body)

    def _fail(self, fault: str, body: dict[str, Any]) -> None:
        if fault in ("timeout", "drop"):
            time.sleep(self.server.options.silence if fault == "timeout" else 0)
            self.close_connection = True
        elif fault == "broken":
            whole = json.dumps(completion(body, "Half of"))
            self._send(200, whole[: len(whole) // 2])
        elif fault in _EMPTY and body.get("stream"):
            self._stream("")
        elif fault in _EMPTY:
            value = completion(body, "")
            value["choices"][0]["finish_reason"] = "stop" if fault == "empty" else fault
            self._send(200, value)
        elif fault == "newer":
            self._send(400, {"error": {"message": "use 'max_completion_tokens' for 'max_tokens'"}})
        elif fault == "quota":
            self._send(429, {"error": {"message": "no credit left", "code": "insufficient_quota"}})
        elif fault == "blank":
            self._send(200, {"id": "x", "object": "chat.completion"})
        else:
            error = {"message": f"a planted {fault} {self.headers['Authorization']}", "code": None}
            self._send(int(fault), {"error": error})

    def _send(self, status: int, value: dict[str, Any] | str) -> None:
        raw = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        if status in (429, 503) and self.server.options.retry_after:
            self.send_header("Retry-After", self.server.options.retry_after)
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for piece in text.split(" ") if text else []:
            chunk = {"choices": [{"index": 0, "delta": {"content": f"{piece} "}}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            time.sleep(self.server.options.pace)
        self.wfile.write(b"data: [DONE]\n\n")


def completion(body: dict[str, Any], text: str) -> dict[str, Any]:
    """An answer in the protocol's form, cut where it is too long; tokens are words."""
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 10**6
    words = text.split(" ")
    read = sum(len((message.get("content") or "").split()) for message in body["messages"])
    ended = "length" if len(words) > limit else "stop"
    message = {"role": "assistant", "content": " ".join(words[:limit])}
    return {
        "id": "stub", "object": "chat.completion", "created": 0, "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": ended}],
        "usage": {"prompt_tokens": read, "completion_tokens": min(len(words), limit)},
    }  # fmt: skip


def parse_faults(given: str) -> list[tuple[str, float]]:
    """`429:0.05,empty:0.1` as pairs."""
    pairs = (each.split(":") for each in given.split(",") if each)
    return [(kind.strip(), float(share)) for kind, share in pairs]


def named(target: str) -> Answer:
    """The function `module:name`."""
    module, _, name = target.partition(":")
    found: Answer = getattr(import_module(module), name)
    return found


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--faults", default="", help="kind:share, ...")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--log", default="", help="JSON lines; appended to")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds per answer")
    parser.add_argument("--silence", type=float, default=5.0, help="seconds of a time-out")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds per streamed word")
    parser.add_argument("--retry-after", default="", help="that header of a 429 or 503")
    parser.add_argument("--answers", default="", help="module:function(messages, seed) -> text")
    server = Server(parser.parse_args())
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    server.serve_forever()


@dataclass(frozen=True)
class Stub:
    """A stub server that runs.

    Attributes:
        url: Its address, ending in /v1.
        log_path: Its log.
        process: It.
    """

    url: str
    log_path: Path
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.split(":")[2].split("/")[0])

    def log(self) -> list[dict[str, Any]]:
        """A row for each attempt: key, attempt, fault, paid, in_flight, text, body, headers, at."""
        return [json.loads(line) for line in self.log_path.read_text(encoding="utf-8").splitlines()]

    def faults(self) -> Counter[str]:
        """How often each fault has happened."""
        return Counter(row["fault"] for row in self.log() if row["fault"])

    def paid(self) -> Counter[str]:
        """How often each call was charged, by its key."""
        return Counter(row["key"] for row in self.log() if row["paid"])


@contextmanager
def serving(folder: Path, faults: str = "", **options: object) -> Iterator[Stub]:
    """A stub server in a process of its own, with its log in `folder`; options as for `main`."""
    log = folder / "server.jsonl"
    given = {"faults": faults, "log": log, **options}
    flags = [text for key, value in given.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "tests.stub_server", *flags]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout
            yield Stub(process.stdout.readline().strip(), log, process)
        finally:
            process.kill()


if __name__ == "__main__":
    main()
