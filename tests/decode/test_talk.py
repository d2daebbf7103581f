"""Conversations that go on: the same replies as from reading everything anew, and less reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.chat import Sampling
from mien.decode.generate import Decoder, generate
from mien.decode.talk import Talk, recent
from mien.schema import Message
from tests import models

GREEDY = Sampling(max_tokens=12, temperature=0, repetition_penalty=1)
WILD = Sampling(max_tokens=16, temperature=2.0, top_k=300, top_p=1)
OPENINGS = ("hello", "the ship sails at dawn, and the wind is fair", "hi", "how are you today")
LATER = ("and the wind", "is it", "user model, hello there, how are you")
Talks = list[list[Message]]


def opened() -> Talks:
    talks = [[Message(role="user", content=text)] for text in OPENINGS]
    talks[2].insert(0, Message(role="system", content="the model"))
    return talks


def text(base: Base, ids: Sequence[int]) -> str:
    return base.renderer.decode(ids) or "..."


def without_end(base: Base, replies: Sequence[Sequence[int]]) -> list[list[int]]:
    return [[token for token in reply if token not in base.renderer.stop_ids] for reply in replies]


def turns(base: Base, talk: Talk, seeds: Sequence[int], later: Sequence[str] = LATER) -> Iterator[Talks]:
    """A conversation of four turns; yields it before each, and holds `talk` against `generate`."""
    talks = opened()
    for said in (*later, None):
        yield talks
        replies = talk.replies(talks, seeds=seeds)
        whole = [recent(base, each, talk.sampling.max_tokens) for each in talks]
        assert without_end(base, replies) == generate(base, whole, talk.sampling, seeds=seeds)
        for messages, ids in zip(talks, replies, strict=True):
            messages += [Message(role="assistant", content=text(base, ids))]
            messages += [Message(role="user", content=said)] if said else []


@pytest.mark.parametrize("name", ["tiny_base", "tiny_gemma"])
@pytest.mark.parametrize("sampling", [GREEDY, WILD], ids=["greedy", "drawn"])
def test_every_turn_is_what_reading_the_whole_conversation_gives(
    name: str, sampling: Sampling, request: pytest.FixtureRequest
) -> None:
    base: Base = request.getfixturevalue(name)
    for talks in turns(base, Talk(base, sampling), range(len(OPENINGS))):
        last = talks
    assert all(len(talk) >= 8 for talk in last)


def test_replies_that_end_at_different_steps_leave_no_trace() -> None:
    base = models.tiny_base()
    base.renderer.stop_ids |= set(range(20, 60))  # else a random model hardly ever ends a reply
    for seeds in (range(4), range(100, 104)):
        talk = Talk(base, WILD)
        first = talk.replies(opened(), seeds=seeds)
        assert len({len(reply) for reply in first}) > 2, "the replies must end at different steps"
        assert len([*turns(base, talk, seeds)]) == 4


def test_a_question_that_is_thrown_away_leaves_the_conversation_as_it_was(tiny_base: Base) -> None:
    forked, alone = Talk(tiny_base, WILD), Talk(tiny_base, WILD)
    seeds = range(4)
    plain = [[message.content for message in each] for each in _last(tiny_base, alone, seeds)]
    for talks in turns(tiny_base, forked, seeds):
        last = talks
        probe = [Message(role="user", content="is the wind fair")]
        aside = [[*talk[:-1], *probe] for talk in talks]
        found = without_end(tiny_base, forked.replies(aside, seeds=seeds))
        whole = [recent(tiny_base, each, WILD.max_tokens) for each in aside]
        assert found == generate(tiny_base, whole, WILD, seeds=seeds)
    assert [[message.content for message in each] for each in last] == plain


def _last(base: Base, talk: Talk, seeds: Sequence[int]) -> Talks:
    return [*turns(base, talk, seeds)][-1]


def test_only_what_is_new_is_read(tiny_base: Base) -> None:
    decoder = Decoder(tiny_base, rows=1)
    one = Sampling(max_tokens=1, temperature=0)
    first, later = [7] * 50, [7] * 50 + [8] * 5
    assert [len(step.said) for step in decoder.steps([(first, 0)], one)] == [1]
    assert decoder.counts.read == 50
    assert [len(step.said) for step in decoder.steps([(later, 0)], one)] == [1]
    assert decoder.counts.reused == 48, "whole blocks of sixteen"
    assert decoder.counts.read == 50 + 7


def test_conversations_that_outgrow_the_memory_are_read_anew(tiny_base: Base) -> None:
    tight = Talk(tiny_base, WILD, prefix_bytes=1)
    assert len([*turns(tiny_base, tight, range(4))]) == 4


def test_an_adapter_in_force_counts(tiny_base: Base) -> None:
    base = models.tiny_base()
    base.adapters.create("x", LoraConfig(4, 8), seed=0)
    models.shake(base.adapters, "x")
    with base.adapters.use("x"):
        assert len([*turns(base, Talk(base, GREEDY), range(4))]) == 4
        ours = Talk(base, GREEDY).replies(opened(), seeds=range(4))
    assert ours != Talk(base, GREEDY).replies(opened(), seeds=range(4))


def test_what_outgrows_the_context_loses_its_oldest_exchanges_and_goes_on(tiny_base: Base) -> None:
    later = ["the ship sails at dawn"] * 12  # 13 turns of about 30 tokens; the context has 256
    seeds = range(4)
    for talks in turns(tiny_base, Talk(tiny_base, GREEDY), seeds, later):
        last = [list(talk) for talk in talks]
    kept = [recent(tiny_base, talk, 12) for talk in last]
    assert all(len(tiny_base.renderer.prompt(talk)) <= 256 - 12 for talk in kept)
    dropped = [len(talk) - len(short) for talk, short in zip(last, kept, strict=True)]
    assert all(n and n % 16 == 0 for n in dropped)
    assert kept[2][0].role == "system" and all(talk[-1].role == "user" for talk in kept)


def test_the_last_question_is_kept_even_if_it_is_too_long(tiny_base: Base) -> None:
    long = Message(role="user", content="x" * 400)
    talk = [Message(role="user", content="a"), Message(role="assistant", content="b"), long]
    assert recent(tiny_base, talk, 12) == [long]
