"""The engine in this process as a backend: chats become tokens, and its tokens become text.

The engine tells of each token on its own thread; they cross to the event loop here. Adapters come into
memory when they are first asked for, and the one that was not asked for longest makes room.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any, NamedTuple

from mien.base.peft import inspect
from mien.decode.grammar import Grammars
from mien.decode.request import End, Event, Grammar, Request, Ticket, Token
from mien.errors import InputError, ModelError
from mien.registry.attach import attach
from mien.registry.hold import held
from mien.serve.backends import Ended, Piece, Said, Wanted, fingerprint, is_chat
from mien.serve.catalogue import Part, Served
from mien.serve.engine import Engine
from mien.serve.prompts import Prompts, check_number, room
from mien.serve.refusals import RefusedError
from mien.serve.speech import Detokenizer, Shown

_MOST_RANK = 64  # of a blend: all rows of a step pay for the highest rank among them

Decode = Callable[[list[int]], str]
_Events = asyncio.Queue[tuple[int, Event]]


class Local:
    """Replies by an engine.

    Args:
        engine: Open; whoever opened it closes it.
        context: The longest prompt and reply, in tokens; None: what the base has room for.
        resident: Adapters kept in memory.
    """

    def __init__(self, engine: Engine, *, context: int | None = None, resident: int = 32) -> None:
        self.engine, self.base = engine, engine.base
        self.context = min(context or self.base.max_tokens, self.base.max_tokens)
        # Tokenizers are not safe between threads, and the engine's own thread decodes with the base's.
        self._prompts = Prompts(self.base.tokenizer)
        self._decode = decoder(copy.deepcopy(self.base.tokenizer))
        self._compiling = asyncio.Lock()
        self._mail: _Mail | None = None
        self.adapters = Residents(engine, resident)

    @property
    def alive(self) -> bool:
        """Whether the engine takes requests."""
        return self.engine.alive

    @property
    def resident(self) -> Mapping[str, str]:
        """The adapters in the engine."""
        return self.engine.loaded

    def figures(self) -> Mapping[str, Any]:
        """Of the engine."""
        return vars(self.engine.figures())

    async def prepare(self, wanted: Wanted) -> LocalStream:
        """Render the prompts.

        Raises:
            InputError: They are too many or too long, or cannot be rendered; or no reply can keep to
                its schema.
        """
        check_number(wanted, self.engine.most)
        prompts = [await self._prompts.ids(prompt) for prompt in wanted.prompts]
        grammar = await self._grammar(wanted)
        requests = [self._request(wanted, ids, grammar) for ids in prompts]
        return LocalStream(self, wanted, requests, self._decode)

    def post_to(self, loop: asyncio.AbstractEventLoop) -> Callable[[_Events, int, Event], None]:
        """How the engine's thread tells what it has to somebody on this loop."""
        if self._mail is None or self._mail.loop is not loop:
            self._mail = _Mail(loop)
        return self._mail.post

    async def _grammar(self, wanted: Wanted) -> Grammar | None:
        schema = wanted.schema
        if schema is None:
            return None
        try:
            async with self._compiling:
                return await asyncio.to_thread(lambda: self._grammars.json(schema))
        except InputError as error:
            raise RefusedError(400, str(error), "schema_unsupported", param="response_format") from error

    @cached_property
    def _grammars(self) -> Grammars:
        """Made when a schema is first asked for: the vocabulary takes most of a second."""
        return Grammars(self.base)

    def _request(self, wanted: Wanted, ids: tuple[int, ...], grammar: Grammar | None) -> Request:
        most = room(wanted, len(ids), self.context)
        return Request(
            prompt=ids,
            adapter=wanted.model.adapter,
            sampling=wanted.sampling.model_copy(update={"max_tokens": most}),
            stop=wanted.stop,
            logprobs=wanted.logprobs,
            grammar=grammar,
        )


def decoder(tokenizer: Any) -> Decode:
    """Ids to text, without marks."""
    return lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True))


class _Resident(NamedTuple):
    """The version of an adapter, and the hold on the folders that it came from."""

    version: str | None
    hold: ExitStack


class Residents:
    """The adapters in memory, the one asked for last at the end. What is here is not removed from disk.

    Args:
        engine: That holds them.
        most: How many.
    """

    def __init__(self, engine: Engine, most: int) -> None:
        self.engine, self.most = engine, most
        self._order: OrderedDict[str, _Resident] = OrderedDict()  # by the engine's names
        self._loading = asyncio.Lock()

    async def ready(self, model: Served) -> None:
        """Have the model's adapter in memory. Until the next `await`, it stays there.

        Raises:
            AdapterError: It is not what its card says.
            InputError: It is a blend of too high a rank.
        """
        name = model.adapter
        if name is None:
            return
        if not self._has(name, model.version):
            async with self._loading:
                if not self._has(name, model.version):
                    self._put(name, await asyncio.to_thread(self._load, name, model))
        self._order.move_to_end(name)
        while len(self._order) > self.most:
            oldest, resident = self._order.popitem(last=False)
            self.engine.unload(oldest)
            resident.hold.close()

    def _has(self, name: str, version: str | None) -> bool:
        resident = self._order.get(name)
        return resident is not None and resident.version == version

    def _put(self, name: str, resident: _Resident) -> None:
        if before := self._order.get(name):
            before.hold.close()
        self._order[name] = resident

    def _load(self, name: str, model: Served) -> _Resident:
        with ExitStack() as hold:
            for part in model.parts:
                hold.enter_context(held(part.folder.parent))
            if model.blend:
                _check_rank(model.blend)
            self._adopt(name, model.parts)
            return _Resident(model.version, hold.pop_all())

    def _adopt(self, name: str, parts: Sequence[Part]) -> None:
        """Have the engine copy an adapter, or a sum of several, off the base; nothing stays there."""
        base, adapters = self.engine.base, self.engine.base.adapters
        with ExitStack() as borrowed:
            for card, folder, _ in parts:
                fresh = card.run not in adapters.configs
                attach(base, card, folder)
                if fresh:
                    borrowed.callback(adapters.drop, card.run)
            if name not in adapters.configs:
                runs, weights = [part.card.run for part in parts], [part.weight for part in parts]
                adapters.average(runs, name, weights=weights)
                borrowed.callback(adapters.drop, name)
            self.engine.adopt(name)


def _check_rank(parts: Sequence[Part]) -> None:
    rank = sum(inspect(part.folder).r for part in parts)
    if rank > _MOST_RANK:
        raise InputError(
            f"The blend would have rank {rank}; {_MOST_RANK} is the most.", fix="Blend fewer voices."
        )


class LocalStream:
    """The replies to one request; those to one prompt lie side by side.

    Args:
        backend: Whose engine answers.
        wanted: What is asked.
        requests: One per prompt.
        decode: Ids to text.
    """

    def __init__(
        self, backend: Local, wanted: Wanted, requests: Sequence[Request], decode: Decode
    ) -> None:
        self._backend, self._wanted, self._requests = backend, wanted, requests
        self.prompt_tokens = sum(len(each.prompt) for each in requests)
        self.reserved = self.prompt_tokens + wanted.n * sum(
            each.sampling.max_tokens for each in requests
        )
        self.fingerprint = ""
        self._events: _Events = asyncio.Queue()
        self._tickets: list[Ticket] = []
        self._voices = [_Voice(i, wanted, decode) for i in range(wanted.n * len(requests))]

    async def start(self) -> None:
        """Hand all of it to the engine.

        Raises:
            BusyError: Too many wait; then none of it is asked.
            AdapterError: Its adapter cannot be loaded.
        """
        backend, loop = self._backend, asyncio.get_running_loop()
        await backend.adapters.ready(self._wanted.model)
        self.fingerprint = fingerprint(backend.base.files.sha256, self._wanted.model)

        post = backend.post_to(loop)

        def listener(index: int) -> Callable[[Event], None]:
            return lambda event: post(self._events, index, event)

        try:
            for index, request in enumerate(self._all()):
                self._tickets.append(backend.engine.submit(request, listener(index)))
        except BaseException:
            self.cancel()
            raise

    def waits(self) -> list[float]:
        """Of each reply that has not ended, the seconds in the queue until now."""
        return [ticket.waited for ticket in self._tickets if ticket.end is None]

    def cancel(self) -> None:
        """Free the slots."""
        for ticket in self._tickets:
            if ticket.end is None:
                ticket.cancel()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Pieces as they come."""
        left = len(self._tickets)
        while left:
            index, event = await self._events.get()
            piece = self._voices[index].hear(event)
            left -= piece.ended is not None
            yield piece

    def _all(self) -> Iterator[Request]:
        """Every request `n` times, each with a seed of its own."""
        for request in self._requests:
            for seed in self._wanted.seeds:
                yield request.model_copy(update={"seed": seed})


class _Voice:
    """One reply: from the engine's events to pieces."""

    def __init__(self, index: int, wanted: Wanted, decode: Decode) -> None:
        self.index, self.told = index, wanted.logprobs is not None
        self._decode = decode
        self._text = Detokenizer(decode)
        self._shown = Shown(wanted.stop, strip=is_chat(wanted.prompts[0]))

    def hear(self, event: Event) -> Piece:
        if isinstance(event, Token):
            text = self._shown.add(self._text.add(event.id))
            return Piece(self.index, text, (self._said(event),) if self.told else (), tokens=1)
        text = self._shown.end(self._text.rest())
        return Piece(self.index, text, ended=_ended(event))

    def _said(self, token: Token) -> Said:
        top = tuple((self._decode([each]), logprob) for each, logprob in token.top)
        return Said(self._decode([token.id]), token.logprob or 0.0, top)


def _ended(end: End) -> Ended:
    if end.error is not None:
        raise end.error
    if end.reason not in ("stop", "length"):
        raise ModelError("The request was given up.", fix="Ask again.")
    return Ended(end.reason, end.tokens, end.reused, end.waited)


class _Mail:
    """From the engine's thread to an event loop, which is woken once for all that a step brings.

    To wake it is a system call, and a step of eight rows brings eight tokens.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._lock, self._due = threading.Lock(), False
        self._letters: list[tuple[_Events, int, Event]] = []

    def post(self, events: _Events, index: int, event: Event) -> None:
        """Deliver soon.

        Raises:
            RuntimeError: The loop is closed, and nobody hears it.
        """
        with self._lock:
            self._letters.append((events, index, event))
            if not self._due:
                self.loop.call_soon_threadsafe(self._deliver)
                self._due = True

    def _deliver(self) -> None:
        with self._lock:
            letters, self._letters, self._due = self._letters, [], False
        for events, index, event in letters:
            events.put_nowait((index, event))
