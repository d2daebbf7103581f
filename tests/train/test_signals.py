"""What a reply is paid for, each kind by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import nan
from statistics import fmean
from typing import Any

import pytest

from mien.base.flat import Tree
from mien.data.corpus import rows_of
from mien.errors import InputError
from mien.persona.spec import find
from mien.persona.voice import measure
from mien.schema import conversation
from mien.train.data import Prompt
from mien.train.recipe import Signal
from mien.train.signals import Rollout, combined, signal

WITTY = find("witty")


def reply(text: str, ids: tuple[int, ...] = (7, 2)) -> Rollout:
    return Rollout(Prompt((1, 2, 3), conversation("how is the wind?")), ids, text, True)


def paid(texts: Sequence[str], **wanted: Any) -> list[float]:
    return signal(Signal.model_validate(wanted), WITTY)([reply(each) for each in texts])


class Fake:
    """A reward model that is a function of a reply."""

    def __init__(self, says: Callable[[Sequence[int]], float]) -> None:
        self.says, self.seen = says, list[Tree]()

    def score(self, trees: Sequence[Tree]) -> list[tuple[float, ...]]:
        self.seen += trees
        return [(self.says(tree.completions[0]),) for tree in trees]


def says(number: float, _: Sequence[int]) -> float:
    return number


def learned(replies: Sequence[Rollout], *models: Fake, **how: Any) -> list[float]:
    wanted = Signal.model_validate({"kind": "learned", "runs": ["a"] * len(models), **how})
    many: Any = models
    return signal(wanted, WITTY, many)(replies)


def test_length_is_nothing_at_its_target_and_falls_to_both_sides() -> None:
    texts = ["one two three four", "one two", "", "one two three four five six seven eight"]
    assert paid(texts, kind="length", target=4) == [0, -0.5, -1, -1]


def test_repetition_is_the_share_of_four_grams_that_occurred_before() -> None:
    # "a b c d e f g h" has five of them, all new; of "a b c d a b c d" one in five is old.
    assert paid(["a b c d e f g h", "a b c d a b c d", "a"], kind="repetition") == [
        0,
        pytest.approx(0.2),
        0,
    ]


def test_toxicity_counts_coarse_words() -> None:
    assert paid(["what a calm day", "you idiot"], kind="toxicity") == [0, 1]


def test_words_are_whole_words_in_any_case_and_signs_wherever_they_stand() -> None:
    texts = ["Great! A great day, greater still!!", "wow", ""]
    assert paid(texts, kind="words", words=["great", "!"]) == [2 + 3, 0, 0]


def test_bands_are_the_share_that_the_persona_s_voice_keeps() -> None:
    texts = [row.replies[voice] for voice in ("witty", "calm") for row in rows_of("validation")]
    found = paid(texts, kind="bands")
    bands, measures = WITTY.voice.bands(), measure(texts[0])
    assert found[0] == fmean(low <= measures[name] <= high for name, (low, high) in bands.items())
    half = len(texts) // 2
    assert fmean(found[:half]) > fmean(found[half:]) + 0.1


def test_a_learned_signal_reads_prompt_and_reply_as_tokens() -> None:
    model = Fake(lambda ids: float(ids[0]))
    assert learned([reply("", (7, 2)), reply("", (9, 2))], model) == [7, 9]
    assert model.seen == [Tree((1, 2, 3), ((7, 2),)), Tree((1, 2, 3), ((9, 2),))]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        # Scores 1, 2 and 6: their mean is 3, and their standard deviation sqrt((4 + 1 + 9) / 3) = 2.160.
        ({"combine": "mean"}, 3.0),
        ({"combine": "worst"}, 1.0),
        ({"combine": "conservative"}, 3 - 2.1602),
        ({"combine": "conservative", "caution": 0.5}, 3 - 1.0801),
        ({"combine": "conservative", "caution": 0}, 3.0),
    ],
)
def test_an_ensemble_is_made_one_number(how: dict[str, Any], expected: float) -> None:
    models = [Fake(partial(says, n)) for n in (1.0, 2.0, 6.0)]
    assert learned([reply("")], *models, **how) == [pytest.approx(expected, abs=1e-4)]


def test_one_model_has_nobody_to_disagree_with() -> None:
    wanted = Signal(kind="learned", runs=("a",), combine="conservative", caution=9)
    assert combined([2.5], wanted) == 2.5


def judged(scores: Sequence[float]) -> list[float]:
    said = iter(scores)
    wanted = Signal(kind="judge", model="m")
    of = signal(wanted, WITTY, judge=lambda *_: next(said))
    return of([reply("so")] * len(scores))


def test_a_judge_that_names_no_number_speaks_neither_for_nor_against() -> None:
    assert judged([8, nan, 4]) == [8, 6, 4]
    assert judged([nan, nan]) == [0, 0]


def test_a_judge_is_told_what_was_asked_and_what_was_answered() -> None:
    heard: list[Any] = []

    def judge(prompt: Any, text: str) -> float:
        heard.append((prompt[-1].content, text))
        return 1.0

    signal(Signal(kind="judge", model="m"), WITTY, judge=judge)([reply("fair")])
    assert heard == [("how is the wind?", "fair")]


def test_a_judge_s_signal_without_a_judge_is_one_line() -> None:
    with pytest.raises(InputError, match="needs a judge"):
        signal(Signal(kind="judge", model="m"), WITTY)


@pytest.mark.parametrize("kind", ["learned", "words", "judge"])
def test_a_signal_says_what_its_kind_needs(kind: str) -> None:
    with pytest.raises(ValueError, match="needs `"):
        Signal.model_validate({"kind": kind})
