"""What an evaluation yields: the structure behind table, JSON file, report and release gate."""

from __future__ import annotations

from pydantic import Field

from mien.evaluate.compare import CONTROLS, NULL, Results
from mien.persona.spec import Release
from mien.registry.cards import NULLS
from mien.schema import Score, Strict


class Hearing(Strict):
    """The voice classifier's own examination, on authored test replies it never saw.

    Attributes:
        confusion: Texts by true voice (rows) and verdict (columns).
        topics: Accuracy per topic.
        trained_on: How many texts.
        apart: Macro-F1 of classifiers that met neither the topic nor the prompt of what they judge:
            the same one, a bag of words, and the same one with markers masked and at one length.
    """

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: Score
    macro_f1: float
    topics: dict[str, float]
    trained_on: int
    apart: tuple[Score, ...] = ()


class TrainingPoint(Strict):
    """One line of a run's metrics."""

    step: int
    epoch: float
    loss: float | None = None
    validation_loss: float | None = None


class Adapter(Strict):
    """Which adapter a subject is, and what its training took.

    Attributes:
        dose: How much of its finished update is in force, where that is known.
    """

    run: str
    stage: str
    adapter_hash: str
    seconds: float
    peak_memory_mb: float
    examples: int
    dose: float | None = None


class Evaluation(Strict):
    """Everything measured on one persona.

    Attributes:
        adapters: By subject, for those that have one.
        stand_ins: What is called `base` or `prompt` and is neither: a server, a recording.
        training: By subject, the course of its loss.
        release: The persona's thresholds, which the release gate and the first line go by.
        suites: The suites that were run, in the order of the report.
        seconds: Of wall time, by suite, and for what was asked of several suites at once; what was
            remembered from before took none.
        command: What repeats it.
    """

    persona: str
    title: str
    description: str
    persona_hash: str
    bands: dict[str, tuple[float, float]]
    base: str
    base_hash: str
    adapters: dict[str, Adapter]
    stand_ins: tuple[str, ...] = ()
    made: str  # UTC, ISO 8601
    version: str
    device: str
    size: str
    command: str
    sampling: dict[str, float | None]
    suites: tuple[str, ...]
    seconds: dict[str, float]
    hearing: Hearing
    results: Results
    training: dict[str, tuple[TrainingPoint, ...]]
    release: Release = Field(default_factory=Release)

    @property
    def judged(self) -> str:
        """The subject that the report is about: the last one."""
        return self.results.subjects[-1]

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that are what their labels say, for any label may be given to any system."""
        return tuple(name for name in CONTROLS if name in self.results.subjects and self._is_real(name))

    def _is_real(self, control: str) -> bool:
        adapter = self.adapters.get(control)
        if control == NULL:
            return adapter is not None and adapter.stage in NULLS
        return adapter is None and control not in self.stand_ins
