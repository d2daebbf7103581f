"""An evaluation as it is ordered: what was answered once is asked of nobody again."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mien.decode.talk import Talk
from mien.evaluate.evaluation import Evaluation
from mien.evaluate.order import Order, evaluated
from mien.evaluate.subject import LocalSubject
from mien.persona.spec import find
from mien.show import Show
from tests import models
from tests.seams import Seams

ASKS = (
    (LocalSubject, "answer"),
    (LocalSubject, "logps"),
    (LocalSubject, "divergences"),
    (Talk, "replies"),
)


def counted(patch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a model is asked, by the way that it is asked."""
    calls: Counter[str] = Counter()

    def counting(name: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*given: Any, **how: Any) -> Any:
            calls[name] += 1
            return ask(*given, **how)

        return asked

    for owner, name in ASKS:
        patch.setattr(owner, name, counting(name, getattr(owner, name)))
    return calls


def test_a_second_time_everything_is_remembered_and_no_model_is_asked(
    story: Seams, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, persona, calls = models.tiny_base(), find("witty"), counted(monkeypatch)
    order = Order(["prompt"], ["voice", "drift", "pressure", "revealed"], "quick")

    def ask() -> Evaluation:
        found, page = evaluated(base, persona, order, story.workspace, Show())
        shutil.rmtree(page.parent)  # or the finished evaluation would only be read
        return found

    first = ask()
    assert set(calls) == {"answer", "logps", "divergences", "replies"}
    calls.clear()
    assert ask().results == first.results
    assert not calls


def test_other_turns_or_another_user_are_another_evaluation() -> None:
    order, base = Order(["base"], size="quick"), LocalSubject("user", models.tiny_base())
    others = [Order(["base"], size="quick", turns=50), Order(["base"], size="quick", user=base)]
    assert order.how() not in [each.how() for each in others]
    assert order.how() == Order(["base"], size="quick").how() != Order(["base"], size="full").how()


def test_what_does_not_depend_on_the_persona_is_asked_once_for_all_of_them(
    story: Seams, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, calls = models.tiny_base(), counted(monkeypatch)
    suites = ["forms", "ability", "safety", "diversity", "revealed", "ocean"]
    for name in ("witty", "warm"):
        evaluated(base, find(name), Order(["base"], suites, "quick"), story.workspace, Show())
        if name == "witty":
            assert calls
            calls.clear()
    assert not calls
