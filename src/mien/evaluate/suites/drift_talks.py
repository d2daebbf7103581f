"""Holds the conversations of the drift suite: all in step, turn by turn, and remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mien.base.talk import Talk
from mien.chat import Sampling
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, LocalSubject, Subject
from mien.evaluate.suites.drift_users import History, Scene, User
from mien.schema import Message, Strict, digest

SILENCE = "..."  # stands in the history for a reply without a word, which a message cannot be
_TOGETHER = 32  # conversations that are held and kept at a time: what a kill can lose
_APART = 1000  # between the seeds of two conversations; no turn and no probe has another's

Answer = Callable[[Sequence[History], Sequence[int]], list[str]]


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
        answer = _answers(subject, setting, plan.sampling)
        return [held.model_dump(mode="json") for held in _hold(answer, setting, some, plan)]

    return [Held.model_validate(row) for row in setting.memo.fill(keys, make, part=_TOGETHER)]


def _plain(scene: Scene, plan: Plan) -> list[object]:
    return ["talk", *scene, plan.user.key, plan.turns, plan.probed, plan.sampling.model_dump()]


def _hold(answer: Answer, setting: Setting, scenes: Sequence[Scene], plan: Plan) -> list[Held]:
    histories: list[list[Message]] = [[] for _ in scenes]
    probes: list[list[str]] = [[] for _ in scenes]
    for turn in range(plan.turns + 1):
        if turn in plan.probed:
            asked = [[*h, _user(scene.probe)] for scene, h in zip(scenes, histories, strict=True)]
            # The same seed at every turn: what differs between two probes is the history alone.
            for kept, text in zip(probes, answer(asked, _seeds(scenes, _APART - 1)), strict=True):
                kept.append(text or SILENCE)
        if turn < plan.turns:
            _go_on(answer, setting, scenes, histories, plan, turn)
    return [
        Held(said=_texts(history[::2]), replies=_texts(history[1::2]), probes=tuple(kept))
        for history, kept in zip(histories, probes, strict=True)
    ]


def _go_on(
    answer: Answer,
    setting: Setting,
    scenes: Sequence[Scene],
    histories: Sequence[list[Message]],
    plan: Plan,
    turn: int,
) -> None:
    said = plan.user.say(scenes, histories, setting)
    asked = [[*history, _user(text)] for history, text in zip(histories, said, strict=True)]
    replies = answer(asked, _seeds(scenes, turn))
    for history, question, reply in zip(histories, said, replies, strict=True):
        history += _exchange(question, reply)


def _answers(subject: Subject, setting: Setting, sampling: Sampling) -> Answer:
    """Local subjects keep what they have read; all others are sent the whole conversation."""
    if isinstance(subject, LocalSubject):
        return _locally(subject, setting, sampling)

    def answer(histories: Sequence[History], seeds: Sequence[int]) -> list[str]:
        asked = [Asked(tuple(each), seed) for each, seed in zip(histories, seeds, strict=True)]
        return [reply.text for reply in setting.ask(subject, asked, sampling=sampling)]

    return answer


def _locally(subject: LocalSubject, setting: Setting, sampling: Sampling) -> Answer:
    base, system = subject.base, subject.system_prompt
    opening = [Message(role="system", content=system)] if system else []
    talk = Talk(base, sampling)

    def answer(histories: Sequence[History], seeds: Sequence[int]) -> list[str]:
        adapter, scale = subject.adapter, subject.scale
        with base.adapters.use(adapter), base.adapters.scaled(adapter, scale):
            replies = talk.replies(
                [[*opening, *each] for each in histories],
                seeds=seeds,
                progress=lambda _, ended: setting.show.advance(ended),
            )
        return [base.renderer.decode(ids) for ids in replies]

    return answer


def _seeds(scenes: Sequence[Scene], turn: int) -> list[int]:
    return [scene.seed * _APART + turn for scene in scenes]


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _exchange(said: str, reply: str) -> tuple[Message, Message]:
    return _user(said), Message(role="assistant", content=reply or SILENCE)


def _texts(messages: Sequence[Message]) -> tuple[str, ...]:
    return tuple(message.content for message in messages)
