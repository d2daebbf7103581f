"""From tokens to text: the pieces of a stream join to what is sent at once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mien.serve.speech import Detokenizer, Shown
from tests import models

TOKENIZER = models.chatml_tokenizer()


def decode(ids: list[int]) -> str:
    return str(TOKENIZER.decode(ids, skip_special_tokens=True))


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30))
def test_pieces_of_a_text_join_to_it_whatever_its_characters(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True).input_ids
    tokens = Detokenizer(decode)
    assert "".join([*(tokens.add(each) for each in ids), tokens.rest()]) == text


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("ab \n", max_size=4), max_size=8), st.lists(st.text("ab", min_size=1), max_size=2)
)
def test_what_is_shown_ends_before_the_first_stop_text(pieces: list[str], stops: list[str]) -> None:
    shown, said, told = Shown(stops, strip=True), "", ""
    for piece in pieces:
        said, told = said + piece, told + shown.add(piece)
        if any(stop in said for stop in stops):  # here the engine ends
            break
    told += shown.end()
    first = min((said.find(stop) for stop in stops if stop in said), default=len(said))
    assert told == said[:first].strip()
