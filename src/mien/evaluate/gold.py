"""The gold score of a run on preferences: voice, content and freshness, none of which it is paid by.

The voice is what the voice classifier hears, the content how near a reply comes in meaning to the
neutral reply that was written for its prompt, and freshness how little it repeats itself. All are from
0 to 1. The classifier has learnt the training split of the corpus, and so has a policy that was trained
on it; but no run is ever paid by the classifier, which is what makes it fit to judge one.
"""

from __future__ import annotations

from collections.abc import Sequence

from mien.base.embed import Embedder
from mien.base.model import Base
from mien.data.corpus import rows_of
from mien.data.wording import repetition
from mien.errors import InputError
from mien.evaluate.bare import ear_of
from mien.evaluate.setting import SAMPLING
from mien.persona.spec import Persona
from mien.show import Show
from mien.train.leash import Gold, GoldScore
from mien.train.signals import Rollout


def gold_of(base: Base, persona: Persona, show: Show) -> Gold:
    """The gold score of a persona of the built-in corpus.

    Raises:
        InputError: A prompt that is scored is not one of the corpus' validation prompts.
    """
    embedder = Embedder.load(report=show.say)
    ear = ear_of(base, SAMPLING, show)
    voice = ear.labels.index(persona.name)
    rows = rows_of("validation")
    vectors = embedder.embed([row.replies["neutral"] for row in rows])
    neutral = {row.prompt: vector for row, vector in zip(rows, vectors, strict=True)}

    def gold(rollouts: Sequence[Rollout]) -> list[GoldScore]:
        asked = [each.prompt.messages[-1].content for each in rollouts]
        if unknown := set(asked) - set(neutral):
            raise InputError(
                f"No neutral reply is known to {sorted(unknown)[0]!r}.",
                fix="Watch the run on the corpus' validation prompts.",
            )
        texts = [each.text for each in rollouts]
        heard = ear.judge(texts)[:, voice]
        kept = [
            float(neutral[each] @ ours) for each, ours in zip(asked, embedder.embed(texts), strict=True)
        ]
        return [
            GoldScore(float(said), max(0.0, near), 1 - repetition(text))
            for said, near, text in zip(heard, kept, texts, strict=True)
        ]

    return gold
