"""The teacher: paid once, whatever happens; against a real server where a server has a part in it."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mien.chat import Reply, Sampling, ScriptedModel
from mien.data.teacher import Budget, Calls, Teacher, Unfinished
from mien.endpoint import Endpoint
from mien.errors import AccessError, BudgetError, BusyError, MienError, ModelError
from mien.schema import Message, conversation
from tests.stub_server import Stub, serving

SAMPLING = Sampling(max_tokens=60)
KINDS = {
    "429": "rate limit",
    "500": "server error",
    "timeout": "time-out",
    "late": "time-out",
    "drop": "connection",
    "broken": "broken JSON",
    "blank": "no choices",
    "empty": "empty reply",
}


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Calls]:
    with closing(Calls(tmp_path / "calls.db")) as store:
        yield store


def no_time(_: float) -> None:
    """Let no time pass."""


def asking(server: Stub, calls: Calls, *, timeout: float = 20, **settings: Any) -> Teacher:
    settings = {"parallel": 8, "wait": no_time, **settings}
    return Teacher(Endpoint(server.url, "stub", timeout=timeout), calls, **settings)


def questions(teacher: Teacher) -> Callable[[int], str]:
    """Work that asks one thing per item."""
    return lambda n: teacher.ask(conversation(f"question {n}"), SAMPLING, seed=n).text


class Model:
    """A chat model made of a function of what is said last and of the seed."""

    name, parallel = "model", 4

    def __init__(self, says: Callable[[str, int], Reply]) -> None:
        self.says = says
        self.heard: list[tuple[str, int]] = []

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        raise NotImplementedError

    def reply(self, messages: Sequence[Message], sampling: Sampling, *, seed: int) -> Reply:
        self.heard.append((messages[-1].content, seed))
        return self.says(messages[-1].content, seed)


# --- what is paid for, and how often


def test_a_second_run_asks_nothing_and_answers_the_same_in_order(tmp_path: Path, calls: Calls) -> None:
    with serving(tmp_path) as server:
        first = asking(server, calls)
        said = first.each(range(20), questions(first))
        with closing(Calls(calls.path)) as reopened:
            second = asking(server, reopened)
            assert second.each(range(20), questions(second)) == said
        rows = server.log()
    assert said == [next(row["text"] for row in rows if row["body"]["seed"] == n) for n in range(20)]
    assert len(rows) == 20
    assert (first.tally.asked, first.tally.paid, first.tally.cached) == (20, 20, 0)
    assert (second.tally.asked, second.tally.paid, second.tally.cached) == (20, 0, 20)
    assert second.tally.completion_tokens == 0 < first.tally.completion_tokens


def test_the_same_thing_asked_by_many_at_once_is_paid_for_once(tmp_path: Path, calls: Calls) -> None:
    with serving(tmp_path, latency=0.2) as server:
        teacher = asking(server, calls)
        said = teacher.each([1] * 8, questions(teacher))
        assert len(set(said)) == 1 and len(server.log()) == 1
    assert (teacher.tally.asked, teacher.tally.paid, teacher.tally.cached) == (8, 1, 7)


def test_another_seed_sampling_message_or_model_is_another_call(calls: Calls) -> None:
    model = ScriptedModel(lambda _messages, _seed: "yes")
    teacher = Teacher(model, calls)
    hello = conversation("hello")
    for _ in range(2):
        teacher.ask(hello, SAMPLING, seed=1)
        teacher.ask(hello, SAMPLING, seed=2)
        teacher.ask(hello, Sampling(max_tokens=61), seed=1)
        teacher.ask(conversation("hello", system="Be kind."), SAMPLING, seed=1)
    assert (teacher.tally.paid, teacher.tally.cached, len(model.heard)) == (4, 4, 4)
    model.name = "another"
    teacher.ask(hello, SAMPLING, seed=1)
    assert teacher.tally.paid == 5


# --- what goes wrong on the way


def test_every_fault_is_survived_and_counted_exactly(tmp_path: Path, calls: Calls) -> None:
    faults = "429:0.1,500:0.08,timeout:0.02,late:0.02,drop:0.05,broken:0.08,blank:0.05,empty:0.08"
    with serving(tmp_path, faults, seed=14, silence=3) as server:
        teacher = asking(server, calls, timeout=2, tries=12)
        said = teacher.each(range(80), questions(teacher))
        happened, paid = server.faults(), server.paid()
    assert not [each for each in said if isinstance(each, Unfinished)]
    assert set(happened) == set(KINDS)
    counted: Counter[str] = Counter()
    for fault, times in happened.items():
        counted[KINDS[fault]] += times
    assert teacher.tally.retried == counted
    assert (teacher.tally.paid, teacher.tally.given_up) == (80, 0)
    assert len(paid) == 80 and set(paid.values()) == {1}


def test_retry_after_is_honoured_to_the_second(tmp_path: Path, calls: Calls) -> None:
    with serving(tmp_path, "429:0.3", seed=4, retry_after="1") as server:
        teacher = asking(server, calls, wait=time.sleep)
        teacher.each(range(6), questions(teacher))
        rows = server.log()
    times: dict[str, list[float]] = {}
    for row in rows:
        times.setdefault(row["key"], []).append(row["at"])
    pauses = [after - at for each in times.values() for at, after in pairwise(each)]
    assert len(pauses) == teacher.tally.retried["rate limit"] == 3
    assert min(pauses) >= 1


def test_pauses_grow_with_full_jitter_up_to_a_minute(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    tops: list[float] = []

    def uniform(low: float, high: float) -> float:
        tops.append(high)
        return high

    def says(text: str, seed: int) -> Reply:
        raise BusyError("Busy.", kind="rate limit")

    monkeypatch.setattr(random, "uniform", uniform)
    with pytest.raises(ModelError):
        Teacher(Model(says), calls, tries=9, wait=waited.append).ask(conversation("x"), SAMPLING, seed=0)
    assert tops == [1, 2, 4, 8, 16, 32, 60, 60]
    assert sum(waited) == sum(tops) and max(waited) == 1


def test_a_call_whose_tries_run_out_says_how_often_and_why(tmp_path: Path, calls: Calls) -> None:
    with serving(tmp_path, "500:1") as server:
        teacher = asking(server, calls, tries=3)
        with pytest.raises(ModelError, match=r"3 tries \(3 x server error\)") as caught:
            teacher.ask(conversation("x"), SAMPLING, seed=0)
        assert len(server.log()) == 3
    assert type(caught.value) is ModelError and caught.value.fix
    assert (teacher.tally.given_up, teacher.tally.retried) == (1, {"server error": 3})


def test_a_model_that_wants_to_rest_for_hours_is_not_waited_for(calls: Calls) -> None:
    def says(text: str, seed: int) -> Reply:
        raise BusyError("Come back tomorrow.", kind="rate limit", wait=86400)

    with pytest.raises(ModelError, match=r"1 try \(1 x rate limit\).*86400 s of rest"):
        Teacher(Model(says), calls, wait=no_time).ask(conversation("x"), SAMPLING, seed=0)


def test_an_empty_reply_is_never_kept_and_drawn_again_under_another_seed(calls: Calls) -> None:
    model = Model(lambda text, seed: Reply(text=" " if seed == 7 else "words", completion_tokens=1))
    teacher = Teacher(model, calls, wait=no_time)
    for _ in range(2):
        assert teacher.ask(conversation("x"), SAMPLING, seed=7).text == "words"
    assert model.heard[0] == ("x", 7) and len(set(model.heard)) == len(model.heard) == 2
    assert teacher.tally.retried == {"empty reply": 1}
    assert (teacher.tally.paid, teacher.tally.cached, teacher.tally.completion_tokens) == (1, 1, 2)


# --- many at once


@pytest.mark.parametrize("parallel", [1, 5])
def test_never_more_calls_are_in_flight_than_allowed(
    tmp_path: Path, calls: Calls, parallel: int
) -> None:
    with serving(tmp_path, latency=0.03) as server:
        teacher = asking(server, calls, parallel=parallel)
        teacher.each(range(10), questions(teacher))
        crew = [threading.Thread(target=questions(teacher), args=(100 + n,)) for n in range(10)]
        for each in crew:
            each.start()
        for each in crew:
            each.join()
        assert max(row["in_flight"] for row in server.log()) == parallel
        assert len(server.log()) == 20


def test_an_item_that_gets_no_answer_is_unfinished_and_the_others_go_on(calls: Calls) -> None:
    def says(text: str, seed: int) -> Reply:
        if text == "question 2":
            raise ModelError("Too long.", fix="Shorten it.")
        return Reply(text=text)

    teacher = Teacher(Model(says), calls)
    ticks: list[int] = []
    said = teacher.each(range(5), questions(teacher), done=lambda: ticks.append(1))
    assert said[2] == Unfinished("Too long.")
    assert [*said[:2], *said[3:]] == [f"question {n}" for n in (0, 1, 3, 4)]
    assert len(ticks) == 5
    assert teacher.stopped is None


def test_a_key_that_is_refused_stops_everything_at_once(tmp_path: Path, calls: Calls) -> None:
    with serving(tmp_path, "401:1") as server:
        teacher = asking(server, calls, parallel=2)
        said = teacher.each(range(50), questions(teacher))
        assert len(server.log()) <= 2
    assert isinstance(teacher.stopped, AccessError)
    assert all(isinstance(each, Unfinished) for each in said)
    assert said[-1] == Unfinished("not begun")


def test_a_server_that_never_answers_is_not_asked_for_every_item(tmp_path: Path, calls: Calls) -> None:
    with serving(tmp_path, "500:1") as server:
        teacher = asking(server, calls, parallel=1, tries=2)
        teacher.each(range(50), questions(teacher))
        assert len(server.log()) == 3 * 2
    assert isinstance(teacher.stopped, ModelError)


def test_once_stopped_only_the_store_answers(tmp_path: Path, calls: Calls) -> None:
    model = Model(lambda text, seed: Reply(text=text))
    Teacher(model, calls).ask(conversation("known"), SAMPLING, seed=0)
    teacher = Teacher(model, calls, budget=Budget(tokens=0))
    teacher.each([1], questions(teacher))
    assert isinstance(teacher.stopped, BudgetError)
    assert teacher.ask(conversation("known"), SAMPLING, seed=0).text == "known"
    with pytest.raises(BudgetError):
        teacher.ask(conversation("unknown"), SAMPLING, seed=0)


def test_a_mistake_in_the_work_is_raised(calls: Calls) -> None:
    teacher = Teacher(Model(lambda text, seed: Reply(text=text)), calls)
    with pytest.raises(ZeroDivisionError):
        teacher.each([1, 0], lambda n: 1 // n)


def test_a_mistake_in_what_is_done_after_each_item_is_raised(calls: Calls) -> None:
    teacher = Teacher(Model(lambda text, seed: Reply(text=text)), calls)
    with pytest.raises(IndexError):
        teacher.each(range(3), questions(teacher), done=[].pop)


# --- what may be spent


def test_a_budget_of_tokens_is_nearly_used_and_not_overrun_and_a_new_one_goes_on(
    tmp_path: Path, calls: Calls
) -> None:
    with serving(tmp_path, latency=0.01) as server:
        teacher = asking(server, calls, budget=Budget(tokens=600))
        said = teacher.each(range(50), questions(teacher))
        spent = teacher.tally.prompt_tokens + teacher.tally.completion_tokens
        finished = [each for each in said if isinstance(each, str)]
        assert 600 - 100 < spent <= 600
        assert len(finished) == teacher.tally.paid == len(server.log())
        assert isinstance(teacher.stopped, BudgetError)
        assert f"{spent:,} of 600 tokens spent" in teacher.stopped.what
        assert "what was answered is kept" in teacher.stopped.fix
        again = asking(server, calls, budget=Budget(tokens=10_000))
        assert len([each for each in again.each(range(50), questions(again)) if each]) == 50
        assert (again.tally.cached, again.tally.paid) == (len(finished), 50 - len(finished))
        assert set(server.paid().values()) == {1} and len(server.log()) == 50


def test_a_budget_of_money_stops_too_and_the_tally_has_the_price(calls: Calls) -> None:
    model = Model(lambda text, seed: Reply(text=text, prompt_tokens=1000, completion_tokens=100))
    budget = Budget(money=0.01, price_in=1.0, price_out=10.0)
    teacher = Teacher(model, calls, budget=budget)
    teacher.each(range(20), questions(teacher))
    assert teacher.tally.money == pytest.approx(0.002 * teacher.tally.paid)
    assert teacher.tally.paid in (4, 5)
    assert isinstance(teacher.stopped, BudgetError) and "of 0.01 in money" in teacher.stopped.what


def test_a_model_that_does_not_count_is_counted_high(calls: Calls) -> None:
    teacher = Teacher(Model(lambda text, seed: Reply(text="four words of text")), calls)
    teacher.ask(conversation("four words of text"), SAMPLING, seed=0)
    assert 4 < teacher.tally.completion_tokens < 20
    assert 4 < teacher.tally.prompt_tokens < 60


# --- a job that is interrupted


def job(server: Stub, store: Path, items: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.data.asking", server.url, str(store), str(items)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def until(rows: int, server: Stub) -> None:
    """Wait for so many rows in the server's log."""
    end = time.monotonic() + 60
    while len(server.log()) < rows:
        assert time.monotonic() < end
        time.sleep(0.02)


def kept(store: Path) -> set[str]:
    with closing(sqlite3.connect(store)) as db:
        return {json.loads(row[0])["text"] for row in db.execute("select reply from call")}


def test_a_job_that_is_killed_twice_goes_on_and_nothing_is_paid_for_twice(tmp_path: Path) -> None:
    store, items = tmp_path / "calls.db", 40
    with serving(tmp_path, latency=0.05) as server:
        for rows in (12, 25):
            with job(server, store, items) as process:
                until(rows, server)
                process.kill()
            known, asked = kept(store), len(server.log())
            assert len(known) >= rows - 10
        with job(server, store, items) as process:
            done = json.loads(process.communicate()[0])
        rows_after = server.log()[asked:]
        paid = server.paid()
    assert (len(done["texts"]), done["stopped"]) == (items, "NoneType")
    assert len(paid) == items and set(paid.values()) == {1}
    assert done["tally"]["cached"] == len(known)
    assert not known & {row["text"] for row in rows_after}


def test_ctrl_c_waits_for_the_slowest_call_whichever_thread_it_is_in(calls: Calls) -> None:
    """The first thread is the one that is waited for when Ctrl-C comes."""

    def slow_at_first(text: str, seed: int) -> Reply:
        time.sleep(0.5 if text.endswith(" 0") else 0.01)
        return Reply(text=f"said: {text}")

    teacher = Teacher(Model(slow_at_first), calls, parallel=4)
    threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
    said = teacher.each(range(1000), questions(teacher))
    assert isinstance(teacher.stopped, KeyboardInterrupt)
    assert isinstance(said[0], str), "its call was in flight, and was paid for"


def test_ctrl_c_ends_what_is_in_flight_and_keeps_it(tmp_path: Path) -> None:
    store = tmp_path / "calls.db"
    with serving(tmp_path, latency=0.2) as server:
        with job(server, store, 100) as process:
            until(9, server)
            process.send_signal(signal.SIGINT)
            done = json.loads(process.communicate()[0])
        answered = {row["text"] for row in server.log()}
    assert done["stopped"] == "KeyboardInterrupt"
    assert set(done["texts"]) == kept(store) == answered
    assert 9 <= len(answered) < 100
    assert set(done["reasons"]) <= {"interrupted", "not begun"}


def test_a_second_ctrl_c_waits_for_nothing(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "timeout:1", silence=30) as server,
        job(server, tmp_path / "calls.db", 100) as process,
    ):
        end = time.monotonic() + 60
        while not (tmp_path / "server.jsonl").stat().st_size and time.monotonic() < end:
            time.sleep(0.02)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        assert process.wait(timeout=10) != 0


# --- the store


def test_the_first_answer_under_a_key_stays(calls: Calls) -> None:
    calls.put("key", "model", Reply(text="first", prompt_tokens=3))
    calls.put("key", "model", Reply(text="second"))
    assert calls.get("key") == Reply(text="first", prompt_tokens=3)
    assert calls.get("other") is None


def test_the_store_is_in_the_home_by_default(home: Path) -> None:
    with closing(Calls()) as calls:
        assert calls.path == home / "calls.db" and calls.path.is_file()


def test_a_store_of_a_newer_mien_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "calls.db")) as db:
        db.execute("pragma user_version = 99")
    with pytest.raises(MienError, match=r"calls\.db: written by a newer mien"):
        Calls(tmp_path / "calls.db")


def test_a_file_that_is_no_store_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "calls.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(MienError, match=r"calls\.db: the store .* cannot be used") as caught:
        Calls(tmp_path / "calls.db")
    assert caught.value.fix and "\n" not in caught.value.what
