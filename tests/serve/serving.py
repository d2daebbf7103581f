"""What the tests of the engine share: requests, solo runs, and a hold on the engine's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from mien.base.model import Base
from mien.chat import Sampling
from mien.decode.generate import continued
from mien.decode.request import End, Event, Request, Ticket, Token
from mien.serve.engine import Engine
from tests.decode.personas import prompt

GREEDY = Sampling(max_tokens=12, temperature=0, repetition_penalty=1)


def greedy(tokens: int) -> Sampling:
    return GREEDY.model_copy(update={"max_tokens": tokens})


def asked(ids: Sequence[int], adapter: str | None = None, tokens: int = 12, **more: object) -> Request:
    """A greedy request that runs its full length."""
    given = {"sampling": greedy(tokens), "ends": frozenset()} | more
    return Request(prompt=tuple(ids), adapter=adapter, **given)  # type: ignore[arg-type]


def solo(base: Base, ids: Sequence[int], adapter: str | None = None, tokens: int = 12) -> list[int]:
    """What the base says by itself: token by token, through the model's own forward pass."""
    said = list(ids)
    with base.adapters.use(adapter), torch.no_grad():
        for _ in range(tokens):
            said.append(int(base.model(torch.tensor([said]), use_cache=False).logits[0, -1].argmax()))
    return said[len(ids) :]


def solo_sampled(
    base: Base, ids: Sequence[int], adapter: str | None, sampling: Sampling, seed: int
) -> list[int]:
    """What the decoder of training and evaluation says."""
    with base.adapters.use(adapter):
        return continued(base, [ids], sampling, seeds=[seed])[0]


def unsaid(replies: Iterable[Sequence[int]]) -> int:
    """A token that is in none of these."""
    said = {token for reply in replies for token in reply}
    return next(token for token in range(299, 0, -1) if token not in said)


def saved(base: Base, name: str, folder: Path) -> Path:
    """A persona as a PEFT folder."""
    base.adapters.save(name, folder, base="tiny")
    return folder


class Gate:
    """A listener that holds the engine at the first token of its request until it is opened."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.reached.set()
        assert self.opened.wait(20)

    @property
    def ids(self) -> list[int]:
        return [event.id for event in self.events if isinstance(event, Token)]


class Diary:
    """A listener that notes at which step each event came."""

    def __init__(self, engine: Engine, then: Callable[[Event], None] = lambda _: None) -> None:
        self.engine, self.then = engine, then
        self.events: list[tuple[int, Event]] = []
        self.over = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append((self.engine.figures().steps, event))
        self.then(event)
        if isinstance(event, End):
            self.over.set()

    @property
    def steps(self) -> list[int]:
        """Of its tokens."""
        return [step for step, event in self.events if isinstance(event, Token)]

    def wait(self) -> None:
        assert self.over.wait(20)


def held(engine: Engine, adapter: str | None = None, tokens: int = 12) -> tuple[Gate, Ticket]:
    """A request that holds the engine, so that what is asked meanwhile comes in one known order."""
    gate = Gate()
    ticket = engine.submit(asked(prompt(5), adapter, tokens), gate)
    assert gate.reached.wait(20)
    return gate, ticket
