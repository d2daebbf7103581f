"""Conversations are held in step, remembered, and the same however they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.base.lora import LoraConfig
from mien.chat import Sampling
from mien.decode.generate import generate
from mien.evaluate.subject import LocalSubject
from mien.evaluate.suites.drift.suite import run
from mien.evaluate.suites.drift.talks import SILENCE, Plan, hold
from mien.evaluate.suites.drift.users import Scripted, scenes
from mien.schema import Message
from tests import models
from tests.evaluate.suites.drift.acting import IN, Actor, setting, until, values


def test_a_second_run_asks_nothing_again(tmp_path: Path) -> None:
    first, second = until(5), until(5)
    found = run(first, setting(tmp_path))
    assert run(second, setting(tmp_path)) == found
    assert first.asked and not second.asked


def test_a_reply_without_a_word_does_not_end_the_conversation(tmp_path: Path) -> None:
    actor = Actor(lambda turn, _: "" if turn == 2 else IN)
    finding = run(actor, setting(tmp_path, turns=8))
    assert np.mean(values(finding, "drift/held")) == 7 / 8
    assert any(SILENCE in [m.content for m in each.messages] for each in actor.asked)


def test_a_local_subject_says_what_it_says_to_the_whole_conversation(tmp_path: Path) -> None:
    base = models.tiny_base()
    base.adapters.create("x", LoraConfig(4, 8), seed=0)
    models.shake(base.adapters, "x")
    sampling = Sampling(max_tokens=5, temperature=1.0)
    subject = LocalSubject("x", base, "x", system_prompt="be dry", scale=0.5)
    here = setting(tmp_path, sampling=sampling)
    plan = Plan(2, (0, 2), Scripted(), sampling)
    some = scenes(here, 2, 1)
    for scene, held in zip(some, hold(subject, here, some, plan), strict=True):
        system = Message(role="system", content="be dry")
        probe = Message(role="user", content=scene.probe)
        asked = [held.messages[:1], held.messages[:3], (probe,), (*held.messages, probe)]
        seeds = [scene.seed * 1000 + place for place in (0, 1, 999, 999)]
        with base.adapters.use("x"), base.adapters.scaled("x", 0.5):
            ids = generate(base, [(system, *each) for each in asked], sampling, seeds=seeds)
        assert [*held.replies, *held.probes] == [base.renderer.decode(each) or SILENCE for each in ids]
    monkey = LocalSubject("x", base, "x", system_prompt="be dry", scale=0.5)
    assert hold(monkey, here, some, plan) == hold(subject, here, some, plan)
