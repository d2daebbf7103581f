"""Time to the first token and the flow of tokens, with the adapter and without it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from mien.base import model
from mien.base.lora import LoraConfig
from mien.base.machine import Machine
from mien.chat import Sampling
from mien.evaluate.compare import compared
from mien.evaluate.subject import LocalSubject
from mien.evaluate.suites import latency
from tests import models
from tests.evaluate.suites.scripted import Scripted, setting

PAINT = {"base": "var(--system-0)", "sft": "var(--system-2)"}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "probe", lambda: Machine("a small machine", 1, 50.0, None, None))


def test_a_rate_is_that_of_the_tokens_after_the_first() -> None:
    # Eight rows begin after 0.5 s; two more steps of 0.25 s make 8 and 6 tokens.
    found = latency.timing([(0.5, 8), (0.75, 8), (1.0, 6)])
    assert found == latency.Timing(first=0.5, rate=28.0, step=0.25)


def test_replies_of_one_token_have_the_rate_of_that_token() -> None:
    assert latency.timing([(0.5, 8)]) == latency.Timing(first=0.5, rate=16.0, step=0.5)


def test_the_median_is_not_moved_by_one_long_wait() -> None:
    value, low, high = latency.median([1.0, 2.0, 3.0, 4.0, 500.0])
    assert (value, low) == (3.0, 1.0)
    assert high == 500.0
    assert latency.median([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_every_subject_is_timed_alone_and_eight_at_once(tmp_path: Path) -> None:
    base = models.tiny_base()
    base.adapters.create("sft-1", LoraConfig(r=4), seed=0)
    where = setting(tmp_path, sampling=Sampling(temperature=1.0, top_k=None, top_p=1))
    subjects = [LocalSubject("base", base), LocalSubject("sft", base, "sft-1")]
    findings = [latency.run(each, where) for each in subjects]
    parts = ("alone", "eight_at_once")
    bare = {f"latency/{name}/{part}" for name in ("first_token", "tokens_per_second") for part in parts}
    slower = {f"latency/slowdown/{part}" for part in parts}
    assert {score.name for score in findings[0].scores} == bare
    assert {score.name for score in findings[1].scores} == bare | slower
    assert all(score.value > 0 and "a small machine" in score.method for score in findings[1].scores)
    results = compared("witty", ["base", "sft"], findings)
    said = latency.says(results)
    assert said[0].startswith("With the adapter a token takes ")
    assert said[1].startswith("For one person, a reply begins after ")
    assert "a small machine" in said[-1]
    figures = latency.figures(results, PAINT)
    assert len(figures) == 6
    for figure in figures:
        ElementTree.fromstring(figure.picture)


def test_it_is_measured_afresh_every_time(tmp_path: Path) -> None:
    base, where = models.tiny_base(), setting(tmp_path)
    first, second = (latency.run(LocalSubject("base", base), where) for _ in range(2))
    assert first.scores != second.scores


def test_what_is_elsewhere_is_not_timed(tmp_path: Path) -> None:
    finding = latency.run(Scripted("server", lambda _: "Yes."), setting(tmp_path))
    assert finding.scores == ()
    assert finding.missing == ("server: only what runs on this machine can be timed alike",)
