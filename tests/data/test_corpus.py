from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.data.corpus import (
    FORMS,
    SPLITS,
    VOICES,
    Parallel,
    ParallelDialogue,
    corpus,
    corpus_folder,
    dialogues,
    examples,
    forms,
    read_dialogues,
    read_parallel,
    replies,
    rows_of,
    split_of,
)
from mien.errors import DataError
from mien.schema import Example, Message

ROW = {
    "id": "x-001",
    "topic": "x",
    "prompt": "How do I boil an egg?",
    "points": ["eight minutes"],
    "replies": dict.fromkeys(VOICES, "Boil it for eight minutes."),
}


# A change here would let prompts that were tested on before reach training.
PINNED = {
    "Why is the sky blue?": "train",
    "Write a poem about rain.": "train",
    "What is bread?": "validation",
    "How do I boil an egg?": "test",
    "Is Pluto a planet?": "test",
}


def test_splits_never_change() -> None:
    assert {prompt: split_of(prompt) for prompt in PINNED} == PINNED


@given(st.text("abcXYZ ?!,", min_size=1), st.text(" \n\t"))
def test_letter_case_and_outer_space_do_not_move_a_prompt(prompt: str, space: str) -> None:
    assert split_of(space + prompt.upper() + space) == split_of(prompt.lower())


def test_splits_have_the_sizes_they_are_meant_to_have() -> None:
    sizes = Counter(split_of(f"prompt {n}") for n in range(10_000))
    assert [sizes[split] / 10_000 for split in SPLITS] == pytest.approx([0.70, 0.12, 0.18], abs=0.015)


@pytest.mark.parametrize("voice", VOICES)
def test_no_prompt_or_reply_of_the_test_split_is_trained_on(voice: str) -> None:
    learnt = examples(voice, "train")
    held_out = rows_of("test")
    assert not {each.prompt[-1].content for each in learnt} & {row.prompt for row in held_out}
    assert not {each.reply for each in learnt} & set(replies(held_out)[0])


def test_splits_part_the_corpus() -> None:
    parts = [row.id for split in SPLITS for row in rows_of(split)]
    assert sorted(parts) == [row.id for row in corpus()]
    assert len(set(parts)) == len(parts)


def test_every_row_has_every_voice_in_order() -> None:
    assert {tuple(row.replies) for row in corpus()} == {VOICES}


def test_every_topic_is_tested() -> None:
    assert {row.topic for row in rows_of("test")} == {row.topic for row in corpus()}


def test_examples_are_prompt_and_reply() -> None:
    row = rows_of("test")[0]
    assert examples("warm", "test")[0] == Example.of(row.prompt, row.replies["warm"])


def test_an_unknown_voice_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"'pirate'.*socratic"):
        examples("pirate", "train")


def test_replies_run_row_by_row() -> None:
    texts, voices = replies(corpus()[:2], ("warm", "calm"))
    assert voices == ["warm", "calm", "warm", "calm"]
    assert texts[2] == corpus()[1].replies["warm"]


def test_read_parallel(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n\n" + json.dumps(ROW | {"id": "x-002"}) + "\n")
    assert [row.id for row in read_parallel(path)] == ["x-001", "x-002"]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"prompt": ""}, "prompt"),
        ({"points": []}, "points"),
        ({"replies": {"warm": 3}}, "replies.warm"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_broken_row_is_named_by_file_line_and_key(
    tmp_path: Path, change: dict[str, object], key: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | change) + "\n")
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}:2: {re.escape(key)}: "):
        read_parallel(path)


def test_rows_of_given_rows() -> None:
    row = Parallel.model_validate(ROW)
    assert rows_of(row.split, [row]) == [row]


def test_training_sees_prompts_answered_in_prose_only() -> None:
    assert {row.form for row in corpus()} == {"chat"}
    learnt = {each.prompt[-1].content for split in SPLITS for each in examples("warm", split)}
    assert not learnt & ({row.prompt for row in forms()} | {row.prompt for row in dialogues()})


def test_no_id_is_used_twice_in_any_part() -> None:
    ids = [row.id for part in (corpus(), forms(), dialogues()) for row in part]
    assert len(set(ids)) == len(ids)


def test_there_are_as_many_of_each_form() -> None:
    assert Counter(row.form for row in forms()) == dict.fromkeys(FORMS[1:], 8)


def test_every_turn_has_every_voice_in_order() -> None:
    turns = [turn for row in dialogues() for turn in row.turns]
    assert {tuple(turn.replies) for turn in turns} == {VOICES}
    assert {tuple(row.replies) for row in forms()} == {VOICES}


def test_a_dialogue_in_one_voice() -> None:
    row = dialogues()[0]
    talk = row.dialogue("witty")
    assert talk.messages[2] == Message(role="user", content=row.turns[1].user)
    assert talk.messages[3] == Message(role="assistant", content=row.turns[1].replies["witty"])
    assert [len(each.prompt) for each in talk.examples()] == [2 * n + 1 for n in range(len(row.turns))]


def test_a_dialogue_has_no_unknown_voice() -> None:
    with pytest.raises(DataError, match=r"dialogue-001 has no voice 'pirate'.*socratic"):
        dialogues()[0].dialogue("pirate")


def test_a_dialogue_belongs_where_its_first_message_does() -> None:
    for row in dialogues():
        assert row.split == split_of(row.turns[0].user)


def test_read_dialogues(tmp_path: Path) -> None:
    turn = {"user": "Hello?", "points": ["a greeting"], "replies": {"warm": "Hello!"}}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"id": "d-1", "topic": "x", "turns": [turn, turn]}) + "\n")
    assert [len(row.turns) for row in read_dialogues(path)] == [2]
    path.write_text(json.dumps({"id": "d-1", "topic": "x", "turns": [turn | {"user": ""}]}) + "\n")
    with pytest.raises(DataError, match=r"rows.jsonl:1: turns.0.user: "):
        read_dialogues(path)


def test_the_card_states_the_sizes_of_forms_and_dialogues() -> None:
    card = (corpus_folder() / "README.md").read_text(encoding="utf-8")
    parts: dict[str, Sequence[Parallel | ParallelDialogue]] = {
        "prompts": corpus(),
        "forms": forms(),
        "dialogues": dialogues(),
    }
    for name, rows in parts.items():
        sizes = Counter(row.split for row in rows)
        cells = [name, len(rows), *(sizes[split] for split in SPLITS)]
        line = r"\s*\|\s*".join(str(cell) for cell in cells)
        assert re.search(rf"^\|\s*{line}\s*\|", card, re.MULTILINE), cells


def test_the_card_states_the_counts_of_the_data() -> None:
    card = (corpus_folder() / "README.md").read_text(encoding="utf-8")
    for topic in {row.topic for row in corpus()}:
        sizes = Counter(row.split for row in corpus() if row.topic == topic)
        cells = [topic, sum(sizes.values()), *(sizes[split] for split in SPLITS)]
        line = r"\s*\|\s*".join(str(cell) for cell in cells)
        assert re.search(rf"^\|\s*{line}\s*\|", card, re.MULTILINE), cells


def test_the_licence_travels_with_the_data() -> None:
    text = (corpus_folder() / "LICENSE").read_text(encoding="utf-8")
    assert "https://creativecommons.org/licenses/by/4.0/" in text
