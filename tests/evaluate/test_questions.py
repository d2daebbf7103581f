"""What the suites would ask, written down: filled in with replies, it lacks nothing as a recording."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mien.errors import InputError, UnableError
from mien.evaluate.finding import Finding
from mien.evaluate.questions import questions, write_questions
from mien.evaluate.roster import SUITES, Suite
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, RecordedSubject, Subject
from mien.schema import Message, conversation
from tests.evaluate.pages import builders
from tests.evaluate.suites.hearing import Ear
from tests.evaluate.suites.scripted import setting


def suite(name: str, run: Any) -> Suite:
    return Suite(**{**vars(builders.suite(name, "What?", {})), "run": run})


def twice(subject: Subject, here: Setting) -> Finding:
    here.ask(subject, [Asked(conversation("hello"), seed) for seed in (0, 1, 0)])
    here.ask(subject, [Asked(conversation("hello"), prefill="Well,")])
    return Finding(suite="twice", subject=subject.name)


def goes_on(subject: Subject, here: Setting) -> Finding:
    (said,) = here.ask(subject, [Asked(conversation("hello"))])
    reply, more = Message(role="assistant", content=said.text), Message(role="user", content="And?")
    here.ask(subject, [Asked((*conversation("hello"), reply, more))])
    return Finding(suite="goes_on", subject=subject.name)


def unable(subject: Subject, here: Setting) -> Finding:
    here.ask(subject, [Asked(conversation("a question that was asked before"))])
    raise UnableError("no likelihoods.")


def test_a_recording_of_all_that_was_listed_answers_everything_that_is_asked(tmp_path: Path) -> None:
    suites = [SUITES[name] for name in ("ability", "pressure", "safety")]
    found = questions(suites, setting(tmp_path / "list", ear=Ear()))
    file = tmp_path / "said.jsonl"
    write_questions(file, found.asked)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(f"{json.dumps(row | {'reply': 'It is hard to say.'})}\n" for row in rows))
    recorded, here = RecordedSubject.load("mine", file), setting(tmp_path / "ask", ear=Ear())
    findings = [each.run(recorded, here) for each in suites]
    assert all(finding.measures for finding in findings)
    assert not [line for finding in findings for line in finding.missing if "no reply to" in line]
    assert found.dependent == () and set(found.counts) == {"ability", "pressure", "safety"}


def test_every_question_is_listed_once_with_its_seed_and_its_first_words(tmp_path: Path) -> None:
    found = questions([suite("twice", twice), suite("again", twice)], setting(tmp_path))
    hello = conversation("hello")
    assert found.asked == (Asked(hello, 0), Asked(hello, 1), Asked(hello, prefill="Well,"))
    assert found.counts == {"twice": 3, "again": 3}
    write_questions(tmp_path / "q.jsonl", found.asked)
    last = json.loads((tmp_path / "q.jsonl").read_text().splitlines()[-1])
    turns = [{"role": "user", "content": "hello"}]
    assert last == {"messages": turns, "prefill": "Well,", "seed": 0, "reply": None}


def test_a_suite_that_goes_on_from_the_replies_is_left_out_whole(tmp_path: Path) -> None:
    found = questions([suite("goes_on", goes_on), suite("unable", unable)], setting(tmp_path))
    assert found.dependent == ("goes_on",)
    assert [each.messages[-1].content for each in found.asked] == ["a question that was asked before"]


def test_a_question_without_a_reply_is_refused_by_its_line(tmp_path: Path) -> None:
    write_questions(tmp_path / "q.jsonl", [Asked(conversation("hello"))])
    with pytest.raises(InputError, match=r"q\.jsonl:1: no recorded reply"):
        RecordedSubject.load("mine", tmp_path / "q.jsonl")
