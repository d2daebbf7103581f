"""Asks a subject turn after turn, as conversations grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mien.chat import Sampling
from mien.decode.talk import Talk
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, LocalSubject, Subject
from mien.schema import Message

History = Sequence[Message]
Answer = Callable[[Sequence[History], Sequence[int]], list[str]]


def answers(subject: Subject, setting: Setting, sampling: Sampling) -> Answer:
    """What takes conversations that end with a turn of the user, and a seed for each, and replies.

    Local subjects keep what they have read; all others are sent the whole conversation.
    """
    if isinstance(subject, LocalSubject):
        return _locally(subject, setting, sampling)

    def answer(histories: Sequence[History], seeds: Sequence[int]) -> list[str]:
        asked = [Asked(tuple(each), seed) for each, seed in zip(histories, seeds, strict=True)]
        return [reply.text for reply in setting.ask(subject, asked, sampling=sampling)]

    return answer


def instructions(subject: Subject) -> list[Message]:
    """What a subject is told before every conversation: its system prompt, if it has one."""
    system = getattr(subject, "system_prompt", None)
    return [Message(role="system", content=system)] if system else []


def _locally(subject: LocalSubject, setting: Setting, sampling: Sampling) -> Answer:
    base, opening = subject.base, instructions(subject)
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
