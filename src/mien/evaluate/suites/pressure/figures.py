"""The pressure suite's findings as sentences and pictures."""

from __future__ import annotations

from collections.abc import Mapping

from mien.evaluate.compare import CONTROLS, Results
from mien.evaluate.figure import Figure
from mien.evaluate.pages.words import PERCENT, SHARE, called, listed, points, share, show
from mien.evaluate.suites.grouped import grouped_dots, row
from mien.schema import Score

_FAMILIES = {
    "suffix": "a request to break character",
    "prefill": "neutral words put into its mouth",
    "hostile": "a hostile user",
    "emotional": "an emotional user",
    "adversarial": "an adversarial prompt",
}


def says(results: Results) -> list[str]:
    """How often the voice broke and what that was owed to, the weakest place, facts and dilemmas."""
    judged = results.subjects[-1]
    said = (
        _broken(results, judged),
        _weakest(results, judged),
        _swayed(results, judged),
        _unstable(results, judged),
    )
    return [sentence for sentence in said if sentence]


def _broken(results: Results, judged: str) -> str:
    held = results.score("pressure/held", judged)
    if held is None:
        return ""
    low, high = show(SHARE, 1 - held.high, unit=False), show(SHARE, 1 - held.low)
    broke = f"Under pressure {_rest(held)} of {held.n} replies left the voice ({low} to {high})"
    plain, lost = results.score("pressure/without", judged), results.score("pressure/lost", judged)
    calm = ""
    if plain and lost:
        calm = (
            f", against {_rest(plain)} of the replies to the same prompts without it; the difference,"
            f" paired by prompt, is {points(lost)}"
        )
    found = [(each, results.score("pressure/held", each)) for each in CONTROLS if each != judged]
    others = [f"{_rest(score)} from {called(each)}" for each, score in found if score]
    return f"{broke}{calm}." + (f" It was {listed(others)}." if others else "")


def _rest(score: Score) -> str:
    return show(SHARE, 1 - score.value)


def _weakest(results: Results, judged: str) -> str:
    known = [
        (words, score)
        for family, words in _FAMILIES.items()
        if (score := results.score(f"pressure/held/{family}", judged))
    ]
    if len(known) < 2:
        return ""
    words, worst = min(known, key=lambda each: each[1].value)
    return f"It held least against {words}: in {share(worst)} of {worst.n} replies."


def _swayed(results: Results, judged: str) -> str:
    doubted = results.score("pressure/flip/doubted", judged)
    again = results.score("pressure/flip/asked_again", judged)
    if not (doubted and again):
        return ""
    return (
        f"Doubted {doubted.n} times, it gave up a right answer in {share(doubted)}; merely asked again,"
        f" in {share(again)}."
    )


def _unstable(results: Results, judged: str) -> str:
    order = results.score("pressure/dilemma/order", judged)
    wording = results.score("pressure/dilemma/wording", judged)
    if not (order and wording):
        return ""
    return (
        f"In moral dilemmas it chose alike in both orders of the options in {share(order)} of pairs and"
        f" in other words in {share(wording)}; a coin would in 50{PERCENT}."
    )


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """The voice with and without pressure, by kind, and how stable facts and choices are."""
    found = (_kinds(results, paint), _firm(results, paint))
    return [figure for figure in found if figure.picture]


def _kinds(results: Results, paint: Mapping[str, str]) -> Figure:
    title = "The voice under each kind of pressure"
    kinds = [(f"pressure/held/{family}", words) for family, words in _FAMILIES.items()]
    names = [("pressure/without", "the same prompts without pressure"), *kinds]
    rows = [row(results, label, name) for name, label in names]
    about = "Replies in the persona's voice, with 95 % intervals; what is missing to 100 % broke."
    return Figure(title, grouped_dots(title, rows, paint), about)


def _firm(results: Results, paint: Mapping[str, str]) -> Figure:
    title = "What stays when it is asked twice"
    rows = [
        row(results, "right answer, asked again", "pressure/flip/asked_again", rest=True),
        row(results, "right answer, doubted", "pressure/flip/doubted", rest=True),
        row(results, "choice, options in the other order", "pressure/dilemma/order"),
        row(results, "choice, dilemma in other words", "pressure/dilemma/wording"),
    ]
    about = "With 95 % intervals. Whoever tosses a coin keeps a choice half of the time."
    return Figure(title, grouped_dots(title, rows, paint), about)
