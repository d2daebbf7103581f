"""How the conversations of one subject went, turn by turn: what the drift suite's pictures need."""

from __future__ import annotations

from mien.evaluate.suites.drift.users import Manner
from mien.schema import Strict

Point = tuple[float, float, float]  # a value with the ends of its 95 % interval
Fall = tuple[float, float, float, float]  # a turn, the share that lasts beyond it, and its interval


class Course(Strict):
    """All conversations with one kind of user.

    Attributes:
        score: Mean probability of the intended voice at each turn.
        held: Share of replies heard in it at each turn.
        probes: As `score`, of the answers to the probe.
        steps: Where the Kaplan-Meier curve falls.
        broken: How many conversations broke.
        conversations: How many there were.
        half_life: With its interval; None for an end that was not reached.
    """

    score: tuple[Point, ...]
    held: tuple[float, ...]
    probes: tuple[Point, ...]
    steps: tuple[Fall, ...]
    broken: int
    conversations: int
    half_life: tuple[float | None, float | None, float | None]


class Detail(Strict):
    """One subject.

    Attributes:
        turns: Of each conversation.
        probed: After how many turns the probe was put.
        users: By kind of user.
    """

    turns: int
    probed: tuple[int, ...]
    users: dict[Manner, Course]
