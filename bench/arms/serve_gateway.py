"""What our gateway adds to a request: asked over loopback, and its engine asked directly, in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from report import peak_memory_mb, receive, send, versions
from serve_mien import asked, milliseconds

from mien.base.model import Base
from mien.data.corpus import corpus
from mien.persona.spec import library
from mien.registry.cards import Card, adapter_folder
from mien.registry.promote import Promotion, record
from mien.registry.transfer import bring_in
from mien.schema import conversation
from mien.serve.catalogue import Catalogue
from mien.serve.engine import Engine
from mien.serve.gateway import Gateway
from mien.serve.local import Local
from mien.serve.logs import start_logging
from mien.serve.server import Server
from mien.workspace import Workspace

PERSONA = "witty"
Ask = Callable[[dict[str, Any]], dict[str, Any]]


def overhead(job: dict[str, Any]) -> dict[str, Any]:
    """Both ways of asking, for each length of a reply."""
    base, workspace = Base.load(dtype="float32"), Workspace.open(Path(job["out"]) / "workspace")
    card = bring_in(workspace, base, Path(job["adapters"][0]), persona=library()[PERSONA])
    record(workspace, spoken_for(card))
    start_logging()
    with Engine(base) as engine, served(engine, workspace) as port, client(port) as ask:
        engine.load(card.run, adapter_folder(workspace, card))
        lengths = {"short": (1, job["requests"]), "long": (job["long"], job["long_requests"])}
        return {name: pairs(engine, card, ask, *each) for name, each in lengths.items()}


def spoken_for(card: Card) -> Promotion:
    """A promotion of what was brought in, so that it goes by the persona's name."""
    about = {key: getattr(card, key) for key in ("persona", "base_hash", "run", "adapter_hash")}
    return Promotion(**about, report="", who="bench")


@contextmanager
def served(engine: Engine, workspace: Workspace) -> Iterator[int]:
    """The port of a gateway that runs in a thread."""
    gateway = Gateway(Local(engine), Catalogue(engine.base.files, workspace))
    server = Server(gateway, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def client(port: int) -> Iterator[Ask]:
    """Asks by way of another process."""
    command = [sys.executable, str(Path(__file__).with_name("serve_client.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        into, out = process.stdin, process.stdout
        assert into and out

        def ask(body: Any) -> dict[str, Any]:
            print(json.dumps(body), file=into, flush=True)
            told: dict[str, Any] = json.loads(out.readline())
            if "error" in told:
                raise RuntimeError(f"the gateway did not answer: {told['error']}")
            return told

        print(port, file=into, flush=True)
        yield ask
        into.close()


def pairs(engine: Engine, card: Card, ask: Ask, tokens: int, requests: int) -> dict[str, Any]:
    """The engine, then the gateway whole and in a stream, again and again: what the latter take more."""
    text = prompt(engine, card, tokens)
    body = {
        "model": PERSONA,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "repetition_penalty": 1,
    }
    direct, more, said = [], {"whole": list[float](), "stream": list[float]()}, set[str]()
    for _ in range(requests + 1):  # the first one warms up
        reply, seconds = directly(engine, card, text, tokens)
        direct.append(seconds)
        said.add(engine.base.renderer.decode(reply).strip())
        for kind, added in more.items():
            told = ask(body | {"stream": kind == "stream"})
            added.append(told["seconds"] - seconds)
            said.add(told["text"])
    found = {kind: milliseconds(added[1:]) for kind, added in more.items()}
    return {"tokens": tokens, "direct": milliseconds(direct[1:]), **found, "same_text": len(said) == 1}


def directly(engine: Engine, card: Card, text: str, tokens: int) -> tuple[list[int], float]:
    """A reply of the engine, and the seconds it took."""
    request = asked(engine.base.renderer.prompt(conversation(text)), card.run, tokens)
    start = time.perf_counter()
    reply = engine.submit(request.model_copy(update={"ends": None})).ids()
    return reply, time.perf_counter() - start


def prompt(engine: Engine, card: Card, tokens: int) -> str:
    """The first of the corpus that is answered at this length."""
    texts = dict.fromkeys(row.prompt for row in corpus())
    return next(text for text in texts if len(directly(engine, card, text, tokens)[0]) == tokens)


if __name__ == "__main__":
    found = overhead(receive())
    send(found | {"peak_memory_mb": round(peak_memory_mb(), 1), "versions": versions()})
