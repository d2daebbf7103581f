"""What an evaluation yields: the one structure behind the table, the JSON file and the report."""

from __future__ import annotations

from mien.schema import Score, Strict

Quantiles = tuple[float, float, float, float, float]  # 10, 25, 50, 75, 90 per cent


class Reply(Strict):
    """One generated reply and everything measured on it."""

    system: str
    prompt_id: str
    topic: str
    prompt: str
    seed: int
    text: str
    tokens: int
    voice: str  # the classifier's verdict, or `echo`
    confidence: float  # its probability for that verdict
    intended: float  # its probability for the intended voice
    measures: dict[str, float]
    content: float  # cosine similarity to the authored neutral reply
    repetition: float
    echo: float = 0.0  # share of it that the model was given to read


class Judge(Strict):
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


class Evaluation(Strict):
    """Everything measured on one persona."""

    persona: str
    title: str
    description: str
    persona_hash: str
    base: str
    base_hash: str
    adapter: str | None
    made: str  # UTC, ISO 8601
    version: str
    device: str
    seconds: float
    sampling: dict[str, float]
    seeds: tuple[int, ...]
    prompts: int
    systems: tuple[str, ...]  # "base", "prompt", then the adapter by the persona's name
    judge: Judge
    scores: tuple[Score, ...]
    differences: tuple[Score, ...]  # system "witty - prompt", and so on
    bands: dict[str, tuple[float, float]]
    quantiles: dict[str, dict[str, Quantiles]]  # system or "authored" -> measure -> quantiles
    training: tuple[TrainingPoint, ...]
    replies: tuple[Reply, ...]
    authored: dict[str, str]  # prompt id -> authored reply in the intended voice

    def score(self, name: str, system: str) -> Score | None:
        """One score, if it was measured."""
        found = (s for s in self.scores if (s.name, s.system) == (name, system))
        return next(found, None)
