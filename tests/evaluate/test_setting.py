"""What every suite is given, and that asking remembers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.chat import Sampling
from mien.errors import UnableError
from mien.evaluate.memo import Memo
from mien.evaluate.setting import Setting, spread
from mien.evaluate.subject import Asked, LocalSubject, Options, Progress, Said
from mien.persona.spec import find
from mien.schema import conversation
from mien.show import Show
from tests import models

SAMPLING = Sampling(max_tokens=4)


class Ear:
    """Hears `warm` in what is long, `witty` in the rest."""

    labels = ("warm", "witty")

    def judge(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([[0.9, 0.1] if len(text) > 9 else [0.2, 0.8] for text in texts])


class Parrot:
    """Says what it is asked, and counts how often."""

    name, key = "parrot", "parrot"

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        self.asked += asked
        progress(len(asked))
        said = (f"{each.prefill}{each.messages[-1].content} {each.seed}" for each in asked)
        return [Said(text, 3, True) for text in said]


class Counts(Show):
    """Counts the parts that are done."""

    def __init__(self) -> None:
        self.parts = 0

    def advance(self, parts: int) -> None:
        self.parts += parts


def setting(folder: Path, **changes: Any) -> Setting:
    ear: Any = Ear()
    embedder: Any = None
    fields = {"persona": find("witty"), "sampling": SAMPLING, "ear": ear, "embedder": embedder}
    return Setting(**{**fields, "memo": Memo(folder / "answers.db"), **changes})


def test_what_was_answered_is_not_asked_again_even_in_another_process(tmp_path: Path) -> None:
    asked = [Asked(conversation("a")), Asked(conversation("b"), seed=3)]
    first = setting(tmp_path).ask(Parrot(), asked)
    later = Parrot()
    assert setting(tmp_path).ask(later, [*asked, Asked(conversation("c"))]) == [
        *first,
        Said("c 0", 3, True),
    ]
    assert [each.messages[0].content for each in later.asked] == ["c"]
    assert first == [Said("a 0", 3, True), Said("b 3", 3, True)]


def test_another_seed_prefill_sampling_or_subject_is_another_question(tmp_path: Path) -> None:
    here, parrot, other = setting(tmp_path), Parrot(), Parrot()
    other.key = "other"  # type: ignore[misc]
    asked = Asked(conversation("a"))
    here.ask(parrot, [asked, asked._replace(seed=1), asked._replace(prefill="x")])
    here.ask(parrot, [asked], sampling=Sampling(max_tokens=5))
    here.ask(other, [asked])
    assert len(parrot.asked) == 4 and len(other.asked) == 1


def test_progress_is_told_of_what_is_really_answered(tmp_path: Path) -> None:
    counts = Counts()
    here = setting(tmp_path, show=counts)
    for _ in range(2):
        here.ask(Parrot(), [Asked(conversation(str(place))) for place in range(100)])
    assert counts.parts == 100


def test_likelihoods_are_remembered_too_and_need_a_subject_that_has_them(tmp_path: Path) -> None:
    here, base = setting(tmp_path), models.tiny_base()
    asked = [Options(conversation("hello there"), (" dawn", " wind and sea"))]
    first = here.logps(LocalSubject("base", base), asked)
    base.head.weight.data.zero_()  # a second reading would differ
    assert here.logps(LocalSubject("base", base), asked) == first
    assert [each.tokens > 0 and each.total < 0 for each in first[0]] == [True, True]
    with pytest.raises(UnableError, match="parrot: its likelihoods cannot be read"):
        here.logps(Parrot(), asked)


def test_items_are_taken_evenly_and_always_the_same() -> None:
    assert spread(range(10), 2) == [2, 7]
    assert spread(range(10), 5) == [1, 3, 5, 7, 9]
    assert spread(range(3), 5) == [0, 1, 2]
    assert spread(range(10), None) == list(range(10))


def test_the_intended_voice_is_heard_by_its_probability(tmp_path: Path) -> None:
    assert setting(tmp_path).heard(["short", "a long reply"]).tolist() == [0.8, 0.1]
