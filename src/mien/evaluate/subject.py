"""Whoever is evaluated: anything that answers a chat.

Three kinds: the local base with an adapter or none under a system prompt or none, a server, and a file
of recorded replies. The first also says how likely it finds a continuation, which some suites need; a
suite that needs it says of the others that it could not be measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from mien.base.flat import Flat, Grove, Tree, batches, groves
from mien.base.maths import token_kl
from mien.base.model import Base
from mien.chat import Sampling
from mien.data.teacher import Teacher, Unfinished
from mien.decode.generate import continued
from mien.errors import InputError, UnableError, first_line
from mien.registry.cards import Card
from mien.schema import Message, Strict, digest

_BATCH_TOKENS = 4096
_TOGETHER = 16  # continuations whose distance from the base is read at once


class Asked(NamedTuple):
    """One thing to answer.

    Attributes:
        messages: A conversation that ends with a turn of the user. A system message in it is the
            suite's own; the subject puts its own before it.
        seed: Of the reply.
        prefill: What the reply is made to begin with; it is not repeated in what is said.
    """

    messages: tuple[Message, ...]
    seed: int = 0
    prefill: str = ""


class Said(NamedTuple):
    """One reply.

    Attributes:
        text: Without marks, and without the prefill.
        tokens: As the subject counts them; 0 where it does not say.
        ended: Whether it came to its end by itself.
    """

    text: str
    tokens: int = 0
    ended: bool = True


class Options(NamedTuple):
    """Continuations of one conversation, to be compared by their likelihood.

    Attributes:
        messages: As in `Asked`.
        texts: What the reply might go on with; spaces at the front count.
        prefill: What the reply begins with before that.
        whole: Whether a continuation ends the reply, so that the mark of the end is part of it.
    """

    messages: tuple[Message, ...]
    texts: tuple[str, ...]
    prefill: str = ""
    whole: bool = False


class LogP(NamedTuple):
    """Log-probability of a continuation, in nats, summed over its tokens."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """Per token."""
        return self.total / self.tokens


Progress = Callable[[int], None]


def _quiet(_: int) -> None:
    """Tell nobody."""


@runtime_checkable
class Subject(Protocol):
    """Answers chats."""

    @property
    def name(self) -> str:
        """What the report calls it: `base`, `prompt`, `sft`, `null`, ..."""
        ...

    @property
    def key(self) -> str:
        """Content hash of everything that its replies depend on, but for what it is asked."""
        ...

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = _quiet
    ) -> list[Said]:
        """One reply to each, in order; `progress` is called with the number of replies as they end.

        Raises:
            UnableError: It cannot answer one of them.
        """
        ...


@runtime_checkable
class Likely(Subject, Protocol):
    """A subject whose likelihoods can be read."""

    def logps(self, asked: Sequence[Options], *, progress: Progress = _quiet) -> list[tuple[LogP, ...]]:
        """For each, one log-probability per continuation."""
        ...


@dataclass(frozen=True)
class LocalSubject:
    """The base with an adapter or none, under a system prompt or none.

    Args:
        name: For the report.
        base: With the adapter attached.
        adapter: The adapter's name on the base.
        adapter_hash: Of its file; its matrices may be scaled, see `scale`.
        system_prompt: Put before everything it is asked.
        scale: The update is multiplied by this, for doses.
    """

    name: str
    base: Base
    adapter: str | None = None
    adapter_hash: str = ""
    system_prompt: str | None = None
    scale: float = 1.0

    @property
    def key(self) -> str:
        """Of base, number type, renderer, adapter, its scale and the system prompt."""
        base = self.base
        of_base = [base.files.sha256, base.dtype, base.renderer.style.name]
        adapter = [self.adapter_hash or self.adapter, self._shape()]
        return digest([*of_base, *adapter, self.system_prompt])

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = _quiet
    ) -> list[Said]:
        """All in batches, each reply with a seed of its own."""
        renderer = self.base.renderer
        prompts = [self._ids(each.messages, each.prefill) for each in asked]
        with self.base.adapters.use(self.adapter), self._scaled():
            replies = continued(
                self.base,
                prompts,
                sampling,
                seeds=[each.seed for each in asked],
                with_stop=True,
                progress=lambda _, ended: progress(ended),
            )
        return [_said(ids, renderer.decode(ids), renderer.stop_ids) for ids in replies]

    @torch.no_grad()
    def logps(self, asked: Sequence[Options], *, progress: Progress = _quiet) -> list[tuple[LogP, ...]]:
        """A prompt is read once for all its continuations, and so is what many prompts begin with."""
        trees = [self._tree(each) for each in asked]
        order = sorted(range(len(trees)), key=lambda place: tuple(trees[place].prompt))
        alike = groves((trees[place] for place in order), _BATCH_TOKENS)
        read = list[tuple[LogP, ...]]()
        with self.base.adapters.use(self.adapter), self._scaled():
            for batch in batches(alike, _BATCH_TOKENS):
                rows = self._read(batch)
                read += rows
                progress(len(rows))
        found = dict(zip(order, read, strict=True))
        return [found[place] for place in range(len(trees))]

    def _read(self, batch: Sequence[Grove]) -> list[tuple[LogP, ...]]:
        """One row per tree, in order, with one log-probability per continuation."""
        flat = Flat.grown(batch)
        totals, counts = flat.sums(-self.base.nll(flat)).tolist(), flat.counts().tolist()
        each = iter(map(LogP, totals, counts))
        return [tuple(next(each) for _ in tree.completions) for grove in batch for tree in grove.trees]

    @torch.no_grad()
    def divergences(
        self, asked: Sequence[Options], *, progress: Progress = _quiet
    ) -> list[tuple[float, ...]]:
        """KL(this || bare base) of the next token, in nats, summed over each continuation.

        The base is given the same conversation without this subject's system prompt, so what a system
        prompt alone moves counts as well.
        """
        bare = LocalSubject(self.name, self.base)
        if self.key == bare.key:
            progress(len(asked))
            return [(0.0,) * len(each.texts) for each in asked]
        found: dict[int, tuple[float, ...]] = {}
        order = sorted(range(len(asked)), key=lambda place: tuple(self._tree(asked[place]).prompt))
        for start in range(0, len(order), _TOGETHER):
            places = order[start : start + _TOGETHER]
            some = [asked[place] for place in places]
            (flat, ours), (_, theirs) = (each._before(some) for each in (self, bare))
            sums = iter(flat.sums(token_kl(ours, theirs, self.base.head.weight)).tolist())
            found |= {place: tuple(next(sums) for _ in asked[place].texts) for place in places}
            progress(len(places))
        return [found[place] for place in range(len(asked))]

    def _before(self, asked: Sequence[Options]) -> tuple[Flat, Tensor]:
        """The hidden states before each token of the continuations."""
        flat = Flat.grown(list(groves(map(self._tree, asked), _BATCH_TOKENS)))
        with self.base.adapters.use(self.adapter), self._scaled():
            hidden = self.base.hidden(flat)
        return flat, hidden.index_select(0, flat.index.to(hidden.device))

    def _shape(self) -> list[float]:
        """What the matrices are multiplied by, which is not in their file's hash."""
        config = self.base.adapters.configs.get(self.adapter or "")
        return [config.scale * self.scale] if config else []

    def _tree(self, each: Options) -> Tree:
        renderer = self.base.renderer
        end = renderer.completion("") if each.whole else []
        ids = tuple((*renderer.text(text), *end) for text in each.texts)
        return Tree(self._ids(each.messages, each.prefill), ids)

    def _ids(self, messages: Sequence[Message], prefill: str) -> list[int]:
        renderer = self.base.renderer
        opening = (Message(role="system", content=self.system_prompt),) if self.system_prompt else ()
        return renderer.prompt((*opening, *messages)) + (renderer.text(prefill) if prefill else [])

    def _scaled(self) -> AbstractContextManager[None]:
        return self.base.adapters.scaled(self.adapter, self.scale)


def _said(ids: Sequence[int], text: str, stop: frozenset[int]) -> Said:
    ended = bool(ids) and ids[-1] in stop
    return Said(text, len(ids) - ended, ended)


@dataclass(frozen=True)
class ChatSubject:
    """A chat model behind a server, asked through a teacher, which retries and never pays twice.

    Args:
        name: For the report.
        teacher: Whom to ask.
        system_prompt: Put before everything it is asked.
    """

    name: str
    teacher: Teacher
    system_prompt: str | None = None

    @property
    def key(self) -> str:
        """Of the model's name, which says what answers."""
        return digest([self.teacher.model.name, self.system_prompt])

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = _quiet
    ) -> list[Said]:
        """As many at once as the server takes.

        Raises:
            UnableError: A reply is to begin with given words, which the protocol cannot ask for, or
                the server did not answer.
        """
        if any(each.prefill for each in asked):
            raise UnableError(f"{self.name}: a server cannot be made to begin a reply with given words.")
        opening = (Message(role="system", content=self.system_prompt),) if self.system_prompt else ()

        def one(each: Asked) -> Said:
            reply = self.teacher.ask((*opening, *each.messages), sampling, seed=each.seed)
            progress(1)
            return Said(reply.text, reply.completion_tokens, reply.ended == "stop")

        found = list(self.teacher.each(asked, one))
        if self.teacher.stopped:
            raise self.teacher.stopped
        lost = [each for each in found if isinstance(each, Unfinished)]
        if lost:
            raise UnableError(
                f"{self.name}: {len(lost)} of {len(asked)} not answered ({lost[0].reason})."
            )
        return [each for each in found if isinstance(each, Said)]


class Recording(Strict):
    """One line of a file of recorded replies."""

    messages: tuple[Message, ...] = Field(min_length=1)
    reply: str
    seed: int = 0
    prefill: str = ""


@dataclass(frozen=True)
class RecordedSubject:
    """Replies that were made elsewhere, in a JSONL file of `messages`, `reply` and, if need be, `seed`.

    The replies to one conversation are taken in the order of their seeds, over and over where it is
    asked with more seeds than it was recorded with.
    """

    name: str
    path: Path
    replies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str, path: Path) -> RecordedSubject:
        """Read the file.

        Raises:
            InputError: It cannot be read, or a line is no recording.
        """
        found: dict[str, list[Recording]] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: cannot be read ({first_line(error)}).", fix="Check the path."
            ) from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                each = _recording(path, number, line)
                found.setdefault(_known(each.messages, each.prefill), []).append(each)
        replies = {
            key: tuple(each.reply for each in sorted(rows, key=lambda row: row.seed))
            for key, rows in found.items()
        }
        return cls(name, path, replies)

    @property
    def key(self) -> str:
        """Of all that is recorded."""
        return digest(self.replies)

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = _quiet
    ) -> list[Said]:
        """What was recorded.

        Raises:
            UnableError: Something that is asked was not.
        """
        found = [self.replies.get(_known(each.messages, each.prefill)) for each in asked]
        lost = [each for each, reply in zip(asked, found, strict=True) if reply is None]
        if lost:
            raise UnableError(
                f"{self.path.name}: no reply to {len(lost)} of {len(asked)} questions is recorded; the"
                f" first is {lost[0].messages[-1].content[:60]!r}."
            )
        progress(len(asked))
        return [
            Said(replies[each.seed % len(replies)], 0)
            for each, replies in zip(asked, found, strict=True)
            if replies
        ]


def _recording(path: Path, number: int, line: str) -> Recording:
    try:
        return Recording.model_validate(json.loads(line))
    except (ValidationError, ValueError) as error:
        raise InputError(
            f"{path}:{number}: no recorded reply ({first_line(error)}).",
            fix='A line is {"messages": [{"role": "user", "content": "..."}], "reply": "..."}.',
        ) from error


def _known(messages: Sequence[Message], prefill: str) -> str:
    return digest([[each.model_dump(mode="json") for each in messages], prefill])


def of_card(name: str, base: Base, card: Card, system_prompt: str) -> LocalSubject:
    """A finished run's adapter; one that was trained under the system prompt is heard under it."""
    return LocalSubject(
        name, base, card.run, card.adapter_hash, system_prompt if card.under_prompt else None
    )
