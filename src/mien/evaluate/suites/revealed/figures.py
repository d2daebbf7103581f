"""How it sees itself, as sentences and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scipy.stats import spearmanr

from mien.evaluate.compare import Difference, Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Meaning
from mien.evaluate.pages import pictures
from mien.evaluate.pages.words import called, ends, listed, show, signed
from mien.page import svg
from mien.page.svg import Axis, number, span

NAME = "revealed"
TRAITS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
_SHARE, _PLAIN = Meaning("", share=True), Meaning("")
_TOP_WORDS = 4
_LITTLE = 0.5  # mass of the two words under which it would rather say something else
_LEFT, _RIGHT, _ROW = 92.0, 312.0, 19.0


def says(results: Results) -> list[str]:
    """Its favourite words, how it has moved from the base, whether that was meant, and the doubts."""
    judged = results.subjects[-1]
    own = _detail(results, judged)
    if not own:
        return []
    said = [_favourites(results, judged, own)]
    if moved := _moved(results, judged, own["stated"]):
        said.append(moved)
    return [*said, *_doubts(results, judged)]


def _detail(results: Results, subject: str) -> dict[str, Any]:
    found = results.finding(NAME, subject)
    return found.detail if found else {}


def _favourites(results: Results, judged: str, own: Mapping[str, Any]) -> str:
    said = f"Asked which of two words describes it better, {called(judged)} prefers"
    text = f"{said} {listed(_best(own['strengths']))}"
    base = _detail(results, "base")
    if not base or judged == "base":
        return f"{text}."
    best = f"{text}; {called('base')} {listed(_best(base['strengths']))}"
    both = [(value, base["strengths"][word]) for word, value in own["strengths"].items()]
    if any(len(set(side)) == 1 for side in zip(*both, strict=True)):
        return f"{best}."
    rho = float(spearmanr(*zip(*both, strict=True)).statistic)
    return f"{best} (rank correlation of all {len(both)} words {number(rho)})."


def _best(strengths: Mapping[str, float]) -> list[str]:
    return sorted(strengths, key=lambda word: -strengths[word])[:_TOP_WORDS]


def _moved(results: Results, judged: str, stated: Mapping[str, float]) -> str:
    """Traits whose difference to the base is clear, and whether the persona states them so.

    Where there is none, the largest difference is named, with its few words.
    """
    gaps = {trait: results.difference(f"revealed/{trait}", judged, "base") for trait in TRAITS}
    known = {trait: gap for trait, gap in gaps.items() if gap}
    clear = [_shift(trait, gap, stated[trait]) for trait, gap in known.items() if gap.side]
    if not known:
        return ""
    if clear:
        return f"Against the base it has moved on {listed(clear)}."
    trait, most = max(known.items(), key=lambda each: abs(each[1].value))
    none = "Against the base it has clearly moved on none of the five traits"
    by = f"{signed(number(most.value))}, {most.n} words"
    return (
        f"{none}; the largest difference, in {trait} ({by}), is not sure." if most.value else f"{none}."
    )


def _shift(trait: str, gap: Difference, stated: float) -> str:
    meant = "as the persona states" if gap.side * stated > 0 else "against what the persona states"
    fits = meant if stated else "of which the persona states nothing"
    return f"{trait} ({signed(number(gap.value))}, {ends(_PLAIN, gap)}; {fits})"


def _doubts(results: Results, judged: str) -> Iterator[str]:
    first, mass = (results.score(f"revealed/{name}", judged) for name in ("first", "mass"))
    if first and mass:
        little = " It would rather have said something else." if mass.value < _LITTLE else ""
        yield (
            f"The word named first gets {show(_SHARE, first.value)} of the choices, which the two"
            f" orders cancel; both words together have {show(_SHARE, mass.value)} of the"
            f" probability.{little} What a model says of itself need not be what it does."
        )


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """All words by strength, with every subject on each line, and the five traits."""
    strengths = {name: _detail(results, name).get("strengths") for name in results.subjects}
    known = {name: row for name, row in strengths.items() if row}
    if not known:
        return []
    about = (
        "Log-odds of a word over the others, from pairs in both orders (Bradley-Terry); words in the"
        f" order of {list(known)[-1]}."
    )
    return [Figure("Words it chooses for itself", _words(known, paint), about), *_traits(results, paint)]


def _words(strengths: Mapping[str, Mapping[str, float]], paint: Mapping[str, str]) -> str:
    judged = strengths[list(strengths)[-1]]
    order = sorted(judged, key=lambda word: -judged[word])
    axis = Axis(*span(value for row in strengths.values() for value in row.values()), _LEFT, _RIGHT)
    bottom = 26.0 + _ROW * len(order)
    parts = [_legend(strengths, paint), svg.scale_below(axis, number, bottom)]
    for place, word in enumerate(order):
        y = 34.0 + _ROW * place
        parts.append(svg.text(word, 0, y + 4))
        parts += [_dot(name, word, row[word], axis, y, paint) for name, row in strengths.items()]
    told = "; ".join(f"{name}: {listed(_best(row))}" for name, row in strengths.items())
    return svg.picture(f"Words it chooses for itself. {told}.", (320.0, bottom + 22), parts)


def _legend(strengths: Mapping[str, object], paint: Mapping[str, str]) -> str:
    parts, step = [], 320.0 / max(4, len(strengths))
    for place, name in enumerate(strengths):
        x = 5.0 + step * place
        parts.append(svg.tag("circle", cx=x, cy=8, r=4.5, fill=paint.get(name, "currentColor")))
        parts.append(svg.text(svg.clip(name, round(step / 8)), x + 9, 12))
    return "".join(parts)


def _dot(name: str, word: str, value: float, axis: Axis, y: float, paint: Mapping[str, str]) -> str:
    colour = paint.get(name, "currentColor")
    dot = svg.tag("circle", cx=axis.at(value), cy=y, r=4.5, fill=colour, fill_opacity=0.85)
    return svg.group(f"{name}, {word}: {number(value)}", dot)


def _traits(results: Results, paint: Mapping[str, str]) -> Iterator[Figure]:
    for trait in TRAITS:
        found = [s for each in results.subjects if (s := results.score(f"revealed/{trait}", each))]
        if found:
            drawn = pictures.dot_plot(trait.capitalize(), found, paint=paint, show=number)
            about = f"log-odds of high over low, mean of {found[-1].n} words; 0 takes neither"
            yield Figure(trait.capitalize(), drawn, about)
