"""From pairs to a data set: what every source of preferences goes through before it is written.

Test prompts, duplicates and contradictions are taken out, near-identical replies are flagged, and
lengths are matched where that is asked for; what was dropped is counted by its reason. The same pairs,
options and seed give the same rows in the same order.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from statistics import fmean
from typing import Literal

import numpy as np
from pydantic import Field

from mien.data.corpus import Split, asks_a_test_prompt, split_of
from mien.data.pairs import Dropped, Found, Key, asked
from mien.data.wording import words
from mien.schema import Preference, Strict

BIN = 0.05  # of the log length ratio: 5 % of a length
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
Length = Callable[[str], int]
Sides = tuple[Key, Key, Key]
Step = Callable[[Sequence[Preference]], list[Preference]]


class Options(Strict):
    """What is wanted of a set of preferences."""

    split: Split | None = Field(
        default=None,
        description="only prompts of this split; test prompts of the corpus only if it is `test`",
    )
    near: float = Field(
        default=0.1, ge=0, le=1, description="edit distance below which two replies are near-identical"
    )
    near_identical: Literal["flag", "drop"] = "flag"
    one_rejected: bool = Field(
        default=False, description="of several rejected replies, keep the one that balances lengths"
    )
    max_ratio: float | None = Field(
        default=None, ge=1, description="match lengths; the longer reply is at most so many times longer"
    )
    limit: int | None = Field(default=None, ge=1, description="most pairs")
    seed: int = 0


class Quantiles(Strict):
    """Five points of a distribution, at 5, 25, 50, 75 and 95 %."""

    p05: float
    p25: float
    p50: float
    p75: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quantiles | None:
        """Of the values; None if there are none."""
        if not values:
            return None
        points = (round(float(point), 4) for point in np.quantile(values, QUANTILES))
        return cls(**dict(zip(cls.model_fields, points, strict=True)))


class PairsReport(Strict):
    """What a set of preferences consists of, and what was left out of it.

    Attributes:
        pairs: Rows that are kept.
        sources: Rows by where they come from.
        dropped: What is not kept, by reason.
        near_identical: Rows whose replies are closer than `Options.near`.
        mean_log_ratio: Mean log of the length of the chosen reply over that of the rejected one; 0 is
            no difference, 0.1 is a chosen reply about a tenth longer.
        chosen_longer: Share of rows whose chosen reply is the longer one, equal lengths counted half.
        log_ratio: Distribution of the log length ratio.
        edit_distance: Distribution of the edit distance between the two replies.
    """

    pairs: int
    sources: dict[str, int]
    dropped: dict[str, int]
    near_identical: int
    mean_log_ratio: float | None
    chosen_longer: float | None
    log_ratio: Quantiles | None
    edit_distance: Quantiles | None


def word_count(text: str) -> int:
    """The length of a reply in words, at least 1."""
    return max(1, len(words(text)))


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Fewest insertions, deletions and substitutions that make `b` of `a` (Levenshtein 1966).

    Bit-parallel after Myers (1999), as Hyyrö (2003) gives it for whole sequences: a column of the table
    is held as the signs of its steps, in two integers.
    """
    if not a:
        return len(b)
    places: defaultdict[Hashable, int] = defaultdict(int)
    for place, item in enumerate(a):
        places[item] |= 1 << place
    full, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    up, down, distance = full, 0, len(a)
    for item in b:
        match = places.get(item, 0)
        level = (((match & up) + up) ^ up) | match | down
        right, left = down | (~(level | up) & full), level & up
        distance += bool(right & last) - bool(left & last)
        right, left = right << 1 | 1, left << 1
        up, down = (left | ~(level | right)) & full, right & level & full
    return distance


@lru_cache(maxsize=65536)
def distance(a: str, b: str) -> float:
    """Normalised edit distance of two texts in words, letter case and punctuation aside: 0 to 1.

    Near-identical pairs move probability away from both replies, so-called likelihood displacement
    (Razin et al. 2024, arXiv:2410.08847). They find it best foretold by how alike the two are inside
    the model; words are what can be compared without one. A text without words is compared by its
    characters.
    """
    left, right = (words(a), words(b)) if words(a) and words(b) else (tuple(a), tuple(b))
    return edit_distance(left, right) / max(len(left), len(right), 1)


def pair_distance(pair: Preference) -> float:
    """`distance` between the two replies of a pair."""
    return distance(pair.chosen[0].content, pair.rejected[0].content)


def log_ratio(pair: Preference, length: Length = word_count) -> float:
    """Log of the chosen reply's length over the rejected one's; above 0 if the chosen one is longer."""
    return math.log(length(pair.chosen[0].content) / length(pair.rejected[0].content))


def finish(
    found: Iterable[Found], options: Options | None = None, *, length: Length = word_count
) -> tuple[list[Preference], PairsReport]:
    """Make a data set of what the sources have found.

    Args:
        found: Pairs, and the reasons why others were not made.
        options: What is wanted.
        length: How long a reply is; in words, unless the caller has a tokenizer.

    Returns:
        The rows, in the order in which they were found, and what became of the others.
    """
    wanted = options or Options()
    pairs, dropped = [], Counter[str]()
    for each in found:
        if isinstance(each, Dropped):
            dropped[each.reason] += 1
        else:
            pairs.append(each)
    for reason, step in _steps(wanted, length):
        kept = step(pairs)
        dropped[reason] += len(pairs) - len(kept)
        pairs = kept
    return pairs, report(pairs, dropped, near=wanted.near, length=length)


def _steps(wanted: Options, length: Length) -> list[tuple[str, Step]]:
    """What is done, in order, each with the reason for what it drops."""
    steps: list[tuple[str, Step]] = []
    if wanted.split != "test":
        steps.append(("test prompt", without_test_prompts))
    if wanted.split:
        steps.append(("other split", partial(_of_split, split=wanted.split)))
    steps += [
        ("identical", lambda pairs: [pair for pair in pairs if pair.chosen != pair.rejected]),
        ("duplicate", _without_duplicates),
        ("contradictory", _without_contradictions),
    ]
    if wanted.near_identical == "drop":
        near = wanted.near
        steps.append(("near-identical", lambda pairs: [p for p in pairs if pair_distance(p) >= near]))
    if wanted.max_ratio:
        steps.append(("length ratio", partial(_within, most=wanted.max_ratio, length=length)))
    if wanted.one_rejected:
        steps.append(("other rejected", partial(one_rejected, length=length)))
    return [*steps, *_sizing(wanted, length)]


def _sizing(wanted: Options, length: Length) -> list[tuple[str, Step]]:
    """The steps that choose which of the good pairs stay."""
    steps: list[tuple[str, Step]] = []
    draw: Callable[..., list[Preference]] = partial(_sample, seed=wanted.seed)
    if wanted.max_ratio:
        draw = partial(length_matched, most=wanted.max_ratio, seed=wanted.seed, length=length)
        steps.append(("length balance", draw))
    if wanted.limit:
        steps.append(("limit", partial(draw, limit=wanted.limit)))
    return steps


def without_test_prompts(pairs: Sequence[Preference]) -> list[Preference]:
    """The pairs in whose prompt no user asks a test prompt of the built-in corpus."""
    return [pair for pair in pairs if not asks_a_test_prompt(pair.prompt)]


def _user_turns(pair: Preference) -> list[str]:
    return [turn.content for turn in pair.prompt if turn.role == "user"]


def _of_split(pairs: Sequence[Preference], *, split: Split) -> list[Preference]:
    """By the turn that opens the conversation, so that a dialogue is never torn apart."""
    return [pair for pair in pairs if split_of(_user_turns(pair)[0]) == split]


def _without_duplicates(pairs: Sequence[Preference]) -> list[Preference]:
    first: dict[Sides, Preference] = {}
    for pair in pairs:
        first.setdefault(_sides(pair), pair)
    return list(first.values())


def _without_contradictions(pairs: Sequence[Preference]) -> list[Preference]:
    """Without both of any two pairs that say the opposite of each other."""
    said = {_sides(pair) for pair in pairs}
    opposites = ((prompt, rejected, chosen) for prompt, chosen, rejected in map(_sides, pairs))
    return [pair for pair, opposite in zip(pairs, opposites, strict=True) if opposite not in said]


def _sides(pair: Preference) -> Sides:
    return asked(pair.prompt), asked(pair.chosen), asked(pair.rejected)


def _within(pairs: Sequence[Preference], *, most: float, length: Length) -> list[Preference]:
    return [pair for pair in pairs if abs(log_ratio(pair, length)) <= math.log(most) + 1e-9]


def one_rejected(pairs: Sequence[Preference], *, length: Length = word_count) -> list[Preference]:
    """Of several rejected replies beside one chosen reply, the one that balances the lengths best.

    The prompts are gone through in order; each gets the shorter or the longer alternative that brings
    the sum of the log length ratios so far nearest to 0.
    """
    groups: defaultdict[tuple[Key, Key], list[int]] = defaultdict(list)
    for place, pair in enumerate(pairs):
        groups[asked(pair.prompt), asked(pair.chosen)].append(place)
    ratios = [log_ratio(pair, length) for pair in pairs]
    kept, total = list[int](), 0.0
    for group in groups.values():
        kept.append(min(group, key=lambda place: abs(total + ratios[place])))
        total += ratios[kept[-1]]
    return [pairs[place] for place in sorted(kept)]


def length_matched(
    pairs: Sequence[Preference],
    *,
    most: float = 1.5,
    limit: int | None = None,
    seed: int = 0,
    length: Length = word_count,
) -> list[Preference]:
    """A choice of pairs whose lengths do not tell which reply is chosen.

    Each pair whose chosen reply is longer needs a partner whose chosen reply is shorter, by a ratio in
    the same bin of 5 %; pairs without a partner are left out. So every ratio is as frequent one way as
    the other, and the mean log ratio is below half a bin.

    Args:
        pairs: To choose from.
        most: The longer reply of a pair is at most so many times longer than the other.
        limit: Most pairs.
        seed: Of the choice.
        length: How long a reply is.
    """
    within = _within(pairs, most=most, length=length)
    draw = random.Random(seed)
    couples = _couples([log_ratio(pair, length) for pair in within], draw)
    draw.shuffle(couples)
    taken = list[int]()
    for couple in couples:
        if limit is None or len(taken) + len(couple) <= limit:
            taken += couple
    return [within[place] for place in sorted(taken)]


def _couples(ratios: Sequence[float], draw: random.Random) -> list[tuple[int, ...]]:
    """Places of two opposite ratios; a ratio of 0 needs no partner."""
    alone = [(place,) for place, ratio in enumerate(ratios) if ratio == 0]
    bins: defaultdict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for place, ratio in enumerate(ratios):
        if ratio:
            bins[int(abs(ratio) / BIN)][ratio > 0].append(place)
    for sides in bins.values():
        for side in sides:
            draw.shuffle(side)
    return [*alone, *(couple for sides in bins.values() for couple in zip(*sides, strict=False))]


def _sample(pairs: Sequence[Preference], *, limit: int, seed: int) -> list[Preference]:
    places = random.Random(seed).sample(range(len(pairs)), min(limit, len(pairs)))
    return [pairs[place] for place in sorted(places)]


def report(
    pairs: Sequence[Preference],
    dropped: Mapping[str, int],
    *,
    near: float = 0.1,
    length: Length = word_count,
) -> PairsReport:
    """What `pairs` consist of."""
    ratios = [log_ratio(pair, length) for pair in pairs]
    distances = [pair_distance(pair) for pair in pairs]
    longer = [0.5 if ratio == 0 else float(ratio > 0) for ratio in ratios]
    return PairsReport(
        pairs=len(pairs),
        sources=dict(sorted(Counter(pair.source or "unknown" for pair in pairs).items())),
        dropped={reason: n for reason, n in dropped.items() if n},
        near_identical=sum(apart < near for apart in distances),
        mean_log_ratio=round(fmean(ratios), 4) if ratios else None,
        chosen_longer=round(fmean(longer), 4) if longer else None,
        log_ratio=Quantiles.of(ratios),
        edit_distance=Quantiles.of(distances),
    )


def marks(pair: Preference, near: float = 0.1, length: Length = word_count) -> dict[str, float | bool]:
    """What is written beside a pair, for whoever filters it later."""
    apart = pair_distance(pair)
    return {
        "log_ratio": round(log_ratio(pair, length), 4),
        "edit_distance": round(apart, 4),
        "near_identical": apart < near,
    }
