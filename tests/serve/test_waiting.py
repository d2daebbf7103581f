"""Lines that take turns."""

from __future__ import annotations

import pytest

from mien.serve.waiting import Lines


def lines(asked: str) -> Lines[str]:
    """Each request is its persona's letter and a number."""
    found: Lines[str] = Lines()
    for i, name in enumerate(asked):
        found.push(name, f"{name}{i}")
    return found


def popped(queue: Lines[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def test_personas_take_turns_and_each_is_first_come_first_served() -> None:
    assert popped(lines("AAABAC")) == ["A0", "B3", "C5", "A1", "A2", "A4"]


def test_who_comes_back_at_once_still_waits_for_the_others() -> None:
    queue, served = lines("AAAB"), []
    for i in range(4):
        served.append(queue.pop()[0])
        if served[-1] == "B":
            queue.push("B", f"B-again-{i}")
    assert served == ["A", "B", "A", "B"]


def test_what_is_removed_is_returned_and_leaves_no_empty_line() -> None:
    queue = lines("ABA")
    assert queue.remove(lambda item: item.startswith("B")) == ["B1"]
    assert popped(queue) == ["A0", "A2"]
    with pytest.raises(KeyError):
        queue.pop()
