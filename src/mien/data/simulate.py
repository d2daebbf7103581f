"""Simulates whole dialogues between a user and a persona, one for each cell of a plan.

Three parts are played by one model: somebody who invents a situation from the cell, the user who is in
it, and the persona who replies; the last two take turns. The user's side knows nothing of the persona,
and the persona nothing of the situation but what the user says. Every message is checked as it comes,
and asked for again under another seed if something is wrong with it; after some tries the whole dialogue
is set aside with the reason. A dialogue is a function of plan, prompts, persona, model and seed; since
every call is cached by the teacher, a job that was stopped goes on where it was.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mien.chat import Sampling
from mien.data.faults import fault, tidy
from mien.data.plan import TURNS, Cell, Plan
from mien.data.prompts import Prompt, prompt
from mien.data.teacher import Teacher, Unfinished
from mien.persona.spec import Persona
from mien.schema import Dialogue, Message, Strict, digest

Part = Literal["scenario", "user", "persona"]

PROMPTS = ("simulate-scenario", "simulate-user", "simulate-persona")
TRIES = 4  # per message
# People and situations should differ widely; a character should stay itself. The last has room for an
# e-mail, or for the review of some code.
SAMPLING: dict[Part, Sampling] = {
    "scenario": Sampling(max_tokens=300, temperature=1.0, top_p=0.95),
    "user": Sampling(max_tokens=300, temperature=0.9, top_p=0.95),
    "persona": Sampling(max_tokens=600, temperature=0.7, top_p=0.95),
}
_LABELS: dict[Part, str] = {"scenario": "", "user": "User", "persona": "Assistant"}
_NOTHING_YET = "(nothing has been said yet)"
_AS_DESCRIBED = "(as described above)"


def _seed(*parts: Any) -> int:
    return int(digest(parts)[:8], 16) >> 1  # 31 bits: what endpoints take


@dataclass(frozen=True)
class Parts:
    """What each of the three parts is told, from prompt files.

    Attributes:
        persona: Who replies.
        plan: Explains the levels of a cell.
        prompts: By name, those of `PROMPTS`.
    """

    persona: Persona
    plan: Plan
    prompts: dict[str, Prompt] = field(default_factory=lambda: {name: prompt(name) for name in PROMPTS})

    def scenario(self, cell: Cell, sparks: Sequence[str]) -> str:
        """For the one who invents the situation."""
        told = self.plan.told(cell, "scenario")
        return self.prompts["simulate-scenario"].fill(cell=told, sparks=", ".join(sparks))

    def user(self, cell: Cell, scenario: str, history: Sequence[Message], turn: int) -> str:
        """For the user, who is to write message number `turn`."""
        said = "\n\n".join(f"{each.role.capitalize()}: {each.content}" for each in history)
        return self.prompts["simulate-user"].fill(
            scenario=scenario,
            cell=self.plan.told(cell, "user"),
            conversation=said or _NOTHING_YET,
            turn=turn,
            turns=cell[TURNS],
        )

    def system(self, cell: Cell) -> str:
        """For the persona, as the system message of the conversation."""
        sounds = (f"> {each.prompt.strip()}\n{each.reply.strip()}" for each in self.persona.examples)
        return self.prompts["simulate-persona"].fill(
            persona=self.persona.system_prompt.strip(),
            boundaries="\n".join(f"- {each}" for each in self.persona.boundaries),
            examples="\n\n".join(sounds) or _AS_DESCRIBED,
            cell=self.plan.told(cell, "persona"),
        )


class Simulated(Strict):
    """One dialogue, whole or set aside.

    Attributes:
        number: Its place in the job; with the job's seed it decides on all the seeds.
        cell: What it was to be.
        scenario: The situation that the user was in.
        messages: As far as it came.
        again: Messages that were asked for again, by part and fault.
        aside: What was wrong when the tries ran out; None for a whole dialogue.
    """

    number: int
    cell: dict[str, str]
    scenario: str
    messages: tuple[Message, ...]
    again: dict[str, int]
    aside: str | None

    @property
    def dialogue(self) -> Dialogue:
        """The dialogue, without any system message: the voice is to be learnt, not to be told."""
        return Dialogue(messages=self.messages)


class Simulator:
    """Makes dialogues from cells.

    Args:
        teacher: Plays all parts.
        persona: Who replies.
        plan: Where the cells are from.
        seed: Another one makes other dialogues of the same cells.
        tries: How often a message is asked for before its dialogue is set aside.

    Attributes:
        job: What a dialogue is a function of, by name; hashes for what is long.
    """

    def __init__(
        self, teacher: Teacher, persona: Persona, plan: Plan, *, seed: int = 0, tries: int = TRIES
    ) -> None:
        self.teacher, self.seed, self.tries = teacher, seed, tries
        self.parts = Parts(persona, plan)
        self.job: dict[str, Any] = {
            "persona": persona.name,
            "persona_hash": persona.digest(),
            "model": teacher.model.name,
            "plan_hash": plan.digest(),
            "prompts": {name: each.digest for name, each in self.parts.prompts.items()},
            "sampling": {part: each.model_dump(mode="json") for part, each in SAMPLING.items()},
            "seed": seed,
            "tries": tries,
        }

    def one(self, number: int, cell: Cell) -> Simulated:
        """The dialogue of one cell.

        Raises:
            ModelError: The model gives no answer.
            BudgetError: It may cost more than is left.
        """
        return _Talk(self, number, cell).through()

    def all(
        self, cells: Sequence[tuple[int, Cell]], *, done: Callable[[], None] = lambda: None
    ) -> list[Simulated | Unfinished]:
        """The dialogues of numbered cells, as many at once as the teacher takes; `done` after each."""
        return self.teacher.each(cells, lambda each: self.one(*each), done=done)


class _SetAside(Exception):  # noqa: N818  (nothing went wrong in the program)
    """No message could be had that nothing is wrong with."""


class _Talk:
    """A dialogue under way."""

    def __init__(self, simulator: Simulator, number: int, cell: Cell) -> None:
        self.simulator, self.number, self.cell = simulator, number, cell
        self.scenario = ""
        self.messages: list[Message] = []
        self.again: Counter[str] = Counter()

    def through(self) -> Simulated:
        try:
            self._alternate()
            aside = None
        except _SetAside as reason:
            aside = str(reason)
        return Simulated(
            number=self.number,
            cell=dict(self.cell),
            scenario=self.scenario,
            messages=tuple(self.messages),
            again=dict(self.again),
            aside=aside,
        )

    def _alternate(self) -> None:
        parts, cell = self.simulator.parts, self.cell
        sparks = random.Random(self._seed("sparks", 0, 0)).sample(parts.plan.sparks, 2)
        self.scenario = self._write("scenario", parts.scenario(cell, sparks))
        system = parts.system(cell)
        for turn in range(1, int(cell[TURNS]) + 1):
            asked = parts.user(cell, self.scenario, self.messages, turn)
            secret = parts.user(cell, "", (), turn)  # of the situation and of what was said it may speak
            self._add("user", self._write("user", asked, secret=secret))
            self._add("assistant", self._write("persona", system, secret=system))

    def _add(self, role: Literal["user", "assistant"], text: str) -> None:
        self.messages.append(Message(role=role, content=text))

    def _write(self, part: Part, told: str, *, secret: str = "") -> str:
        """A message that nothing is wrong with.

        Raises:
            _SetAside: So many tries brought none.
        """
        if part == "persona":
            asked = [Message(role="system", content=told), *self.messages]
        else:
            asked = [Message(role="user", content=told)]
        for attempt in range(self.simulator.tries):
            seed = self._seed(part, len(self.messages), attempt)
            reply = self.simulator.teacher.ask(asked, SAMPLING[part], seed=seed)
            text = tidy(reply.text, _LABELS[part])
            wrong = "cut short" if reply.ended == "length" else self._fault(part, text, secret)
            if wrong is None:
                return text
            self.again[f"{part}: {wrong}"] += 1
        raise _SetAside(f"{part}: {wrong}")

    def _fault(self, part: Part, text: str, secret: str) -> str | None:
        musts = self.simulator.parts.plan.musts(self.cell) if part == "persona" else ()
        earlier = [each.content for each in self.messages]
        return fault(text, instructions=secret, earlier=earlier, musts=musts)

    def _seed(self, part: str, place: int, attempt: int) -> int:
        return _seed(self.simulator.seed, self.number, part, place, attempt)


class Bound(Strict):
    """What a job costs at most if no message has to be asked for again.

    Attributes:
        calls: Of the model.
        prompt_tokens: Read; a token is taken to be at least 3 bytes of text.
        completion_tokens: Written, where every message is as long as it may be.
    """

    calls: int
    prompt_tokens: int
    completion_tokens: int


_BYTES = 3  # per token: English has more than four, code and names fewer
_FRAME = 8  # tokens around a message


def bound(parts: Parts, cells: Sequence[Cell]) -> Bound:
    """What the dialogues of some cells cost at most."""
    costs = [_bound(parts, cell) for cell in cells]
    calls, read, written = (sum(each) for each in zip(*costs, strict=True)) if costs else (0, 0, 0)
    return Bound(calls=calls, prompt_tokens=read, completion_tokens=written)


def _bound(parts: Parts, cell: Cell) -> tuple[int, int, int]:
    longest = {part: each.max_tokens + _FRAME for part, each in SAMPLING.items()}
    turns = int(cell[TURNS])
    user = _tokens(parts.user(cell, "", (), turns)) + longest["scenario"]
    system = _tokens(parts.system(cell))
    read = _tokens(parts.scenario(cell, parts.plan.sparks[:2])) + turns * (user + system)
    read += turns * longest["user"] + turns * (turns - 1) * (longest["user"] + longest["persona"])
    written = SAMPLING["scenario"].max_tokens
    written += turns * (SAMPLING["user"].max_tokens + SAMPLING["persona"].max_tokens)
    return 1 + 2 * turns, read, written


def _tokens(text: str) -> int:
    return len(text.encode()) // _BYTES + _FRAME
