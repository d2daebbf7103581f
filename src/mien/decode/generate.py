"""Replies to many prompts at once, by the batch that also serves: for evaluation and for rollouts.

Each row draws from a generator of its own seed, so a reply does not depend on which other rows happen to
be under way. A row that has ended makes room for the next. What rows begin with alike, such as a system
prompt, is read once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from mien.base.model import Base
from mien.chat import Sampling
from mien.decode.batch import Batch, Counts
from mien.decode.prepare import way_through
from mien.decode.request import End, Event, Listener, Request, Ticket
from mien.decode.rows import Row
from mien.decode.slots import BLOCK, Slots
from mien.decode.stacked import Version
from mien.schema import Message

ROWS = 96
_CHUNK = 1024  # tokens of prompts in a step: nobody is waiting for the next word
_PREFIX_BYTES = 2**28

Asked = tuple[Sequence[int], int]  # the ids of a prompt, and the seed of its reply
Progress = Callable[[int, int], None]


class Step(NamedTuple):
    """What one pass brought.

    Attributes:
        said: (row, token) of each row that said something.
        ended: Rows whose reply is whole.
    """

    said: list[tuple[int, int]]
    ended: list[int]


class Decoder:
    """Answers one set of prompts after another, and remembers what it has read.

    Args:
        base: The model; each call decodes under the adapter in force.
        rows: Replies under way at once.
        prefix_bytes: Memory for beginnings that have been read.
    """

    def __init__(self, base: Base, *, rows: int = ROWS, prefix_bytes: int = _PREFIX_BYTES) -> None:
        self.base = base
        forward, shape = way_through(base)
        slots = Slots(shape, rows, base.head.weight)
        self._batch = Batch(forward, slots, chunk=_CHUNK, prefix_bytes=prefix_bytes)

    @property
    def counts(self) -> Counts:
        """What has been done so far."""
        return self._batch.counts

    def steps(
        self, asked: Sequence[Asked], sampling: Sampling, *, with_stop: bool = False
    ) -> Iterator[Step]:
        """Decode all rows, one token at a time.

        Args:
            asked: What is asked.
            sampling: The same for all rows.
            with_stop: Tell the token that ends a reply as well.

        Raises:
            ModelError: The scores are no numbers.
        """
        version = self._version()
        once = sampling.model_copy(update={"max_tokens": 1})
        for beginnings in _shared([tuple(prompt) for prompt, _ in asked]):
            deque(self._run(version, [(ids, 0) for ids in beginnings], once, False), maxlen=0)
        yield from self._run(version, asked, sampling, with_stop)

    def replies(
        self,
        asked: Sequence[Asked],
        sampling: Sampling,
        *,
        with_stop: bool = False,
        progress: Progress = lambda _tokens, _replies: None,
    ) -> list[list[int]]:
        """Token ids of one reply per row, as `steps` makes them; `progress` hears of each step."""
        replies: list[list[int]] = [[] for _ in asked]
        for step in self.steps(asked, sampling, with_stop=with_stop):
            for row, token in step.said:
                replies[row].append(token)
            progress(len(step.said), len(step.ended))
        return replies

    def _version(self) -> Version | None:
        """A copy of the adapter in force."""
        adapters = self.base.adapters
        name, forward = adapters.active, self._batch.forward
        return None if name is None else Version.of(adapters, name, forward.groups)

    def _run(
        self, version: Version | None, asked: Sequence[Asked], sampling: Sampling, with_stop: bool
    ) -> Iterator[Step]:
        batch, heard = self._batch, _Heard(with_stop)
        rows = [
            Row(Ticket(_request(prompt, sampling, seed), _nobody, heard.of(i)), version, self.base)
            for i, (prompt, seed) in enumerate(asked)
        ]
        waiting = deque(sorted(rows, key=lambda row: len(row.ids)))
        try:
            while waiting or batch.rows:
                while waiting and not batch.full:
                    batch.admit(waiting.popleft())
                with self.base.adapters.use(None), torch.no_grad():
                    batch.step()
                step = heard.step()
                if step.said or step.ended:
                    yield step
        finally:
            for row in list(batch.rows):
                batch.end(row, End("cancelled", 0))
            batch.forget(())


class _Heard:
    """What the rows said since the last step."""

    def __init__(self, with_stop: bool) -> None:
        self._with_stop = with_stop
        self._step, self._error = Step([], []), list[Exception]()

    def of(self, row: int) -> Listener:
        """Hears one row."""

        def hear(event: Event) -> None:
            if not isinstance(event, End):
                self._step.said.append((row, event.id))
                return
            if event.token is not None and self._with_stop:
                self._step.said.append((row, event.token))
            self._step.ended.append(row)
            self._error += [event.error] if event.error else []

        return hear

    def step(self) -> Step:
        """All of it, and an end to it; what went wrong is raised."""
        if self._error:
            raise self._error[0]
        step, self._step = self._step, Step([], [])
        return step


def stream(base: Base, messages: Sequence[Message], sampling: Sampling, *, seed: int) -> Iterator[str]:
    """One reply, as pieces of text that join to the whole."""
    renderer, ids, shown = base.renderer, list[int](), ""
    for step in Decoder(base, rows=1).steps([(renderer.prompt(messages), seed)], sampling):
        ids += [token for _, token in step.said]
        text = renderer.decode(ids)
        # A character may span tokens; hold its first half back until the rest has come.
        if not text.endswith("\N{REPLACEMENT CHARACTER}") and text.startswith(shown):
            yield text[len(shown) :]
            shown = text
    if rest := renderer.decode(ids)[len(shown) :]:
        yield rest


def generate(
    base: Base,
    conversations: Sequence[Sequence[Message]],
    sampling: Sampling,
    *,
    seeds: Sequence[int],
    batch: int = ROWS,
    progress: Progress = lambda _tokens, _replies: None,
) -> list[list[int]]:
    """Token ids of one reply per conversation, in order, without the token that ends it.

    Args:
        base: The model, under the adapter in force.
        conversations: What is asked.
        sampling: How tokens are chosen.
        seeds: One per conversation.
        batch: Replies under way at once.
        progress: Called after each step with the tokens it made and the replies it ended.
    """
    prompts = [base.renderer.prompt(messages) for messages in conversations]
    return continued(base, prompts, sampling, seeds=seeds, batch=batch, progress=progress)


def continued(
    base: Base,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    seeds: Sequence[int],
    batch: int = ROWS,
    with_stop: bool = False,
    progress: Progress = lambda _tokens, _replies: None,
) -> list[list[int]]:
    """As `generate`, for prompts that are rendered; with the tokens that end replies where asked."""
    asked = list(zip(prompts, seeds, strict=True))
    decoder = Decoder(base, rows=max(1, min(batch, len(asked))))
    return decoder.replies(asked, sampling, with_stop=with_stop, progress=progress)


def _request(prompt: Sequence[int], sampling: Sampling, seed: int) -> Request:
    return Request(prompt=tuple(prompt), sampling=sampling, seed=seed)


def _nobody() -> None:
    """Whom to tell that a reply is wanted no more."""


def _shared(prompts: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Beginnings that several prompts have: first that of all, then each prompt that is asked again."""
    if len(prompts) > 1:
        again = [prompt for prompt, times in Counter(prompts).items() if times > 1]
        for beginnings in ([_opening(prompts)], again):
            yield [ids for ids in beginnings if len(ids) > BLOCK]


def _opening(prompts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What all begin with: no more than the first and the last in order of the tokens."""
    first, last = min(prompts), max(prompts)
    apart = (i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(apart, len(first))]
