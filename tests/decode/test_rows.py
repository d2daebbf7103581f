"""A request that has a slot: when it ends."""

from __future__ import annotations

import pytest

from mien.base.model import Base
from mien.chat import Sampling
from mien.decode.request import End, Request, Ticket
from mien.decode.rows import Row


@pytest.mark.parametrize("stop", ["stop", "\N{KATAKANA LETTER KA}\N{KATAKANA LETTER NA}" * 4])
def test_a_stop_text_ends_a_reply_however_many_tokens_its_characters_take(
    llama: Base, stop: str
) -> None:
    said = llama.renderer.text(f"hello {stop}")  # 3 bytes a letter of Katakana, each a token
    ticket = Ticket(Request(prompt=(5,), sampling=Sampling(max_tokens=99), stop=(stop,)), print)
    row = Row(ticket, None, llama)
    events = [event for token in said for event in row.take(token, None)]
    ends = [event for event in events if isinstance(event, End)]
    assert [(end.reason, end.stop, end.tokens) for end in ends] == [("stop", stop, len(said))]


def test_a_ticket_tells_how_long_it_has_waited_until_it_has_a_slot(
    llama: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    ticket = Ticket(Request(prompt=(5,)), print)
    row = Row(ticket, None, llama)
    now = 103.0
    assert ticket.waited == 3 and row.ended(End("cancelled", 0)).waited is None
    row.place(0, 0)
    now = 110.0
    assert ticket.waited == 3 == row.ended(End("cancelled", 0)).waited
