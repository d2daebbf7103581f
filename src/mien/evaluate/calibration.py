"""Is a judge to be believed? Its marks beside those of people, and a map from the one to the other.

The map is fitted on one part of the labels and examined on the other; which part an item is in follows
from its conversation. A judge without such an examination is called uncalibrated wherever it speaks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from sklearn.isotonic import IsotonicRegression

from mien.data.pairs import Prompt, read_rows
from mien.errors import InputError
from mien.evaluate.rubric import HIGHEST, LOWEST, rubric
from mien.schema import Score, Strict, digest
from mien.stats import by_prompt, kappa, krippendorff

LEAST = 10  # items that each part needs: with fewer, kappa's interval holds nearly everything
ISOTONIC_FROM = 30  # fitted items; with fewer the map is a straight line

Marks = NDArray[np.float64]


class HumanLabel(Strict):
    """One person's mark for one reply. Rows are appended and never changed.

    Attributes:
        messages: The conversation before the reply; a plain string is one turn of the user.
        key: The criterion's name.
        value: 1 to 5.
        rater: Who judged.
        persona: By whom the reply was to be; None fits any.
    """

    messages: Prompt
    reply: str = Field(min_length=1)
    key: str
    value: float = Field(ge=LOWEST, le=HIGHEST)
    rater: str = ""
    persona: str | None = None

    @model_validator(mode="after")
    def _known_key(self) -> HumanLabel:
        known = [each.name for each in rubric().criteria]
        if self.key not in known:
            raise ValueError(f"`key` is one of {', '.join(known)}")
        return self

    @property
    def item(self) -> str:
        """Of what is judged: all labels with the same item are of one reply by one criterion."""
        return digest([self.unit, self.reply, self.key])

    @property
    def unit(self) -> str:
        """Of the conversation."""
        return digest([each.model_dump(mode="json") for each in self.messages])


def read_labels(path: Path, persona: str) -> list[HumanLabel]:
    """The labels in a JSONL file that fit a persona.

    Raises:
        DataError: The file is missing, or a row is no label.
    """
    return [row for row in read_rows(path, HumanLabel) if row.persona in (None, persona)]


class Rated(NamedTuple):
    """One reply by one criterion: what the judge says, and what people say."""

    unit: str
    key: str
    judged: float
    human: float


class Curve(Strict):
    """A map from a judge's marks to people's: straight between its points, level beyond them."""

    x: tuple[float, ...] = Field(min_length=1)
    y: tuple[float, ...] = Field(min_length=1)

    def __call__(self, value: float) -> float:
        """The mark that people would be expected to give."""
        return float(np.interp(value, self.x, self.y))


class Calibration(Strict):
    """What is known of a judge's agreement with people.

    Attributes:
        judge: By name.
        curves: By criterion; a criterion without one is uncalibrated.
        scores: By criterion, on the held-out part: `kappa` (quadratic weights) and `error` (mean
            absolute error) after the map, `error_before`; and `people`, their own agreement.
    """

    judge: str
    curves: dict[str, Curve]
    scores: tuple[Score, ...]

    def score(self, name: str, key: str) -> Score | None:
        """One of the scores, as `kappa` of `tone_appropriateness`."""
        return next((each for each in self.scores if each.name == f"judge/{name}/{key}"), None)


def human_marks(labels: Iterable[HumanLabel]) -> dict[str, list[HumanLabel]]:
    """Labels by item; of two labels of one rater for one item, the later row counts."""
    items: defaultdict[str, dict[str, HumanLabel]] = defaultdict(dict)
    for label in labels:
        items[label.item][label.rater] = label
    return {item: list(given.values()) for item, given in items.items()}


def calibrated(judge: str, rated: Sequence[Rated], labels: Sequence[HumanLabel] = ()) -> Calibration:
    """Fit a map per criterion on one part, and examine it on the other.

    Args:
        judge: By name.
        rated: All items.
        labels: Behind them; where items have several, people's own agreement is told too.

    Raises:
        InputError: No criterion has enough items in both parts.
    """
    curves: dict[str, Curve] = {}
    scores: list[Score] = []
    for key in dict.fromkeys(each.key for each in rated):
        fit, held = _parts([each for each in rated if each.key == key])
        if min(len(fit), len(held)) >= LEAST:
            curves[key] = _curve(fit)
            scores += _examined(judge, key, curves[key], held)
            scores += _people(key, [label for label in labels if label.key == key])
    if not curves:
        raise InputError(
            f"{len(rated)} labelled items are too few to calibrate {judge}.",
            fix=f"Each part, fitted and held out, needs {LEAST} items of one criterion: label some"
            f" {3 * LEAST} replies to as many prompts.",
        )
    return Calibration(judge=judge, curves=curves, scores=tuple(scores))


def _parts(rated: Sequence[Rated]) -> tuple[list[Rated], list[Rated]]:
    """Half the conversations to fit, the other half to examine: every second in the order of a hash."""
    order = sorted({each.unit for each in rated}, key=digest)
    held = set(order[1::2])
    return [e for e in rated if e.unit not in held], [e for e in rated if e.unit in held]


def _curve(fit: Sequence[Rated]) -> Curve:
    judged, human = np.array([(each.judged, each.human) for each in fit]).T
    x = np.unique(judged)
    if len(fit) >= ISOTONIC_FROM:
        y = IsotonicRegression(out_of_bounds="clip").fit(judged, human).predict(x)
    else:
        y = _line(judged, human, x)
    return Curve(x=tuple(map(float, x)), y=tuple(float(each) for each in np.clip(y, LOWEST, HIGHEST)))


def _line(judged: Marks, human: Marks, x: Marks) -> Marks:
    """Least squares; level where the judge's marks fall as people's rise, or never change."""
    spread = float(np.var(judged))
    slope = max(0.0, float(np.cov(judged, human, bias=True)[0, 1]) / spread) if spread else 0.0
    return np.asarray(human.mean() + slope * (x - judged.mean()))


def _examined(judge: str, key: str, curve: Curve, held: Sequence[Rated]) -> list[Score]:
    units, human = [each.unit for each in held], np.array([each.human for each in held])
    before = np.array([each.judged for each in held])
    after = np.array([curve(each.judged) for each in held])
    how = f"against people's mean mark, {len(held)} held-out items; 95 % bootstrap over prompts"
    found = {
        "error": (by_prompt(np.abs(after - human), units), f"mean absolute error after the map {how}"),
        "error_before": (by_prompt(np.abs(before - human), units), f"mean absolute error {how}"),
    }
    rounded = np.rint(after), np.rint(human)
    if len(np.unique(np.concatenate(rounded))) > 1:
        agreed = kappa(*rounded, units, level="quadratic")
        found["kappa"] = agreed, f"Cohen's kappa, quadratic weights, of rounded marks {how}"
    return [
        Score(name=f"judge/{name}/{key}", system=judge, method=method, **interval._asdict())
        for name, (interval, method) in found.items()
    ]


def _people(key: str, labels: Sequence[HumanLabel]) -> list[Score]:
    ratings = [[each.value for each in given] for given in human_marks(labels).values()]
    several = [each for each in ratings if len(each) > 1]
    if not several or len({value for each in several for value in each}) < 2:
        return []
    found = krippendorff(several, level="quadratic")
    method = f"Krippendorff's alpha, interval metric, {len(several)} items with two raters or more"
    return [Score(name=f"judge/people/{key}", system="people", method=method, **found._asdict())]
