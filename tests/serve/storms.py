"""Storms: everything at once, at the engine and through the gateway, and every token is checked.

Eight personas. Four make every reply another; of the other four, each says tokens that nobody else says,
so that one wrong token tells whose it is.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
import torch

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.decode.request import Event, Ticket, Token
from mien.errors import AdapterError
from mien.persona.spec import library
from mien.registry.cards import Card
from mien.registry.retire import remove, run_called
from mien.serve.engine import Engine
from mien.workspace import Workspace
from tests import models
from tests.decode.personas import PERSONAS, prompt, with_personas
from tests.serve.gateways import House, expected, rendered, train
from tests.serve.serving import asked, saved, solo, unsaid

SENTINELS = {"north": (33, 58), "east": (118, 150), "south": (160, 205), "west": (250, 265)}
EIGHT = (*PERSONAS, *SENTINELS)
TOKENS = 10
LENGTHS = (3, 9, 20, 45)
TEXTS = ("hello there", "the ship sails at dawn, and " * 3, "the wind is fair " * 6)
Work = Callable[[random.Random], None]


def eight(base: Base, size: float = 0.3) -> Base:
    """A base with the eight personas."""
    with_personas(base, size)
    for i, (name, tokens) in enumerate(SENTINELS.items()):
        base.adapters.create(name, LoraConfig(r=2 + i, alpha=8), seed=10 + i)
        models.shake(base.adapters, name, seed=10 + i, size=size)
        _sign(base, name, *tokens)
    return base


@torch.no_grad()
def _sign(base: Base, name: str, one: int, other: int) -> None:
    """Have it say one of two tokens, whichever the text before calls for."""
    head, last = base.head.weight, [path for path in base.adapters.layers if "down_proj" in path][-1]
    b = base.adapters.layers[last].pair(name)[1]
    b.zero_()
    b[:, 0] = 1000 * torch.nn.functional.normalize(head[one] - head[other], dim=0)


class Weather:
    """Threads that do their work over and over, until it is enough.

    Attributes:
        seen: How often each thing came about.
        wrong: What was not as it should be.
    """

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.wrong: list[object] = []
        self._lock, self._over = threading.Lock(), threading.Event()

    @property
    def works(self) -> Sequence[Work]:
        """What each thread does."""
        raise NotImplementedError

    @property
    def enough(self) -> bool:
        """Whether there is something to judge by."""
        raise NotImplementedError

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.seen[what] += number

    def start(self) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=self._repeat, args=(work, i), daemon=True)
            for i, work in enumerate(self.works)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _repeat(self, work: Work, seed: int) -> None:
        dice = random.Random(seed)
        try:
            while not self._over.is_set():
                work(dice)
        except BaseException as error:
            self.wrong.append(error)
            raise

    def end(self, threads: Iterable[threading.Thread]) -> None:
        """Nobody may be left waiting."""
        self._over.set()
        for thread in threads:
            thread.join(60)
            if thread.is_alive():
                self.wrong.append(f"{thread.name} waits for ever")


def blow(storms: Sequence[Weather], seconds: float) -> None:
    """Let them blow this long, and until there is something to judge by."""
    threads = [storm.start() for storm in storms]
    until = time.monotonic() + seconds
    while time.monotonic() < until or (
        not all(storm.enough for storm in storms) and time.monotonic() < until + 120
    ):
        time.sleep(0.02)
        if any(storm.wrong for storm in storms):
            break
    for storm, its in zip(storms, threads, strict=True):
        storm.end(its)


class Burst(NamedTuple):
    """One request of a storm at the engine.

    Attributes:
        truth: Of which prompt; 0 is poisoned.
        cancel_at: The token at which it is cancelled; -1 is never.
        heard: By a listener that falls; None where there is none.
    """

    ticket: Ticket
    truth: int
    cancel_at: int
    heard: list[int] | None


class Storm(Weather):
    """Requests of all kinds at once, while adapters come and go.

    Some are cancelled, some poisoned, so that the pass of all falls; some have a listener that falls,
    and one adapter overflows.

    Args:
        engine: Open and idle.
        folder: For the personas' files.
        said: Tokens that others will use, none of which may be the poison.
    """

    def __init__(self, engine: Engine, base: Base, folder: Path, said: Iterable[int] = ()) -> None:
        super().__init__()
        self.engine = engine
        self.truth = {
            (n, name): solo(base, prompt(n), name, TOKENS) for n in LENGTHS for name in (None, *EIGHT)
        }
        self.poison = unsaid([*self.truth.values(), list(said), *map(prompt, LENGTHS)])
        self.folders = {name: saved(base, name, folder / name) for name in EIGHT}
        self.broken = [folder / "nowhere", self._spoilt(base, folder / "nan")]
        self.digests = {engine.load(name, self.folders[name]): name for name in EIGHT}
        self._overflowing(base)

    @property
    def works(self) -> Sequence[Work]:
        return [self.ask, self.ask, self.ask, self.churn]

    @property
    def enough(self) -> bool:
        return self.seen["tokens"] > 100 and {"length", "cancelled", "error", "refused"} <= set(
            self.seen
        )

    def check(self, _: object, given: tuple[torch.Tensor]) -> None:
        """Of the embedding: no pass gets through with the poison in it."""
        if (given[0] == self.poison).any():
            raise RuntimeError("this token cannot be embedded")

    def _overflowing(self, base: Base) -> None:
        base.adapters.create("huge", LoraConfig(r=2), seed=0)
        models.shake(base.adapters, "huge", size=1e30)
        self.engine.adopt("huge")
        base.adapters.drop("huge")

    def _spoilt(self, base: Base, folder: Path) -> Path:
        base.adapters.create("spoilt", LoraConfig(r=2), seed=0)
        with torch.no_grad():
            next(base.adapters.parameters("spoilt")).fill_(float("nan"))
        saved(base, "spoilt", folder)
        base.adapters.drop("spoilt")
        return folder

    def ask(self, dice: random.Random) -> None:
        bursts = [self.one(dice) for _ in range(dice.randint(1, 6))]
        for burst in bursts:
            if burst is not None:
                self.listen(burst)

    def one(self, dice: random.Random) -> Burst | None:
        length, kind = dice.choice(LENGTHS), dice.random()
        name = dice.choice((None, *EIGHT, "voice", "huge"))
        ids = (*prompt(length), self.poison) if kind < 0.05 else prompt(length)
        heard = list[int]() if 0.05 < kind < 0.1 else None
        cancel_at = dice.randrange(TOKENS) if 0.1 < kind < 0.3 else -1

        def fall(event: Event) -> None:
            if isinstance(event, Token) and heard is not None:
                heard.append(event.id)
                if len(heard) == 3:
                    raise OSError("the client went away")

        try:
            ticket = self.engine.submit(asked(ids, name, TOKENS), None if heard is None else fall)
        except AdapterError:
            return None
        return Burst(ticket, length if kind >= 0.05 else 0, cancel_at, heard)

    def listen(self, burst: Burst) -> None:
        ticket, length, cancel_at, heard = burst
        said = self.read(ticket, cancel_at) if heard is None else heard
        while ticket.end is None:
            time.sleep(0.001)
        self.count("requests")
        self.count(ticket.end.reason)
        doomed = ticket.request.adapter == "huge" or not length
        if doomed or ticket.end.reason == "error":
            if not (doomed and (ticket.end.reason == "error" or not said)):
                self.wrong.append((ticket.request, ticket.end))
        else:
            self.compare(burst, said)

    def compare(self, burst: Burst, said: list[int]) -> None:
        ticket, length, cancel_at, heard = burst
        assert ticket.end is not None
        reason, version = ticket.end.reason, ticket.end.version
        name = None if version is None else self.digests[version]
        wanted = cancel_at < 0 and heard is None
        fits = ticket.request.adapter in (name, "voice") and wanted <= (reason == "length")
        truth = self.truth[length, name]
        if not fits or said != truth[: len(said)] or (wanted and len(said) < TOKENS):
            self.wrong.append((ticket.request.adapter, name, reason, said, truth))
        self.count("tokens", len(said))

    def read(self, ticket: Ticket, cancel_at: int) -> list[int]:
        said = []
        with suppress(Exception):  # of a doomed request; how it ended is looked at after
            for token in ticket:
                if len(said) == cancel_at:
                    ticket.cancel()
                said.append(token.id)
        return said

    def churn(self, dice: random.Random) -> None:
        """Replace, take away, bring back; and try what cannot be loaded."""
        name = dice.choice(EIGHT)
        self.load("voice", name)
        time.sleep(dice.random() * 0.01)
        if dice.random() < 0.4:
            self.engine.unload("voice")
            self.engine.unload(name)
            self.load(name, name)
            self.load("voice", name)
        if dice.random() < 0.2:
            with pytest.raises(AdapterError):
                self.engine.load(name, dice.choice(self.broken))
            self.count("refused")

    def load(self, name: str, adapter: str) -> None:
        self.count("loads")
        self.engine.load(name, self.folders[adapter])


def stock(folder: Path, base: Base) -> Workspace:
    """A workspace with a run for each of the eight, and one that is broken."""
    workspace, names = Workspace.open(folder), [*library()]
    for i, name in enumerate(EIGHT):
        train(workspace, base, f"run-{name}", names[i % 5], name, 1)
    train(workspace, base, "run-broken", names[5], "captain", 1)
    weights = workspace.runs / "run-broken" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    return workspace


class Visitors(Weather):
    """Clients of the gateway: whole replies, streams, such as leave in the middle, and nonsense.

    Few adapters fit into memory, so that they come and go; and one persona is trained over and over.

    Args:
        house: That serves the workspace of `stock`.
        base: Its base, idle so far.
    """

    def __init__(self, house: House, base: Base) -> None:
        super().__init__()
        self.house, self.base, self.persona = house, base, next(iter(library()))
        self.workspace = house.gateway.catalogue.workspace
        self.truth = {
            (name, text): expected(base, name, text, tokens=8)
            for name in (None, *EIGHT)
            for text in TEXTS
        }
        self.said = {token for text in TEXTS for token in rendered(base, text)}
        self.said |= {token for text in self.truth.values() for token in base.renderer.text(text)}
        self.speakers: dict[str, str | None] = {"none": None} | {
            self._version(name): name for name in EIGHT
        }
        self.trained: list[Card] = []

    def _version(self, name: str) -> str:
        """What a reply's fingerprint ends with."""
        return run_called(self.workspace, f"run-{name}").adapter_hash[:12]

    @property
    def works(self) -> Sequence[Work]:
        return [self.visit] * 4 + [self.churn]

    @property
    def enough(self) -> bool:
        return self.seen["replies"] > 10 and {"left", "refused", "unavailable"} <= set(self.seen)

    def visit(self, dice: random.Random) -> None:
        """A client with a connection of its own."""
        with httpx2.Client(base_url=self.house.url, timeout=30, trust_env=False) as client:
            for _ in range(5):
                dice.choice((self.whole, self.whole, self.stream, self.leave, self.nonsense))(
                    client, dice
                )

    def body(self, dice: random.Random, **more: Any) -> tuple[str | None, str, dict[str, Any]]:
        name, text = dice.choice((None, *EIGHT)), dice.choice(TEXTS)
        model = f"run-{name}" if name else "base"
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 8,
        }
        return name, text, body | more

    def whole(self, client: httpx2.Client, dice: random.Random) -> None:
        name, text, body = self.body(dice, n=dice.choice((1, 1, 2)))
        answer = client.post("/v1/chat/completions", json=body)
        said = [choice["message"]["content"] for choice in answer.json().get("choices", [])]
        self.judge(answer.status_code, said, [self.truth[name, text]] * body["n"])

    def stream(self, client: httpx2.Client, dice: random.Random, most: int = 10_000) -> None:
        """The persona's newest version; which that is, the reply tells."""
        _, text, body = self.body(dice, stream=True, model=self.persona)
        chunks = list[dict[str, Any]]()
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            events = (line for line in answer.iter_lines() if line.startswith("data: {"))
            chunks += [json.loads(line[6:]) for line in islice(events, most)]
        said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        whole = self.truth[self.speakers[chunks[0]["system_fingerprint"].partition("-")[2]], text]
        left = len(chunks) == most
        self.count("left" if left else "streams")
        self.judge(answer.status_code, [said], [whole[: len(said)] if left else whole])

    def leave(self, client: httpx2.Client, dice: random.Random) -> None:
        """In the middle of a stream."""
        self.stream(client, dice, most=dice.randint(1, 5))

    def nonsense(self, client: httpx2.Client, dice: random.Random) -> None:
        _, _, body = self.body(dice)
        wrong, status = dice.choice(
            (({"model": "../x"}, 404), ({"max_tokens": -1}, 422), ({"model": "run-broken"}, 503))
        )
        answer = client.post("/v1/chat/completions", json=body | wrong)
        if answer.status_code != status:
            self.wrong.append((answer.status_code, answer.text))
        self.count("unavailable" if status == 503 else "refused")

    def judge(self, status: int, said: list[str], truth: list[str]) -> None:
        if status != 200 or said != truth:
            self.wrong.append((status, said, truth))
        self.count("replies", len(said))
        self.count("letters", sum(map(len, said)))

    def churn(self, dice: random.Random) -> None:
        """A persona is trained anew, and old versions go, unless they are in memory."""
        run = f"new-{len(self.trained):06}"
        made = train(self.workspace, self.base, run, self.persona, dice.choice(EIGHT), 2)
        self.trained.append(made)
        time.sleep(0.1)
        for card in self.trained[-30:-10]:
            if (self.workspace.runs / card.run).exists():
                with suppress(AdapterError):  # it is in memory
                    remove(self.workspace, card)
                    self.count("removed")
