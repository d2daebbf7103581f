"""What an evaluation yields: the structure behind table, JSON file, report and release gate."""

from __future__ import annotations

from mien.evaluate.compare import Results
from mien.schema import Score, Strict


class Hearing(Strict):
    """The voice classifier's own examination, on authored test replies it never saw."""

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]  # rows: true voice; columns: verdict
    accuracy: Score
    macro_f1: float
    topics: dict[str, float]  # accuracy per topic
    trained_on: int


class TrainingPoint(Strict):
    """One line of a run's metrics."""

    step: int
    epoch: float
    loss: float | None = None
    validation_loss: float | None = None


class Adapter(Strict):
    """Which adapter a subject is, and what its training took."""

    run: str
    stage: str
    adapter_hash: str
    seconds: float
    peak_memory_mb: float
    examples: int


class Evaluation(Strict):
    """Everything measured on one persona.

    Attributes:
        adapters: By subject, for those that have one.
        training: By subject, the course of its loss.
        suites: The suites that were run, in the order of the report.
        seconds: Of wall time, by suite; what was remembered from before took none.
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

    @property
    def judged(self) -> str:
        """The subject that the report is about: the last one."""
        return self.results.subjects[-1]
