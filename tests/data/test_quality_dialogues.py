"""Each fault is planted in the built-in dialogues and has to be found, where it was planted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mien.data.corpus import ParallelDialogue, ParallelTurn, dialogues
from mien.data.quality.dialogues import check_dialogues, turns_of
from mien.data.quality.findings import Figure, Finding
from mien.data.wording import bag_of_words

FIRST = dialogues()[0]


def errors(rows: Sequence[ParallelDialogue]) -> set[tuple[str, str]]:
    found = [each for each in check_dialogues(rows) if isinstance(each, Finding)]
    return {(each.check, each.where) for each in found if each.severity == "error"}


def with_turn(number: int, turn: ParallelTurn) -> list[ParallelDialogue]:
    """The dialogues with another turn in the first of them, counted from 1."""
    turns = (*FIRST.turns[: number - 1], turn, *FIRST.turns[number:])
    return [FIRST.model_copy(update={"turns": turns}), *dialogues()[1:]]


def with_reply(number: int, voice: str, text: str) -> list[ParallelDialogue]:
    turn = FIRST.turns[number - 1]
    return with_turn(number, turn.model_copy(update={"replies": turn.replies | {voice: text}}))


def test_the_built_in_dialogues_are_free_of_faults() -> None:
    assert not errors(dialogues())
    assert all(each.passed for each in check_dialogues(dialogues()) if isinstance(each, Figure))


def test_a_turn_is_a_row_of_its_own() -> None:
    turns = turns_of(dialogues())
    assert turns[1].id == f"{FIRST.id}/2"
    assert turns[1].prompt == FIRST.turns[1].user
    assert len(turns) == sum(len(each.turns) for each in dialogues())


@pytest.mark.parametrize("count", [3, 9])
def test_too_few_and_too_many_turns(count: int) -> None:
    turns = (FIRST.turns * 3)[:count]
    rows = [FIRST.model_copy(update={"turns": turns}), *dialogues()[1:]]
    assert ("turns", FIRST.id) in errors(rows)


def test_a_missing_voice() -> None:
    turn = FIRST.turns[2]
    replies = {voice: text for voice, text in turn.replies.items() if voice != "warm"}
    assert ("structure", f"{FIRST.id}/3") in errors(
        with_turn(3, turn.model_copy(update={"replies": replies}))
    )


def test_an_id_twice() -> None:
    assert ("structure", f"{FIRST.id}/1") in errors([*dialogues(), FIRST])


@pytest.mark.parametrize("count", [19, 66])
def test_length_of_one_reply(count: int) -> None:
    rows = with_reply(2, "warm", " ".join(f"word{n}" for n in range(count)))
    assert ("length", f"{FIRST.id}/2/warm") in errors(rows)


def test_a_reply_said_twice_in_one_dialogue() -> None:
    rows = with_reply(4, "witty", FIRST.turns[1].replies["witty"])
    assert ("duplicate", f"{FIRST.id}/4/witty") in errors(rows)


def test_two_voices_that_are_one() -> None:
    rows = with_reply(2, "direct", FIRST.turns[1].replies["neutral"])
    assert ("contrast", f"{FIRST.id}/2/direct") in errors(rows)


def test_a_changed_number() -> None:
    text = FIRST.turns[1].replies["calm"]
    rows = with_reply(2, "calm", text.replace("twenty minutes", "thirty minutes"))
    assert not [where for check, where in errors(rows) if check == "number"]  # only digits count
    money = next(each for each in dialogues() if "94.62" in each.turns[1].replies["calm"])
    turn = money.turns[1]
    wrong = turn.replies | {"calm": turn.replies["calm"].replace("94.62", "49.62")}
    turns = (money.turns[0], turn.model_copy(update={"replies": wrong}), *money.turns[2:])
    changed = money.model_copy(update={"turns": turns})
    rows = [changed if each is money else each for each in dialogues()]
    assert errors(rows) == {("number", f"{money.id}/2/calm")}


def test_a_voice_named() -> None:
    rows = with_reply(2, "calm", FIRST.turns[1].replies["calm"].replace("slowly", "calmly"))
    assert errors(rows) == {("persona name", f"{FIRST.id}/2/calm")}


def test_an_artefact() -> None:
    rows = with_reply(2, "calm", FIRST.turns[1].replies["calm"].replace("slowly", "**slowly**"))
    assert {("artefact", f"{FIRST.id}/2/calm")} == errors(rows)


def test_a_closer_in_every_dialogue() -> None:
    rows = [
        each.model_copy(
            update={
                "turns": tuple(
                    turn.model_copy(
                        update={"replies": turn.replies | {"warm": turn.replies["warm"] + " Go well!"}}
                    )
                    for turn in each.turns
                )
            }
        )
        for each in dialogues()
    ]
    assert ("closer", "corpus/warm") in errors(rows)


def test_content_of_another_turn_in_a_whole_voice_fails() -> None:
    rows = [each.model_copy(update={"turns": _moved(each.turns)}) for each in dialogues()]
    figures = {
        each.name: each for each in check_dialogues(rows, bag_of_words) if isinstance(each, Figure)
    }
    assert not figures["content kept"].passed


def _moved(turns: tuple[ParallelTurn, ...]) -> tuple[ParallelTurn, ...]:
    """The calm replies, each a turn too late."""
    late = (*turns[1:], turns[0])
    return tuple(
        turn.model_copy(update={"replies": turn.replies | {"calm": other.replies["calm"]}})
        for turn, other in zip(turns, late, strict=True)
    )


def test_no_dialogues() -> None:
    assert errors([]) == {("structure", "corpus")}
