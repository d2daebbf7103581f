"""The scripted model, and the local base as a chat model."""

from __future__ import annotations

import pytest

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.chat import ChatModel, Reply, Sampling, ScriptedModel
from mien.decode.generate import generate
from mien.decode.local import LocalChat
from mien.errors import MienError
from mien.schema import Message, conversation
from tests import models

GREEDY = Sampling(max_tokens=12, temperature=0)
ASKED = conversation("how are you today")


def said(model: ChatModel, messages: tuple[Message, ...] = ASKED) -> str:
    return "".join(model.stream(messages))


def test_a_script_is_said_in_order_word_by_word_and_what_was_heard_is_kept() -> None:
    model = ScriptedModel(["Hello there, you.", "Bye"])
    assert list(model.stream(ASKED)) == ["Hello", " there,", " you."]
    assert said(model, ASKED[:1]) == "Bye"
    assert model.heard == [ASKED, ASKED[:1]]


def test_a_script_that_has_ended_says_so() -> None:
    with pytest.raises(MienError, match="no reply left"):
        said(ScriptedModel([]))


def test_the_local_model_says_what_the_base_would(tiny_base: Base) -> None:
    (ids,) = generate(tiny_base, [ASKED], GREEDY, seeds=[0])
    assert said(LocalChat(tiny_base, sampling=GREEDY)).strip() == tiny_base.renderer.decode(ids)


def test_a_system_prompt_is_put_before_the_conversation(tiny_base: Base) -> None:
    prompted = LocalChat(tiny_base, system_prompt="hello there", sampling=GREEDY)
    plain = LocalChat(tiny_base, sampling=GREEDY)
    whole = conversation("how are you today", system="hello there")
    assert said(prompted) == said(plain, whole) != said(plain)


def test_an_adapter_is_in_force_for_its_own_replies_only() -> None:
    base = models.tiny_base()
    base.adapters.create("x", LoraConfig(r=4, alpha=8.0), seed=0)
    models.shake(base.adapters, "x", size=0.5)
    adapted, plain = LocalChat(base, "x", sampling=GREEDY), LocalChat(base, sampling=GREEDY)
    first = said(plain)
    assert said(adapted) != first
    assert base.adapters.active is None
    assert said(plain) == first


def test_an_adapter_goes_out_of_force_when_a_reply_is_broken_off() -> None:
    base = models.tiny_base()
    base.adapters.create("x", LoraConfig(r=4, alpha=8.0), seed=0)
    pieces = LocalChat(base, "x", sampling=GREEDY).stream(ASKED)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert base.adapters.active is None


def test_the_seed_moves_on_with_every_turn_and_the_same_first_seed_says_the_same(
    tiny_base: Base,
) -> None:
    warm = Sampling(max_tokens=12, temperature=2.0)
    one, same = (LocalChat(tiny_base, sampling=warm, seed=3) for _ in range(2))
    first, second = said(one), said(one)
    assert first != second
    assert (said(same), said(same)) == (first, second)


def test_a_long_conversation_loses_its_oldest_exchanges_and_keeps_the_system_prompt(
    tiny_base: Base,
) -> None:
    long = tuple(
        Message(role=role, content=f"{number} the ship sails at dawn, and the wind is fair")
        for number in range(10)
        for role in ("user", "assistant")
    )
    asked = (*long, Message(role="user", content="last"))
    model = LocalChat(tiny_base, system_prompt="be kind", sampling=GREEDY)
    kept = model._recent(asked, GREEDY.max_tokens)
    assert len(tiny_base.renderer.prompt(kept)) <= tiny_base.max_tokens - GREEDY.max_tokens
    assert [kept[0].role, kept[1].role, kept[-1].content] == ["system", "user", "last"]
    assert 3 < len(kept) < 20
    assert said(model, asked)


def test_a_script_may_be_a_function_of_the_conversation_and_the_seed() -> None:
    model = ScriptedModel(lambda messages, seed: f"{messages[-1].content} {seed}")
    found = model.reply(ASKED, GREEDY, seed=7)
    assert found == Reply(text="how are you today 7", prompt_tokens=4, completion_tokens=5)


def test_a_program_hears_of_the_local_model_what_a_person_hears_and_what_it_took(
    tiny_base: Base,
) -> None:
    model = LocalChat(tiny_base, sampling=GREEDY)
    found = model.reply(ASKED, GREEDY, seed=0)
    assert found.text == said(model).strip()
    assert found.prompt_tokens == len(tiny_base.renderer.prompt(ASKED))
    assert found.ended == ("length" if found.completion_tokens == GREEDY.max_tokens else "stop")
    cut = model.reply(ASKED, GREEDY.model_copy(update={"max_tokens": 2}), seed=0)
    assert (cut.ended, cut.completion_tokens) == ("length", 2)


def test_two_that_answer_differently_have_two_names(tiny_base: Base) -> None:
    names = [
        LocalChat(tiny_base).name,
        LocalChat(tiny_base, "witty-sft-1").name,
        LocalChat(tiny_base, system_prompt="be kind").name,
        LocalChat(tiny_base, system_prompt="be brief").name,
    ]
    assert len(set(names)) == 4
    assert LocalChat(tiny_base, sampling=GREEDY, seed=3).name == names[0]
