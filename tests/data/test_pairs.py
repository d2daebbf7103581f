from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.chat import Reply
from mien.data.candidates import read_prompts
from mien.data.corpus import VOICES, corpus, dialogues, forms, rows_of
from mien.data.pairs import (
    Content,
    Dropped,
    Feedback,
    Found,
    Label,
    Samples,
    aligned,
    best_of,
    contents,
    distilled,
    feedback,
    labels,
    read_rows,
    voices,
)
from mien.errors import DataError
from mien.schema import Dialogue, Message, Preference, conversation

ASKED = conversation("Tea or coffee?")


def dialogue(*turns: str, system: str | None = None) -> Dialogue:
    """Turns of the user and of the assistant, by turns."""
    opening = conversation(turns[0], system=system)
    roles = ("assistant", "user")
    rest = (Message(role=roles[n % 2], content=text) for n, text in enumerate(turns[1:]))  # type: ignore[arg-type]
    return Dialogue(messages=(*opening, *rest))


def label(rater: str, choice: str, *, minute: int = 0, **changes: Any) -> Label:
    row = {
        "item": "1",
        "prompt": "Tea or coffee?",
        "a": "Tea.",
        "b": "Coffee.",
        "choice": choice,
        "rater": rater,
        "made": f"2026-05-01T12:{minute:02}:00Z",
    }
    return Label.model_validate(row | changes)


def used(kind: str, reply: str, other: str | None = None, **changes: Any) -> Feedback:
    row = {
        "prompt": "Tea or coffee?",
        "reply": reply,
        "kind": kind,
        "other": other,
        "user": "ada",
        "made": "2026-05-01T12:00:00Z",
    }
    return Feedback.model_validate(row | changes)


def texts(found: Iterable[Found]) -> list[tuple[str, str] | str]:
    """(chosen, rejected) of what is a pair, and the reason of what is none."""
    return [
        each.reason if isinstance(each, Dropped) else (each.chosen[0].content, each.rejected[0].content)
        for each in found
    ]


def pair(found: Found) -> Preference:
    assert isinstance(found, Preference)
    return found


TEA: Content = {
    "neutral": dialogue("Tea?", "Yes.", "Milk?", "No."),
    "warm": dialogue("Tea?", "Oh, yes!", "Milk?", "No, but thank you!"),
    "direct": dialogue("Tea?", "Yes. Tea.", "Milk?", "No. None."),
}


def test_voices_pair_each_turn_under_the_history_of_the_chosen_voice() -> None:
    first, second = (pair(each) for each in voices([TEA], "warm", ["neutral"]))
    assert [turn.content for turn in first.prompt] == ["Tea?"]
    assert [turn.content for turn in second.prompt] == ["Tea?", "Oh, yes!", "Milk?"]
    assert texts([first, second]) == [("Oh, yes!", "Yes."), ("No, but thank you!", "No.")]
    assert {first.source, second.source} == {"voices/warm/neutral"}


def test_voices_take_each_other_voice_in_turn() -> None:
    sources = [pair(each).source for each in voices([TEA], "warm")]
    assert sources == ["voices/warm/neutral"] * 2 + ["voices/warm/direct"] * 2


def test_a_persona_is_never_paired_with_itself() -> None:
    assert list(voices([TEA], "warm", ["warm"])) == []


def test_a_voice_that_is_missing_is_counted() -> None:
    assert texts(voices([TEA], "warm", ["calm"])) == ["voice missing"]
    assert texts(voices([TEA], "calm", ["warm"])) == ["voice missing"]


@pytest.mark.parametrize(
    "other",
    [
        dialogue("Tea?", "Yes."),
        dialogue("Tea?", "Yes.", "Sugar?", "No."),
        dialogue("Tea?", "Yes.", "Milk?", "No.", "Sure?", "Yes."),
    ],
)
def test_dialogues_that_do_not_run_alike_make_no_pair(other: Dialogue) -> None:
    assert texts(voices([{"warm": TEA["warm"], "neutral": other}], "warm")) == ["not aligned"]


def test_system_messages_may_differ_and_the_chosen_ones_is_kept() -> None:
    row = {"warm": dialogue("Tea?", "Oh!", system="Be warm."), "neutral": dialogue("Tea?", "Yes.")}
    (only,) = voices([row], "warm")
    assert [turn.content for turn in pair(only).prompt] == ["Be warm.", "Tea?"]


def test_calls_of_tools_are_part_of_the_history() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "kettle", "arguments": "{}"}}

    def row(reply: str) -> Dialogue:
        return Dialogue(
            messages=(
                Message(role="user", content="Is it on?"),
                Message(role="assistant", tool_calls=(call,)),
                Message(role="tool", content="on", tool_call_id="1"),
                Message(role="assistant", content="It is."),
                Message(role="user", content="And now?"),
                Message(role="assistant", content=reply),
            )
        )

    found = list(voices([{"warm": row("Still on!"), "neutral": row("On.")}], "warm"))
    assert texts(found)[1] == ("Still on!", "On.")
    assert [turn.role for turn in pair(found[1]).prompt][:3] == ["user", "assistant", "tool"]


BUILT_IN = [*corpus(), *forms()]


@pytest.mark.parametrize("persona", VOICES)
def test_the_corpus_gives_one_pair_per_row_and_other_voice(persona: str) -> None:
    found = [pair(each) for each in voices(contents(BUILT_IN), persona)]
    assert len(found) == len(BUILT_IN) * (len(VOICES) - 1)
    rows = {row.prompt: row.replies for row in BUILT_IN}
    for each in found:
        replies = rows[each.prompt[0].content]
        _, _, other = (each.source or "").split("/")
        assert each.chosen[0].content == replies[persona]
        assert each.rejected[0].content == replies[other]


def test_dialogues_of_the_corpus_give_one_pair_per_turn() -> None:
    found = [pair(each) for each in voices(contents(dialogues()), "calm", ["witty"])]
    turns = [(row, n) for row in dialogues() for n in range(len(row.turns))]
    assert len(found) == len(turns)
    for each, (row, n) in zip(found, turns, strict=True):
        assert each.chosen[0].content == row.turns[n].replies["calm"]
        assert each.rejected[0].content == row.turns[n].replies["witty"]
        assert each.prompt == row.dialogue("calm").messages[: 2 * n + 1]


def test_a_voice_that_is_missing_in_one_turn_is_missing() -> None:
    row = dialogues()[0]
    last = row.turns[-1].model_copy(update={"replies": {"neutral": "Yes."}})
    (content,) = contents([row.model_copy(update={"turns": (*row.turns[:-1], last)})])
    assert list(content) == ["neutral"]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def turns(*said: str) -> list[dict[str, Any]]:
    return [turn.model_dump(mode="json") for turn in dialogue(*said).messages]


def test_files_are_aligned_by_what_the_user_says_whatever_is_missing(tmp_path: Path) -> None:
    neutral = write(
        tmp_path / "neutral.jsonl",
        {"messages": turns("Tea?", "Yes.")},
        {"messages": turns("Milk?", "No.")},
    )
    warm = write(tmp_path / "warm.jsonl", {"prompt": "Milk?", "completion": "No, thank you!"})
    found = voices(aligned({"neutral": neutral, "warm": warm}), "warm", ["neutral"])
    assert texts(found) == ["voice missing", ("No, thank you!", "No.")]


def test_files_are_aligned_by_id_where_there_is_one(tmp_path: Path) -> None:
    rows = {
        voice: [{"id": n, "messages": turns("Hello?", f"{voice} {n}")} for n in order]
        for voice, order in {"neutral": (1, 2), "warm": (2, 1)}.items()
    }
    files = {voice: write(tmp_path / f"{voice}.jsonl", *given) for voice, given in rows.items()}
    assert texts(voices(aligned(files), "warm")) == [("warm 1", "neutral 1"), ("warm 2", "neutral 2")]


def test_rows_with_an_id_find_those_of_a_source_without_by_its_lines(tmp_path: Path) -> None:
    source = [{"messages": turns("Hello?", f"neutral {n}")} for n in (1, 2, 3)]
    restyled = [{"id": str(n), "messages": turns("Hello?", f"warm {n}")} for n in (3, 1)]
    files = {
        "neutral": write(tmp_path / "neutral.jsonl", *source),
        "warm": write(tmp_path / "warm.jsonl", *restyled),
    }
    found = texts(voices(aligned(files), "warm"))
    assert found == [("warm 1", "neutral 1"), "voice missing", ("warm 3", "neutral 3")]


def test_two_rows_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "warm.jsonl", *[{"messages": turns("Hello?", f"Hi {n}")} for n in (1, 2)])
    with pytest.raises(DataError, match=r"warm\.jsonl:2: cannot be told"):
        aligned({"warm": path})


def by_length(prompt: Sequence[Message], reply: str) -> float:
    return len(reply)


def test_the_best_sample_beats_the_worst_by_their_difference() -> None:
    row = Samples(prompt=ASKED, samples=("Tea.", "Coffee, please.", "Hm."))
    found = pair(best_of(row, by_length, source="samples/length"))
    assert texts([found]) == [("Coffee, please.", "Hm.")]
    assert (found.margin, found.source, found.prompt) == (12, "samples/length", ASKED)


def test_scores_that_a_row_has_are_used_as_they_are() -> None:
    row = Samples(prompt=ASKED, samples=("Tea.", "Coffee."), scores=(0.75, 0.5))
    found = pair(best_of(row, lambda *_: pytest.fail("asked")))
    assert (texts([found]), found.margin) == ([("Tea.", "Coffee.")], 0.25)


@pytest.mark.parametrize(
    ("scores", "least", "expected"),
    [
        ((1.0, 1.0), 0.0, "tie"),
        ((1.0, 1.4), 0.5, "tie"),
        ((1.0, 1.5), 0.5, ("Coffee.", "Tea.")),
        ((1.0, float("nan")), 0.0, "no score"),
        ((1.0, float("inf")), 0.0, "no score"),
    ],
)
def test_ties_and_scores_that_are_no_number_are_dropped(
    scores: tuple[float, float], least: float, expected: str | tuple[str, str]
) -> None:
    known = dict(zip(("Tea.", "Coffee."), scores, strict=True))
    row = Samples(prompt=ASKED, samples=tuple(known))
    assert texts([best_of(row, lambda _, reply: known[reply], least=least)]) == [expected]


def test_most_raters_decide_and_the_rest_is_told() -> None:
    found = list(labels([label("ada", "a"), label("ben", "a"), label("cy", "b"), label("di", "tie")]))
    assert texts(found) == [("Tea.", "Coffee.")]
    assert (pair(found[0]).agreement, pair(found[0]).margin) == (0.5, 0.25)
    assert pair(found[0]).source == "labels"


def test_of_two_labels_of_one_rater_the_later_one_counts() -> None:
    rows = [label("ada", "b", minute=2), label("ada", "a", minute=1)]
    found = list(labels(rows))
    assert texts(found) == [("Coffee.", "Tea.")]
    assert pair(found[0]).agreement == 1


def test_of_two_labels_of_one_moment_the_last_written_counts() -> None:
    assert texts(labels([label("ada", "b"), label("ada", "a")])) == [("Tea.", "Coffee.")]


def test_replies_may_be_shown_either_way_round() -> None:
    turned: dict[str, Any] = {"a": "Coffee.", "b": "Tea."}
    rows = [label("ada", "a"), label("ben", "b", **turned), label("cy", "a", **turned)]
    found = list(labels(rows))
    assert texts(found) == [("Tea.", "Coffee.")]
    assert pair(found[0]).agreement == pytest.approx(2 / 3)


def test_items_are_judged_apart_and_in_order() -> None:
    rows = [label("ada", "b", item="2"), label("ada", "a", item="1"), label("ben", "b", item="2")]
    assert texts(labels(rows)) == [("Coffee.", "Tea."), ("Tea.", "Coffee.")]


TIED = [label("ada", "tie"), label("ben", "tie"), label("cy", "b")]
SPLIT = [label("ada", "a"), label("ben", "b")]


@pytest.mark.parametrize(
    ("rows", "reason", "kept", "margin", "agreement"),
    [
        (TIED, "tie", ("Coffee.", "Tea."), 1 / 3, 1 / 3),
        (SPLIT, "split", ("Tea.", "Coffee."), 0, 0.5),
        ([label("ada", "a"), label("ben", "tie")], "split", ("Tea.", "Coffee."), 0.5, 0.5),
    ],
)
def test_ties_and_splits_are_dropped_unless_kept(
    rows: list[Label], reason: str, kept: tuple[str, str], margin: float, agreement: float
) -> None:
    assert texts(labels(rows)) == [reason]
    (only,) = labels(rows, keep=[reason])
    assert texts([only]) == [kept]
    assert (pair(only).margin, pair(only).agreement) == (margin, agreement)


def test_items_on_which_few_agree_can_be_dropped() -> None:
    rows = [label("ada", "a"), label("ben", "a"), label("cy", "b")]
    assert texts(labels(rows, least_agreement=0.7)) == ["low agreement"]
    assert texts(labels(rows, least_agreement=2 / 3)) == [("Tea.", "Coffee.")]


@given(st.lists(st.sampled_from(["a", "b", "tie"]), min_size=1, max_size=9))
def test_agreement_is_the_share_of_raters_who_agree(choices: list[str]) -> None:
    rows = [label(f"rater {n}", choice) for n, choice in enumerate(choices)]
    (found,) = labels(rows, keep=("tie", "split"))
    won = "a" if texts([found])[0][0] == "Tea." else "b"
    lost = "b" if won == "a" else "a"
    assert pair(found).agreement == pytest.approx(choices.count(won) / len(choices))
    assert pair(found).margin == pytest.approx((choices.count(won) - choices.count(lost)) / len(choices))
    assert choices.count(won) >= choices.count(lost)


def test_the_persona_beats_the_bare_model_on_the_bare_prompt() -> None:
    persona, bare = Reply(text=" Tea, dear! "), Reply(text="Either.")
    found = pair(distilled(ASKED, persona, bare, source="distill/teacher/base"))
    assert texts([found]) == [("Tea, dear!", "Either.")]
    assert (found.prompt, found.source) == (ASKED, "distill/teacher/base")


@pytest.mark.parametrize(
    ("persona", "bare", "reason"),
    [
        (Reply(text="Tea", ended="length"), Reply(text="Either."), "cut short"),
        (Reply(text="Tea."), Reply(text="Ei", ended="length"), "cut short"),
        (Reply(text=" "), Reply(text="Either."), "empty reply"),
        (Reply(text="Tea."), Reply(text=""), "empty reply"),
    ],
)
def test_replies_without_an_end_or_a_word_make_no_pair(persona: Reply, bare: Reply, reason: str) -> None:
    assert texts([distilled(ASKED, persona, bare)]) == [reason]


def test_an_edit_beats_what_was_edited() -> None:
    (only,) = feedback([used("edit", "Tee.", "Tea.")])
    assert texts([only]) == [("Tea.", "Tee.")]
    assert (pair(only).source, pair(only).prompt) == ("feedback/edit", ASKED)


def test_the_regeneration_that_is_kept_in_the_end_beats_all_that_were_not() -> None:
    rows = [
        used("regenerate", "First.", "Second.", made="2026-05-01T12:01:00Z"),
        used("regenerate", "Second.", "Third.", made="2026-05-01T12:02:00Z"),
    ]
    expected = [("Third.", "First."), ("Third.", "Second.")]
    assert texts(feedback(rows)) == texts(feedback(rows[::-1])) == expected


def test_regenerations_of_other_users_and_prompts_stay_apart() -> None:
    rows = [
        used("regenerate", "First.", "Second."),
        used("regenerate", "Second.", "Third.", user="ben"),
        used("regenerate", "Second.", "Third.", prompt="Cake?"),
    ]
    assert texts(feedback(rows))[0] == ("Second.", "First.")


def test_whoever_goes_back_to_the_first_reply_prefers_it() -> None:
    rows = [
        used("regenerate", "First.", "Second.", made="2026-05-01T12:01:00Z"),
        used("regenerate", "Second.", "First.", made="2026-05-01T12:02:00Z"),
    ]
    assert ("First.", "Second.") in texts(feedback(rows))
    assert ("Second.", "First.") not in texts(feedback(rows))


def test_thumbs_up_beat_thumbs_down_on_the_same_prompt() -> None:
    rows = [
        used("thumb_up", "Tea."),
        used("thumb_down", "Mud."),
        used("thumb_down", "Oil.", user="ben"),
        used("thumb_down", "Soap.", prompt="Cake?"),
    ]
    found = list(feedback(rows))
    assert texts(found) == [("Tea.", "Mud."), ("Tea.", "Oil.")]
    assert {pair(each).source for each in found} == {"feedback/thumbs"}


def test_thumbs_that_point_both_ways_are_dropped_and_counted() -> None:
    rows = [used("thumb_up", "Tea."), used("thumb_down", "Mud."), used("thumb_down", "Tea.", user="ben")]
    assert texts(feedback(rows)) == ["contradictory", "contradictory"]


def test_a_user_who_turns_the_thumb_has_changed_their_mind() -> None:
    rows = [
        used("thumb_up", "Tea.", made="2026-05-01T13:00:00+00:00"),
        used("thumb_down", "Tea.", made="2026-05-01T14:30:00+02:00"),  # which is half an hour earlier
        used("thumb_down", "Mud."),
    ]
    assert texts(feedback(rows)) == [("Tea.", "Mud.")]


HISTORY = [turn.model_dump() for turn in dialogue("Tea?", "Yes.").messages]


def test_the_history_is_part_of_what_was_asked() -> None:
    long = [*HISTORY, {"role": "user", "content": "Tea or coffee?"}]
    (only,) = feedback([used("edit", "Tee.", "Tea.", prompt=long)])
    assert [turn.content for turn in pair(only).prompt] == ["Tea?", "Yes.", "Tea or coffee?"]
    rows = [used("thumb_up", "Tea."), used("thumb_down", "Mud.", prompt=long)]
    assert texts(feedback(rows)) == []


LABEL = json.loads(label("ada", "a").model_dump_json())
FEEDBACK = json.loads(used("edit", "Tee.", "Tea.").model_dump_json())


@pytest.mark.parametrize(
    "row", [label("ada", "a"), used("edit", "Tee.", "Tea."), used("thumb_up", "Tea.")]
)
def test_rows_survive_the_way_to_disk_and_back(tmp_path: Path, row: Label | Feedback) -> None:
    path = write(tmp_path / "rows.jsonl", json.loads(row.model_dump_json()))
    assert read_rows(path, type(row)) == [row]


@pytest.mark.parametrize(
    ("model", "row", "reason"),
    [
        (Label, LABEL | {"choice": "c"}, "choice: Input should be 'a', 'b' or 'tie'"),
        (Label, LABEL | {"made": "2026-05-01T12:00:00"}, "made: Input should have timezone info"),
        (Label, LABEL | {"prompt": HISTORY}, "prompt: the last turn must be the user's"),
        (Label, LABEL | {"prompt": []}, "prompt: "),
        (Label, LABEL | {"mood": "low"}, "mood: unknown key"),
        (Feedback, FEEDBACK | {"other": None}, "edit needs the `other` text"),
        (Feedback, FEEDBACK | {"kind": "thumb_up"}, "thumb_up has no `other` text"),
        (Samples, {"prompt": "Tea?", "samples": ["Yes."]}, "samples: "),
        (
            Samples,
            {"prompt": "Tea?", "samples": ["Yes.", "No."], "scores": [1]},
            "1 scores for 2 samples",
        ),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(
    tmp_path: Path, model: type[Label], row: dict[str, Any], reason: str
) -> None:
    path = write(tmp_path / "rows.jsonl", row)
    with pytest.raises(DataError, match=rf"rows\.jsonl:1: {re.escape(reason)}") as caught:
        read_rows(path, model)
    assert "`prompt`" in caught.value.fix


def test_a_plain_string_is_a_prompt_of_one_turn() -> None:
    assert label("ada", "a").prompt == ASKED
    assert Samples(prompt="Tea?", samples=("Yes.", "No.")).prompt == conversation("Tea?")  # type: ignore[arg-type]


def test_contents_keep_the_prompt_and_every_voice() -> None:
    row = rows_of("train")[0]
    (content,) = contents([row])
    assert tuple(content) == VOICES
    assert content["calm"] == dialogue(row.prompt, row.replies["calm"])


def test_prompts_are_read_from_any_form_and_each_once(tmp_path: Path) -> None:
    rows = [
        {"messages": turns("Tea?", "Yes.", "Milk?", "No.")},
        {"prompt": "Tea?", "completion": "No."},
        {"prompt": "Cake?", "chosen": "Yes.", "rejected": "No."},
    ]
    read = read_prompts(write(tmp_path / "rows.jsonl", *rows))
    said = [[turn.content for turn in prompt] for prompt in read]
    assert said == [["Tea?"], ["Tea?", "Yes.", "Milk?"], ["Cake?"]]


def test_prompts_may_stand_alone(tmp_path: Path) -> None:
    rows = [{"prompt": "Tea?"}, {"prompt": turns("Tea?", "Yes.", "Milk?", "No.")[:3]}]
    read = read_prompts(write(tmp_path / "rows.jsonl", *rows))
    assert [len(prompt) for prompt in read] == [1, 3]
