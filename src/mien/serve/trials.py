"""Experiments as the gateway has them: who is met by whom, and the book in which it stands."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from mien.schema import Message
from mien.serve import described
from mien.serve.answers import Answer
from mien.serve.catalogue import Catalogue
from mien.serve.door import Visit
from mien.serve.experiments import Experiment, now, running
from mien.serve.feedback import Answered, FeedbackRequest, Taken, give, keep, note
from mien.serve.keys import Key
from mien.serve.logs import log
from mien.serve.protocol import Asking, ChatRequest, CompletionRequest
from mien.serve.refusals import RefusedError
from mien.workspace import Workspace

_LONGEST = 512  # characters of a user's name
_NAMES = ("user", "safety_identifier")  # the second is what newer clients of OpenAI's say
# The route of feedback is as any other that writes, but for what it answers.
_ANSWER = {200: described.MODELS["responses"][200] | {"model": Taken}}
ROUTE = described.COMPLETION | {"responses": described.COMPLETION["responses"] | _ANSWER}
T = TypeVar("T")


class Book:
    """The workspace's database, on a thread of its own: what is asked of it is done in that order.

    Args:
        workspace: Whose.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._thread = ThreadPoolExecutor(1, "book")
        self._db: sqlite3.Connection | None = None

    async def ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do some work, and wait for it.

        Raises:
            RefusedError: The database cannot be used now, or the work refuses.
        """
        try:
            return await asyncio.wrap_future(self._thread.submit(self._do, work))
        except sqlite3.Error as error:
            log(logging.ERROR, "book not written", error)
            message = "This cannot be written down now: try again later."
            raise RefusedError(503, message, "unavailable", wait=5) from error

    def tell(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Have some work done, and do not wait."""
        with suppress(RuntimeError):  # closed: the server has stopped
            self._thread.submit(self._do, work).add_done_callback(_told)

    def close(self) -> None:
        """Do what there still is to do, and let go of the file."""
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._db is None:
            self._db = self._workspace.database()
            self._db.execute("pragma synchronous = normal")  # a kill loses nothing, a power cut seconds
        return work(self._db)

    def _close(self) -> None:
        if self._db:
            self._db.close()


def _told(done: Any) -> None:
    if error := done.exception():
        log(logging.ERROR, "book not written", error)


@dataclass(frozen=True)
class Trial:
    """One request to an experiment.

    Attributes:
        person: The pseudonym of who asks.
        arm: Who answers.
        prompt: What is asked, without a persona's system prompt.
    """

    experiment: Experiment
    person: str
    arm: str
    prompt: tuple[Message, ...]


class Trials:
    """The running experiments of a workspace, and what becomes of them.

    Args:
        catalogue: The models that there are; a name that one of them has is no experiment's.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue, self._book = catalogue, Book(catalogue.workspace)
        self._started = running(catalogue.workspace)

    def refresh(self) -> None:
        """See what was started or stopped."""
        self._started = running(self._catalogue.workspace)

    def close(self) -> None:
        """Write down what there still is, and let go of the database."""
        self._book.close()

    @property
    def running(self) -> dict[str, Experiment]:
        """Those that can be asked, by name."""
        models = self._catalogue.models
        return {name: each for name, each in self._started.items() if name not in models}

    def entries(self) -> dict[str, dict[str, Any]]:
        """As `/v1/models` tells of them, by name; their arms are nobody's business."""
        return {name: _entry(each) for name, each in self.running.items()}

    def trial(self, body: ChatRequest, key: Key | None) -> Trial | None:
        """Who answers a request; None if it is to no experiment.

        Raises:
            RefusedError: It does not say for which user it is.
        """
        experiment = self.running.get(body.model)
        if experiment is None:
            return None
        person = experiment.person(_name(key), _user(body))
        return Trial(experiment, person, experiment.arm(person), body.conversation(None))

    def refuse(self, body: CompletionRequest) -> None:
        """Texts are continued by models only.

        Raises:
            RefusedError: It is to an experiment.
        """
        if body.model in self.running:
            message = f"{body.model!r} is an experiment, which only `/v1/chat/completions` has."
            raise RefusedError(400, message, "unsupported", param="model")

    async def begin(self, trial: Trial, visit: Visit, answer: Answer, version: str) -> None:
        """Write down who answers whom, before a word of it leaves."""
        experiment = trial.experiment
        completion = answer.whole()["id"]
        answered = Answered(
            id=completion,
            experiment=experiment.name,
            epoch=experiment.epoch,
            arm=trial.arm,
            person=trial.person,
            version=version,
            choices=len(answer.choices),
            made=now(),
        )
        visit.said |= {"experiment": experiment.name, "epoch": experiment.epoch}
        await self._book.ask(lambda db: note(db, answered))
        if experiment.keep_text:
            visit.held.callback(self._keep, completion, trial, answer)

    def _keep(self, completion: str, trial: Trial, answer: Answer) -> None:
        """The texts; not of replies that were cut short, which would teach not to end."""
        replies = [
            choice.text if choice.ended and choice.ended.reason == "stop" else None
            for choice in answer.choices
        ]
        self._book.tell(lambda db: keep(db, completion, trial.prompt, replies))

    async def feedback(self, given: FeedbackRequest, key: Key | None) -> dict[str, Any]:
        """Write down what a user did about a reply.

        Raises:
            RefusedError: No such reply was given to this user of this key.
        """
        await self._book.ask(lambda db: give(db, _name(key), given))
        told = {name: getattr(given, name) for name in ("completion_id", "index", "kind")}
        return Taken(created=int(time.time()), **told).model_dump()


def _entry(experiment: Experiment) -> dict[str, Any]:
    made = int(datetime.fromisoformat(experiment.started).timestamp())
    nobody = dict.fromkeys(("root", "parent", "persona", "title"))
    return {"id": experiment.name, "object": "model", "created": made, "owned_by": "mien", **nobody}


def _name(key: Key | None) -> str:
    return key.name if key else ""


def _user(body: Asking) -> str:
    """For whom a request is."""
    said = body.model_extra or {}
    user = next((said[name] for name in _NAMES if said.get(name) is not None), None)
    if not isinstance(user, str) or not 0 < len(user) <= _LONGEST:
        message = (
            f"{body.model!r} is an experiment: it needs `user`, a lasting name of whom you ask for."
        )
        raise RefusedError(400, message, "user_needed", param="user")
    return user
