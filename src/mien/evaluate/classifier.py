"""An independent ear: which of the six voices does a reply sound like?

A linear classifier on three views of the text: word and character n-grams, and the measures of the
five dimensions. It is trained on the corpus' training split, knows `neutral` as a class of its own,
and is examined on authored test replies before it judges anything.

Six authored voices are a closed world, and a model's ordinary manner is none of them: trained on the
corpus alone, the classifier calls three of four replies of the bare default base `witty`. So `neutral`
also gets the bare base's own replies to training prompts: no personality is what a base sounds like
before it is given one. Length is no part of a voice: every text is cut to its first whole sentences
within 70 words before it is heard, and the count of words is not among the features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mien.data.corpus import VOICES, Parallel, replies, rows_of
from mien.evaluate.evaluation import Hearing
from mien.persona.voice import MEASURES, Text, measure
from mien.schema import Score
from mien.stats import by_prompt

METHOD = "voice classifier (tf-idf of words and characters, voice measures, logistic regression)"
_HEARD = tuple(name for name in MEASURES if name != "reply_words")
_MOST_WORDS = 70


def excerpt(text: str) -> str:
    """The first whole sentences of `text` within 70 words; at least one."""
    parts = Text(text)
    words, kept = 0, list[str]()
    for sentence, length in zip(parts.sentences, parts.sentence_lengths, strict=True):
        words += length
        if kept and words > _MOST_WORDS:
            break
        kept.append(sentence)
    return " ".join(kept)


def _measures(texts: Sequence[str]) -> NDArray[np.float64]:
    rows = (measure(text) for text in texts)
    return np.array([[row[name] for name in _HEARD] for row in rows])


def pipeline() -> Pipeline:
    """The classifier before it has heard anything."""
    views = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)),
            ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=5)),
            (
                "measures",
                Pipeline([("of", FunctionTransformer(_measures)), ("scale", StandardScaler())]),
            ),
        ],
        transformer_weights={"measures": 0.5},
    )
    return Pipeline(
        [("views", views), ("decide", LogisticRegression(C=3.0, max_iter=2000, class_weight="balanced"))]
    )


class VoiceClassifier:
    """Trained on parallel rows; `judge` gives a probability per voice.

    Args:
        bare: Replies of the bare base to training prompts, learnt as `neutral`.
        rows: Training rows; by default the corpus' training split.
    """

    def __init__(self, bare: Sequence[str] = (), rows: Sequence[Parallel] | None = None) -> None:
        texts, voices = replies(rows_of("train") if rows is None else rows)
        heard = [excerpt(text) for text in (*texts, *bare)]
        self.trained_on = len(heard)
        self._model = pipeline().fit(heard, [*voices, *["neutral"] * len(bare)])
        self.labels: tuple[str, ...] = tuple(self._model.classes_)

    def judge(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probability of each voice, (texts, labels)."""
        return np.asarray(self._model.predict_proba([excerpt(text) for text in texts]))

    def verdicts(self, texts: Sequence[str]) -> list[str]:
        """The likeliest voice of each text."""
        return [self.labels[i] for i in self.judge(texts).argmax(axis=1)]

    def examine(self, rows: Sequence[Parallel] | None = None) -> Hearing:
        """How well it does on authored replies it never saw; by default the test split."""
        rows = rows_of("test") if rows is None else rows
        texts, truth = replies(rows)
        topics = [row.topic for row in rows for _ in VOICES]
        prompts = [row.id for row in rows for _ in VOICES]
        found = self.verdicts(texts)
        right = [float(a == b) for a, b in zip(truth, found, strict=True)]
        counts = confusion_matrix(truth, found, labels=list(VOICES))
        return Hearing(
            labels=VOICES,
            confusion=tuple(tuple(int(n) for n in row) for row in counts),
            accuracy=_score(right, prompts),
            macro_f1=float(f1_score(truth, found, average="macro")),
            topics=_shares(topics, right),
            trained_on=self.trained_on,
        )


def _score(right: list[float], prompts: list[str]) -> Score:
    interval = by_prompt(right, prompts)
    return Score(name="accuracy", system="authored test replies", method=METHOD, **interval._asdict())


def _shares(topics: list[str], right: list[float]) -> dict[str, float]:
    totals: Counter[str] = Counter(topics)
    hits: Counter[str] = Counter()
    for topic, value in zip(topics, right, strict=True):
        hits[topic] += int(value)
    return {topic: hits[topic] / totals[topic] for topic in sorted(totals)}
