"""Which replies of the voice suite the distance from the base is taken at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mien.errors import UnableError
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Options, Subject
from mien.evaluate.suites.voice import suite as voice
from mien.evaluate.suites.voice.suite import Reply
from tests.evaluate.suites.scripted import Scripted, setting

SUBJECT = Scripted("sft", lambda _: "")


def reply(place: int, seed: int, text: str) -> Reply:
    nothing = {"tokens": 1, "ended": True, "confidence": 1.0, "intended": 1.0, "measures": {}}
    none = {"content": 0.0, "repetition": 0.0, "echo": 0.0, "topic": "facts", "voice": "witty"}
    fixed = {**nothing, **none}
    return Reply.model_validate(
        {"prompt_id": f"p{place}", "prompt": f"{place}?", "seed": seed, "text": text, **fixed}
    )


def distances(
    folder: Path, patch: pytest.MonkeyPatch, silent: Sequence[int] = ()
) -> tuple[tuple[str, ...], list[str]]:
    """The units, and the texts that were read, of 18 prompts and two seeds; some begin empty."""
    found = [
        reply(place, seed, "" if seed == 0 and place in silent else f"{place} with {seed}")
        for seed in (0, 1)
        for place in range(18)
    ]
    read = list[str]()

    def divergences(_: Setting, subject: Subject, asked: Sequence[Options]) -> list[tuple[float, ...]]:
        read.extend(text for each in asked for text in each.texts)
        return [(1.0,)] * len(asked)

    patch.setattr(Setting, "divergences", divergences)
    return voice._moved(SUBJECT, setting(folder), found).units, read


def test_the_distance_is_taken_at_as_many_prompts_as_replies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Eight of 18, at the middle of every eighth part: 18 / 16 = 1.125, 3.375, 5.625 and so on.
    places = [1, 3, 5, 7, 10, 12, 14, 16]
    units, read = distances(tmp_path, monkeypatch)
    assert units == tuple(f"p{place}" for place in places)
    assert read == [f"{place} with 0" for place in places]


def test_an_empty_reply_is_left_out_and_shifts_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units, _ = distances(tmp_path, monkeypatch, silent=(0, 5))
    assert units == ("p1", "p3", "p7", "p10", "p12", "p14", "p16")


def test_of_who_says_nothing_no_distance_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnableError, match="sft said nothing"):
        distances(tmp_path, monkeypatch, silent=range(18))
