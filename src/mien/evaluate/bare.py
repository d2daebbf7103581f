"""What the bare base sounds like: no personality is what a base has before it is given one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from mien.base.model import Base
from mien.chat import Sampling
from mien.data.corpus import Parallel, rows_of
from mien.decode.generate import Progress, generate
from mien.evaluate.classifier import VoiceClassifier
from mien.evaluate.evaluation import Hearing
from mien.evaluate.hearing import Spoken, told_apart
from mien.schema import conversation, digest
from mien.show import Show
from mien.workspace import home, read_json, write_json

BARE_PROMPTS = 88  # training prompts that the bare base answers, for the classifier's neutral class


def bare_replies(
    base: Base, sampling: Sampling, *, progress: Progress = lambda _tokens, _replies: None
) -> list[str]:
    """The bare base's replies to training prompts; kept in the home, since they never change."""
    memo = _memo(base, sampling)
    if memo.exists():
        progress(0, BARE_PROMPTS)
        return list(read_json(memo))
    asked = [conversation(row.prompt) for row in _rows()]
    with base.adapters.use(None):
        replies = generate(base, asked, sampling, seeds=[0] * len(asked), progress=progress)
    write_json(memo, texts := [base.renderer.decode(ids) for ids in replies])
    return texts


def _rows() -> list[Parallel]:
    """The training prompts that it answers."""
    rows = rows_of("train")
    return list(rows[:: max(1, len(rows) // BARE_PROMPTS)][:BARE_PROMPTS])


def examined(base: Base, ear: VoiceClassifier, sampling: Sampling, show: Show) -> Hearing:
    """How often the ear is right, and what is left of that without topics, words or lengths."""
    show.begin("the ear is examined", 0)
    texts = bare_replies(base, sampling)
    bare = [Spoken(text, "neutral", row.topic, row.id) for row, text in zip(_rows(), texts, strict=True)]
    return ear.examine().model_copy(update={"apart": told_apart(bare)})


def ear_of(base: Base, sampling: Sampling, show: Show) -> VoiceClassifier:
    """The voice classifier that knows what this base sounds like; made once in a process."""
    show.begin("the bare base answers, for the ear to know it", BARE_PROMPTS)
    bare = bare_replies(base, sampling, progress=lambda _, ended: show.advance(ended))
    return _trained(tuple(bare))


@lru_cache(maxsize=1)
def _trained(bare: tuple[str, ...]) -> VoiceClassifier:
    return VoiceClassifier(bare)


def _memo(base: Base, sampling: Sampling) -> Path:
    asked = [row.prompt for row in rows_of("train")]
    key = digest([base.files.sha256, base.dtype, sampling.model_dump(), asked])
    return home() / "bare" / f"{key[:16]}.json"
