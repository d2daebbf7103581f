from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from mien.chat import Reply
from mien.data.candidates import by_judge, by_voice, in_character, mark, sampled
from mien.data.corpus import rows_of
from mien.data.pairs import Dropped, Samples
from mien.errors import InputError
from mien.persona.spec import Voice, find
from mien.schema import Message, conversation

ASKED = conversation("Tea or coffee?")
WARM = find("warm")


def test_the_instruction_of_the_persona_comes_first() -> None:
    system, user = in_character(ASKED, WARM)
    assert (system.role, system.content, user) == ("system", WARM.system_prompt.strip(), ASKED[0])


def test_and_what_the_conversation_was_told_already_stays() -> None:
    told = in_character(conversation("Tea?", system="Answer in French."), WARM)
    assert [turn.role for turn in told] == ["system", "user"]
    assert told[0].content == f"{WARM.system_prompt.strip()}\n\nAnswer in French."


def test_without_a_persona_the_conversation_is_as_it_was() -> None:
    assert in_character(ASKED, None) == ASKED


def test_samples_are_asked_for_one_attempt_at_a_time() -> None:
    heard: list[tuple[Sequence[Message], int]] = []

    def ask(messages: Sequence[Message], attempt: int) -> Reply:
        heard.append((messages, attempt))
        return Reply(text=f"Tea {attempt}.")

    row = sampled(ASKED, ask, 3)
    assert row == Samples(prompt=ASKED, samples=("Tea 0.", "Tea 1.", "Tea 2."))
    assert heard == [(ASKED, n) for n in range(3)]


def test_what_is_empty_cut_short_or_said_already_is_no_sample() -> None:
    script = [
        Reply(text="Tea."),
        Reply(text=" Tea. "),
        Reply(text="  "),
        Reply(text="Cof", ended="length"),
        Reply(text="Milk."),
    ]
    assert sampled(ASKED, lambda _, n: script[n], 5) == Samples(prompt=ASKED, samples=("Tea.", "Milk."))
    assert sampled(ASKED, lambda _, n: script[n], 4) == Dropped("fewer than two samples")


@pytest.mark.parametrize("name", ["warm", "witty", "direct", "socratic", "calm"])
def test_the_voice_score_ranks_a_personas_own_replies_above_neutral_ones(name: str) -> None:
    score = by_voice(find(name))
    rows = rows_of("test")
    own, neutral = (
        sum(score(ASKED, row.replies[voice]) for row in rows) / len(rows) for voice in (name, "neutral")
    )
    assert 0 <= neutral < own <= 1


def test_a_persona_without_bands_cannot_score() -> None:
    with pytest.raises(InputError, match="'warm' states no bands") as caught:
        by_voice(WARM.model_copy(update={"voice": Voice()}))
    assert caught.value.fix


def test_the_judge_is_told_who_is_to_speak_and_what_was_said() -> None:
    heard: list[str] = []

    def ask(messages: Sequence[Message]) -> Reply:
        heard.append(messages[0].content)
        return Reply(text="8/10")

    assert by_judge(WARM, ask)(ASKED, "Tea, for $5.") == 8
    for part in (WARM.description.strip(), WARM.system_prompt.strip(), ASKED[0].content, "Tea, for $5."):
        assert part in heard[0]


@pytest.mark.parametrize(
    ("said", "expected"),
    [("7", 7), (" 7.5\n", 7.5), ("Score: 10", 10), ("8/10", 8), ("1", 1)],
)
def test_a_mark_is_the_first_number(said: str, expected: float) -> None:
    assert mark(said) == expected


@pytest.mark.parametrize("said", ["", "good", "11", "0", "-3", "100"])
def test_what_is_no_mark_is_no_number(said: str) -> None:
    assert math.isnan(mark(said))
