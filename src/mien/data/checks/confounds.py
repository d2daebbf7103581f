"""What gives the chosen reply of a pair away, other than being better: its length, or its words.

A preference model takes the shortest way. If the longer reply is always the chosen one, it learns
length (Singhal et al. 2024); if one word always is, it learns the word. So a classifier that sees
nothing but lengths, and one that sees nothing but words, are asked which reply of a pair is the chosen
one, on prompts they were not fitted to. Both are logistic regressions on the difference between the
two replies, without intercept (Bradley & Terry 1952); half is what guessing gives.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from mien.data.checks.core import Check, Fault, Item, Result, specimen, words
from mien.stats import Interval, by_prompt

LENGTH_BOUND = 0.60  # accuracy of the length-only classifier; flagged if its whole interval is above
CATCHWORD_RECALL = 0.60  # share of a side's replies that have the word; both as for the built-in corpus
CATCHWORD_PRECISION = 0.90  # share of the replies with the word that are of that side
SAMPLED = 3000  # pairs
_FEWEST = 20  # pairs of as many prompts, below which nothing can be said
_READ = 4000  # characters of a reply
_TELLING = 8  # words named
_BINS = 8  # of length, so that "neither short nor long" is seen as well
_TOKEN = r"\w+(?:['\u2019]\w+)*|[^\w\s.,;:!?'\u2019\"()\[\]-]"  # words, emoji and odd marks


class _Pair(NamedTuple):
    where: str
    prompt: str
    chosen: str
    rejected: str


class Confounds(Check):
    """The two classifiers and the most telling words, on a sample of the pairs."""

    name = "confounds"

    def __init__(self, length_bound: float = LENGTH_BOUND) -> None:
        self.begin()
        self.length_bound = length_bound
        self._pairs: list[_Pair] = []
        self._random = random.Random(0)

    def feed(self, item: Item, source: str) -> None:
        """Keep the pair, or not: a reservoir (Vitter 1985), the same for the same file."""
        if item.pair:
            self.seen += 1
            place = len(self._pairs) if self.seen <= SAMPLED else self._random.randrange(self.seen)
            if place < SAMPLED:
                chosen, rejected = (reply[:_READ] for reply in item.pair)
                prompt = item.prompt[-1].content[:_READ]
                pair = _Pair(f"{source}:{item.number}", prompt, chosen, rejected)
                self._pairs[place : place + 1] = [pair]

    def results(self) -> list[Result]:
        """Length, catchword, and words; nothing if there are no preferences."""
        if not self.seen:
            return []
        if len({pair.prompt for pair in self._pairs}) < _FEWEST:
            told = f"too few prompts to tell ({self.seen} pairs)"
            return [_result("length confound", False, told, self.seen, _LENGTH_ABOUT)]
        return [self._length(), *self._words()]

    def _length(self) -> Result:
        pairs = self._pairs
        sizes = np.array([[len(words(pair.chosen)), len(words(pair.rejected))] for pair in pairs])
        hits = _accuracy(_length_features(sizes), pairs)
        means, longer = sizes.mean(axis=0), float((sizes[:, 0] > sizes[:, 1]).mean())
        about = (
            f"{_LENGTH_ABOUT} The chosen reply has {means[0]:.0f} words on average, the rejected one"
            f" {means[1]:.0f}; the chosen one is longer in {longer:.0%} of the pairs."
        )
        told = f"{_shown(hits)}; bound {self.length_bound:.2f}"
        widest = np.argsort(-np.abs(sizes[:, 0] - sizes[:, 1]), kind="stable")[:_TELLING]
        rows = [(pairs[i], f"{sizes[i, 0]} words against {sizes[i, 1]}") for i in widest]
        flagged = hits.low > self.length_bound
        return _result("length confound", flagged, told, len(pairs), about, rows)

    def _words(self) -> list[Result]:
        """How telling words are: the most telling one alone, and all of them together."""
        pairs = self._pairs
        gaps, ranked = _telling_words(pairs)
        first = next((word for word in ranked if word.gives_away), ranked[0])
        rows = [(pair, f"has {first.word!r}") for pair in _with(first, pairs)]
        listed = ", ".join(map(str, ranked[:_TELLING]))
        together = _shown(_accuracy(gaps, pairs))
        return [
            _result("catchword", first.gives_away, str(first), len(pairs), _CATCHWORD_ABOUT, rows),
            _result("words", False, together, len(pairs), f"{_WORDS_ABOUT} {listed}."),
        ]


class _Telling(NamedTuple):
    """A word; shares of the chosen and of the rejected replies that have it."""

    word: str
    chosen: float
    rejected: float

    @property
    def gives_away(self) -> bool:
        most, both = max(self.chosen, self.rejected), self.chosen + self.rejected
        return most > CATCHWORD_RECALL and most > CATCHWORD_PRECISION * both

    def __str__(self) -> str:
        return f"{self.word!r} in {self.chosen:.0%} of chosen, {self.rejected:.0%} of rejected"


def _telling_words(pairs: list[_Pair]) -> tuple[Any, list[_Telling]]:
    """(pairs, words): 1 where only the chosen reply has a word, -1 where only the rejected has it.

    And the words, those first that are commoner on one side than on the other by the most.
    """
    counts = CountVectorizer(token_pattern=_TOKEN, binary=True, max_features=20_000, dtype=np.float64)
    both = csr_array(counts.fit_transform([p.chosen for p in pairs] + [p.rejected for p in pairs]))
    ours, theirs = both[: len(pairs)], both[len(pairs) :]
    shares = [np.asarray(side.sum(axis=0)).ravel() / len(pairs) for side in (ours, theirs)]
    order = np.argsort(-np.abs(shares[0] - shares[1]), kind="stable")
    names = counts.get_feature_names_out()
    ranked = [_Telling(str(names[i]), float(shares[0][i]), float(shares[1][i])) for i in order]
    return ours - theirs, ranked


def _length_features(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Per pair: the difference of log lengths, and of which eighth of all lengths each is in."""
    edges = np.unique(np.quantile(sizes, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.eye(len(edges) + 1)[np.digitize(sizes, edges)]
    logs = np.log1p(sizes)
    return np.column_stack([logs[:, 0] - logs[:, 1], bins[:, 0] - bins[:, 1]])


def _accuracy(gaps: Any, pairs: list[_Pair]) -> Interval:
    """How often the chosen reply is told from the other, on unseen prompts; a tie is half right."""
    signs = np.where(np.arange(len(pairs)) % 2, -1.0, 1.0)  # half of the pairs are shown turned round
    turned = csr_array(gaps).multiply(signs[:, None]).tocsr()
    prompts = [pair.prompt for pair in pairs]
    model, folds = LogisticRegression(fit_intercept=False, max_iter=1000), GroupKFold(5)
    scores = cross_val_predict(
        model, turned, signs, groups=prompts, cv=folds, method="decision_function"
    )
    return by_prompt((np.sign(np.round(scores * signs, 9)) + 1) / 2, prompts)


def _shown(hits: Interval) -> str:
    return f"accuracy {hits.value:.2f} [{hits.low:.2f}, {hits.high:.2f}]"


def _with(telling: _Telling, pairs: list[_Pair]) -> list[_Pair]:
    """The first pairs whose one reply has the word and whose other has not."""
    has = re.compile(rf"(?<!\w){re.escape(telling.word)}(?!\w)", re.IGNORECASE)
    side = 1 if telling.chosen > telling.rejected else -1
    found = (p for p in pairs if bool(has.search(p.chosen)) - bool(has.search(p.rejected)) == side)
    return list(islice(found, _TELLING))


def _result(
    name: str, flagged: bool, told: str, of: int, about: str, rows: Sequence[tuple[_Pair, str]] = ()
) -> Result:
    shown = [(p.where, Fault(why, f"{p.chosen[:100]} / {p.rejected[:100]}")) for p, why in rows]
    return Result(
        check=name,
        about=about,
        severity="note" if name == "words" else "error",
        flagged=flagged,
        told=told,
        count=of if flagged else 0,
        of=of,
        examples=tuple(specimen(*each) for each in shown) if flagged else (),
    )


_LENGTH_ABOUT = "Whether the number of words alone tells the chosen reply of a pair (guessing: 0.50)."
_CATCHWORD_ABOUT = (
    f"Whether one word alone gives a side away: more than {CATCHWORD_RECALL:.0%} of its replies have it,"
    f" and more than {CATCHWORD_PRECISION:.0%} of all replies with the word are on that side."
)
_WORDS_ABOUT = (
    "How well all words together tell chosen from rejected. Data of two styles is made to be told apart"
    " like this, so that it is no fault. The most telling words:"
)
