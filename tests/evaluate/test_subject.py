"""Whoever answers a chat can be evaluated: the base under anything, a server, a recording."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.chat import Sampling, ScriptedModel
from mien.data.calls import Calls
from mien.data.teacher import Teacher
from mien.decode.generate import generate
from mien.errors import InputError, UnableError
from mien.evaluate.subject import (
    Asked,
    ChatSubject,
    Likely,
    LocalSubject,
    Options,
    RecordedSubject,
    Subject,
)
from mien.schema import Message, conversation
from tests import models

GREEDY = Sampling(max_tokens=6, temperature=0, repetition_penalty=1)
HELLO, WIND = conversation("hello there"), conversation("how is the wind")


@pytest.fixture(scope="module")
def base() -> Base:
    made = models.tiny_base()
    made.adapters.create("a", LoraConfig(r=4, alpha=8.0), seed=0)
    models.shake(made.adapters, "a", size=0.3)
    return made


def local(base: Base, **changes: object) -> LocalSubject:
    return replace(LocalSubject("base", base), **changes)


def test_the_local_base_answers_as_decoding_does_under_adapter_and_system_prompt(base: Base) -> None:
    subject = local(base, adapter="a", system_prompt="be brief")
    said = subject.answer([Asked(HELLO), Asked(WIND)], GREEDY)
    told = [conversation(each[0].content, system="be brief") for each in (HELLO, WIND)]
    with base.adapters.use("a"):
        expected = generate(base, told, GREEDY, seeds=[0, 0])
    assert [each.text for each in said] == [base.renderer.decode(ids) for ids in expected]
    assert [each.tokens for each in said] == [len(ids) for ids in expected]
    assert base.adapters.active is None


def test_a_reply_goes_on_from_what_it_is_made_to_begin_with(base: Base) -> None:
    (plain,) = local(base).answer([Asked(HELLO)], GREEDY)
    (led,) = local(base).answer([Asked(HELLO, prefill="the ship")], GREEDY)
    ids = base.renderer.prompt(HELLO) + base.renderer.text("the ship")
    with torch.no_grad():
        first = int(base.model(torch.tensor([ids])).logits[0, -1].argmax())
    assert base.renderer.decode([first]) in led.text and led.text != plain.text


def test_progress_counts_the_replies(base: Base) -> None:
    parts: list[int] = []
    local(base).answer([Asked(HELLO), Asked(WIND)], GREEDY, progress=parts.append)
    assert sum(parts) == 2


def test_log_probabilities_are_the_models_own_summed_over_the_continuation(base: Base) -> None:
    texts = (" the ship", " dawn and wind")
    ((first, second),) = local(base, adapter="a").logps([Options(HELLO, texts, prefill="at")])
    for text, found in zip(texts, (first, second), strict=True):
        prompt = base.renderer.prompt(HELLO) + base.renderer.text("at")
        ids = base.renderer.text(text)
        with base.adapters.use("a"), torch.no_grad():
            logits = base.model(torch.tensor([prompt + ids])).logits[0]
        logp = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1].gather(1, torch.tensor(ids)[:, None])
        assert found.tokens == len(ids)
        assert found.total == pytest.approx(float(logp.sum()), abs=1e-3)
        assert found.mean == pytest.approx(found.total / found.tokens)


def test_a_whole_continuation_has_the_mark_that_ends_it(base: Base) -> None:
    subject = local(base)
    ((open_,),), ((whole,),) = (
        subject.logps([Options(HELLO, (" dawn",), whole=ends)]) for ends in (False, True)
    )
    assert whole.tokens == open_.tokens + 1 and whole.total < open_.total


def test_many_questions_come_back_in_their_order(base: Base) -> None:
    asked = [Options(HELLO, (" dawn" * (1 + place % 5), " sea")) for place in range(9)]
    subject = local(base)
    together = subject.logps(asked)
    alone = [subject.logps([each])[0] for each in asked]
    for ours, theirs in zip(together, alone, strict=True):
        assert [each.tokens for each in ours] == [each.tokens for each in theirs]
        assert [each.total for each in ours] == pytest.approx([each.total for each in theirs], abs=1e-3)


@pytest.mark.parametrize("make", [models.tiny_base, models.tiny_gemma])
def test_questions_that_begin_alike_are_as_likely_as_each_alone(
    make: Callable[[], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make()
    base.adapters.create("a", LoraConfig(r=4, alpha=8.0), seed=0)
    models.shake(base.adapters, "a", size=0.1)
    subject = local(base, adapter="a", system_prompt="answer as briefly as a lighthouse keeper does")
    examples = "red and blue make purple; blue and yellow make"
    asked = [
        *(
            Options(conversation(f"{examples} {each}?"), (" green", " no"))
            for each in ("what", "who", "it")
        ),
        *(
            Options(conversation(f"how is the {each}"), (" fair", " rough, they say"))
            for each in ("sea", "sky")
        ),
        Options(conversation("go on"), (" then",), prefill="and", whole=True),
    ]
    read, hidden = list[int](), base.hidden
    monkeypatch.setattr(base, "hidden", lambda flat: read.append(len(flat.tokens)) or hidden(flat))
    together = subject.logps(asked)
    once = sum(read)
    alone = [subject.logps([each])[0] for each in asked]
    for ours, theirs in zip(together, alone, strict=True):
        assert [each.tokens for each in ours] == [each.tokens for each in theirs]
        assert [each.total for each in ours] == pytest.approx([each.total for each in theirs], abs=1e-5)
    assert once < 0.6 * (sum(read) - once)


def test_a_dose_scales_the_update_and_is_put_back(base: Base) -> None:
    plain, whole = local(base), local(base, adapter="a")
    none = replace(whole, scale=0.0)
    question = [Options(HELLO, (" the ship sails",))]
    ((zero,),), ((bare,),), ((full,),) = (each.logps(question) for each in (none, plain, whole))
    assert zero.total == pytest.approx(bare.total, abs=1e-4) and full.total != pytest.approx(bare.total)
    assert whole.logps(question)[0][0] == full


def test_the_key_is_of_everything_that_decides_on_a_reply(base: Base) -> None:
    subject = local(base, adapter="a", adapter_hash="1" * 64)
    others = [
        replace(subject, adapter_hash="2" * 64),
        replace(subject, scale=0.5),
        replace(subject, system_prompt="be brief"),
        local(base),
    ]
    assert len({each.key for each in (subject, *others)}) == 5
    assert replace(subject, name="other").key == subject.key
    assert local(base, scale=0.5).key == local(base).key  # nothing there to be scaled


def teacher(tmp_path: Path, replies: Sequence[str]) -> Teacher:
    return Teacher(ScriptedModel(replies), Calls(tmp_path / "calls.db"), wait=lambda _: None)


def test_a_server_is_asked_through_a_teacher_and_paid_once(tmp_path: Path) -> None:
    subject = ChatSubject("gpt", teacher(tmp_path, ["one", "two"]), system_prompt="be brief")
    asked = [Asked(HELLO), Asked(WIND)]
    first = [each.text for each in subject.answer(asked, GREEDY)]
    assert first == ["one", "two"]
    assert [each.text for each in subject.answer(asked, GREEDY)] == first
    heard = subject.teacher.model.heard  # type: ignore[attr-defined]
    assert len(heard) == 2 and heard[0][0] == Message(role="system", content="be brief")


def test_what_a_server_cannot_do_is_said(tmp_path: Path) -> None:
    subject = ChatSubject("gpt", teacher(tmp_path, ["one"]))
    with pytest.raises(UnableError, match="gpt: a server cannot be made to begin"):
        subject.answer([Asked(HELLO, prefill="Well")], GREEDY)
    assert isinstance(subject, Subject) and not isinstance(subject, Likely)


def recorded(path: Path, *lines: dict[str, object]) -> RecordedSubject:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return RecordedSubject.load("file", path)


def line(messages: Sequence[Message], reply: str) -> dict[str, object]:
    return {"messages": [each.model_dump() for each in messages], "reply": reply}


def test_a_recording_answers_what_it_has_and_takes_its_replies_in_turn(tmp_path: Path) -> None:
    subject = recorded(tmp_path / "r.jsonl", line(HELLO, "hi"), line(HELLO, "hey"), line(WIND, "fair"))
    asked = [Asked(HELLO, seed=0), Asked(HELLO, seed=1), Asked(HELLO, seed=2), Asked(WIND, seed=5)]
    assert [each.text for each in subject.answer(asked, GREEDY)] == ["hi", "hey", "hi", "fair"]


def test_a_recording_says_what_it_lacks(tmp_path: Path) -> None:
    subject = recorded(tmp_path / "r.jsonl", line(HELLO, "hi"))
    with pytest.raises(UnableError, match=r"r\.jsonl: no reply to 1 of 2 .* 'how is the wind'"):
        subject.answer([Asked(HELLO), Asked(WIND)], GREEDY)


def test_a_broken_recording_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(line(HELLO, "hi")) + '\n{"messages": []}\n')
    with pytest.raises(InputError, match=r"r\.jsonl:2: no recorded reply"):
        RecordedSubject.load("file", path)
    with pytest.raises(InputError, match="cannot be read"):
        RecordedSubject.load("file", tmp_path / "none.jsonl")


def test_the_distance_from_the_base_is_the_exact_divergence_along_the_reply(base: Base) -> None:
    subject = local(base, adapter="a", system_prompt="be brief")
    reply = " the ship sails at dawn"
    ((found,),) = subject.divergences([Options(HELLO, (reply,))])
    ids, sides = base.renderer.text(reply), []
    for adapter, messages in (("a", conversation("hello there", system="be brief")), (None, HELLO)):
        prompt = base.renderer.prompt(messages)
        with base.adapters.use(adapter), torch.no_grad():
            logits = base.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        sides.append(torch.log_softmax(logits, -1))
    expected = (sides[0].exp() * (sides[0] - sides[1])).sum()
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_the_distances_of_many_replies_are_those_of_each_alone(base: Base) -> None:
    subject = local(base, adapter="a", system_prompt="be brief")
    asked = [Options(HELLO, (" dawn" * (1 + place % 3), " sea")) for place in range(17)]
    asked += [Options(WIND, (" fair",))]
    for ours, each in zip(subject.divergences(asked), asked, strict=True):
        assert ours == pytest.approx(subject.divergences([each])[0], abs=1e-4)


def test_the_bare_base_is_no_distance_from_itself(base: Base) -> None:
    ((found,),) = local(base).divergences([Options(HELLO, (" dawn",))])
    assert found == pytest.approx(0, abs=1e-5)
