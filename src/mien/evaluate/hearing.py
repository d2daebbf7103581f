"""Can the voices be told apart by ear, and is it more than a few words or the length that tells them?

The classifier that hears replies elsewhere has learnt from all topics. Here it is split by topic *and*
prompt: what is judged is about topics, and answers prompts, that the classifier never met. Beside it
stand what a bag of words reaches, what is left when the strongest words of each voice are masked, and
what is left when all texts are of one length. A persona that is more than a catchphrase survives both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from mien.data.corpus import Parallel, rows_of
from mien.errors import InputError
from mien.evaluate.classifier import excerpt, pipeline
from mien.schema import Score, digest
from mien.stats import Interval
from mien.workspace import home, read_json, write_json

FOLDS = 3
MASKED = 30  # words of each voice
_WORD = r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*"
_SHORTEST = 10  # words; a text of fewer has no voice to speak of
_LONGEST = 70  # words that the classifier hears
_DRAWS = 2000


class Spoken(NamedTuple):
    """A text with what is known of it.

    Attributes:
        voice: Whose it is: what the classifier should hear.
        topic: Of the prompt.
        prompt: What it answers, by id; replies to one prompt are resampled together.
    """

    text: str
    voice: str
    topic: str
    prompt: str


Change = Callable[[Sequence[Spoken], Sequence[Spoken]], tuple[list[Spoken], list[Spoken]]]


class Variant(NamedTuple):
    """One way to listen.

    Attributes:
        name: The last part of its score's name; "" for the classifier as it is.
        model: Makes an untrained classifier.
        change: What is done to the taught and to the judged texts beforehand.
        method: In words.
    """

    name: str
    model: Callable[[], Pipeline]
    change: Change
    method: str


def authored(rows: Sequence[Parallel] | None = None) -> list[Spoken]:
    """The corpus' replies in all voices; by default those of its training split."""
    return [
        Spoken(text, voice, row.topic, row.id)
        for row in (rows_of("train") if rows is None else rows)
        for voice, text in row.replies.items()
    ]


def told_apart(bare: Sequence[Spoken]) -> tuple[Score, ...]:
    """How well the corpus' voices are told apart on replies to test prompts; kept in the home.

    Args:
        bare: Replies of the bare base to training prompts, taught as `neutral`.
    """
    judged, taught = authored(rows_of("test")), [*authored(), *bare]
    how = [FOLDS, [(each.name, each.method) for each in VARIANTS]]
    kept = home() / "hearing" / f"{digest([how, judged, taught])[:16]}.json"
    if not kept.exists():
        scores = hearing(judged, taught, system="authored test replies")
        write_json(kept, [score.model_dump(mode="json") for score in scores])
    return tuple(map(Score.model_validate, read_json(kept)))


def hearing(
    judged: Sequence[Spoken],
    taught: Sequence[Spoken] | None = None,
    *,
    system: str = "all voices",
    name: str = "hearing/f1",
    folds: int = FOLDS,
) -> tuple[Score, ...]:
    """How well voices are told apart, as macro-F1, each with a 95 % bootstrap over prompts.

    Args:
        judged: Replies of several personas, `neutral` among them, to the same prompts.
        taught: What the classifier learns from; by default the authored replies of the training split.
            Replies of the bare base belong to it as well, as `neutral`.
        system: Whose replies they are, in words.
        name: Of the scores: the classifier's own, and below it `bag_of_words`, `masked` and
            `length_matched`.
        folds: Groups of topics, each of which is judged by a classifier that was taught the others.

    Raises:
        InputError: There are fewer than two voices or two topics, or nothing is left to learn from.
    """
    taught = authored() if taught is None else taught
    if min(len({each.voice for each in judged}), len({each.topic for each in judged})) < 2:
        raise InputError(
            "Voices cannot be told apart where there is one.",
            fix="Give replies of two voices or more, on two topics or more.",
        )
    return tuple(_score(variant, judged, taught, folds, system, name) for variant in VARIANTS)


def _score(
    variant: Variant,
    judged: Sequence[Spoken],
    taught: Sequence[Spoken],
    folds: int,
    system: str,
    name: str,
) -> Score:
    pairs = [pair for topics in split(judged, folds) for pair in _fold(variant, judged, taught, topics)]
    found = macro_f1(
        [each.voice for each, _ in pairs],
        [verdict for _, verdict in pairs],
        [each.prompt for each, _ in pairs],
    )
    return Score(
        name=f"{name}/{variant.name}" if variant.name else name,
        system=system,
        method=f"macro-F1, {variant.method}, split by topic and prompt; 95 % bootstrap over prompts",
        **found._asdict(),
    )


def _fold(
    variant: Variant, judged: Sequence[Spoken], taught: Sequence[Spoken], topics: Collection[str]
) -> Iterator[tuple[Spoken, str]]:
    """Texts on some topics with the verdict of a classifier that was taught the others."""
    mine = [each for each in judged if each.topic in topics]
    known = apart(judged, taught, topics)
    if len({each.voice for each in known}) < 2:
        raise InputError(
            f"Nothing is left to learn from for {', '.join(sorted(topics))}.",
            fix="Teach texts on other topics than those that are judged as well.",
        )
    mine, known = variant.change(mine, known)
    model = variant.model().fit([each.text for each in known], [each.voice for each in known])
    verdicts = model.predict([each.text for each in mine]) if mine else ()
    yield from zip(mine, map(str, verdicts), strict=True)


def split(judged: Sequence[Spoken], folds: int = FOLDS) -> list[set[str]]:
    """Topics in groups of about as many texts each."""
    counts = Counter(each.topic for each in judged)
    groups: list[set[str]] = [set() for _ in range(min(folds, len(counts)))]
    for topic, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        least = min(groups, key=lambda group: sum(counts[each] for each in group))
        least.add(topic)
    return groups


def apart(judged: Sequence[Spoken], taught: Sequence[Spoken], topics: Collection[str]) -> list[Spoken]:
    """What may be taught before texts on `topics` are judged: other topics, and other prompts."""
    asked = {each.prompt for each in judged}
    return [each for each in taught if each.topic not in topics and each.prompt not in asked]


def macro_f1(
    truth: Sequence[str], verdicts: Sequence[str], prompts: Sequence[str], *, seed: int = 0
) -> Interval:
    """Mean over the true voices of the harmonic mean of precision and recall.

    The interval resamples prompts, with all replies to one (Efron and Tibshirani 1993, ch. 13).

    Args:
        truth: Whose each text is.
        verdicts: Whose it was heard to be; a voice that none of them is, is always a mistake.
        prompts: What each answers.
        seed: Of the resampling.
    """
    voices, units = sorted(set(truth)), sorted(set(prompts))
    hits, true, heard = (np.zeros((len(units), len(voices))) for _ in range(3))
    place = {unit: row for row, unit in enumerate(units)}
    column = {voice: index for index, voice in enumerate(voices)}
    for is_, was, prompt in zip(truth, verdicts, prompts, strict=True):
        true[place[prompt], column[is_]] += 1
        if was in column:
            heard[place[prompt], column[was]] += 1
            hits[place[prompt], column[was]] += is_ == was
    drawn = np.random.default_rng(seed).multinomial(
        len(units), np.full(len(units), 1 / len(units)), _DRAWS
    )
    value = float(_f1(hits.sum(0), true.sum(0), heard.sum(0)))
    low, high = np.quantile(_f1(drawn @ hits, drawn @ true, drawn @ heard), [0.025, 0.975])
    # F1 is no mean: with few prompts, its resamples may all lie to one side of it.
    return Interval(value, min(float(low), value), max(float(high), value), len(truth))


def _f1(
    hits: NDArray[np.float64], true: NDArray[np.float64], heard: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Macro-F1 of counts per voice, (..., voices) -> (...)."""
    return np.asarray((2 * hits / np.maximum(true + heard, 1)).mean(axis=-1))


# The ways to listen.


def markers(spoken: Sequence[Spoken], most: int = MASKED) -> dict[str, list[str]]:
    """The words that speak most for each voice, by the weights of a linear classifier of words."""
    model = _words().fit([each.text for each in spoken], [each.voice for each in spoken])
    names, decide = model[0].get_feature_names_out(), model[-1]
    weights = decide.coef_ if len(decide.classes_) > 2 else np.vstack([-decide.coef_, decide.coef_])
    return {
        str(voice): [str(names[place]) for place in np.argsort(-row)[:most] if row[place] > 0]
        for voice, row in zip(decide.classes_, weights, strict=True)
    }


def masked(text: str, words: Collection[str]) -> str:
    """A text without some words; what is left closes up, so that no gap tells where they were."""
    kept = re.sub(_WORD, lambda found: "" if found[0].casefold() in words else found[0], text)
    return " ".join(kept.split())


def cut(text: str, words: int) -> str:
    """The first so many words of a text."""
    return " ".join(text.split()[:words])


def _as_they_are(
    judged: Sequence[Spoken], taught: Sequence[Spoken]
) -> tuple[list[Spoken], list[Spoken]]:
    judged, taught = (
        [each._replace(text=excerpt(each.text)) for each in side] for side in (judged, taught)
    )
    return judged, taught


def _without_markers(
    judged: Sequence[Spoken], taught: Sequence[Spoken]
) -> tuple[list[Spoken], list[Spoken]]:
    judged, taught = _as_they_are(judged, taught)
    words = {word for found in markers(taught).values() for word in found}
    judged, taught = (
        [each._replace(text=masked(each.text, words)) for each in side] for side in (judged, taught)
    )
    return judged, taught


def _of_one_length(
    judged: Sequence[Spoken], taught: Sequence[Spoken]
) -> tuple[list[Spoken], list[Spoken]]:
    """All cut to the length that nine of ten judged texts reach; shorter ones are left out."""
    lengths = [len(each.text.split()) for each in judged]
    words = min(_LONGEST, max(_SHORTEST, int(np.quantile(lengths, 0.1))))
    judged, taught = (
        [each._replace(text=cut(each.text, words)) for each in side if len(each.text.split()) >= words]
        for side in (judged, taught)
    )
    return judged, taught


def _words() -> Pipeline:
    return make_pipeline(
        CountVectorizer(token_pattern=_WORD, min_df=2),
        LogisticRegression(max_iter=2000, class_weight="balanced"),
    )


VARIANTS = (
    Variant("", pipeline, _as_they_are, "the voice classifier"),
    Variant("bag_of_words", _words, _as_they_are, "logistic regression on counts of words"),
    Variant(
        "masked",
        pipeline,
        _without_markers,
        f"the voice classifier without the {MASKED} strongest words of each voice",
    ),
    Variant("length_matched", pipeline, _of_one_length, "the voice classifier, all texts of one length"),
)
