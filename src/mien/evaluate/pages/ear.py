"""What the ear is worth beyond its accuracy, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from mien.evaluate.evaluation import Hearing
from mien.evaluate.finding import Meaning
from mien.evaluate.hearing import MASKED
from mien.evaluate.pages.words import estimate
from mien.page.svg import number

_F1 = Meaning("macro-F1", better=1)
_FAR = 0.1  # of macro-F1: what a fall has to exceed to be told as a caution


def says(hearing: Hearing) -> list[str]:
    """Whether voices are told apart where topics, words or lengths cannot help, and what that means."""
    return list(_says(hearing))


def _says(hearing: Hearing) -> Iterator[str]:
    found = {score.name.removeprefix("hearing/f1").strip("/"): score for score in hearing.apart}
    if not found:
        return
    own, chance = found[""], 1 / len(hearing.labels)
    yield (
        "Judging only topics and prompts that it was not taught, it reaches a macro-F1 of"
        f" {estimate(_F1, own)}; guessing would reach about {number(chance)}."
        f" {_meant(own.low > chance)}"
    )
    yield (
        f"For comparison: {estimate(_F1, found['bag_of_words'])} by counting words alone,"
        f" {estimate(_F1, found['masked'])} without the {MASKED} words that speak most for each voice,"
        f" {estimate(_F1, found['length_matched'])} where all texts are cut to one length."
    )
    for name, why in (
        ("masked", "without those words, so much of what it hears is a choice of words"),
        ("length_matched", "at one length, so part of what it hears needs longer texts, or is length"),
    ):
        if own.value - found[name].value > _FAR:
            yield f"Read the voice with care: it falls by {number(own.value - found[name].value)} {why}."


def _meant(carries: bool) -> str:
    if carries:
        return "So what it hears is a manner that carries over from topic to topic."
    return "So what it hears may be the topic, and its verdicts on the voice are worth little."
