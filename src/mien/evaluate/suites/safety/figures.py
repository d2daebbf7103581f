"""The safety suite's findings as sentences and pictures."""

from __future__ import annotations

from collections.abc import Mapping

from mien.evaluate.compare import CONTROLS, Results
from mien.evaluate.figure import Figure
from mien.evaluate.gate import MARGIN, checks
from mien.evaluate.pages.words import beside, called, listed, points, share
from mien.evaluate.suites.grouped import cross, grouped_dots, row
from mien.evaluate.suites.safety import refusal
from mien.persona.spec import Release
from mien.schema import Score


def says(results: Results) -> list[str]:
    """Harmful and innocent requests side by side, sycophancy, rudeness, and how good the rules are."""
    judged = results.subjects[-1]
    declined = " ".join(filter(None, (_declined(results, judged), _floor(results, judged))))
    said = (declined, _swayed(results, judged), _rude(results, judged), _rules() if declined else "")
    return [sentence for sentence in said if sentence]


def unshown(results: Results) -> str:
    """That nothing could be lost, where the controls decline less than the gate's margin themselves."""
    low = _toothless(results, results.subjects[-1])
    return (
        "Whether safety was lost: the controls decline so little that it could not show" if low else ""
    )


def _floor(results: Results, judged: str) -> str:
    names = listed([called(each) for each in _toothless(results, judged)])
    return (
        f"So little is declined by {names} that a loss of safety could not show here." if names else ""
    )


def _toothless(results: Results, judged: str) -> list[str]:
    """The controls, if none of them declines enough for a loss to be seen."""
    found = results.finding("safety", judged)
    release = Release(safety=found.detail.get("margin", MARGIN) if found else MARGIN)
    held = [each for each in checks(results, judged, release) if each.measure == "safety/safe"]
    known = [each for each in held if each.value is not None]
    return [each.against for each in known] if all(each.toothless for each in known) else []


def _declined(results: Results, judged: str) -> str:
    safe = results.score("safety/safe", judged)
    over = results.score("safety/over_refusal", judged)
    if not (safe and over):
        return ""
    return (
        f"It declined {share(safe)} of {safe.n} harmful requests{beside(results, safe.name)},"
        f" and {share(over)} of their innocent twins{beside(results, over.name)}."
    )


def _swayed(results: Results, judged: str) -> str:
    moved = results.score("safety/sycophancy", judged)
    if moved is None:
        return ""
    found = [(each, results.score(moved.name, each)) for each in CONTROLS if each != judged]
    others = [f"{points(score)} for {called(each)}" for each, score in found if score]
    return (
        "Once the user believes in something false or debatable, it grants it more often by"
        f" {points(moved)}{f'; {listed(others)}' if others else ''}."
    )


def _rude(results: Results, judged: str) -> str:
    rude, toxic = results.score("safety/rude", judged), results.score("safety/toxicity", judged)
    if rude is None:
        return ""
    service = f"; Perspective API rates what was provoked at {toxic}" if toxic else ""
    return f"Coarse words stand in {share(rude)} of {rude.n} replies{service}."


def _rules() -> str:
    found = refusal.agreement()
    score = Score(name="", system="", method="", **found._asdict())
    return (
        f"Refusals are found by rules for their words, which agree with a reader on {share(score)} of"
        f" {found.n} labelled replies that they were not written on; a reply of nonsense counts as"
        " compliance."
    )


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """Compliance against over-refusal, refusals by category, and what a belief moves."""
    found = (_twins(results, paint), _categories(results, paint), _beliefs(results, paint))
    return [figure for figure in found if figure.picture]


def _twins(results: Results, paint: Mapping[str, str]) -> Figure:
    title = "Harmful requests and their innocent twins"
    complied = row(results, "", "safety/safe", rest=True).scores
    over = {score.system: score for score in row(results, "", "safety/over_refusal").scores}
    pairs = [(score, over[score.system]) for score in complied if score.system in over]
    about = "Best is the lower left corner: nothing harmful is granted and nothing innocent is declined."
    drawn = cross(title, pairs, ("harmful, not declined", "innocent, declined"), paint)
    return Figure(title, drawn, about)


def _categories(results: Results, paint: Mapping[str, str]) -> Figure:
    title = "Harmful requests declined, by category"
    prefix = "safety/safe/"
    names = dict.fromkeys(score.name for score in results.scores if score.name.startswith(prefix))
    rows = [row(results, name.removeprefix(prefix).replace("_", " "), name) for name in names]
    about = "With 95 % intervals; few requests per category, so that they are wide. Higher is better."
    return Figure(title, grouped_dots(title, rows, paint), about)


def _beliefs(results: Results, paint: Mapping[str, str]) -> Figure:
    title = "Claims granted, with and without the user's belief"
    rows = [
        row(results, "merely asked", "safety/granted/asked"),
        row(results, "the user believes in it", "safety/granted/urged"),
    ]
    about = "With 95 % intervals. What a belief adds is flattery; the claims are false or debatable."
    return Figure(title, grouped_dots(title, rows, paint), about)
