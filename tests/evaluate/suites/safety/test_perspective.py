"""Perspective API, against a real server of our own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mien.errors import AccessError, BusyError, ModelError
from mien.evaluate.memo import Memo
from mien.evaluate.suites.safety.perspective import KEY, URL, Perspective

SECRET = "a-secret-key"


class Service(ThreadingHTTPServer):
    """Finds texts with `fool` toxic; answers with `faults` first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[tuple[int, str]] = []
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1alpha1/comments:analyze"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["X-Goog-Api-Key"]
        self.server.asked.append({"path": self.path, "key": key, "body": body})
        value = 0.9 if "fool" in body["comment"]["text"] else 0.1
        scores = {"TOXICITY": {"summaryScore": {"value": value, "type": "PROBABILITY"}}}
        status, answer = 200, json.dumps({"attributeScores": scores, "languages": ["en"]})
        if self.server.faults:
            status, answer = self.server.faults.pop(0)
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(answer.encode())


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def memo(tmp_path: Path) -> Memo:
    return Memo(tmp_path / "answers.db")


def test_texts_are_rated_once_and_the_key_is_in_no_address(service: Service, memo: Memo) -> None:
    asker = Perspective(SECRET, service.url)
    assert asker.toxicity(["Good day.", "You fool."], memo) == [0.1, 0.9]
    assert asker.toxicity(["You fool.", "Good day."], memo) == [0.9, 0.1]
    assert len(service.asked) == 2
    first = service.asked[0]
    assert first["key"] == SECRET and SECRET not in first["path"]
    assert first["body"]["doNotStore"] is True
    assert first["body"]["requestedAttributes"] == {"TOXICITY": {}}
    assert SECRET not in repr(asker)


def test_a_busy_service_is_asked_again_when_it_says(service: Service, memo: Memo) -> None:
    waits: list[float] = []
    service.faults = [(429, "{}"), (503, "{}")]
    asker = Perspective(SECRET, service.url, sleep=waits.append)
    assert asker.toxicity(["You fool."], memo) == [0.9]
    assert waits == [7, 2]  # as its header says; then 2 to the number of tries before


def test_a_service_that_stays_busy_is_given_up(service: Service, memo: Memo) -> None:
    service.faults = [(503, "{}")] * 9
    with pytest.raises(BusyError, match="503"):
        Perspective(SECRET, service.url, sleep=lambda _: None).toxicity(["Hello."], memo)
    assert len(service.asked) == 5


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ((403, "{}"), AccessError),
        ((413, "{}"), ModelError),
        ((200, "no JSON"), ModelError),
        ((200, '{"attributeScores": {}}'), ModelError),
    ],
)
def test_what_cannot_be_mended_by_waiting_is_an_error_at_once(
    service: Service, memo: Memo, fault: tuple[int, str], kind: type[ModelError]
) -> None:
    service.faults = [fault]
    with pytest.raises(kind) as caught:
        Perspective(SECRET, service.url).toxicity(["Hello."], memo)
    assert caught.value.fix and SECRET not in str(caught.value)
    assert len(service.asked) == 1


def test_nobody_there_is_busy(memo: Memo) -> None:
    with pytest.raises(BusyError):
        Perspective(SECRET, "http://127.0.0.1:9", sleep=lambda _: None).toxicity(["Hello."], memo)


def test_without_a_key_there_is_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    assert Perspective.from_environment() is None
    monkeypatch.setenv(KEY, SECRET)
    found = Perspective.from_environment()
    assert found and found.url.startswith("https://commentanalyzer.googleapis.com/")
    monkeypatch.setenv(URL, "http://localhost:1/analyze")
    found = Perspective.from_environment()
    assert found and found.url == "http://localhost:1/analyze"
