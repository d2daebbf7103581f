"""The isolation oracle: whatever happens around a request, every token is the solo run's."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.decode.request import Event, Ticket, Token
from mien.errors import AdapterError
from mien.serve.engine import Engine
from tests import models
from tests.decode.personas import PERSONAS, prompt
from tests.serve.serving import asked, saved, solo, unsaid

TOKENS = 10
LENGTHS = (3, 9, 20, 45)
Truth = dict[tuple[int, str | None], list[int]]


class Storm:
    """Requests of all kinds at once, while adapters come and go.

    Attributes:
        checked: Tokens compared.
        wrong: What was not as it should be.
    """

    def __init__(self, engine: Engine, base: Base, folder: Path) -> None:
        self.engine, self.base = engine, base
        self.truth: Truth = {
            (n, name): solo(base, prompt(n), name, TOKENS) for n in LENGTHS for name in (None, *PERSONAS)
        }
        self.poison = unsaid(self.truth.values())
        self.folders = {name: saved(base, name, folder / name) for name in PERSONAS}
        self.digests = {engine.load(name, self.folders[name]): name for name in PERSONAS}
        self.checked, self.wrong, self.seen = 0, list[object](), dict[str, int]()
        self.over = threading.Event()

    def run(self, seconds: float) -> None:
        """Let it blow this long, and until there is something to judge by."""
        works: list[Callable[[random.Random], None]] = [self.ask, self.ask, self.ask, self.churn]
        threads = [threading.Thread(target=self.repeat, args=(work, i)) for i, work in enumerate(works)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until or (not self.enough and time.monotonic() < until + 60):
            time.sleep(0.02)
        self.over.set()
        for thread in threads:
            thread.join(60)

    @property
    def enough(self) -> bool:
        """Whether every kind of end was seen, and tokens were compared."""
        return self.checked > 100 and {"length", "cancelled", "error"} <= self.seen.keys()

    def repeat(self, work: Callable[[random.Random], None], seed: int) -> None:
        dice = random.Random(seed)
        try:
            while not self.over.is_set():
                work(dice)
        except BaseException as error:
            self.wrong.append(error)
            raise

    def ask(self, dice: random.Random) -> None:
        """Several requests: some are dropped, some poisoned, some have a listener that falls."""
        burst = [self.one(dice) for _ in range(dice.randint(1, 6))]
        for ticket, length, cancel_at, heard in burst:
            if ticket is None:
                continue
            self.listen(ticket, length, cancel_at, heard)

    def one(self, dice: random.Random) -> tuple[Ticket | None, int, int, list[int] | None]:
        length, kind = dice.choice(LENGTHS), dice.random()
        name = dice.choice((None, *PERSONAS, "voice", "huge"))
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
            return None, 0, 0, None
        return ticket, length if kind >= 0.05 else 0, cancel_at, heard

    def listen(self, ticket: Ticket, length: int, cancel_at: int, heard: list[int] | None) -> None:
        said = heard if heard is not None else self.read(ticket, cancel_at)
        while ticket.end is None:
            time.sleep(0.001)
        reason, version = ticket.end.reason, ticket.end.version
        self.seen[reason] = self.seen.get(reason, 0) + 1
        doomed = ticket.request.adapter == "huge" or not length
        if reason == "error" or doomed:
            if not (doomed and (reason == "error" or not said)):
                self.wrong.append((ticket.request, ticket.end))
            return
        name = None if version is None else self.digests[version]
        if ticket.request.adapter not in (name, "voice"):
            self.wrong.append((ticket.request.adapter, name))
        truth = self.truth[length, name]
        if said != truth[: len(said)] or (reason == "length" and len(said) < TOKENS and heard is None):
            self.wrong.append((name, length, said, truth))
        self.checked += len(said)

    def read(self, ticket: Ticket, cancel_at: int) -> list[int]:
        said = []
        try:
            for token in ticket:
                if len(said) == cancel_at:
                    ticket.cancel()
                said.append(token.id)
        except Exception:
            pass
        return said

    def churn(self, dice: random.Random) -> None:
        """Replace, take away, bring back."""
        name = dice.choice(PERSONAS)
        self.engine.load("voice", self.folders[name])
        time.sleep(dice.random() * 0.01)
        if dice.random() < 0.4:
            self.engine.unload("voice")
            self.engine.unload(name)
            self.engine.load(name, self.folders[name])
            self.engine.load("voice", self.folders[name])


def blow(base: Base, folder: Path, seconds: float) -> Storm:
    """A storm on an engine with few slots and little memory for prefixes."""
    adapters, embed = base.adapters, base.model.base_model.embed_tokens
    adapters.create("huge", LoraConfig(r=2), seed=0)
    models.shake(adapters, "huge", size=1e30)

    with Engine(base, slots=5, chunk=8, prefix_bytes=100_000, pack=False) as engine:
        engine.adopt("huge")
        adapters.drop("huge")
        storm = Storm(engine, base, folder)

        def check(_: object, given: tuple[torch.Tensor]) -> None:
            if (given[0] == storm.poison).any():
                raise RuntimeError("this token cannot be embedded")

        hook = embed.register_forward_pre_hook(check)
        storm.run(seconds)
        hook.remove()
        assert engine.alive
    return storm


def test_every_token_is_the_solo_runs(base: Base, tmp_path: Path) -> None:
    storm = blow(base, tmp_path, 0.5)
    assert storm.wrong == []
    assert storm.enough


@pytest.mark.slow
def test_every_token_is_the_solo_runs_for_ten_minutes(llama: Base, tmp_path: Path) -> None:
    storm = blow(llama, tmp_path, float(os.environ.get("MIEN_STORM_SECONDS", "600")))
    print(f"{storm.checked} tokens, {storm.seen}")
    assert storm.wrong == []
    assert storm.checked > 1000
