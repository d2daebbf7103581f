"""What is trained on: the right side of each split, whole examples only, and it shows what is learnt."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
import torch

from mien.base.flat import Flat
from mien.base.model import Base
from mien.data import corpus
from mien.data.corpus import VOICES, rows_of, split_of
from mien.data.formats import Row, write_examples, write_records
from mien.errors import DataError, SpecError
from mien.persona.spec import find
from mien.persona.voice import Text
from mien.schema import Dialogue, Example, Message, Preference
from mien.train.data import Dataset, encode, load_dataset, preview
from mien.train.recipe import DpoRecipe, SftRecipe
from tests import models

ASKED = [f"question number {n}" for n in range(60)]


def questions(examples: tuple[Example, ...]) -> set[str]:
    return {each.prompt[-1].content for each in examples}


def from_file(folder: Path, rows: list[Example], **changes: object) -> Dataset:
    path = folder / "rows.jsonl"
    write_examples(path, rows)
    recipe = SftRecipe.model_validate({"persona": "witty", "data": path, **changes})
    return load_dataset(recipe, find("witty"))


def of_length(most: int) -> SftRecipe:
    return SftRecipe(persona="witty", max_length=most)


@pytest.mark.parametrize("voice", VOICES)
def test_the_built_in_data_are_the_personas_replies_of_the_right_splits(voice: str) -> None:
    found = load_dataset(SftRecipe(persona=voice), find(voice))
    assert found.train == tuple(corpus.examples(voice, "train"))
    assert found.validation == tuple(corpus.examples(voice, "validation"))
    assert voice in found.name


@pytest.mark.parametrize("voice", VOICES)
def test_a_test_prompt_is_never_trained_or_stopped_on(voice: str) -> None:
    found = load_dataset(SftRecipe(persona=voice), find(voice))
    asked = questions(found.train) | questions(found.validation)
    assert not asked & {row.prompt for row in rows_of("test")}
    assert not questions(found.train) & questions(found.validation)


def test_a_persona_without_built_in_data_says_what_to_do(tmp_path: Path) -> None:
    # A persona of one's own may have any name.
    persona = find("witty").model_copy(update={"name": "captain"})
    with pytest.raises(DataError, match="no voice 'captain'") as caught:
        load_dataset(SftRecipe(persona="captain"), persona)
    assert "`data`" in caught.value.fix


def test_an_unknown_persona_is_found_out_before_any_data_are_read() -> None:
    with pytest.raises((DataError, SpecError, Exception), match="captain"):
        find("captain")


def test_the_null_adapter_learns_the_neutral_replies() -> None:
    neutral = find("neutral")
    null = load_dataset(SftRecipe(stage="null", persona="neutral"), neutral)
    assert null == load_dataset(SftRecipe(persona="neutral"), neutral)


def test_pairs_of_the_null_are_one_neutral_reply_less_a_sentence_on_each_side() -> None:
    found = load_dataset(DpoRecipe(stage="null-dpo", persona="neutral"), find("neutral"))
    replies = {row.prompt: row.replies["neutral"] for row in corpus.corpus()}
    assert len(found.train) > 100 and found.validation
    for pair in (*found.train, *found.validation):
        assert isinstance(pair, Preference)
        whole = Text(replies[pair.prompt[-1].content]).sentences
        less_one = {" ".join(whole[:out] + whole[out + 1 :]) for out in range(len(whole))}
        assert pair.chosen != pair.rejected
        assert {pair.chosen[0].content, pair.rejected[0].content} <= less_one


def test_chance_says_which_side_of_the_null_s_pairs_is_chosen_so_length_does_not() -> None:
    found = load_dataset(DpoRecipe(stage="null-dpo", persona="neutral"), find("neutral"))
    longer = [
        len(pair.chosen[0].content) > len(pair.rejected[0].content)
        for pair in found.train
        if isinstance(pair, Preference)
    ]
    assert sum(longer) / len(longer) == pytest.approx(0.5, abs=0.15)
    assert found == load_dataset(DpoRecipe(stage="null-dpo", persona="neutral"), find("neutral"))


def test_prompts_of_a_file_are_held_out_by_their_hash(tmp_path: Path) -> None:
    found = from_file(tmp_path, [Example.of(asked, "yes") for asked in ASKED])
    assert questions(found.validation) == {asked for asked in ASKED if split_of(asked) == "validation"}
    assert questions(found.train) == set(ASKED) - questions(found.validation)
    assert found.validation


def test_all_rows_of_a_prompt_are_on_one_side(tmp_path: Path) -> None:
    rows = [Example.of(asked, f"reply {n}") for n in range(3) for asked in ASKED]
    found = from_file(tmp_path, rows)
    assert len(found.train) + len(found.validation) == len(rows)
    assert not questions(found.train) & questions(found.validation)


def spoken(*said: str) -> Dialogue:
    turns = zip(cycle(("user", "assistant")), said, strict=False)
    return Dialogue.model_validate(
        {"messages": [{"role": role, "content": text} for role, text in turns]}
    )


def from_records(folder: Path, *rows: Row) -> Dataset:
    path = folder / "rows.jsonl"
    write_records(path, rows)
    recipe = SftRecipe.model_validate({"persona": "witty", "data": path})
    return load_dataset(recipe, find("witty"))


def test_a_dialogue_is_learnt_from_each_turn_of_the_assistant(tmp_path: Path) -> None:
    learnt = next(asked for asked in ASKED if split_of(asked) == "train")
    found = from_records(tmp_path, spoken(learnt, "Yes.", "And?", "No."))
    assert [each.reply for each in found.train] == ["Yes.", "No."]
    assert [len(each.prompt) for each in found.train] == [1, 3]


def test_all_turns_of_a_dialogue_are_on_one_side(tmp_path: Path) -> None:
    found = from_records(tmp_path, *(spoken(asked, "Yes.", f"{asked}, and?", "No.") for asked in ASKED))
    sides = [{each.prompt[0].content for each in side} for side in (found.train, found.validation)]
    assert len(found.train) + len(found.validation) == 2 * len(ASKED)
    assert all(sides) and not sides[0] & sides[1]


def test_what_there_is_no_room_for_in_validation_is_trained_on(tmp_path: Path) -> None:
    held = next(asked for asked in ASKED if split_of(asked) == "validation")
    rows = [Example.of(asked, "yes") for asked in ASKED]
    found = from_file(tmp_path, [*rows, *(Example.of(held, f"reply {n}") for n in range(250))])
    assert len(found.train) + len(found.validation) == len(rows) + 250
    assert held not in questions(found.validation) and found.validation


def test_conversations_that_use_tools_are_not_trained_on(tmp_path: Path) -> None:
    said = (
        Message(role="user", content="What time is it?"),
        Message(role="assistant", tool_calls=({"function": {"name": "clock"}},)),
        Message(role="tool", content="12:00"),
        Message(role="assistant", content="Noon."),
    )
    with pytest.raises(DataError, match="1 of 3 rows use tools") as caught:
        from_records(tmp_path, Dialogue(messages=said), spoken("a", "b", "c", "d"))
    assert caught.value.fix


def test_a_test_prompt_in_the_middle_of_a_dialogue_is_found(tmp_path: Path) -> None:
    asked = rows_of("test")[0].prompt
    with pytest.raises(DataError, match="1 of 2 rows ask a test prompt"):
        from_records(tmp_path, spoken("Hello", "Hi.", asked, "Yes."))


def test_a_file_of_one_prompt_is_trained_on_whole_wherever_its_hash_falls(tmp_path: Path) -> None:
    held = next(asked for asked in ASKED if split_of(asked) == "validation")
    found = from_file(tmp_path, [Example.of(held, "a"), Example.of(held, "b")])
    assert (len(found.train), len(found.validation)) == (2, 0)


def test_a_validation_file_replaces_the_holding_out(tmp_path: Path) -> None:
    other = tmp_path / "held.jsonl"
    write_examples(other, [Example.of("another", "yes")])
    found = from_file(tmp_path, [Example.of(asked, "yes") for asked in ASKED], validation=other)
    assert questions(found.train) == set(ASKED)
    assert questions(found.validation) == {"another"}


def test_under_prompt_puts_the_system_prompt_first_and_leaves_the_rows_own(tmp_path: Path) -> None:
    rows = [Example.of("a", "b"), Example.of("c", "d", system="Mine.")]
    found = from_file(tmp_path, rows, under_prompt=True, validation=None)
    first, second = (*found.train, *found.validation)
    assert first.prompt[0] == Message(role="system", content=find("witty").system_prompt.strip())
    assert first.prompt[1:] == rows[0].prompt
    assert second == rows[1]


def test_the_digest_tells_data_apart_and_not_files(tmp_path: Path) -> None:
    rows = [Example.of(asked, "yes") for asked in ASKED]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, same = from_file(tmp_path / "a", rows), from_file(tmp_path / "b", rows)
    other = from_file(tmp_path, [*rows[1:], Example.of(ASKED[0], "no")])
    assert one.digest() == same.digest() != other.digest()


def test_an_example_that_is_too_long_is_left_out_whole_and_counted(tiny_base: Base) -> None:
    short, long = Example.of("hello", "hi"), Example.of("hello", "the ship sails at dawn, " * 30)
    pair = list(tiny_base.renderer.example(short))
    data = Dataset("rows", (short, long, short), (long, short))
    found = encode(tiny_base, data, of_length(64))
    assert found.train == [pair, pair] and found.validation == [pair]
    assert found.too_long == 2
    assert found.tokens == 2 * (len(pair[0]) + len(pair[1]))
    assert found.learnt == 2 * len(pair[1])


def test_an_example_of_just_the_length_is_kept(tiny_base: Base) -> None:
    example = Example.of("hello", "hi")
    length = sum(map(len, tiny_base.renderer.example(example)))
    data = Dataset("rows", (example,), ())
    assert encode(tiny_base, data, of_length(length)).too_long == 0
    with pytest.raises(DataError, match=f"all 1 rows are over {length - 1} tokens") as caught:
        encode(tiny_base, data, of_length(length - 1))
    assert "max_length" in caught.value.fix


def test_what_is_learnt_is_the_reply_and_the_mark_that_ends_it(tiny_base: Base) -> None:
    data = Dataset("x", (Example.of("a", "hello"),), ())
    _, completion = encode(tiny_base, data, of_length(64)).train[0]
    assert tiny_base.tokenizer.decode(completion) == "hello<|im_end|>"


def test_the_preview_marks_exactly_the_learnt_tokens(tiny_base: Base) -> None:
    pair = tiny_base.renderer.example(Example.of("the wind is fair", "hello there", system="be kind"))
    shown = preview(tiny_base, list(pair))
    marked = [shown.plain[span.start : span.end] for span in shown.spans if "green" in str(span.style)]
    assert marked == [tiny_base.tokenizer.decode([token]) for token in pair[1]]
    assert "".join(marked) == "hello there<|im_end|>"
    before = shown.plain[: min(span.start for span in shown.spans if "green" in str(span.style))]
    assert before == tiny_base.tokenizer.decode(pair[0])
    assert before.endswith("<|im_start|>assistant\n")


def talk(*replies: str) -> Dialogue:
    return spoken(*(text for reply in replies for text in ("how are you", reply)))


@pytest.mark.parametrize("make", [models.tiny_base, models.tiny_gemma])
def test_a_dialogue_is_one_row_that_learns_what_its_examples_learn(make: Callable[[], Base]) -> None:
    base = make()
    examples = (*talk("hello", "fair", "the wind").examples(), *talk("at dawn").examples())
    found = encode(base, Dataset("talks", tuple(examples), ()), of_length(256))
    pairs = [base.renderer.example(example) for example in examples]
    assert [len(row) for row in found.train] == [6, 2]
    assert found.examples == 4
    assert found.tokens == sum(map(len, pairs[2])) + sum(map(len, pairs[3]))
    assert [row[1::2] for row in found.train] == [[c for _, c in pairs[:3]], [pairs[3][1]]]
    together = base.nll(Flat.of(found.train))
    apart = base.nll(Flat.of(pairs))
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


def test_the_preview_of_a_dialogue_marks_every_reply(tiny_base: Base) -> None:
    examples = tuple(talk("hello", "fair").examples())
    (row,) = encode(tiny_base, Dataset("talk", examples, ()), of_length(256)).train
    shown = preview(tiny_base, row)
    marked = [shown.plain[span.start : span.end] for span in shown.spans if "green" in str(span.style)]
    assert "".join(marked) == "hello<|im_end|>fair<|im_end|>"
