"""How much of a finished update a persona takes: the least at which its voice is heard.

Supervised fine-tuning ends with an update that may be too weak for one voice and too strong for the
next: turned up, any voice is heard, and what it says comes loose from the question. Multiplying the
update by a dose costs no training. So some doses are tried on held-out prompts, and the smallest that
is heard is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from mien.base.model import Base
from mien.chat import Sampling
from mien.decode.generate import continued
from mien.schema import Strict
from mien.train.data import Prompt
from mien.train.leash import Gold
from mien.train.signals import Rollout

DOSES = (0.6, 0.8, 1.0, 1.2, 1.4)
HEARD = 0.8  # mean probability of the intended voice from which on it counts as heard
SEEDS = (0, 1)
_SAMPLING = Sampling(max_tokens=96)


class Tried(Strict):
    """What replies at one dose are worth: means of the parts of the gold score."""

    dose: float
    voice: float
    content: float
    fresh: float


def tried(base: Base, adapter: str, prompts: Sequence[Prompt], gold: Gold) -> Callable[[float], Tried]:
    """A function that tries one dose on held-out prompts.

    Args:
        base: The base, with the adapter on it.
        adapter: Of the finished update.
        prompts: Held out.
        gold: Hears and compares the replies.
    """
    asked = [each for each in prompts for _ in SEEDS]
    seeds = [seed for _ in prompts for seed in SEEDS]

    def at(dose: float) -> Tried:
        with base.adapters.use(adapter), base.adapters.scaled(adapter, dose):
            replies = continued(base, [each.ids for each in asked], _SAMPLING, seeds=seeds)
        texts = [base.renderer.decode(ids) for ids in replies]
        scores = gold(
            [Rollout(*each, ended=True) for each in zip(asked, map(tuple, replies), texts, strict=True)]
        )
        parts = (fmean(part) for part in zip(*scores, strict=True))
        return Tried(**dict(zip(("voice", "content", "fresh"), parts, strict=True)), dose=dose)

    return at


def least(at: Callable[[float], Tried], doses: Sequence[float] = DOSES) -> tuple[float, list[Tried]]:
    """The smallest dose at which the voice is heard, or else the largest; and what was tried.

    More of an update is more of its voice, so the doses are halved and not gone through.
    """
    low, high, seen = 0, len(doses) - 1, list[Tried]()
    while low < high:
        middle = (low + high) // 2
        seen.append(at(doses[middle]))
        if seen[-1].voice >= HEARD:
            high = middle
        else:
            low = middle + 1
    return doses[low], sorted(seen, key=lambda each: each.dose)
