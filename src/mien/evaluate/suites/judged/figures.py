"""What the judge made of it, as sentences and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mien.evaluate.compare import CONTROLS, Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Meaning
from mien.evaluate.pages import pictures
from mien.evaluate.pages.words import called, ends, listed, show
from mien.evaluate.rubric import HIGHEST, LOWEST, rubric
from mien.page import svg
from mien.page.svg import number
from mien.schema import Score

NAME = "judged"
_SHARE, _PLAIN = Meaning("", share=True), Meaning("")
_POINTS = 100.0  # of strength to both sides that are shown at the least
_LITTLE = 0.5  # mass of the marks under which a judge would rather say something else
_CELL, _ROW, _LEFT, _TOP = 58.0, 34.0, 74.0, 40.0
_WIDTH = 320.0


def says(results: Results) -> list[str]:
    """Who judged and how far that counts; the marks; the comparisons; and how the judge is biased."""
    judge = _detail(results, "judge")
    if not judge:
        return []
    return [*_who(results, judge), *_rated(results), *_compared(results), *_biased(results)]


def _detail(results: Results, key: str, subject: str | None = None) -> Any:
    found = (f for f in results.findings if f.suite == NAME and key in f.detail)
    return next((f.detail[key] for f in found if subject in (None, f.subject)), None)


def _who(results: Results, judge: Mapping[str, Any]) -> Iterator[str]:
    calibrated = [each.replace("_", " ") for each in judge["calibrated"]]
    told = (
        f"calibrated against people's labels for {listed(calibrated)}"
        if calibrated
        else "uncalibrated: nobody has compared it with people"
    )
    yield f"The judge is {judge['name']}, {told}."
    if doubts := [*_kin(results), *_unread(results)]:
        yield f"Read its marks with care: {listed(doubts)}."


def _kin(results: Results) -> Iterator[str]:
    kin = {
        family: None
        for name in results.subjects
        for family in (_detail(results, "judge", name) or {"family": ()})["family"]
    }
    if kin:
        yield f"it is of the same family as the model it judges ({listed(list(kin))})"


def _unread(results: Results) -> Iterator[str]:
    mass = [each for each in results.scores if each.name == "judged/mass"]
    if mass and (least := min(mass, key=lambda each: each.value)).value < _LITTLE:
        yield f"all marks together had {show(_SHARE, least.value)} of its probability"
    lost = [each for each in results.scores if each.name == "judged/lost" and each.value > 0]
    if lost:
        most = max(lost, key=lambda each: each.value)
        yield f"up to {show(_SHARE, most.value)} of its verdicts could not be read ({most.system})"


def _rated(results: Results) -> Iterator[str]:
    judged = results.subjects[-1]
    score = results.score("judged/persona_consistency", judged)
    if score is None:
        return
    said = f"For persona consistency it gives {called(judged)} {number(score.value)} of {HIGHEST}"
    gaps = (results.difference(score.name, judged, each) for each in CONTROLS)
    against = [
        f"{_more(gap.value)} than {called(gap.theirs)} ({ends(_PLAIN, gap)})" for gap in gaps if gap
    ]
    yield f"{said} ({ends(_PLAIN, score)}){f': {listed(against)}' if against else ''}."


def _more(gap: float) -> str:
    return f"{number(abs(gap))} {'less' if gap < 0 else 'more'}"


def _compared(results: Results) -> Iterator[str]:
    judged = results.subjects[-1]
    parts = []
    for other in results.subjects[:-1]:
        won = results.score(f"judged/against/{other}", judged)
        equal = results.score(f"judged/equal_length/{other}", judged)
        if won and equal:
            level = f"{show(_SHARE, equal.value)} at equal length"
            parts.append(
                f"{show(_SHARE, won.value)} against {called(other)} ({ends(_SHARE, won)}; {level})"
            )
    if parts:
        yield f"Compared side by side, {called(judged)} wins {listed(parts)}."


def _biased(results: Results) -> Iterator[str]:
    judged = results.subjects[-1]
    first, flips = (results.score(f"judged/{name}", judged) for name in ("first", "flips"))
    if first is None or flips is None:
        return
    flip = f"{show(_SHARE, flips.value)} of its verdicts change when the replies change places"
    if first.low <= 0.5 <= first.high:
        yield f"No liking for the first or second place is seen; {flip} ({ends(_SHARE, flips)})."
        return
    place = "first" if first.value > 0.5 else "second"
    share = first.value if first.value > 0.5 else 1 - first.value
    yield (
        f"The judge is biased: it prefers whichever reply is shown {place} in {show(_SHARE, share)} of"
        f" its verdicts, and {flip}. Both orders are always asked, so this moves no result."
    )


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """Marks by criterion, who beats whom, and the strengths that follow."""
    found = [
        *(_marks(results, each.name, each.label, paint) for each in rubric().criteria),
        _table(results),
        _strengths(results, paint),
    ]
    return [figure for figure in found if figure]


def _scores(results: Results, name: str) -> list[Score]:
    return [score for each in results.subjects if (score := results.score(name, each))]


def _marks(results: Results, name: str, label: str, paint: Mapping[str, str]) -> Figure | None:
    found = _scores(results, f"judged/{name}")
    if not found:
        return None
    within = float(LOWEST), float(HIGHEST)
    drawn = pictures.dot_plot(label, found, paint=paint, show=number, within=within)
    return Figure(label, drawn, _standing(results, name))


def _standing(results: Results, name: str) -> str:
    judge = _detail(results, "judge") or {}
    known = "calibrated" if name in judge.get("calibrated", ()) else "uncalibrated"
    return f"marks from 1 to 5 by the {known} judge {judge.get('name', '')}; higher is better"


def _strengths(results: Results, paint: Mapping[str, str]) -> Figure | None:
    found = _scores(results, "judged/strength")
    if not found:
        return None
    reach = max(_POINTS, *(max(-score.low, score.high) for score in found))
    drawn = pictures.dot_plot(
        "Strength",
        found,
        paint=paint,
        show=lambda value: number(value, 100),
        within=(-reach, reach),
    )
    about = "100 points more win 64 % of comparisons; the mean of all systems is 0; " + _voice(results)
    return Figure("Strength in comparisons", drawn, about)


def _voice(results: Results) -> str:
    """Who compared; people's marks for single replies say nothing of that."""
    return f"by the uncalibrated judge {(_detail(results, 'judge') or {}).get('name', '')}"


def _table(results: Results) -> Figure | None:
    wins = {name: _detail(results, "wins", name) for name in results.subjects}
    known = {name: row for name, row in wins.items() if row}
    if not known:
        return None
    about = f"Each row's share of the comparisons with each column, both orders; {_voice(results)}."
    return Figure("Who is preferred to whom", _matrix(known), about)


def _matrix(wins: Mapping[str, Mapping[str, float]]) -> str:
    """Rows against columns, darker with the share that the row wins."""
    names = list(wins)
    cell = min(_CELL, (_WIDTH - _LEFT) / len(names))
    parts = [svg.faint("wins against", _LEFT, 12)]
    for column, name in enumerate(names):
        x = _LEFT + cell * (column + 0.5)
        parts.append(svg.text(svg.clip(name, round(cell / 7)), x, _TOP - 10, text_anchor="middle"))
    for place, name in enumerate(names):
        y = _TOP + _ROW * place
        parts.append(svg.text(svg.clip(name, 10), 0, y + 21))
        parts += [_cell(name, other, wins[name], cell, names.index(other), y) for other in names]
    words = "; ".join(
        f"{name} wins {share:.0%} against {other}"
        for name, row in wins.items()
        for other, share in row.items()
    )
    size = (_WIDTH, _TOP + _ROW * len(names) + 2)
    return svg.picture(f"Who is preferred to whom. {words}.", size, parts)


def _cell(name: str, other: str, row: Mapping[str, float], cell: float, column: int, y: float) -> str:
    x, share = _LEFT + cell * column, row.get(other)
    middle = x + cell / 2
    if share is None:
        return svg.text("\N{MIDDLE DOT}", middle, y + 21, text_anchor="middle", opacity=0.5)
    shape = {"x": x + 1, "y": y, "width": cell - 2, "height": _ROW - 2, "rx": 3, "fill": "var(--heat)"}
    drawn = svg.tag("rect", **shape, fill_opacity=0.05 + 0.5 * share)
    words = f"{name} wins {share:.0%} against {other}"
    return svg.group(words, drawn, svg.text(f"{100 * share:.0f}", middle, y + 21, text_anchor="middle"))
