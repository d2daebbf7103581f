"""The engine in this process as a backend: chats become tokens, and its tokens become text.

The engine tells of each token on its own thread; they cross to the event loop here. Adapters come into
memory when they are first asked for, and the one that was not asked for longest makes room.
"""

from __future__ import annotations

import asyncio
import copy
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from mien.base.render import Renderer
from mien.decode.request import End, Event, Request, Ticket, Token
from mien.errors import AdapterError, ModelError
from mien.registry.attach import attach
from mien.schema import Message
from mien.serve.backends import Ended, Piece, Said, Wanted
from mien.serve.catalogue import Served
from mien.serve.engine import Engine
from mien.serve.refusals import TooLongError
from mien.serve.speech import Detokenizer, Shown

_LONG = 20_000  # characters that take so long to tokenize that the event loop should not wait for it
_SEEDS = 2**63

Decode = Callable[[list[int]], str]


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
        self._renderer = Renderer(copy.deepcopy(self.base.tokenizer))
        self._decode = decoder(copy.deepcopy(self.base.tokenizer))
        self._rendering = asyncio.Lock()
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
            InputError: They are too long, or cannot be rendered.
        """
        prompts = [tuple(await self._tokens(prompt)) for prompt in wanted.prompts]
        return LocalStream(self, wanted, [self._request(wanted, ids) for ids in prompts], self._decode)

    async def _tokens(self, prompt: tuple[Message, ...] | str | tuple[int, ...]) -> Sequence[int]:
        if isinstance(prompt, tuple) and isinstance(prompt[0], int):
            return prompt
        async with self._rendering:
            if _characters(prompt) > _LONG:
                return await asyncio.to_thread(self._rendered, prompt)
            return self._rendered(prompt)

    def _rendered(self, prompt: Any) -> list[int]:
        renderer = self._renderer
        if not isinstance(prompt, str):
            return renderer.prompt(prompt)
        bos = renderer.tokenizer.bos_token_id
        opening = [bos] if renderer.style.begins_with_bos and bos is not None else []
        return opening + renderer.text(prompt)

    def _request(self, wanted: Wanted, ids: tuple[int, ...]) -> Request:
        room = self.context - len(ids)
        asked = wanted.sampling.max_tokens
        if room < 1 or (wanted.limited and asked > room):
            reply = f" and a reply of {asked}" if wanted.limited else ""
            raise TooLongError(
                f"A prompt of {len(ids)} tokens{reply} is more than the {self.context} that fit.",
                fix="Ask for a shorter reply, or leave out the oldest turns.",
            )
        return Request(
            prompt=ids,
            adapter=wanted.model.card.run if wanted.model.card else None,
            sampling=wanted.sampling.model_copy(update={"max_tokens": min(asked, room)}),
            seed=wanted.seed,
            stop=wanted.stop,
            logprobs=wanted.logprobs,
        )


def decoder(tokenizer: Any) -> Decode:
    """Ids to text, without marks."""
    return lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True))


class Residents:
    """The adapters in memory, the one asked for last at the end.

    Args:
        engine: That holds them.
        most: How many.
    """

    def __init__(self, engine: Engine, most: int) -> None:
        self.engine, self.most = engine, most
        self._order: OrderedDict[str, str] = OrderedDict()  # run -> hash of the file it came from
        self._loading = asyncio.Lock()

    async def ready(self, model: Served) -> None:
        """Have the model's adapter in memory. Until the next `await`, it stays there.

        Raises:
            AdapterError: It is not what its card says.
        """
        if model.card is None:
            return
        run, wanted = model.card.run, model.card.adapter_hash
        if self._order.get(run) != wanted:
            async with self._loading:
                if self._order.get(run) != wanted:
                    await asyncio.to_thread(self._load, model)
                    self._order[run] = wanted
        self._order.move_to_end(run)
        while len(self._order) > self.most:
            oldest, _ = self._order.popitem(last=False)
            self.engine.unload(oldest)

    def _load(self, model: Served) -> None:
        card, folder = model.card, model.folder
        assert card is not None and folder is not None
        if not folder.is_dir():
            raise AdapterError(f"{folder}: no such folder.", fix="Train it again, or copy it back.")
        adapters = self.engine.base.adapters
        borrowed = card.run not in adapters.configs
        attach(self.engine.base, card, folder)
        try:
            self.engine.adopt(card.run)
        finally:
            if borrowed:
                adapters.drop(card.run)


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
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
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
        self.fingerprint = self._fingerprint()

        def listener(index: int) -> Callable[[Event], None]:
            return lambda event: _tell(loop, self._events, index, event)

        try:
            for index, request in enumerate(self._all()):
                self._tickets.append(backend.engine.submit(request, listener(index)))
        except BaseException:
            self.cancel()
            raise

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
            for i in range(self._wanted.n):
                yield request.model_copy(update={"seed": (request.seed + i) % _SEEDS})

    def _fingerprint(self) -> str:
        base, card = self._backend.base, self._wanted.model.card
        adapter = self._backend.engine.loaded[card.run][:12] if card else "none"
        return f"{base.files.sha256[:12]}-{adapter}"


class _Voice:
    """One reply: from the engine's events to pieces."""

    def __init__(self, index: int, wanted: Wanted, decode: Decode) -> None:
        self.index, self.told = index, wanted.logprobs is not None
        self._decode = decode
        self._text = Detokenizer(decode)
        chat = not isinstance(wanted.prompts[0], str) and isinstance(wanted.prompts[0][0], Message)
        self._shown = Shown(wanted.stop, strip=chat)

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


def _tell(
    loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[tuple[int, Event]], index: int, event: Event
) -> None:
    """From the engine's thread to the event loop; once that is closed, nobody hears it."""
    loop.call_soon_threadsafe(queue.put_nowait, (index, event))


def _characters(prompt: Any) -> int:
    return len(prompt) if isinstance(prompt, str) else sum(len(each.content) for each in prompt)
