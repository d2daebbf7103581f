"""Other servers as a backend: vLLM with the personas' adapters, or whatever speaks OpenAI's protocol.

What stays here is what makes personas of a base: names, versions, system prompts, the renderer, keys and
limits, the log and the figures. What goes there is decoding. Where there are several servers, each takes
requests for every persona, and a request goes to the one that is at the fewest.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any, Literal, Self

from mien.errors import AccessError, AdapterError, BusyError, InputError, MienError
from mien.serve.backends import Ended, Piece, Wanted, fingerprint
from mien.serve.dialects import Call, Dialect, Heard, heard
from mien.serve.logs import log
from mien.serve.prompts import check_number
from mien.serve.pushed import Depot, Pushed
from mien.serve.speech import Shown
from mien.serve.upstream import Json, UnknownModelError, Upstream

_EVERY = 2.0  # seconds from one look at the servers to the next
_SELDOM = 15.0  # the same, for servers that are not ours
_TRIES = 3
_WAIT = 5.0  # seconds after which it is worth asking for servers that are all away
_PAUSE = 0.1  # seconds before the second try; twice that before the third
_GRACE = 5.0  # seconds in which a refusal is waited for before the client is told that a reply begins
_REASONS: dict[str | None, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}
_FORMS = (LookupError, TypeError, ValueError, AttributeError)


class Remote:
    """Replies by other servers. While it is open, it looks after them now and then.

    Args:
        servers: That all have the same base.
        dialect: How they are spoken to.
        base_hash: Of the base, for fingerprints; empty: what they have is not known.
        model: What they call the base; empty: the first that they list.
        depot: How adapters get there; None: they take none.
        context: The longest prompt and reply, in tokens; None: as they say.
        waiting: Replies that may wait for their first token.
        resident: Adapters that are left on a server unused.
    """

    def __init__(
        self,
        servers: Sequence[Upstream],
        dialect: Dialect,
        *,
        base_hash: str = "",
        model: str = "",
        depot: Depot | None = None,
        context: int | None = None,
        waiting: int = 256,
        resident: int = 32,
    ) -> None:
        self.servers, self.dialect, self.base_hash = servers, dialect, base_hash
        self.model, self.context, self.waiting = model, context, waiting
        self.pushed = {s: Pushed(s, depot, most=resident) for s in servers} if depot else {}
        self.replies = set[Reply]()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        """Look at the servers, and go on doing so; each on a thread of its own, since some hang."""
        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(self._look, self.servers))
        for server in self.servers:
            threading.Thread(
                target=self._look_after, args=(server,), name="mien-watch", daemon=True
            ).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more. Who is looking at a server that hangs is not waited for."""
        self._over.set()

    @property
    def alive(self) -> bool:
        """Whether a server answers."""
        return any(server.alive for server in self.servers)

    @property
    def resident(self) -> Mapping[str, str]:
        """The adapters that were brought to the servers, by their names there."""
        return {name: digest for pushed in self.pushed.values() for name, digest in pushed.names.items()}

    def figures(self) -> Mapping[str, Any]:
        """Replies that grow are `running`, those without a token yet are `waiting`."""
        running = sum(reply.begun for reply in self.replies)
        return {"running": running, "waiting": len(self.replies) - running}

    async def prepare(self, wanted: Wanted) -> RemoteStream:
        """Render the prompts.

        Raises:
            InputError: They are too many or too long, or it cannot be asked of these servers.
            BusyError: Too many wait.
        """
        check_number(wanted, self.waiting)
        if wanted.model.adapter and not (wanted.model.card and self.pushed):
            raise InputError("The model servers have no such adapter.", fix="Ask for another model.")
        calls = await self.dialect.calls(wanted, self._context())
        if len(calls) + self.figures()["waiting"] > self.waiting:
            raise BusyError("Too many requests wait already.", kind="queue", wait=1)
        return RemoteStream(self, wanted, calls)

    async def ask(self, wanted: Wanted, reply: Reply) -> AsyncGenerator[Piece, None]:
        """One reply, by whichever server gives it; another is asked as long as nothing was said.

        A server that is busy may be asked again; one that does not take the adapter, or us, is not.

        Raises:
            MienError: None gives it.
        """
        busy: BusyError | None = None
        unfit: MienError | None = None
        left, failures = self._in_turn(), 0
        while left and failures < _TRIES:
            server = left.popleft()
            if failures:  # at first, nobody comes between the choice of a server and its being busy
                await asyncio.sleep(_PAUSE * failures)
            try:
                async with aclosing(self._of(server, wanted, reply)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except BusyError as failed:
                if reply.begun or (failed.wait and len(self.servers) == 1):
                    raise
                busy, failures = failed, failures + 1
                left.append(server)
            except (AdapterError, AccessError) as failed:  # which come before the first word
                log(logging.WARNING, "server passed over", server=server.name, why=str(failed))
                unfit = failed
        raise busy or unfit or BusyError("No model server answers.", kind="connection", wait=_WAIT)

    async def _of(self, server: Upstream, wanted: Wanted, reply: Reply) -> AsyncGenerator[Piece, None]:
        pushed = self.pushed.get(server)
        async with AsyncExitStack() as stack:
            stack.enter_context(server.busy())
            name = self._base_name(server)
            if wanted.model.card and pushed:
                name = await stack.enter_async_context(pushed.holding(wanted.model))
            body = reply.call.body | {"model": name}
            try:
                chunks = await stack.enter_async_context(aclosing(server.stream(reply.call.path, body)))
                async for chunk in chunks:
                    yield reply.opening() if chunk is None else reply.hear(chunk)
            except UnknownModelError:
                if wanted.model.card and pushed:
                    pushed.forget(name)
                raise
            yield reply.end()

    def _in_turn(self) -> deque[Upstream]:
        """Those that answer, the least busy first."""
        return deque(sorted((s for s in self.servers if s.alive), key=lambda each: each.inflight))

    def _base_name(self, server: Upstream) -> str:
        listed = (name for name, entry in server.models.items() if not entry.get("parent"))
        return self.model or next(listed, "")

    def _context(self) -> int | None:
        """The least that is allowed, by us or by the servers."""
        told = [entry.get("max_model_len") for each in self.servers for entry in each.models.values()]
        known = [each for each in (self.context, *told) if each]
        return min(known, default=None)

    def _look_after(self, server: Upstream) -> None:
        while not self._over.wait(_EVERY if self.dialect.probe else _SELDOM):
            self._look(server)

    def _look(self, server: Upstream) -> None:
        server.look(self.dialect.probe)


class RemoteStream:
    """The replies to one request; those to one prompt lie side by side.

    Args:
        backend: That asks for them.
        wanted: What is asked.
        calls: One per reply.
    """

    def __init__(self, backend: Remote, wanted: Wanted, calls: Sequence[Call]) -> None:
        self._backend, self._wanted = backend, wanted
        self._replies = [Reply(i, call) for i, call in enumerate(calls)]
        self._events: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._first = [asyncio.Event() for _ in calls]
        self._failed: Exception | None = None
        self.prompt_tokens = self._read()
        self.reserved = self.prompt_tokens + sum(call.most for call in calls)
        self.fingerprint = ""

    async def start(self) -> None:
        """Ask for all of them.

        Raises:
            MienError: One is refused.
        """
        self.fingerprint = fingerprint(self._backend.base_hash, self._wanted.model)
        for reply, first in zip(self._replies, self._first, strict=True):
            self._tasks.append(asyncio.create_task(self._follow(reply, first)))
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                for first in self._first:
                    await first.wait()
        if self._failed:
            self.cancel()
            raise self._failed

    def waits(self) -> Sequence[float]:
        """As `Stream.waits`: a server does not tell."""
        return ()

    def cancel(self) -> None:
        """Hang up, which vLLM takes as the end of a request."""
        for task in self._tasks:
            task.cancel()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Pieces as they come."""
        left = len(self._tasks)
        while left:
            event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            left -= event.ended is not None
            yield event

    async def _follow(self, reply: Reply, first: asyncio.Event) -> None:
        self._backend.replies.add(reply)
        try:
            async with aclosing(self._backend.ask(self._wanted, reply)) as pieces:
                async for piece in pieces:
                    self.prompt_tokens = self._read()
                    self._events.put_nowait(piece)
                    first.set()
        except Exception as error:
            if not reply.begun:  # what comes after a word is told where the word was told
                self._failed = error
            self._events.put_nowait(error)
        finally:
            first.set()
            self._backend.replies.discard(reply)

    def _read(self) -> int:
        """Tokens of all prompts, each counted once; an estimate where the server has yet to tell."""
        return sum(reply.read for reply in self._replies[:: self._wanted.n])


class Reply:
    """One reply: from a server's chunks to pieces.

    Attributes:
        call: What is asked.
        begun: Whether something has been said.
        read: Tokens of the prompt.
    """

    def __init__(self, index: int, call: Call) -> None:
        self.index, self.call = index, call
        self.begun, self.read = False, call.prompt_tokens
        self._shown = Shown((), strip=call.chat)
        self._written = self._reused = 0
        self._reason: str | None = None
        self._marked = False

    def opening(self) -> Piece:
        """A server has taken it, from its beginning."""
        self._shown = Shown((), strip=self.call.chat)
        self._written = self._reused = 0
        return Piece(self.index)

    def hear(self, chunk: Json) -> Piece:
        """A chunk.

        Raises:
            BusyError: It is in no known form.
        """
        try:
            found = heard(chunk, self.call.top)
        except _FORMS:
            raise BusyError("The model server does not make sense.", kind="form") from None
        self.begun = self.begun or bool(found.text or found.said or found.reason)
        self._reason, self._marked = found.reason or self._reason, found.marked or self._marked
        self.read, self._reused = found.read or self.read, found.reused or self._reused
        new = self._new(found)
        self._written += new
        return Piece(self.index, self._shown.add(found.text), found.said, tokens=new)

    def end(self) -> Piece:
        """The server has said all.

        Raises:
            BusyError: It broke off.
            InputError: It would not go on.
        """
        if self._reason == "content_filter":
            raise InputError("The model server filters this.", fix="Change the prompt.")
        if (reason := _REASONS.get(self._reason)) is None:
            raise BusyError("The model server broke off.", kind="broke off")
        ended = Ended(reason, self._written, self._reused)
        return Piece(self.index, self._shown.end(), ended=ended)

    def _new(self, found: Heard) -> int:
        """Tokens that a chunk brings; where it does not say, it is one if it has text."""
        if found.written is None:
            return int(bool(found.text))
        return max(0, found.written - self._marked - self._written)
