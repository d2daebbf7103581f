"""The same questions outside any conversation, answered as shortly.

In a short reply every voice is heard less often than in a whole one, and some questions bring it out
less than others. What a conversation takes from a voice is therefore told against the same questions,
asked alone with the same seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mien.chat import Sampling
from mien.data.wording import ECHOED, echo
from mien.evaluate.classifier import METHOD
from mien.evaluate.finding import Meaning, Measure
from mien.evaluate.setting import Setting, spread
from mien.evaluate.subject import Asked, Subject
from mien.evaluate.suites.drift.answers import instructions
from mien.evaluate.suites.drift.talks import Held, seed_of
from mien.evaluate.suites.drift.users import Scene
from mien.schema import conversation

_MOST = 14  # questions of one conversation, evenly spread; a hundred say no more about one reply

MEANINGS = {
    "drift/alone": Meaning(
        "Asked alone",
        "The easy user's questions, each outside the conversation and answered as shortly: how many"
        " replies are heard in the intended voice.",
        1,
        True,
    ),
    "drift/lost": Meaning(
        "Lost to the conversation",
        "How much rarer the voice is in the conversation than where the same is asked alone.",
        -1,
        True,
    ),
}


def measures(
    subject: Subject,
    setting: Setting,
    scenes: Sequence[Scene],
    held: Sequence[Held],
    right: NDArray[np.bool_],
    sampling: Sampling,
) -> list[Measure]:
    """How often the voice is heard alone, and by how much rarer in the conversation.

    Args:
        subject: Who is asked.
        setting: Of the evaluation.
        scenes: The conversations, as they were planned.
        held: The same, as they went.
        right: Whether the voice was heard in them, (conversations, turns).
        sampling: Of their replies.

    Raises:
        UnableError: The subject cannot answer.
    """
    turns = spread(range(right.shape[1]), _MOST)
    asked = [
        Asked(conversation(talk.said[turn]), seed_of(scene, turn))
        for scene, talk in zip(scenes, held, strict=True)
        for turn in turns
    ]
    texts = [each.text for each in setting.ask(subject, asked, sampling=sampling)]
    likeliest = setting.ear.judge(texts).argmax(axis=1)
    hits = likeliest == setting.ear.labels.index(setting.persona.name)
    given = instructions(subject)
    heard = [
        bool(hit) and echo(text, [*given, *each.messages]) <= ECHOED
        for hit, text, each in zip(hits, texts, asked, strict=True)
    ]
    method = f"{METHOD}; the same questions alone, replies cut at {sampling.max_tokens} tokens"
    every = np.array(heard, dtype=float).reshape(len(held), len(turns))
    lost = (every - right[:, turns]).mean(axis=1)
    units = [scene.unit for scene in scenes]
    return [
        Measure(
            name="drift/alone",
            values=tuple(every.ravel().tolist()),
            units=tuple(np.repeat(units, len(turns)).tolist()),
            method=f"share heard; {method}",
            scale="share",
        ),
        Measure(
            name="drift/lost",
            values=tuple(lost.tolist()),
            units=tuple(units),
            method=f"alone minus held, mean over a conversation; {method}",
        ),
    ]
