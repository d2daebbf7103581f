"""Continuous batching on one base: requests join and leave at every step, each with its own persona.

One thread runs the model. Between two steps of the batch it drops what was cancelled and gives free
slots to those who wait, persona by persona in turn.

    with Engine(base) as engine:
        engine.load("witty", folder)
        ticket = engine.submit(Request(prompt=ids, adapter="witty"))
        for token in ticket:
            ...

While an engine is open the base is its own: nothing else may decode or train on it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch

from mien.base.machine import dismiss_helpers
from mien.base.model import Base
from mien.decode.batch import Batch, Counts
from mien.decode.prepare import prepared
from mien.decode.request import End, Listener, Request, Ticket
from mien.decode.rows import Row
from mien.decode.slots import Slots
from mien.decode.stacked import Version
from mien.errors import AdapterError, BusyError, InputError, ModelError
from mien.serve.waiting import Lines


@dataclass
class Figures(Counts):
    """How things stand, beside what has been done.

    Attributes:
        running: Requests with a slot.
        waiting: Requests without.
        prefix_bytes: Memory that beginnings take.
    """

    running: int = 0
    waiting: int = 0
    prefix_bytes: int = 0


class Engine:
    """Decodes for many personas on one base.

    Args:
        base: The model.
        slots: Requests that run at once.
        chunk: Tokens of prompts read in one step beside those that are being answered.
        waiting: Requests that may wait for a slot.
        prefix_bytes: Memory for beginnings that have been read.
        threads: Of the pass; None: as torch is set.
        pack: Keep weights a second time, laid out for few rows, which about doubles the base's memory;
            None: where a short trial finds that it pays.

    Attributes:
        most: Requests that it takes at once, with a slot or without.

    Raises:
        BaseError: The model is built in a way that cannot be served.
    """

    def __init__(
        self,
        base: Base,
        *,
        slots: int = 8,
        chunk: int = 64,
        waiting: int = 1024,
        prefix_bytes: int = 2**29,
        threads: int | None = None,
        pack: bool | None = None,
    ) -> None:
        self.base, self.waiting, self.most = base, waiting, slots + waiting
        self._forward, shape, self.setup = prepared(base, slots=slots, pack=pack)
        cache = Slots(shape, slots, base.head.weight)
        self._batch = Batch(self._forward, cache, chunk=chunk, prefix_bytes=prefix_bytes)
        self._lines: Lines[Row] = Lines()
        self._versions: dict[str, Version] = {}
        self._change, self._loading = threading.Condition(), threading.Lock()
        self._open, self._finish, self._cancelled = True, False, False
        self._failure: BaseException | None = None
        self._worker = threading.Thread(
            target=self._work, args=(threads,), name="mien-engine", daemon=True
        )
        self._worker.start()
        dismiss_helpers()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether it takes requests and its thread runs."""
        return self._open and self._worker.is_alive()

    @property
    def loaded(self) -> dict[str, str]:
        """The content hash of each adapter, by name."""
        with self._change:
            return {name: version.digest for name, version in self._versions.items()}

    def figures(self) -> Figures:
        """How things stand."""
        with self._change:
            done = vars(self._batch.counts) | {"ended": dict(self._batch.counts.ended)}
            return Figures(
                **done,
                running=len(self._batch.rows),
                waiting=len(self._lines),
                prefix_bytes=self._batch.prefixes.bytes,
            )

    def load(self, name: str, folder: Path) -> str:
        """Add an adapter from a PEFT folder, or put it in the place of the one of that name.

        Requests that were made before keep the adapter that they were made to.

        Returns:
            Its version, a hash of its content.

        Raises:
            AdapterError: It cannot be read, or is not one for this base.
        """
        with self._loading:
            passing = f"{name}, on its way into the engine"
            self.base.adapters.load(passing, folder)
            try:
                return self._add(name, passing)
            finally:
                self.base.adapters.drop(passing)
                dismiss_helpers()

    def adopt(self, name: str) -> str:
        """Add a copy of an adapter that is on the base, as it is now; as `load` otherwise."""
        with self._loading:
            try:
                return self._add(name, name)
            finally:
                dismiss_helpers()

    def unload(self, name: str) -> None:
        """Take no more requests for an adapter; those that were made are answered.

        Raises:
            AdapterError: None of that name is loaded.
        """
        with self._change:
            self._version(name)
            del self._versions[name]

    def submit(self, request: Request, listener: Listener | None = None) -> Ticket:
        """Ask; from any thread.

        Args:
            request: What.
            listener: Hears every event, on the engine's thread, in place of the ticket's iterator.

        Raises:
            InputError: The prompt is not of this vocabulary, or too long.
            AdapterError: Its adapter is not loaded.
            BusyError: Too many wait already.
            ModelError: The engine is closed, or has died.
        """
        self._check(request)
        ticket = Ticket(request, self._cancel, listener)
        with self._change:
            if not self.alive:
                raise ModelError("The engine is closed.", fix="Open another.") from self._failure
            # Together, so that a burst does not depend on how soon the thread gives out free slots.
            if len(self._lines) + len(self._batch.rows) >= self.most:
                raise BusyError(f"{self.waiting} requests wait already.", kind="queue full", wait=1)
            version = self._version(request.adapter) if request.adapter is not None else None
            self._lines.push(request.adapter, Row(ticket, version, self.base))
            self._change.notify()
        return ticket

    def close(self, *, finish: bool = False) -> None:
        """Take no more requests and end the thread; the weights are as they were.

        Args:
            finish: Answer what was asked first; otherwise that is cancelled.
        """
        with self._change:
            self._open, self._finish = False, finish
            self._change.notify()
        self._worker.join()
        self._forward.close()

    def _check(self, request: Request) -> None:
        vocabulary = self.base.head.weight.shape[0]
        if not all(0 <= token < vocabulary for token in request.prompt):
            raise InputError("The prompt has a token that the model has not.", fix="Use its renderer.")
        length = len(request.prompt) + request.sampling.max_tokens
        if length > self.base.max_tokens:
            raise InputError(
                f"Prompt and reply may take {length} tokens, and the model has room for"
                f" {self.base.max_tokens}.",
                fix="Ask for a shorter reply, or leave out the oldest turns.",
            )

    def _version(self, name: str) -> Version:
        if name not in self._versions:
            known = ", ".join(self._versions) or "none"
            raise AdapterError(f"No adapter {name!r} is loaded (loaded: {known}).", fix="Load it first.")
        return self._versions[name]

    def _add(self, name: str, source: str) -> str:
        version = Version.of(self.base.adapters, source, self._forward.groups)
        with self._change:
            same = (each for each in self._versions.values() if each.digest == version.digest)
            self._versions[name] = next(same, version)
        return version.digest

    def _cancel(self) -> None:
        with self._change:
            self._cancelled = True
            self._change.notify()

    # What follows runs on the engine's own thread.

    def _work(self, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                while self._turn():
                    pass
        except BaseException as error:  # whatever it is, nobody may be left waiting for an answer
            self._failure = error
            self._abandon(error)

    def _turn(self) -> bool:
        """One step, or a wait; False when all is done."""
        with self._change:
            while self._open and not (self._batch.rows or len(self._lines) or self._cancelled):
                self._change.wait()
            gone = self._gone()
            loaded = set(self._versions.values())
        for row in gone:
            self._batch.end(row, End("cancelled", 0))
        self._batch.drop_cancelled()
        self._batch.forget(loaded)
        self._admit()
        if self._batch.rows:
            self._batch.step()
        return self._open or bool(self._batch.rows) or len(self._lines) > 0

    def _gone(self) -> Collection[Row]:
        """Those who wait for a slot no more."""
        if not self._open and not self._finish:
            for row in self._batch.rows:
                row.ticket.cancelled = True
            return self._lines.remove(lambda _: True)
        if not self._cancelled:
            return ()
        self._cancelled = False
        return self._lines.remove(lambda row: row.ticket.cancelled)

    def _admit(self) -> None:
        """Give free slots to those who wait."""
        while not self._batch.full:
            with self._change:
                if not len(self._lines):
                    return
                row = self._lines.pop()
            self._batch.admit(row)

    def _abandon(self, error: BaseException) -> None:
        with self._change:
            self._open = False
            left = [*self._batch.rows, *self._lines.remove(lambda _: True)]
            self._batch.rows.clear()  # no slot is freed: on a device that is gone, that fails as well
        failure = ModelError(f"The engine died ({type(error).__name__}: {error}).", fix="Open another.")
        for row in left:
            self._batch.end(row, End("error", 0, error=failure))
