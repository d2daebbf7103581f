"""The story: every step leaves its result on disk, and a second run only shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

import mien.pipeline
from mien.base.embed import Embedder
from mien.chat import Sampling
from mien.errors import AdapterError, MienError
from mien.evaluate import order
from mien.evaluate.order import Order, evaluated
from mien.persona.spec import find
from mien.pipeline import demo
from mien.registry.cards import ADAPTER, cards, write_card
from mien.show import Show
from mien.train import run
from tests import models
from tests.seams import ASKED, TRAINED, Seams


class Told(Show):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.begun: list[tuple[str, int]] = []
        self.steps: list[tuple[int, int]] = []
        self.parts = 0

    def say(self, line: str) -> None:
        self.said.append(line)

    def begin(self, name: str, total: int) -> None:
        self.begun.append((name, total))

    def advance(self, parts: int) -> None:
        self.parts += parts

    def training(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        self.steps.append((step, steps))


def test_the_story_is_told_in_under_150_lines() -> None:
    assert len(Path(mien.pipeline.__file__).read_text(encoding="utf-8").splitlines()) < 150


def test_from_a_base_to_a_report(story: Seams) -> None:
    told = Told()
    found = demo("witty", show=told)
    assert found.card.persona == "witty" and found.card.examples == TRAINED
    results = found.evaluation.results
    assert results.subjects == ("base", "prompt", "sft") and found.evaluation.suites == ("voice",)
    rate = results.score("voice/rate", "sft")
    assert rate is not None and rate.n == ASKED
    assert found.evaluation.adapters["sft"].adapter_hash == found.card.adapter_hash
    page = found.page.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and found.evaluation.title in page
    assert found.page.is_relative_to(story.workspace.reports)
    assert cards(story.workspace) == [found.card]
    assert story.workspace.scores(found.page.parent.name) == list(results.scores)
    assert json.loads((found.page.parent / "evaluation.json").read_text())["persona"] == "witty"
    assert len(found.evaluation.training["sft"]) > 0


def test_each_slow_thing_is_announced_with_its_size_and_reaches_it(story: Seams) -> None:
    told = Told()
    found = demo("witty", show=told)
    names = [name for name, _ in told.begun]
    assert names[0] == f"training witty on {TRAINED} replies"
    assert set(names[1:]) == {
        "the bare base answers, for the ear to know it",
        "the ear is examined",
        "voice: base",
        "voice: prompt",
        "voice: sft",
    }
    assert told.steps[-1][0] == found.card.steps
    assert told.parts >= 3 * ASKED
    assert any("tiny, float32, frozen" in line for line in told.said)
    assert any(found.card.run in line for line in told.said)


def test_a_second_run_trains_and_measures_nothing(story: Seams, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo("witty")
    stored = story.workspace.scores()
    monkeypatch.setattr(run, "fit", None)
    monkeypatch.setattr(order, "evaluate", None)
    monkeypatch.setattr(Embedder, "load", None)
    first.page.unlink()
    second = demo("witty")
    assert (second.card, second.evaluation) == (first.card, first.evaluation)
    assert second.page.exists()
    assert story.workspace.scores() == stored


def test_other_decoding_is_another_evaluation(story: Seams, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo("witty")
    monkeypatch.setattr(order, "SAMPLING", Sampling(max_tokens=5))
    assert demo("witty").page != first.page


def test_an_evaluation_that_was_stopped_leaves_no_half_and_is_made_anew(
    story: Seams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(order, "evaluate", stop)
        demo("witty")
    assert story.workspace.scores() == []
    assert not list(story.workspace.reports.rglob("evaluation.json"))
    assert demo("witty").page.exists()


def test_an_adapter_is_not_measured_on_another_base(story: Seams) -> None:
    card = demo("witty").card
    other = card.model_copy(update={"base_hash": "1" * 64, "adapter_hash": "2" * 64})
    with pytest.raises(AdapterError, match="was trained on tiny"):
        write_card(story.workspace.runs / card.run, other)
        evaluated(models.tiny_base(), find("witty"), Order([card.run]), story.workspace, Show())


def test_an_adapter_that_was_changed_on_disk_is_not_measured(story: Seams) -> None:
    card = demo("witty").card
    weights = story.workspace.runs / card.run / ADAPTER / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    for path in story.workspace.reports.rglob("evaluation.json"):
        path.unlink()
    with pytest.raises(AdapterError, match="not the file that was trained"):
        demo("witty")


def test_an_unknown_persona_ends_the_story_before_anything_is_trained(story: Seams) -> None:
    with pytest.raises(MienError, match="captain"):
        demo("captain")
    assert not story.workspace.runs.exists()
