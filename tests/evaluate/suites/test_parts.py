"""Asking for several kinds of replies at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mien.chat import Sampling
from mien.errors import UnableError
from mien.evaluate.subject import Asked, Progress, Said
from mien.evaluate.suites.parts import ask_parts, short
from mien.schema import conversation
from tests.evaluate.suites.scripted import setting

PLAIN, OPENED = Asked(conversation("Hello?")), Asked(conversation("Hello?"), prefill="Well,")


class Server:
    """Cannot be made to begin a reply with given words; counts its calls."""

    name = key = "server"

    def __init__(self, *, dead: bool = False) -> None:
        self.calls, self.dead = 0, dead

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        self.calls += 1
        if self.dead or any(each.prefill for each in asked):
            raise UnableError("server: cannot.")
        return [Said(f"{each.messages[-1].content} {sampling.max_tokens}") for each in asked]


def test_everything_is_asked_in_one_call(tmp_path: Path) -> None:
    server, parts = Server(), {"a": [PLAIN], "b": [], "c": [Asked(conversation("Why?"))]}
    said, lost = ask_parts(server, setting(tmp_path), parts, Sampling(max_tokens=5))
    assert {name: [each.text for each in found] for name, found in said.items()} == {
        "a": ["Hello? 5"],
        "b": [],
        "c": ["Why? 5"],
    }
    assert (lost, server.calls) == ([], 1)


def test_what_cannot_be_asked_is_told_and_the_rest_is_answered(tmp_path: Path) -> None:
    said, lost = ask_parts(
        Server(), setting(tmp_path), {"plain": [PLAIN], "prefill": [OPENED]}, Sampling()
    )
    assert list(said) == ["plain"]
    assert lost == ["prefill: server: cannot."]


def test_whoever_answers_nothing_is_unable(tmp_path: Path) -> None:
    with pytest.raises(UnableError, match="cannot"):
        ask_parts(Server(dead=True), setting(tmp_path), {"plain": [PLAIN]}, Sampling())


def test_replies_are_cut_short_and_never_made_longer(tmp_path: Path) -> None:
    known = setting(tmp_path, sampling=Sampling(max_tokens=20, temperature=0.3))
    assert short(known, 60).max_tokens == 20
    assert short(known, 8) == Sampling(max_tokens=8, temperature=0.3)
