"""What the tests of the gateway share: trained-looking runs, and a real server on a free port.

A module that imports the fixtures has a base, a shop and a house of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from mien.base.fetch import file_sha256
from mien.base.lora import WEIGHTS
from mien.base.model import Base
from mien.base.render import Renderer
from mien.chat import Sampling
from mien.persona.spec import library
from mien.registry.cards import PERSONA, Card, adapter_folder, write_card
from mien.schema import conversation
from mien.serve.catalogue import Catalogue
from mien.serve.engine import Engine
from mien.serve.gateway import Gateway
from mien.serve.local import Local
from mien.serve.server import Server
from mien.serve.settings import Settings
from mien.workspace import Workspace, write_json
from tests import models
from tests.decode.personas import with_personas
from tests.registry.test_cards import FIELDS
from tests.serve.serving import solo

SAMPLING = Sampling(max_tokens=8, temperature=0, repetition_penalty=1)
# Runs as training leaves them: which of the base's adapters each one has, and when it was made.
RUNS = {
    "witty-1": ("witty", "captain", 1),
    "witty-2": ("witty", "poet", 2),
    "calm-1": ("calm", "clerk", 3),
}


def roomy_base(*, personas: bool = True) -> Base:
    """With room for a system prompt, whose every letter is a token or so."""
    model = models.llama_model(max_position_embeddings=1024)
    base = Base(model, models.chatml_tokenizer(), models.tiny_base().files)
    return with_personas(base, size=0.3) if personas else base


def stocked(folder: Path, base: Base) -> Workspace:
    """A workspace with all the runs."""
    workspace = Workspace.open(folder)
    for run, (persona, adapter, day) in RUNS.items():
        train(workspace, base, run, persona, adapter, day)
    return workspace


def train(
    workspace: Workspace,
    base: Base,
    run: str,
    persona: str,
    adapter: str,
    day: int,
    stage: str = "sft",
) -> Card:
    """A finished run whose adapter is one of the base's."""
    folder = workspace.runs / run / "adapter"
    base.adapters.save(adapter, folder, base=base.files.name)
    about = {
        "run": run,
        "stage": stage,
        "persona": persona,
        "base": base.files.name,
        "base_hash": base.files.sha256,
        "adapter_hash": file_sha256(folder / WEIGHTS),
        "made": f"2026-01-0{day}T00:00:00+00:00",
    }
    card = Card.model_validate(FIELDS | about)
    write_json(workspace.runs / run / PERSONA, library()[persona].model_dump(mode="json"))
    write_card(adapter_folder(workspace, card).parent, card)
    return card


class House:
    """A gateway that listens, and a client of it."""

    def __init__(self, gateway: Gateway, engine: Engine, port: int) -> None:
        self.gateway, self.engine = gateway, engine
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx2.Client(base_url=self.url, timeout=20, trust_env=False)

    def client(self, key: str = "none") -> OpenAI:
        """The official one; it asks once."""
        http = httpx2.Client(timeout=20, trust_env=False)
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, http_client=http)

    def metric(self, line: str) -> float:
        """The value after what begins a line of `/metrics`."""
        lines = self.http.get("/metrics").text.splitlines()
        return next((float(each.rpartition(" ")[2]) for each in lines if each.startswith(line)), 0.0)

    def until_idle(self) -> None:
        """Wait until no request runs."""
        wait_for(lambda: self.engine.figures().running == 0 and self.gateway.idle)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Until it holds; on a busy machine that may take a while."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def logged(caplog: pytest.LogCaptureFixture, event: str, answer: httpx2.Response) -> dict[str, Any]:
    """The fields of the only line of that event about the request that was answered.

    A line is written after its answer is sent, so that another test's may be among them.
    """
    lines = [vars(each)["fields"] for each in caplog.records if each.getMessage() == event]
    (mine,) = [each for each in lines if each["request_id"] == answer.headers["x-request-id"]]
    return dict(mine)


@contextmanager
def listening(gateway: Gateway) -> Iterator[int]:
    """The port of a real server in a thread."""
    server = Server(gateway, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def serving(base: Base, workspace: Workspace, slots: int = 4, **options: Any) -> Iterator[House]:
    """A gateway that listens; `settings` are by default those of these tests."""
    settings = options.pop("settings", Settings(sampling=SAMPLING))
    of_engine = {
        name: options.pop(name) for name in ("waiting", "chunk", "prefix_bytes") if name in options
    }
    with Engine(base, slots=slots, pack=False, **{"waiting": 64} | of_engine) as engine:
        backend = Local(
            engine, resident=options.pop("resident", 32), context=options.pop("context", None)
        )
        gateway = Gateway(backend, Catalogue(base.files, workspace), settings=settings, **options)
        with listening(gateway) as port:
            house = House(gateway, engine, port)
            with closing(house.http):
                yield house


def rendered(base: Base, text: str, system: str | None = None) -> list[int]:
    return Renderer(base.tokenizer).prompt(conversation(text, system=system))


def expected(
    base: Base, adapter: str | None, text: str, system: str | None = None, tokens: int = 8
) -> str:
    """What the base alone says, greedily; worked by the model's own forward pass."""
    ids = solo(base, rendered(base, text, system), adapter, tokens)
    ends = [i for i, token in enumerate(ids) if token in base.renderer.stop_ids]
    return base.renderer.decode(ids[: min(ends, default=len(ids))])


@pytest.fixture(scope="module")
def base() -> Base:
    return roomy_base()


@pytest.fixture(scope="module")
def shop(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return stocked(tmp_path_factory.mktemp("shop"), base)


@pytest.fixture(scope="module")
def house(base: Base, shop: Workspace) -> Iterator[House]:
    with serving(base, shop) as house:
        yield house
