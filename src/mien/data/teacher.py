"""A teacher: a chat model that is asked many things, and paid for each of them once.

Every answer is committed to a store the moment it arrives, under the digest of what was asked. So a job
that was killed goes on where it was, and one that has ended runs again for nothing.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from pydantic import Field

from mien.chat import ChatModel, Reply, Sampling
from mien.data.calls import Calls
from mien.errors import AccessError, BudgetError, BusyError, MienError, ModelError
from mien.schema import Message, Strict, digest

__all__ = ["Budget", "Calls", "Tally", "Teacher", "Unfinished"]

A = TypeVar("A")
B = TypeVar("B")

_LONGEST = 60.0  # seconds between two attempts, but for what the model asks for itself
_PATIENCE = 600.0  # seconds that a model may ask to be left alone for
_IN_VAIN = 3  # calls given up, and none answered between: the model is not there
_EMPTY = "empty reply"
_OTHER_DRAW = 1_000_003  # on from a seed that drew nothing
_BYTES = 2  # of text per token at the least; code and rare scripts come near, English takes over four
_FRAME = 8  # tokens that a chat template puts around a message, at the most


@dataclass(frozen=True)
class Unfinished:
    """Stands for the result of an item that has none.

    Attributes:
        reason: Why, in one line.
    """

    reason: str


class Cost(NamedTuple):
    """Tokens, read and written."""

    read: int
    written: int


class Budget(Strict):
    """What one run may spend; a limit that is None does not bind.

    Attributes:
        tokens: Read and written together.
        money: In the currency of the prices.
        price_in: Of a million tokens read.
        price_out: Of a million tokens written.
    """

    tokens: int | None = Field(default=None, ge=0)
    money: float | None = Field(default=None, ge=0)
    price_in: float = Field(default=0.0, ge=0)
    price_out: float = Field(default=0.0, ge=0)

    def price(self, cost: Cost) -> float:
        """Of so many tokens."""
        return (cost.read * self.price_in + cost.written * self.price_out) / 1e6


class Tally(Strict):
    """What a teacher was asked in this run, and what it cost.

    Attributes:
        asked: Calls of `Teacher.ask`.
        cached: Answered from the store, or by an equal call that was under way.
        paid: Answered by the model.
        retried: Attempts that failed, by kind; each was made again unless the tries had run out.
        given_up: Calls whose tries had run out.
        prompt_tokens: Read, as the model counts; where it does not, a high guess.
        completion_tokens: Written, likewise. What an attempt that failed has cost, no server tells.
        money: The price of both.
    """

    asked: int = 0
    cached: int = 0
    paid: int = 0
    retried: dict[str, int] = Field(default_factory=dict)
    given_up: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0


class Teacher:
    """Asks a chat model many things, and pays for each once.

    A call is known by the model's name, the messages, the sampling and the seed. One that fails with
    `BusyError` is made again after a while: as long as the model asks for, and a random part of 1, 2,
    4, ... seconds (full jitter; Brooker 2015). After an empty reply it is made under another seed, for a
    model that keeps to its seed would be as silent again.

    Args:
        model: Whom to ask.
        calls: The store of answers.
        budget: What this run may spend.
        tries: How often to make a call before giving it up.
        parallel: Calls in flight at once; by default what the model takes.
        wait: How to let seconds pass.

    Attributes:
        tally: What was asked so far; a snapshot, that later calls do not change.
        stopped: What ended `each` before its time: a BudgetError, an error that every further call
            would meet too, or KeyboardInterrupt; None where nothing did. Write what is finished, then
            raise it. From then on only the store answers.
    """

    def __init__(
        self,
        model: ChatModel,
        calls: Calls,
        *,
        budget: Budget | None = None,
        tries: int = 6,
        parallel: int | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model, self.calls, self.tries = model, calls, tries
        self.budget = budget or Budget()
        self.parallel = parallel or model.parallel
        self.tally = Tally()
        self.stopped: BaseException | None = None
        self._wait = wait
        self._slots = threading.Semaphore(self.parallel)
        self._change = threading.Condition()  # of anything below, the tally and `stopped`
        self._pending: dict[str, Future[Reply]] = {}
        self._in_flight: list[Cost] = []
        self._in_vain = 0

    def ask(self, messages: Sequence[Message], sampling: Sampling, *, seed: int) -> Reply:
        """The model's answer, from the store if it was ever given.

        Threads may ask at the same time; the same call at the same time is made once.

        Raises:
            ModelError: There is no answer to this, or not after so many tries.
            BudgetError: It may cost more than is left.
        """
        question = [message.model_dump(mode="json") for message in messages]
        key = digest([self.model.name, question, sampling.model_dump(mode="json"), seed])
        with self._change:
            self._count(asked=1)
            first = key not in self._pending
            answer = self._pending.setdefault(key, Future())
        if not first:
            reply = answer.result()
            self._count(cached=1)
            return reply
        try:
            answer.set_result(self._answer(key, messages, sampling, seed))
        except BaseException as error:
            answer.set_exception(error)
        finally:
            with self._change:
                del self._pending[key]
        return answer.result()

    def each(
        self, items: Sequence[A], work: Callable[[A], B], *, done: Callable[[], None] = lambda: None
    ) -> list[B | Unfinished]:
        """The results of `work` on each item, in the order of the items, `parallel` of them at once.

        An item whose work raises ModelError is unfinished, and the others go on. What every other item
        would meet too stops them all: a budget that is used up, Ctrl-C, a key that is refused, a model
        that is not there. Calls in flight then end and are kept, no other begins, and `stopped` says
        why. A second Ctrl-C does not wait for them.

        Args:
            items: What to work on.
            work: Asks this teacher; runs in threads.
            done: Called after each item, finished or not, by one thread at a time.

        Raises:
            Exception: What `work` or `done` raised, if it is not an error of this package.
        """
        results: list[B | Unfinished] = [Unfinished("not begun")] * len(items)
        places = iter(range(len(items)))

        def labour() -> None:
            while not self.stopped and (place := self._next(places)) is not None:
                results[place] = self._finish(work, items[place])
                self._report(done)

        self._run(labour, min(self.parallel, len(items)))
        if self.stopped and not isinstance(self.stopped, MienError | KeyboardInterrupt):
            raise self.stopped
        return results

    def _run(self, labour: Callable[[], None], threads: int) -> None:
        """Run it in so many threads, to their end; Ctrl-C stops them after what is in flight.

        They are not joined: a `Thread.join` that Ctrl-C interrupts takes the thread for ended
        (CPython 3.11 and 3.12), and what it has in flight would be lost.
        """
        ended = set[int]()

        def shift(number: int) -> None:
            try:
                labour()
            finally:
                with self._change:
                    ended.add(number)
                    self._change.notify_all()

        def over() -> bool:
            return all(number in ended for number, thread in enumerate(crew) if thread.ident)

        crew = [threading.Thread(target=shift, args=(n,), daemon=True) for n in range(threads)]
        try:
            for thread in crew:
                thread.start()
            with self._change:
                self._change.wait_for(over)
        except KeyboardInterrupt as stop:
            self._stop(stop)
            with self._change:
                self._change.wait_for(over)

    def _next(self, places: Iterator[int]) -> int | None:
        with self._change:
            return next(places, None)

    def _finish(self, work: Callable[[A], B], item: A) -> B | Unfinished:
        try:
            return work(item)
        except BaseException as error:
            alone = isinstance(error, ModelError) and not isinstance(error, AccessError)
            if not alone or self._in_vain >= _IN_VAIN:
                self._stop(error)
            return Unfinished(error.what if isinstance(error, MienError) else "interrupted")

    def _report(self, done: Callable[[], None]) -> None:
        try:
            with self._change:
                done()
        except BaseException as error:
            self._stop(error)

    def _stop(self, reason: BaseException) -> None:
        with self._change:
            self.stopped = self.stopped or reason
            self._change.notify_all()

    def _answer(self, key: str, messages: Sequence[Message], sampling: Sampling, seed: int) -> Reply:
        if kept := self.calls.get(key):
            self._count(cached=1)
            return kept
        reply = self._insist(messages, sampling, seed)
        self.calls.put(key, self.model.name, reply)
        return reply

    def _insist(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> Reply:
        failed: Counter[str] = Counter()
        while True:
            try:
                return self._pay(messages, sampling, seed + _OTHER_DRAW * failed[_EMPTY])
            except BusyError as error:
                failed[error.kind] += 1
                self._count(failed=error.kind)
                if failed.total() >= self.tries or (error.wait or 0) > _PATIENCE:
                    raise self._give_up(failed, error) from error
                pause = random.uniform(0, min(_LONGEST, 2.0 ** (failed.total() - 1)))
                self._pause((error.wait or 0) + pause)

    def _pay(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> Reply:
        """Make a call, if it can be paid for."""
        with self._slots, self._reserved(_largest(messages, sampling)) as largest:
            reply = self.model.reply(messages, sampling, seed=seed)
            cost = _cost(reply, largest)
            said = bool(reply.text.strip())
            self._count(
                paid=said,
                prompt_tokens=cost.read,
                completion_tokens=cost.written,
                money=self.budget.price(cost),
            )
        if not said:
            raise BusyError(f"{self.model.name}: an empty reply.", kind=_EMPTY)
        self._in_vain = 0
        return reply

    @contextmanager
    def _reserved(self, largest: Cost) -> Iterator[Cost]:
        """Hold the largest cost of a call while it is in flight; if it does not fit, until others end.

        Raises:
            BudgetError: It does not fit, and nothing is in flight.
        """
        with self._change:
            while self.stopped or not self._fits(largest):
                if self.stopped:
                    raise self.stopped
                if not self._in_flight:
                    raise self._broke(largest)
                self._change.wait()
            self._in_flight.append(largest)
        try:
            yield largest
        finally:
            with self._change:
                self._in_flight.remove(largest)
                self._change.notify_all()

    def _fits(self, largest: Cost) -> bool:
        held = [*self._in_flight, largest]
        tokens = self.tally.prompt_tokens + self.tally.completion_tokens + sum(map(sum, held))
        money = self.tally.money + sum(map(self.budget.price, held))
        return tokens <= _limit(self.budget.tokens) and money <= _limit(self.budget.money)

    def _broke(self, largest: Cost) -> BudgetError:
        spent = self.tally.prompt_tokens + self.tally.completion_tokens
        parts = []
        if self.budget.tokens is not None:
            parts.append(f"{spent:,} of {self.budget.tokens:,} tokens")
        if self.budget.money is not None:
            parts.append(f"{self.tally.money:.4g} of {self.budget.money:.4g} in money")
        price = f" and {self.budget.price(largest):.2g} in money" if self.budget.money else ""
        return BudgetError(
            f"The budget is used up: {', '.join(parts)} spent; the next call may cost"
            f" {sum(largest):,} tokens{price}.",
            fix="Run the same again with a new budget: what was answered is kept and costs nothing.",
        )

    def _give_up(self, failed: Counter[str], last: BusyError) -> ModelError:
        self._count(given_up=1)
        with self._change:
            self._in_vain += 1
        kinds = ", ".join(f"{times} x {kind}" for kind, times in failed.most_common())
        tries = f"{failed.total()} {'try' if failed.total() == 1 else 'tries'}"
        asked = f" It asks for {last.wait:.0f} s of rest." if (last.wait or 0) > _PATIENCE else ""
        return ModelError(
            f"No answer after {tries} ({kinds}). {last.what}{asked}",
            fix="Run the same again later, or with fewer calls in parallel: nothing is lost.",
        )

    def _pause(self, seconds: float) -> None:
        """Let time pass, in short pieces, for a stop should not have to wait."""
        while seconds > 0 and not self.stopped:
            self._wait(min(seconds, 1.0))
            seconds -= 1.0

    def _count(self, *, failed: str | None = None, **more: float) -> None:
        with self._change:
            now = self.tally
            counts: dict[str, object] = {name: getattr(now, name) + by for name, by in more.items()}
            if failed:
                counts["retried"] = {**now.retried, failed: now.retried.get(failed, 0) + 1}
            self.tally = now.model_copy(update=counts)


def _largest(messages: Sequence[Message], sampling: Sampling) -> Cost:
    """The most that a call can be expected to cost, in tokens, before any tokenizer has seen it."""
    text = sum(len(message.model_dump_json(exclude={"role"}).encode()) for message in messages)
    return Cost(text // _BYTES + _FRAME * len(messages), sampling.max_tokens)


def _cost(reply: Reply, largest: Cost) -> Cost:
    """What a reply has cost; where the model does not say, a high guess."""
    written = min(largest.written, len(reply.text.encode()) // _BYTES)
    return Cost(reply.prompt_tokens or largest.read, reply.completion_tokens or written)


def _limit(limit: float | None) -> float:
    return float("inf") if limit is None else limit
