"""Many clients at once: nothing but a 503 that says when to come back, nobody starves, nothing grows."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI

from mien.base.model import Base
from mien.decode.request import End
from mien.errors import AdapterError
from mien.registry.cards import cards
from mien.registry.retire import remove, run_called
from mien.serve.engine import Engine
from mien.serve.settings import Settings
from mien.workspace import Workspace
from tests.decode.personas import PERSONAS, prompt
from tests.serve.apart import apart
from tests.serve.gateways import RUNS, SAMPLING, expected, roomy_base, serving, stocked, wait_for
from tests.serve.serving import Diary, asked

VOICES = {"base": None, "witty": "poet", "calm": "clerk", "witty@witty-1": "captain"}
TEXTS = ("hello there", "the wind is fair")
LOCUST = os.environ.get("MIEN_LOCUST", "locust")


@pytest.fixture(scope="module")
def base() -> Base:
    return roomy_base()


@pytest.fixture(scope="module")
def truth(base: Base) -> dict[tuple[str, str], str]:
    return {(model, text): expected(base, VOICES[model], text) for model in VOICES for text in TEXTS}


class Crowd:
    """Clients of the official library, as many at once as are asked for.

    Attributes:
        seen: Answers by their status, 503s without `Retry-After`, streams left in the middle.
        wrong: Replies that were not what the persona says alone.
    """

    def __init__(self, url: str, truth: dict[tuple[str, str], str]) -> None:
        self.url, self.truth = url, truth
        self.seen: Counter[int | str] = Counter()
        self.wrong: list[tuple[str, str, str]] = []

    def come(self, clients: int) -> None:
        asyncio.run(self._come(clients))

    async def _come(self, clients: int) -> None:
        limits = httpx2.Limits(max_connections=clients)
        hooks: Any = {"response": [self._note]}
        async with httpx2.AsyncClient(
            event_hooks=hooks, limits=limits, timeout=120, trust_env=False
        ) as http:
            client = AsyncOpenAI(
                base_url=f"{self.url}/v1", api_key="none", max_retries=60, http_client=http
            )
            await asyncio.gather(*(self._one(client, i) for i in range(clients)))

    async def _note(self, response: httpx2.Response) -> None:
        self.seen[response.status_code] += 1
        self.seen["no Retry-After"] += (
            response.status_code == 503 and "retry-after" not in response.headers
        )

    async def _one(self, client: AsyncOpenAI, number: int) -> None:
        """Every tenth leaves in the middle."""
        model, text = [*self.truth][number % len(self.truth)]
        stream = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}], stream=True
        )
        said = ""
        async for chunk in stream:
            said += chunk.choices[0].delta.content or ""
            if number % 10 == 9 and said:
                await stream.close()
                self.seen["left"] += 1
                return
        self.seen["replies"] += 1
        if said != self.truth[model, text]:
            self.wrong.append((model, text, said))

    def check(self) -> None:
        assert {status for status in self.seen if isinstance(status, int)} <= {200, 503}
        assert self.seen["no Retry-After"] == 0
        assert self.wrong == []


def test_more_clients_than_it_can_take_all_get_their_answer(
    base: Base, truth: dict[tuple[str, str], str], tmp_path: Path
) -> None:
    with serving(base, stocked(tmp_path, base), slots=2, waiting=8) as house:
        crowd = Crowd(house.url, truth)
        crowd.come(20)
        house.until_idle()
    crowd.check()
    assert crowd.seen["replies"] == 18 and crowd.seen["left"] == 2
    assert crowd.seen[503]


@pytest.mark.slow
def test_two_hundred_clients_at_once_and_memory_stays_as_it_is(
    truth: dict[tuple[str, str], str], tmp_path: Path
) -> None:
    rounds = int(os.environ.get("MIEN_LOAD_ROUNDS", "20"))
    with apart(tmp_path / "shop", slots=8, waiting=64) as server:
        crowd, memory = Crowd(server.url, truth), list[float]()
        for _ in range(rounds):
            crowd.come(200)
            memory.append(server.megabytes)
        health = httpx2.get(f"{server.url}/health", trust_env=False)
    print(f"{dict(crowd.seen)}; MiB after each round: {[round(each, 1) for each in memory]}")
    crowd.check()
    assert crowd.seen["replies"] == 180 * rounds
    assert health.json() == {"status": "ok", "running": 0, "waiting": 0}
    assert max(memory[rounds // 2 :]) - memory[rounds // 4] < 10


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(LOCUST) is None, reason="locust is not installed; `make storm` does it")
def test_two_hundred_users_of_locust(tmp_path: Path) -> None:
    seconds = os.environ.get("MIEN_LOCUST_SECONDS", "60")
    file = Path(__file__).with_name("locustfile.py")
    how = ["--headless", "--users", "200", "--spawn-rate", "100", "--run-time", f"{seconds}s", "--json"]
    with apart(tmp_path / "shop", slots=8, waiting=64) as server:
        command = [LOCUST, "-f", str(file), *how, "--host", server.url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        health = httpx2.get(f"{server.url}/health", trust_env=False)
    told = {row["method"]: row for row in json.loads(done.stdout)}
    print({method: (row["num_requests"], row["num_failures"]) for method, row in told.items()})
    assert done.returncode == 0, done.stderr
    assert told["POST"]["num_requests"] > 200 and told["POST"]["num_failures"] == 0
    assert health.status_code == 200


CLIENT = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
body = {"model": "witty", "prompt": "x", "max_tokens": 1000, "stream": json.loads(sys.argv[2])}
connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
print("asked", flush=True)
connection.getresponse().read()
"""


@contextmanager
def slow_steps(base: Base, seconds: float) -> Iterator[None]:
    """Every step of the engine takes at least so long, as those of a larger model do."""
    embed = base.model.base_model.embed_tokens
    hook = embed.register_forward_pre_hook(lambda *_: time.sleep(seconds))
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_is_killed_frees_its_slot_within_a_step(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(base.renderer, "stop_ids", frozenset())  # so that it talks to the end
    with serving(base, stocked(tmp_path, base), slots=1) as house, slow_steps(base, 0.03):
        port = house.url.rpartition(":")[2]
        command = [sys.executable, "-c", CLIENT, port, json.dumps(stream)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None and client.stdout.readline() == "asked\n"
            wait_for(lambda: house.engine.figures().tokens > 3)
            client.send_signal(signal.SIGKILL)
            client.wait()
            killed = house.engine.figures().steps
        wait_for(lambda: house.engine.figures().ended == {"cancelled": 1})
        assert house.engine.figures().steps <= killed + 1
        house.until_idle()


def test_a_request_that_does_not_arrive_whole_is_given_up(base: Base, tmp_path: Path) -> None:
    hasty = Settings(sampling=SAMPLING, timeout=0.2)
    with serving(base, stocked(tmp_path, base), settings=hasty) as house:
        port = int(house.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
            line.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                b"Connection: close\r\nContent-Length: 100\r\n\r\n{"
            )
            told = b"".join(iter(lambda: line.recv(4096), b""))  # until the server hangs up
        assert told.startswith(b"HTTP/1.1 408 ") and b'"code": "timeout"' in told
        house.until_idle()


@pytest.mark.parametrize(("slots", "others"), [(1, 1), (2, 1), (1, 3)])
def test_who_asks_seldom_waits_for_one_reply_of_each_other_persona(
    base: Base, slots: int, others: int
) -> None:
    tokens, popular = 6, PERSONAS[:others]
    with Engine(base, slots=slots, pack=False) as engine:
        for name in PERSONAS:
            engine.adopt(name)

        def again(name: str) -> None:
            """Ask, and ask again as soon as that is answered."""
            if engine.alive:
                engine.submit(
                    asked(prompt(4), name, tokens), lambda e: again(name) if isinstance(e, End) else None
                )

        for i in range(20 * others):
            again(popular[i % others])
        waits = list[int]()
        for _ in range(5):
            rare = Diary(engine)
            engine.submit(asked(prompt(4), PERSONAS[3], tokens), rare)
            before = engine.figures().steps  # read before, it would count what this thread slept through
            rare.wait()
            waits.append(rare.steps[0] - before)
    # Those that run are finished, then one of each persona that waits; the rare one's turn comes after.
    assert max(waits) <= (others + 1) * tokens + 1


def test_what_is_in_memory_is_not_removed_and_what_made_room_may_be(base: Base, tmp_path: Path) -> None:
    shop = stocked(tmp_path, base)
    old = run_called(shop, "witty-1")
    with serving(base, shop, resident=1) as house:
        assert ask(house.url, "witty@witty-1") == 200
        with pytest.raises(AdapterError, match="witty-1 stays: a server has it in memory"):
            remove(shop, old)
        assert ask(house.url, "calm") == 200  # in its place
        remove(shop, old)
        assert ask(house.url, "witty@witty-1") == 503  # the catalogue has not looked yet
        house.gateway.catalogue.refresh()
        assert ask(house.url, "witty@witty-1") == 404
    assert {card.run for card in cards(shop)} == {*RUNS} - {"witty-1"}


@pytest.mark.slow
def test_what_a_killed_server_had_in_memory_may_be_removed(tmp_path: Path) -> None:
    shop = Workspace.open(tmp_path / "shop")
    with apart(shop.root) as server:
        assert ask(server.url, "witty@witty-1") == 200
        old = run_called(shop, "witty-1")
        with pytest.raises(AdapterError, match="a server has it in memory"):
            remove(shop, old)
        server.kill()
        remove(shop, old)
    assert {card.run for card in cards(shop)} == {*RUNS} - {"witty-1"}


def ask(url: str, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    return httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60, trust_env=False).status_code
