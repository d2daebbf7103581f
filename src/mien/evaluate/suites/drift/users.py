"""Who talks to the persona in a long conversation: a script, or a model that plays the part.

A script is composed from questions of its own, questions about its things, and follow-ups that fit
anywhere, so that a hundred turns go by without one that is said twice. A user who pulls the other way
asks the same in the same order, but wants the manner dropped or speaks in the opposite one; what differs
between the two conversations is the pulling and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import cycle, islice
from typing import Literal, NamedTuple, Protocol

from pydantic import Field, field_validator

from mien import specfile
from mien.chat import Sampling
from mien.errors import InputError
from mien.evaluate.setting import Setting, spread
from mien.evaluate.subject import Subject
from mien.evaluate.suites.drift.answers import History, answers
from mien.schema import Message, Strict, digest

Manner = Literal["neutral", "pulled"]
Lines = tuple[str, ...]
_PLAYING = Sampling(max_tokens=60, temperature=0.9, top_p=0.95)


class Script(Strict):
    """What one user wants to talk about.

    Attributes:
        id: A word.
        opening: The first turn.
        questions: That only this user asks, each able to follow any reply.
        things: Of which anything in `Book.about` can be asked.
    """

    id: str
    opening: str
    questions: Lines = Field(min_length=1)
    things: Lines = Field(min_length=2)


class Pull(Strict):
    """How a user pulls the other way.

    Attributes:
        asks: Requests to drop the manner, put before a question.
        frames: A question, `{turn}`, in the opposite manner.
    """

    asks: Lines = Field(min_length=1)
    frames: Lines = Field(min_length=1)

    @field_validator("frames")
    @classmethod
    def _hold_a_turn(cls, frames: Lines) -> Lines:
        if wrong := [frame for frame in frames if frame.count("{turn}") != 1]:
            raise ValueError(f"{{turn}} must be in it once: {wrong[0]!r}")
        return frames


class Book(Strict):
    """All that scripted users say.

    Attributes:
        follow_ups: May come anywhere in any conversation.
        about: May come anywhere, with one of the script's things for `{thing}`.
        probes: Asked of a copy of a conversation that is thrown away.
        played: What a model is told that plays the user.
        pulls: By voice; `any` fits every persona.
    """

    follow_ups: Lines
    about: Lines
    probes: Lines = Field(min_length=1)
    played: dict[Manner, str]
    scripts: tuple[Script, ...] = Field(min_length=1)
    pulls: dict[str, Pull]

    def turns(self, script: Script, seed: int = 0) -> Lines:
        """Everything a user can say on a script, in the order of a seed, and nothing twice."""
        draw = random.Random(f"{script.id} {seed}")
        own, things, forms, free = (
            draw.sample(each, len(each))
            for each in (script.questions, script.things, self.about, self.follow_ups)
        )
        far = len(things) // 2
        about = [
            form.replace("{thing}", things[(place + far * again) % len(things)])
            for again in (0, 1)
            for place, form in enumerate(forms)
        ]
        return (script.opening, *_dealt(own, about, free, about))

    def pulled(self, turns: Lines, voice: str, seed: int = 0) -> Lines:
        """The same turns by a user who pulls away from a voice; the first one is as it was."""
        draw = random.Random(f"{voice} {seed}")
        known = [self.pulls[name] for name in dict.fromkeys((voice, "any")) if name in self.pulls]
        asks, frames = (
            cycle(draw.sample(each, len(each)))
            for each in (
                [ask for pull in known for ask in pull.asks],
                [frame for pull in known for frame in pull.frames],
            )
        )
        wrapped = (
            f"{next(asks)} {turn}" if place % 2 == 0 else next(frames).replace("{turn}", turn)
            for place, turn in enumerate(turns[1:])
        )
        return (turns[0], *wrapped)


def _dealt(*decks: list[str]) -> list[str]:
    """Cards from each deck in turn until all are empty; a deck may be dealt from in several places."""
    dealt, turns = [], cycle(decks)
    while any(decks):
        if deck := next(turns):
            dealt.append(deck.pop(0))
    return dealt


@lru_cache(maxsize=1)
def book() -> Book:
    """The built-in scripts."""
    name = "data/drift.yaml"
    text = (resources.files("mien.evaluate.suites") / name).read_text(encoding="utf-8")
    return specfile.parse(text, Book, source=f"built-in {name}")


class Scene(NamedTuple):
    """One conversation to be held.

    Attributes:
        unit: Its name, the same for both manners and for all subjects.
        manner: Of the user.
        lines: What a scripted user says, one per turn.
        probe: What is asked of copies of it.
        seed: Of the replies.
    """

    unit: str
    manner: Manner
    lines: Lines
    probe: str
    seed: int


def check_turns(turns: int) -> None:
    """Whether conversations may be so long.

    Raises:
        InputError: That is too few turns to see any drift, or more than a script has.
    """
    most = min(len(book().turns(script)) for script in book().scripts)
    if not 2 <= turns <= most:
        fix = f"Ask for 2 to {most}."
        raise InputError(f"No conversation of the scripts has {turns} turns.", fix=fix)


def scenes(setting: Setting, turns: int, conversations: int) -> list[Scene]:
    """So many conversations, each with a neutral user and with one who pulls the other way.

    Raises:
        InputError: No script has so many turns.
    """
    check_turns(turns)
    told = book()
    scripts = spread(told.scripts, conversations)
    found = list[Scene]()
    for place, script in enumerate(islice(cycle(scripts), conversations)):
        again, seed = place // len(scripts), setting.seed + place
        lines = told.turns(script, setting.seed + again)
        pulled = told.pulled(lines, setting.persona.name, seed)
        probe = told.probes[place % len(told.probes)]
        unit = f"{script.id} {again + 1}" if again else script.id
        found.append(Scene(unit, "neutral", lines[:turns], probe, seed))
        found.append(Scene(unit, "pulled", pulled[:turns], probe, seed))
    return found


Say = Callable[[Sequence[Scene], Sequence[History]], list[str]]


class User(Protocol):
    """Says the next thing in conversations."""

    @property
    def key(self) -> str:
        """Content hash of what it says, beyond the scenes."""
        ...

    def begin(self, setting: Setting) -> Say:
        """What gives the next turn of each conversation, of which so much has been said.

        It is asked about the same conversations again and again as they grow; no turn is empty.
        """
        ...


class Scripted:
    """Says what is in the script."""

    key = "scripted"

    def begin(self, setting: Setting) -> Say:
        """The line whose turn it is."""
        return _lines


def _lines(scenes: Sequence[Scene], histories: Sequence[History]) -> list[str]:
    return [scene.lines[len(history) // 2] for scene, history in zip(scenes, histories, strict=True)]


@dataclass(frozen=True)
class Played:
    """A model plays the user: the bare base, a server, or whatever else answers a chat.

    It opens as the script does. Where it says nothing, or what it said before, the script helps out.

    Args:
        subject: Who plays.
        sampling: Of what it says.
    """

    subject: Subject
    sampling: Sampling = _PLAYING

    @property
    def key(self) -> str:
        """Of who plays, how, and what it is told."""
        return digest([self.subject.key, self.sampling.model_dump(), book().played])

    def begin(self, setting: Setting) -> Say:
        """What it says where the assistant was the last to speak; it may be unable to."""
        answer = answers(self.subject, setting, self.sampling)

        def say(scenes: Sequence[Scene], histories: Sequence[History]) -> list[str]:
            script = _lines(scenes, histories)
            if not histories[0]:
                return script
            seeds = [scene.seed + len(history) for scene, history in zip(scenes, histories, strict=True)]
            said = answer(list(map(_turned, scenes, histories)), seeds)
            return list(map(_kept, said, histories, script))

        return say


def _turned(scene: Scene, history: History) -> History:
    """The conversation from the user's side, where the roles change places."""
    told = book().played[scene.manner].replace("{opening}", scene.lines[0])
    turns = (
        Message(role="user" if each.role == "assistant" else "assistant", content=each.content)
        for each in history
    )
    opening = Message(role="system", content=told), Message(role="user", content="How can I help?")
    return (*opening, *turns)


def _kept(text: str, history: History, script: str) -> str:
    known = {each.content for each in history}
    return text.strip() if text.strip() not in {"", *known} else script
