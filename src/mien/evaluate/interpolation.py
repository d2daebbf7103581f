"""How the voice moves as weight goes from one adapter to another.

Held-out prompts are answered under (1 - w) FROM + w TO, the exact sum of both updates, for some w from 0
to 1. Prompts, sampling and seeds are the same at all points, so that only the weight differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.base.embed import Embedder
from mien.base.model import Base
from mien.data.corpus import Parallel, rows_of
from mien.decode.generate import generate
from mien.errors import InputError
from mien.evaluate.classifier import METHOD, VoiceClassifier
from mien.evaluate.setting import SAMPLING
from mien.registry.names import Share, spelled
from mien.schema import Score, Strict, conversation
from mien.show import Show
from mien.stats import by_prompt

POINTS = 5
_SEED = 0  # of every prompt, so that both ends say what an evaluation has them say first
_BLEND = "a point between two"  # a name that no run can have
_BY_PROMPT = "one reply a prompt; 95 % bootstrap by prompt"
_HEARD = f"mean probability by the {METHOD}; {_BY_PROMPT}"
_KEPT = f"mean cosine with the authored neutral reply, by sentence embeddings; {_BY_PROMPT}"
Weights = tuple[float, float]


class Side(NamedTuple):
    """One end of the way.

    Attributes:
        adapter: Its name on the base.
        voice: Whose it is meant to be.
    """

    adapter: str
    voice: str


class Point(Strict):
    """What is heard at one place of the way.

    Attributes:
        weights: Of FROM's update and of TO's.
        heard: Mean probability of FROM's voice and of TO's.
        content: Mean cosine with the authored neutral reply.
    """

    weights: Weights
    heard: tuple[Score, Score]
    content: Score

    @property
    def ratio(self) -> str:
        """The weights as people write them, such as `0.5 : 0.5`."""
        return " : ".join(f"{weight:.2g}" for weight in self.weights)


class Interpolation(Strict):
    """The whole way, FROM first in all pairs.

    Attributes:
        adapters: Their names.
        voices: Whose they are meant to be.
        points: At least two, from FROM alone to TO alone.
    """

    adapters: tuple[str, str]
    voices: tuple[str, str]
    points: tuple[Point, ...]

    def values(self, side: int) -> list[float]:
        """The mean probability of one voice, 0 for FROM's and 1 for TO's, at each point."""
        return [point.heard[side].value for point in self.points]

    @property
    def monotonic(self) -> tuple[bool, bool]:
        """Whether FROM's voice falls at every step, and whether TO's rises."""
        falls = all(here > there for here, there in pairwise(self.values(0)))
        return falls, all(here < there for here, there in pairwise(self.values(1)))


def interpolated(
    base: Base,
    sides: tuple[Side, Side],
    ear: VoiceClassifier,
    embedder: Embedder,
    *,
    points: int = POINTS,
    show: Show | None = None,
) -> Interpolation:
    """Go from one adapter to another and listen on the way, on the corpus' test prompts.

    Args:
        base: With both adapters on it.
        sides: FROM and TO.
        ear: Hears the voices.
        embedder: Compares the content.
        points: Places at which it is listened, evenly spaced, both ends among them.
        show: Is told how it goes.

    Raises:
        InputError: A voice cannot be heard, both are one, or there are fewer than two points.
    """
    check_voices((sides[0].voice, sides[1].voice), ear.labels)
    rows, way = rows_of("test"), _way(points)
    said = [_replies(base, sides, weights, rows, show or Show()) for weights in way]
    neutral = embedder.embed([row.replies["neutral"] for row in rows])
    voices = [ear.labels.index(side.voice) for side in sides]

    def point(weights: Weights, texts: Sequence[str]) -> Point:
        heard, near = ear.judge(texts), (embedder.embed(texts) * neutral).sum(axis=1)
        return _point(sides, weights, rows, heard[:, voices], near)

    return Interpolation(
        adapters=(sides[0].adapter, sides[1].adapter),
        voices=(sides[0].voice, sides[1].voice),
        points=tuple(map(point, way, said)),
    )


def check_voices(voices: tuple[str, str], known: Sequence[str]) -> None:
    """Make sure that two voices can be told from each other.

    Raises:
        InputError: They are one, or one is not among those that are known.
    """
    listed = ", ".join(known)
    if unknown := next((voice for voice in voices if voice not in known), None):
        raise InputError(
            f"The classifier has never heard the voice {unknown!r}.",
            fix=f"Name adapters of two of these: {listed}.",
        )
    if voices[0] == voices[1]:
        raise InputError(
            f"Both adapters have the voice {voices[0]!r}, and there is no way from it to itself.",
            fix=f"Name adapters of two of these: {listed}.",
        )


def _way(points: int) -> list[Weights]:
    if points < 2:
        raise InputError(f"There is no way of {points} points.", fix="Give 2 or more.")
    steps = points - 1
    return [((steps - place) / steps, place / steps) for place in range(points)]


def _replies(
    base: Base, sides: tuple[Side, Side], weights: Weights, rows: Sequence[Parallel], show: Show
) -> list[str]:
    show.begin(f"answering at {_called(sides, weights)}", len(rows))
    asked = [conversation(row.prompt) for row in rows]
    with _in_force(base, sides, weights):
        replies = generate(
            base,
            asked,
            SAMPLING,
            seeds=[_SEED] * len(asked),
            progress=lambda _, ended: show.advance(ended),
        )
    return [base.renderer.decode(ids) for ids in replies]


@contextmanager
def _in_force(base: Base, sides: tuple[Side, Side], weights: Weights) -> Iterator[None]:
    """The weighted sum of both updates; at an end, the adapter as it is."""
    adapters = base.adapters
    if 1.0 in weights:
        with adapters.use(sides[weights.index(1.0)].adapter):
            yield
        return
    adapters.average([side.adapter for side in sides], _BLEND, weights=weights)
    try:
        with adapters.use(_BLEND):
            yield
    finally:
        adapters.drop(_BLEND)


def _called(sides: tuple[Side, Side], weights: Weights) -> str:
    parts = zip(sides, weights, strict=True)
    return spelled(Share(side.adapter, weight) for side, weight in parts)


def _point(
    sides: tuple[Side, Side],
    weights: Weights,
    rows: Sequence[Parallel],
    heard: NDArray[np.float64],
    near: NDArray[np.float32],
) -> Point:
    """Scores of (prompts, 2) probabilities and (prompts,) cosines."""
    prompts, system = [row.id for row in rows], _called(sides, weights)

    def score(name: str, values: NDArray[np.floating], method: str) -> Score:
        found = by_prompt(values.astype(np.float64), prompts)
        return Score(name=name, system=system, method=method, **found._asdict())

    first, second = (
        score(f"heard/{side.voice}", column, _HEARD) for side, column in zip(sides, heard.T, strict=True)
    )
    return Point(weights=weights, heard=(first, second), content=score("content", near, _KEPT))
