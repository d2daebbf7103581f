"""What preferences are trained on: two voices of one content, or a file's pairs, prompt by prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mien.base.flat import Tree
from mien.base.model import Base
from mien.data import corpus
from mien.data.corpus import VOICES, asks_a_test_prompt, rows_of, split_of
from mien.data.selection import BIN, log_ratio, report
from mien.errors import DataError
from mien.persona.spec import find
from mien.schema import Example, Message, Preference
from mien.train.data import Contest, Dataset, Encoded, Ranked, encode, length, load_dataset, preview
from mien.train.recipe import DpoRecipe, Recipe, RewardRecipe, recipe_of
from tests.train.pairs import pair, write_pairs

ASKED = [f"question number {n}" for n in range(60)]
STAGES = ("dpo", "reward")


def recipe(stage: str = "dpo", **changes: Any) -> Recipe:
    return recipe_of({"stage": stage, "persona": "witty", **changes}, source="test")


def from_pairs(folder: Path, pairs: Sequence[Preference], stage: str = "dpo", **changes: Any) -> Dataset:
    path = write_pairs(folder / "pairs.jsonl", pairs)
    return load_dataset(recipe(stage, data=path, **changes), find("witty"))


def from_rows(folder: Path, *rows: dict[str, Any], stage: str = "dpo") -> Dataset:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_dataset(recipe(stage, data=path), find("witty"))


def prompts(side: Sequence[Example | Preference]) -> set[str]:
    return {each.prompt[-1].content for each in side}


@cache
def of_the_corpus(voice: str) -> Dataset:
    return load_dataset(DpoRecipe(persona=voice), find(voice))


def preferences(data: Dataset) -> list[Preference]:
    return [row for row in (*data.train, *data.validation) if isinstance(row, Preference)]


def encoded(base: Base, *pairs: Preference, most: int = 256, stage: str = "dpo") -> Encoded:
    return encode(base, Dataset("pairs", pairs, ()), recipe(stage, max_length=most))


@pytest.mark.parametrize("voice", VOICES)
def test_the_corpus_pairs_prefer_the_voice_to_another_of_the_same_content(voice: str) -> None:
    found = of_the_corpus(voice)
    rows = {row.prompt: row.replies for row in corpus.corpus()}
    for each in preferences(found):
        replies = rows[each.prompt[0].content]
        others = {text for name, text in replies.items() if name != voice}
        assert each.chosen[0].content == replies[voice]
        assert each.rejected[0].content in others
    assert voice in found.name and "pairs" in found.name


@pytest.mark.parametrize("voice", VOICES)
def test_corpus_pairs_keep_to_their_split_and_ask_no_test_prompt(voice: str) -> None:
    found = of_the_corpus(voice)
    for side, name in ((found.train, "train"), (found.validation, "validation")):
        assert side and {split_of(asked) for asked in prompts(side)} == {name}
    assert not any(asks_a_test_prompt(each.prompt) for each in preferences(found))


@pytest.mark.parametrize("voice", VOICES)
def test_lengths_do_not_tell_which_reply_of_the_corpus_is_chosen(voice: str) -> None:
    found = preferences(of_the_corpus(voice))
    seen = report(found, {})
    assert seen.chosen_longer == 0.5
    assert seen.mean_log_ratio == pytest.approx(0, abs=BIN / 2)
    assert max(abs(log_ratio(each)) for each in found) <= 0.4055  # log 1.5


def test_a_corpus_prompt_has_one_pair_and_most_prompts_have_one() -> None:
    found = of_the_corpus("calm")
    assert len(prompts(found.train)) == len(found.train) > 0.8 * len(rows_of("train"))


def test_both_stages_learn_from_the_same_pairs_of_the_corpus() -> None:
    reward = load_dataset(RewardRecipe(persona="calm"), find("calm"))
    assert reward.digest() == of_the_corpus("calm").digest()


@pytest.mark.parametrize("stage", STAGES)
def test_a_persona_without_built_in_pairs_says_what_to_do(stage: str) -> None:
    persona = find("witty").model_copy(update={"name": "captain"})
    with pytest.raises(DataError, match="no voice 'captain'") as caught:
        load_dataset(recipe(stage, persona="captain"), persona)
    assert "--data" in caught.value.fix


@pytest.mark.parametrize("stage", STAGES)
def test_the_pairs_of_a_file_are_held_out_by_the_hash_of_their_prompt(
    tmp_path: Path, stage: str
) -> None:
    pairs = [pair(asked, "yes", no) for no in ("no", "never") for asked in ASKED]
    found = from_pairs(tmp_path, pairs, stage)
    held = {asked for asked in ASKED if split_of(asked) == "validation"}
    assert prompts(found.validation) == held and prompts(found.train) == set(ASKED) - held
    assert len(found.train) + len(found.validation) == len(pairs)


def test_a_validation_file_replaces_the_holding_out(tmp_path: Path) -> None:
    held = write_pairs(tmp_path / "held.jsonl", [pair("another", "yes", "no")])
    found = from_pairs(tmp_path, [pair(asked, "yes", "no") for asked in ASKED], validation=held)
    assert prompts(found.train) == set(ASKED) and prompts(found.validation) == {"another"}


def test_a_prompt_that_is_only_in_the_replies_is_found_there(tmp_path: Path) -> None:
    shared = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    sides = {side: [*shared, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    (found,) = preferences(from_rows(tmp_path, sides))
    assert [turn.content for turn in found.prompt] == ["a", "b", "c"]
    assert (found.chosen[0].content, found.rejected[0].content) == ("chosen", "rejected")


def test_plain_texts_are_pairs_too(tmp_path: Path) -> None:
    found = from_rows(tmp_path, {"prompt": "a", "chosen": "b", "rejected": "c"})
    assert preferences(found) == [pair("a", "b", "c")]


def test_under_prompt_puts_the_system_prompt_first_and_leaves_the_rows_own(tmp_path: Path) -> None:
    rows = [pair("a", "b", "c"), pair("d", "e", "f", system="Mine.")]
    bare, own = preferences(from_pairs(tmp_path, rows, under_prompt=True))
    assert bare.prompt[0] == Message(role="system", content=find("witty").system_prompt.strip())
    assert bare.prompt[1:] == rows[0].prompt
    assert (bare.chosen, bare.rejected) == (rows[0].chosen, rows[0].rejected)
    assert own == rows[1]


def test_the_digest_tells_which_reply_is_chosen(tmp_path: Path) -> None:
    one = from_pairs(tmp_path, [pair("a", "b", "c")])
    other = from_pairs(tmp_path, [pair("a", "c", "b")])
    again = from_pairs(tmp_path, [pair("a", "b", "c")], "reward")
    assert one.digest() == again.digest() != other.digest()


@pytest.mark.parametrize("stage", STAGES)
def test_an_empty_file_is_an_error(tmp_path: Path, stage: str) -> None:
    with pytest.raises(DataError, match=r"pairs\.jsonl: no pairs") as caught:
        from_rows(tmp_path, stage=stage)
    assert "mien data pairs" in caught.value.fix


@pytest.mark.parametrize("stage", STAGES)
def test_identical_chosen_and_rejected_are_an_error_that_counts_them(tmp_path: Path, stage: str) -> None:
    rows = [pair("a", "b", "c"), pair("d", "e", "e"), pair("f", "g", "g")]
    with pytest.raises(DataError, match="in 2 of 3 pairs chosen and rejected are the same") as caught:
        from_pairs(tmp_path, rows, stage)
    assert "mien data check" in caught.value.fix


def test_a_validation_file_is_looked_at_as_closely(tmp_path: Path) -> None:
    held = write_pairs(tmp_path / "held.jsonl", [pair("a", "b", "b")])
    with pytest.raises(DataError, match=r"held\.jsonl: in 1 of 1 pairs"):
        from_pairs(tmp_path, [pair("a", "b", "c")], validation=held)


def test_examples_where_pairs_are_needed_say_which_row(tmp_path: Path) -> None:
    rows = ({"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "completion": "b"})
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: not of the form preferences") as caught:
        from_rows(tmp_path, *rows)
    assert caught.value.fix


@pytest.mark.parametrize(
    "said",
    [
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "clock"}}]},
        {"role": "tool", "content": "12:00"},
    ],
)
def test_pairs_that_use_tools_are_an_error(tmp_path: Path, said: dict[str, Any]) -> None:
    asked = [{"role": "user", "content": "a"}]
    row = {"prompt": [*asked, said, *asked], "chosen": "b", "rejected": "c"}
    with pytest.raises(DataError, match="1 of 2 rows use tools") as caught:
        from_rows(tmp_path, row, {"prompt": asked, "chosen": "b", "rejected": "c"})
    assert caught.value.fix


@pytest.mark.parametrize("stage", STAGES)
def test_a_pair_that_asks_a_test_prompt_is_an_error(tmp_path: Path, stage: str) -> None:
    asked = rows_of("test")[0].prompt
    with pytest.raises(DataError, match=r"1 of 2 .* ask a test prompt") as caught:
        from_pairs(tmp_path, [pair("a", "b", "c"), pair(f" {asked.upper()}", "b", "c")], stage)
    assert caught.value.fix


def test_pairs_with_one_prompt_and_one_chosen_reply_are_one_row(tiny_base: Base) -> None:
    pairs = [
        pair("a", "good", "bad"),
        pair("b", "good", "bad"),
        pair("a", "good", "worse"),
        pair("a", "fair", "bad"),
    ]
    rows = encoded(tiny_base, *pairs).train
    of = tiny_base.renderer.completion
    assert [[list(each) for each in row.tree.completions] for row in rows] == [
        [of("good"), of("bad"), of("worse")],
        [of("good"), of("bad")],
        [of("fair"), of("bad")],
    ]
    assert [list(row.tree.prompt) for row in rows] == [
        tiny_base.renderer.prompt(pairs[place].prompt) for place in (0, 1, 3)
    ]
    assert [row.pairs for row in rows] == [2, 1, 1]


def test_the_same_words_under_another_system_prompt_are_another_row(tiny_base: Base) -> None:
    pairs = (pair("a", "b", "c"), pair("a", "b", "d", system="Be kind."))
    assert len(encoded(tiny_base, *pairs).train) == 2


def test_margins_stay_with_their_rejected_reply(tiny_base: Base) -> None:
    pairs = (
        pair("a", "b", "c", margin=0.5),
        pair("d", "e", "f", margin=2.0),
        pair("a", "b", "g"),
        pair("a", "b", "h", margin=1.5),
    )
    rows = encoded(tiny_base, *pairs, stage="reward").train
    assert [row.margins for row in rows] == [(0.5, 0.0, 1.5), (2.0,)]


def test_a_pair_that_comes_twice_is_learnt_once(tiny_base: Base) -> None:
    found = encoded(tiny_base, pair("a", "b", "c"), pair("a", "b", "c"))
    assert (len(found.train), found.examples) == (1, 1)


def test_what_is_counted_is_what_is_computed(tiny_base: Base) -> None:
    # Two pairs on one prompt with one chosen reply: the prompt is read once, three replies are learnt.
    found = encoded(tiny_base, pair("a", "good", "bad"), pair("a", "good", "worse"))
    (row,) = found.train
    replies = sum(len(tiny_base.renderer.completion(text)) for text in ("good", "bad", "worse"))
    assert found.examples == 2
    assert found.learnt == replies
    assert found.tokens == length(row) == len(row.tree.prompt) + replies


@pytest.mark.parametrize("sides", [("hi", "the ship sails, " * 30), ("the ship sails, " * 30, "hi")])
def test_a_pair_with_a_reply_too_long_is_left_out_whole(tiny_base: Base, sides: tuple[str, str]) -> None:
    short, long = pair("hello", "hi", "no"), pair("hello", *sides)
    data = Dataset("pairs", (short, long), (long, short))
    found = encode(tiny_base, data, recipe(max_length=64))
    (row,) = found.train
    assert [list(each) for each in row.tree.completions] == [
        tiny_base.renderer.completion(text) for text in ("hi", "no")
    ]
    assert found.validation == [row] and found.too_long == 2


def test_a_pair_of_just_the_length_is_kept_and_if_none_is_it_is_an_error(tiny_base: Base) -> None:
    # Each reply must fit behind its prompt; both of them together need not.
    each = pair("hello there", "hello there, how are you", "hi")
    renderer = tiny_base.renderer
    most = len(renderer.prompt(each.prompt)) + len(renderer.completion(each.chosen[0].content))
    assert encoded(tiny_base, each, most=most).too_long == 0
    with pytest.raises(DataError, match=f"all 1 rows are over {most - 1} tokens") as caught:
        encoded(tiny_base, each, most=most - 1)
    assert "max_length" in caught.value.fix


def test_rows_are_laid_end_to_end_as_pairs_of_sequences() -> None:
    rows = [
        Ranked(Tree((1, 2), ((3,), (4, 5), (6,))), (0.0, 0.0)),
        Ranked(Tree((7,), ((8,), (9,))), (0.0,)),
    ]
    found = Contest.of(rows)
    assert found.flat.tokens.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert found.flat.sequences == 5
    assert found.chosen.tolist() == [0, 0, 3]
    assert found.rejected.tolist() == [1, 2, 4]
    assert found.row.tolist() == [0, 0, 1]


def test_the_preview_shows_every_reply_of_a_row_as_learnt(tiny_base: Base) -> None:
    pairs = (pair("the wind", "fair", "foul"), pair("the wind", "fair", "none"))
    (row,) = encoded(tiny_base, *pairs).train
    shown = preview(tiny_base, row)
    marked = [shown.plain[span.start : span.end] for span in shown.spans if "green" in str(span.style)]
    assert "".join(marked) == "fair<|im_end|>foul<|im_end|>none<|im_end|>"
    assert shown.plain.count("the wind") == 1
