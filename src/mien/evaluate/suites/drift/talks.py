"""Holds the conversations of the drift suite: all in step, turn by turn, and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien.chat import Sampling
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Subject
from mien.evaluate.suites.drift.answers import Answer, answers
from mien.evaluate.suites.drift.users import Say, Scene, User
from mien.schema import Message, Strict, digest

SILENCE = "..."  # stands in the history for a reply without a word, which a message cannot be
_TURNS = 640  # that are held and kept at a time, of all conversations: what a kill can lose
_LEAST = 8  # conversations at a time; fewer take a step of decoding as long
_APART = 1000  # between the seeds of two conversations; no turn and no probe has another's


@dataclass(frozen=True)
class Plan:
    """How long to talk, with whom, and when to probe.

    Attributes:
        turns: Of the assistant.
        probed: After how many turns the probe is put to a copy of the conversation; 0 is before any.
        user: Who says the other half.
        sampling: Of the replies.
    """

    turns: int
    probed: tuple[int, ...]
    user: User
    sampling: Sampling


class Held(Strict):
    """A conversation that was held.

    Attributes:
        said: What the user said, turn by turn.
        replies: What the subject said to it.
        probes: What it said to the probe, in the order of `Plan.probed`.
    """

    said: tuple[str, ...]
    replies: tuple[str, ...]
    probes: tuple[str, ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as the subject saw it."""
        pairs = zip(self.said, self.replies, strict=True)
        return tuple(message for pair in pairs for message in _exchange(*pair))


def hold(subject: Subject, setting: Setting, scenes: Sequence[Scene], plan: Plan) -> list[Held]:
    """Conversations of one subject; those that it had before are remembered.

    Raises:
        UnableError: It, or who plays the user, cannot answer.
    """
    keys = [digest([subject.key, *_plain(scene, plan)]) for scene in scenes]

    def make(places: list[int]) -> list[dict[str, object]]:
        some = [scenes[place] for place in places]
        sides = plan.user.begin(setting), answers(subject, setting, plan.sampling)
        return [held.model_dump(mode="json") for held in _hold(*sides, some, plan)]

    part = max(_LEAST, _TURNS // plan.turns)
    return [Held.model_validate(row) for row in setting.memo.fill(keys, make, part=part)]


def _plain(scene: Scene, plan: Plan) -> list[object]:
    return ["talk", *scene, plan.user.key, plan.turns, plan.probed, plan.sampling.model_dump()]


def _hold(say: Say, answer: Answer, scenes: Sequence[Scene], plan: Plan) -> list[Held]:
    histories: list[list[Message]] = [[] for _ in scenes]
    probes: list[list[str]] = [[] for _ in scenes]
    for turn in range(plan.turns + 1):
        if turn in plan.probed:
            asked = [[*h, _user(scene.probe)] for scene, h in zip(scenes, histories, strict=True)]
            # The same seed at every turn: what differs between two probes is the history alone.
            for kept, text in zip(probes, answer(asked, _seeds(scenes, _APART - 1)), strict=True):
                kept.append(text or SILENCE)
        if turn < plan.turns:
            _go_on(say, answer, scenes, histories, turn)
    return [
        Held(said=_texts(history[::2]), replies=_texts(history[1::2]), probes=tuple(kept))
        for history, kept in zip(histories, probes, strict=True)
    ]


def _go_on(
    say: Say, answer: Answer, scenes: Sequence[Scene], histories: Sequence[list[Message]], turn: int
) -> None:
    said = say(scenes, histories)
    asked = [[*history, _user(text)] for history, text in zip(histories, said, strict=True)]
    replies = answer(asked, _seeds(scenes, turn))
    for history, question, reply in zip(histories, said, replies, strict=True):
        history += _exchange(question, reply)


def seed_of(scene: Scene, turn: int) -> int:
    """Of the reply to a turn, from 0."""
    return scene.seed * _APART + turn


def _seeds(scenes: Sequence[Scene], turn: int) -> list[int]:
    return [seed_of(scene, turn) for scene in scenes]


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _exchange(said: str, reply: str) -> tuple[Message, Message]:
    return _user(said), Message(role="assistant", content=reply or SILENCE)


def _texts(messages: Sequence[Message]) -> tuple[str, ...]:
    return tuple(message.content for message in messages)
