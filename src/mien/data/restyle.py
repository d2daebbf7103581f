"""One conversation becomes one per persona: the same content, in another voice.

Every turn of the assistant is rewritten by a teacher, with the turns before it as they were rewritten
already, so that a voice hangs together. Calls of tools, what they return and fenced code never reach the
teacher's pen. A rewritten turn has to keep the content (`preserve`) and to have changed its style; what
fails is asked for again with the reasons, and after some tries the conversation is set aside with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mien.chat import Reply, Sampling
from mien.data import preserve
from mien.data.anchors import FENCE, blocks, list_items, prose
from mien.data.faults import tidy
from mien.data.formats import Record
from mien.data.preserve import Cosine, Fault
from mien.data.prompts import Prompt, prompt
from mien.data.teacher import Teacher, Unfinished
from mien.data.wording import overlaps, words
from mien.errors import DataError
from mien.persona.spec import Persona
from mien.persona.voice import measure
from mien.schema import Dialogue, Example, Message, Strict, digest

Heard: TypeAlias = Callable[[str], Mapping[str, float]]
Judge: TypeAlias = Callable[[str, str, Persona], Sequence[str]]

PROMPTS = ("restyle", "restyle-again")
TRIES = 3  # per turn
SAMPLING = Sampling(max_tokens=1200, temperature=0.8, top_p=0.95)

STYLED_FROM = 12  # words of a source; with fewer there is too little to hear a voice in
COPIED = 0.5  # Jaccard of word 5-shingles; of the good pairs of the corpus none is above 0.4
IN_BAND = 0.6  # share of a voice's bands that need not rise; a plain reply may lie within most of them
HEARD = 0.05  # probability that a classifier of six voices gives a voice
_FORMED = re.compile(r"\A\s*\w+: \S[^\n]*\n")  # the head of an e-mail
_WRAPPED = re.compile(r"\s*(```+)[^\n]*\n(.*)\n\1\s*", re.DOTALL)
_NOTHING_YET, _NOTHING = "(nothing has been said yet)", "(nothing in particular)"
_AS_DESCRIBED = "(as described above)"


@dataclass(frozen=True)
class Checks:
    """What judges a rewritten turn beside the words in it; what is None is not asked.

    Attributes:
        cosine: Of the sentence embeddings of two texts.
        heard: The probability of each voice that it knows, for a text.
        judge: What is wrong with a rewritten text, given the source and the persona, in sentences.
    """

    cosine: Cosine | None = None
    heard: Heard | None = None
    judge: Judge | None = None

    def faults(self, source: str, restyled: str, persona: Persona, context: str = "") -> list[Fault]:
        """Everything that is wrong with a rewritten turn; the judge hears what has no other fault."""
        found = preserve.faults(source, restyled, context=context, cosine=self.cosine)
        found += style(source, restyled, persona, self.heard)
        if not found and self.judge:
            found = [
                Fault(check="judge", message=each) for each in self.judge(source, restyled, persona)
            ]
        return found


def style(source: str, restyled: str, persona: Persona, heard: Heard | None = None) -> Iterator[Fault]:
    """Whether the style has not changed, or not towards the persona.

    A voice is described, and classifiers are trained, on plain paragraphs. So an e-mail, a list or JSON
    is only held to not being a copy.
    """
    before, after = prose(source), prose(restyled)
    if len(words(before)) < STYLED_FROM:
        return
    shared = overlaps([before, after], 5).get((0, 1), 0.0)
    if shared > COPIED:
        yield Fault(check="copy", message=f"it shares {shared:.0%} of its wording with the source")
    if not _formed(source):
        yield from _bands(before, after, persona)
        yield from _heard(before, after, persona, heard) if heard else ()


def _formed(text: str) -> bool:
    return bool(text.lstrip()[:1] in ("{", "[") or _FORMED.match(text) or list_items(text))


def _bands(before: str, after: str, persona: Persona) -> Iterator[Fault]:
    bands = persona.voice.bands()
    if not bands:
        return
    was, measures = measure(before), measure(after)
    off = [name for name, (low, high) in bands.items() if not low <= measures[name] <= high]
    was_off = [name for name, (low, high) in bands.items() if not low <= was[name] <= high]
    if len(off) >= len(was_off) and 1 - len(off) / len(bands) < IN_BAND:
        message = (
            f"it is not in the voice: {'; '.join(_off(name, measures[name], bands) for name in off)}"
        )
        yield Fault(check="bands", message=message)


def _off(name: str, value: float, bands: Mapping[str, tuple[float, float]]) -> str:
    low, high = bands[name]
    return f"{name.replace('_', ' ')} {value:.3g}, not {low:g} to {high:g}"


def _heard(before: str, after: str, persona: Persona, heard: Heard) -> Iterator[Fault]:
    was, now = heard(before), heard(after)
    if persona.name in now and now[persona.name] < max(HEARD, was[persona.name]):
        loudest = max(now, key=lambda voice: now[voice])
        message = f"it does not sound {persona.name}" + (
            f", but {loudest}" if loudest != persona.name else " any more than the source does"
        )
        yield Fault(check="voice", message=message)


class Attempt(Strict):
    """A rewritten turn that was not taken, and why."""

    text: str
    faults: tuple[Fault, ...]


class Turn(Strict):
    """A turn that was rewritten.

    Attributes:
        place: Where it is among the messages, from 0.
        source: The turn as it was.
        rejected: The attempts that failed, in order.
        kept: Whether a later one was taken.
    """

    place: int
    source: str
    rejected: tuple[Attempt, ...]
    kept: bool


class Variant(Strict):
    """One conversation in one persona's voice.

    Attributes:
        id: Of the conversation; the same in all personas.
        persona: By name.
        row: The rewritten conversation, or None where it was set aside.
        turns: What was rewritten; if it was set aside, the last turn says why.
    """

    id: str
    persona: str
    row: Example | Dialogue | None
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Source:
    """A conversation to be restyled.

    Attributes:
        id: No other one of its file has it.
        row: The conversation.
        extra: The other keys of its row.
    """

    id: str
    row: Example | Dialogue
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> tuple[Message, ...]:
        """All turns."""
        return (
            self.row.messages
            if isinstance(self.row, Dialogue)
            else self.row.prompt + self.row.completion
        )


def sources(records: Iterable[Record]) -> list[Source]:
    """Conversations with their own `id`, or the number of their row; of a preference the chosen side.

    Raises:
        DataError: Two rows have the same id.
    """
    found: dict[str, Source] = {}
    for record in records:
        name = str(record.extra.get("id", record.number))
        if name in found:
            raise DataError(
                f"Row {record.number}: the id {name!r} is another row's.",
                fix="Give each row an `id` of its own, or none of them any.",
            )
        found[name] = Source(name, _conversation(record), record.extra)
    return list(found.values())


def _conversation(record: Record) -> Example | Dialogue:
    if isinstance(record.row, Example | Dialogue):
        return record.row
    return Example(prompt=record.row.prompt, completion=record.row.chosen)


@dataclass(frozen=True)
class Masked:
    """A text with a mark in place of each fenced block of code."""

    text: str
    blocks: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Masked:
        """Take the blocks out."""
        taken: list[str] = []

        def mark(found: re.Match[str]) -> str:
            taken.append(found[0])
            return f"[[code {len(taken)}]]"

        return cls(FENCE.sub(mark, text), tuple(taken))

    @property
    def has_prose(self) -> bool:
        """Whether there is anything to restyle."""
        return bool(words(re.sub(r"\[\[code \d+\]\]", "", self.text)))

    def put_back(self, text: str) -> str:
        """A rewritten text with the blocks in place of their marks."""
        for number, block in enumerate(self.blocks, 1):
            text = text.replace(f"[[code {number}]]", block)
        return text


@dataclass(frozen=True)
class Restyler:
    """Rewrites conversations.

    Attributes:
        teacher: Who rewrites.
        checks: What judges it.
        seed: Another one gives other attempts.
        tries: How often a turn is asked for before its conversation is set aside.
    """

    teacher: Teacher
    checks: Checks = field(default_factory=Checks)
    seed: int = 0
    tries: int = TRIES
    prompts: dict[str, Prompt] = field(default_factory=lambda: {name: prompt(name) for name in PROMPTS})

    @property
    def job(self) -> dict[str, Any]:
        """What a variant is a function of, beside its conversation and its persona."""
        used = [name for name in ("cosine", "heard", "judge") if getattr(self.checks, name)]
        return {
            "model": self.teacher.model.name,
            "prompts": {name: each.digest for name, each in self.prompts.items()},
            "sampling": SAMPLING.model_dump(mode="json"),
            "checks": used,
            "seed": self.seed,
            "tries": self.tries,
        }

    def all(
        self,
        conversations: Sequence[Source],
        personas: Sequence[Persona],
        *,
        done: Callable[[], None] = lambda: None,
    ) -> list[Variant | Unfinished]:
        """Every conversation in every persona, persona by persona; `done` after each."""
        jobs = [(source, persona) for persona in personas for source in conversations]
        return self.teacher.each(jobs, lambda job: self.one(*job), done=done)

    def one(self, source: Source, persona: Persona) -> Variant:
        """One conversation in one persona.

        Raises:
            ModelError: The teacher gives no answer.
            BudgetError: It may cost more than is left.
        """
        messages: list[Message] = []
        turns: list[Turn] = []
        for place, message in enumerate(source.messages):
            masked = Masked.of(message.content)
            if message.role != "assistant" or not masked.has_prose:
                messages.append(message)
                continue
            text, rejected = self._rewrite(masked, message.content, messages, persona)
            kept = text is not None
            turns.append(Turn(place=place, source=message.content, rejected=rejected, kept=kept))
            if text is None:
                return Variant(id=source.id, persona=persona.name, row=None, turns=tuple(turns))
            messages.append(message.model_copy(update={"content": text}))
        row = _like(source.row, messages)
        return Variant(id=source.id, persona=persona.name, row=row, turns=tuple(turns))

    def _rewrite(
        self, masked: Masked, source: str, before: Sequence[Message], persona: Persona
    ) -> tuple[str | None, tuple[Attempt, ...]]:
        """The turn, if a good one came, and the attempts that were not."""
        said = "\n\n".join(_told(message) for message in before if message.content)
        rejected: list[Attempt] = []
        while len(rejected) < self.tries:
            asked = self._prompt(masked.text, said, persona, rejected)
            seed = int(digest([self.seed, persona.name, len(rejected)])[:8], 16) >> 1
            reply = self.teacher.ask([Message(role="user", content=asked)], SAMPLING, seed=seed)
            text = masked.put_back(_bare(reply.text, source))
            faults = _cut(reply) or self.checks.faults(source, text, persona, said)
            if not faults:
                return text, tuple(rejected)
            rejected.append(Attempt(text=text, faults=tuple(faults)))
        return None, tuple(rejected)

    def _prompt(self, reply: str, said: str, persona: Persona, rejected: Sequence[Attempt]) -> str:
        count = len(words(reply))
        fields = {
            "manner": persona.system_prompt.strip(),
            "examples": _examples(persona),
            "conversation": said or _NOTHING_YET,
            "reply": reply,
            "keep": ", ".join(preserve.must_keep(reply, said)) or _NOTHING,
            "least": round(0.8 * count),
            "most": round(1.3 * count) + 1,
        }
        if not rejected:
            return self.prompts["restyle"].fill(**fields)
        last = rejected[-1]
        reasons = "\n".join(f"- {fault.message}" for fault in last.faults)
        attempt = Masked.of(last.text).text
        return self.prompts["restyle-again"].fill(**fields, attempt=attempt, reasons=reasons)


def _told(message: Message) -> str:
    return f"{message.role.capitalize()}: {message.content}"


def _examples(persona: Persona) -> str:
    sounds = (f"> {each.prompt.strip()}\n{each.reply.strip()}" for each in persona.examples)
    return "\n\n".join(sounds) or _AS_DESCRIBED


def _bare(text: str, source: str) -> str:
    """An answer without what models put around it, unless the source has a fence itself."""
    wrapped = _WRAPPED.fullmatch(text)
    if wrapped and not blocks(source):
        text = wrapped[2]
    return tidy(text, "Assistant")


def _cut(reply: Reply) -> list[Fault]:
    if reply.ended != "length":
        return []
    return [Fault(check="cut", message="it was cut off before its end; write less")]


def _like(row: Example | Dialogue, messages: Sequence[Message]) -> Example | Dialogue:
    if isinstance(row, Dialogue):
        return Dialogue(messages=tuple(messages))
    return Example(prompt=tuple(messages[:-1]), completion=(messages[-1],))
