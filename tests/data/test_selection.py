from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.data.corpus import VOICES, corpus, dialogues, forms, rows_of, split_of
from mien.data.formats import iter_records, write_records
from mien.data.pairs import Dropped, contents, preference, voices
from mien.data.selection import (
    BIN,
    Options,
    distance,
    edit_distance,
    finish,
    length_matched,
    log_ratio,
    marks,
    one_rejected,
    report,
)
from mien.schema import Message, Preference, conversation


def pair(chosen: str, rejected: str, prompt: str = "Tea?") -> Preference:
    return preference(conversation(prompt), chosen, rejected, "hand")


def sized(longer: int, shorter: int, *, name: str = "") -> Preference:
    """A pair with so many words in the chosen and in the rejected reply."""
    return pair("one " * longer, "two " * shorter, f"Tea {name}?")


WORDS = st.lists(st.sampled_from("abcde"), max_size=80)
SIZES = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=40)


def by_table(a: Sequence[str], b: Sequence[str]) -> int:
    """The textbook's edit distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


@given(WORDS, WORDS)
def test_edit_distance_is_that_of_the_textbook(a: list[str], b: list[str]) -> None:
    assert edit_distance(a, b) == by_table(a, b) == edit_distance(b, a)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("the cat sat", "the dog sat", 1 / 3),
        ("the cat sat", "the cat", 1 / 3),
        ("Yes, please!", "yes please", 0),
        ("Tea.", "Coffee, then.", 1),
        ("?!", "?.", 0.5),
        ("", "", 0),
    ],
)
def test_distance_is_the_share_of_words_that_change(a: str, b: str, expected: float) -> None:
    assert distance(a, b) == pytest.approx(expected)


def test_what_was_not_made_is_counted_by_its_reason() -> None:
    rows, told = finish([Dropped("tie"), pair("Yes.", "No."), Dropped("tie"), Dropped("cut short")])
    assert rows == [pair("Yes.", "No.")]
    assert told.dropped == {"tie": 2, "cut short": 1}
    assert (told.pairs, told.sources) == (1, {"hand": 1})


def test_pairs_of_one_text_and_pairs_given_twice_are_dropped() -> None:
    found = [pair("Yes.", "No."), pair("Yes.", "Yes."), pair("Yes.", "No."), pair("Yes.", "Never.")]
    rows, told = finish(found)
    assert rows == [found[0], found[3]]
    assert told.dropped == {"identical": 1, "duplicate": 1}


def test_of_a_pair_given_twice_the_first_keeps_its_place() -> None:
    found = [pair("Yes.", "No."), pair("Yes.", "Never."), pair("Yes.", "No.")]
    assert finish(found)[0] == found[:2]


def test_pairs_that_say_the_opposite_are_both_dropped() -> None:
    found = [pair("Yes.", "No."), pair("No.", "Yes."), pair("No.", "Yes.", "Coffee?")]
    rows, told = finish(found)
    assert rows == [found[2]]
    assert told.dropped == {"contradictory": 2}


LONG = "one two three four five six seven eight nine ten eleven"


def test_near_identical_pairs_are_flagged_and_dropped_only_if_asked() -> None:
    found = [pair(LONG, f"{LONG}!"), pair(LONG, f"zero {LONG}"), pair("Yes.", "No.")]
    rows, told = finish(found)
    assert (rows, told.near_identical) == (found, 2)
    assert [marks(row)["near_identical"] for row in rows] == [True, True, False]
    assert marks(rows[1])["edit_distance"] == pytest.approx(1 / 12, abs=1e-4)
    rows, told = finish(found, Options(near_identical="drop"))
    assert (rows, told.dropped, told.near_identical) == ([found[2]], {"near-identical": 2}, 0)
    rows, _ = finish(found, Options(near_identical="drop", near=0.05))
    assert rows == found[1:]


TEST = rows_of("test")[0].prompt
TRAIN = rows_of("train")[0].prompt
UNKNOWN = next(f"Question {n}" for n in range(100) if split_of(f"Question {n}") == "test")


@pytest.mark.parametrize("prompt", [TEST, f"  {TEST.upper()}\n"])
def test_no_test_prompt_of_the_corpus_is_let_in(prompt: str) -> None:
    rows, told = finish([pair("Yes.", "No.", prompt)])
    assert (rows, told.dropped) == ([], {"test prompt": 1})


def test_nor_one_that_was_asked_earlier_in_the_conversation() -> None:
    turns = (
        *conversation(TEST),
        Message(role="assistant", content="Hm."),
        Message(role="user", content="And?"),
    )
    assert finish([preference(turns, "Yes.", "No.", "hand")])[1].dropped == {"test prompt": 1}


def test_test_prompts_come_if_they_are_asked_for_and_then_no_others() -> None:
    found = [pair("Yes.", "No.", prompt) for prompt in (TEST, TRAIN, UNKNOWN)]
    rows, told = finish(found, Options(split="test"))
    assert (rows, told.dropped) == ([found[0], found[2]], {"other split": 1})
    assert finish(found, Options(split="train"))[0] == [found[1]]


def test_a_prompt_that_is_not_the_corpus_own_is_nobodys_test() -> None:
    assert len(finish([pair("Yes.", "No.", UNKNOWN)])[0]) == 1


def test_the_split_is_that_of_the_turn_that_opens_the_conversation() -> None:
    opened = {
        split: next(f"Q{n}" for n in range(99) if split_of(f"Q{n}") == split)
        for split in ("train", "validation")
    }
    turns = (
        *conversation(opened["validation"]),
        Message(role="assistant", content="Hm."),
        *conversation(opened["train"]),
    )
    row = preference(turns, "Yes.", "No.", "hand")
    assert finish([row], Options(split="validation"))[0] == [row]
    assert finish([row], Options(split="train"))[0] == []


def test_of_several_rejected_replies_the_one_that_balances_the_lengths_is_kept() -> None:
    def options(prompt: str, *sizes: int) -> list[Preference]:
        return [pair("one " * 10, f"{'two ' * size}", prompt) for size in sizes]

    first, second = options("A?", 5, 8), options("B?", 6, 12, 30)
    # 10:8 is nearest to even; then 10:12 makes the two cancel out best.
    assert one_rejected([*first, *second]) == [first[1], second[1]]
    rows, told = finish([*first, *second], Options(one_rejected=True))
    assert (rows, told.dropped) == ([first[1], second[1]], {"other rejected": 3})
    assert told.mean_log_ratio == pytest.approx((math.log(10 / 8) + math.log(10 / 12)) / 2, abs=1e-4)


def test_each_longer_chosen_reply_needs_a_partner_that_is_shorter() -> None:
    longer = [sized(22, 20, name=f"long {n}") for n in range(3)]
    shorter = [sized(20, 22, name="short")]
    even, extreme = sized(20, 20), [sized(40, 20, name="x"), sized(20, 40, name="y")]
    rows, told = finish([*longer, *shorter, even, *extreme], Options(max_ratio=1.5))
    assert len([row for row in rows if row in longer]) == 1
    assert [row for row in rows if row not in longer] == [*shorter, even]
    assert told.dropped == {"length ratio": 2, "length balance": 2}
    assert (told.chosen_longer, told.mean_log_ratio) == (0.5, 0.0)


def test_a_set_whose_chosen_replies_are_always_longer_leaves_nothing() -> None:
    assert length_matched([sized(12, 10, name=str(n)) for n in range(50)]) == []


def test_lengths_may_be_counted_otherwise() -> None:
    found = [pair("a" * 9, "b" * 3)]
    assert log_ratio(found[0]) == 0
    assert log_ratio(found[0], len) == pytest.approx(math.log(3))
    assert finish(found, Options(max_ratio=2), length=len)[1].dropped == {"length ratio": 1}


@given(SIZES, st.integers(0, 3), st.sampled_from([1.1, 1.5, 4.0]))
def test_matched_lengths_do_not_tell_which_reply_is_chosen(
    sizes: list[tuple[int, int]], seed: int, most: float
) -> None:
    found = [sized(*size, name=str(n)) for n, size in enumerate(sizes)]
    rows = length_matched(found, most=most, seed=seed)
    ratios = [log_ratio(row) for row in rows]
    assert sum(ratio > 0 for ratio in ratios) == sum(ratio < 0 for ratio in ratios)
    assert abs(sum(ratios)) <= BIN / 2 * len(rows) + 1e-9
    assert all(abs(ratio) <= math.log(most) + 1e-6 for ratio in ratios)
    assert length_matched(rows, most=most) == rows
    assert rows == [row for row in found if row in rows]


@given(SIZES, st.integers(1, 12), st.booleans())
def test_a_limit_keeps_the_balance(sizes: list[tuple[int, int]], limit: int, matched: bool) -> None:
    found = [sized(*size, name=str(n)) for n, size in enumerate(sizes)]
    options = Options(limit=limit, max_ratio=3 if matched else None)
    rows, told = finish(found, options)
    assert len(rows) <= limit
    assert len(rows) + sum(told.dropped.values()) == len(found)
    if matched and rows:
        assert told.chosen_longer == 0.5
    if not matched:
        assert len(rows) == min(limit, len(found))


TEXTS = st.sampled_from(["Yes.", "Yes!", "No.", "Never, ever.", "one two three", "one two four"])
FOUND = st.lists(
    st.builds(pair, TEXTS, TEXTS, st.sampled_from(["A?", "B?", TEST])) | st.just(Dropped("tie")),
    max_size=25,
)
OPTIONS = st.builds(
    Options,
    split=st.sampled_from([None, "train", "test"]),
    near_identical=st.sampled_from(["flag", "drop"]),
    near=st.sampled_from([0.1, 0.5]),
    one_rejected=st.booleans(),
    max_ratio=st.sampled_from([None, 1.2, 3.0]),
    limit=st.sampled_from([None, 1, 4]),
    seed=st.integers(0, 2),
)


@given(FOUND, OPTIONS)
def test_every_row_is_kept_or_counted_and_kept_in_order(
    found: list[Preference | Dropped], options: Options
) -> None:
    rows, told = finish(found, options)
    assert told.pairs == len(rows) == len(found) - sum(told.dropped.values())
    places = [found.index(row) for row in rows]
    assert places == sorted(set(places))
    assert finish(found, options) == (rows, told)
    assert all(row.chosen != row.rejected for row in rows)
    assert options.split == "test" or all(row.prompt[0].content != TEST for row in rows)


def test_the_seed_decides_which_rows_a_limit_keeps() -> None:
    found = [sized(5, 5, name=str(n)) for n in range(30)]
    drawn = {
        tuple(row.prompt[0].content for row in finish(found, Options(limit=5, seed=seed))[0])
        for seed in range(5)
    }
    assert len(drawn) == 5


def test_a_report_tells_the_distributions() -> None:
    told = report([sized(20, 10), sized(10, 10), sized(10, 20), sized(10, 40)], {"tie": 0, "limit": 2})
    assert told.dropped == {"limit": 2}
    assert told.chosen_longer == (1 + 0.5) / 4
    assert told.mean_log_ratio == pytest.approx(-math.log(4) / 4, abs=1e-4)
    assert told.log_ratio and told.log_ratio.p50 == pytest.approx(-math.log(2) / 2, abs=1e-4)
    assert told.edit_distance and told.edit_distance.p05 == 1


def test_nothing_found_is_reported_as_nothing() -> None:
    rows, told = finish([])
    assert (rows, told.pairs, told.log_ratio, told.mean_log_ratio) == ([], 0, None, None)


@pytest.mark.parametrize("persona", VOICES)
def test_pairs_of_the_corpus_are_written_as_trl_reads_them(tmp_path: Path, persona: str) -> None:
    built_in = contents([*corpus(), *forms(), *dialogues()])
    rows, told = finish(voices(built_in, persona), Options(split="train", max_ratio=1.5))
    assert len(told.sources) == len(VOICES) - 1
    assert told.chosen_longer == 0.5 and abs(told.mean_log_ratio or 0) < BIN / 2
    assert {split_of(row.prompt[0].content) for row in rows} == {"train"}
    assert any(len(row.prompt) > 1 for row in rows), "dialogues bring their history"

    path = tmp_path / "pairs.jsonl"
    assert write_records(path, rows, map(marks, rows)) == len(rows) > 100
    assert [record.row for record in iter_records(path, form="preferences")] == rows

    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({tuple(line) for line in lines}) == 1, "every row has the same columns"
    assert {"prompt", "chosen", "rejected", "source", "log_ratio", "edit_distance"} <= set(lines[0])
    for line in lines:
        roles = [turn["role"] for turn in line["prompt"]]
        assert roles == ["user", *["assistant", "user"] * (len(roles) // 2)]
        assert [turn["role"] for turn in line["chosen"] + line["rejected"]] == ["assistant"] * 2
        assert set(line["chosen"][0]) == {"role", "content"}
