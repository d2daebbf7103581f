"""The voice suite's findings as sentences and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from mien.data.corpus import VOICES
from mien.evaluate.compare import Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Finding, Meaning
from mien.evaluate.pages import panels, pictures
from mien.evaluate.pages.words import SHARE, beside, is_main, share, show
from mien.evaluate.suites import dots
from mien.persona.voice import DIMENSIONS, MEASURES, measure, measures_of
from mien.schema import Score

NAME = "voice"
RATE = "voice/rate"
_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
_FEW = 4  # replies on a topic below which none is called the worst


def says(results: Results) -> list[str]:
    """How often the voice is heard, against whom, on which topic least, and how near its targets."""
    judged = results.subjects[-1]
    rate = results.score(RATE, judged)
    if rate is None:
        return []
    said = (_heard_in(results, rate), _worst(results, judged), _mistaken(results, judged))
    return [*filter(None, said), *_on_target(results, judged)]


def _heard_in(results: Results, rate: Score) -> str:
    heard = f"The {results.persona} voice is heard in {share(rate, 1)} of {rate.n} replies"
    return f"{heard}{beside(results, RATE, 1)}."


def _worst(results: Results, judged: str) -> str:
    """The topic on which the voice is heard least."""
    prefix = "voice/topic/"
    found = [s for s in results.scores if s.system == judged and s.name.startswith(prefix)]
    enough = [score for score in found if score.n >= _FEW]
    if len(enough) < 2:
        return ""
    worst = min(enough, key=lambda score: score.value)
    if worst.value == 1:  # which says nothing of the topics of few replies
        everywhere = all(score.value == 1 for score in found)
        return f"It is heard in all of them, on all {len(found)} topics." if everywhere else ""
    topic = worst.name.removeprefix(prefix).replace("_", " ")
    return f"The worst topic is {topic}, with {share(worst, 1)} of {worst.n} replies."


def _mistaken(results: Results, judged: str) -> str:
    """What is mostly heard where the voice is not."""
    voices = Counter(reply["voice"] for reply in _replies(results.finding(NAME, judged)))
    total = voices.total()
    voices.pop(results.persona, 0)
    if not voices:
        return ""
    voice, count = voices.most_common(1)[0]
    return f"What is not heard as {results.persona} is most often heard as {voice} ({count} of {total})."


def _on_target(results: Results, judged: str) -> list[str]:
    score, other = results.score("voice/in_band", judged), results.score("voice/in_band", "base")
    if score is None:
        return []
    said = f"Of the measures that the persona states, {share(score, 1)} lie in their band"
    than = f", against {show(SHARE, other.value, 1)} in the base" if other and judged != "base" else ""
    return [f"{said}{than}."]


def figures(results: Results, paint: Mapping[str, str], meanings: Mapping[str, Meaning]) -> list[Figure]:
    """Which voices are heard, the scores, and the five dimensions before their bands."""
    found = [
        _voices(results),
        *dots.dots(results, filter(is_main, meanings), meanings, paint),
        _dimensions(results, paint),
        *_bands(results, paint),
    ]
    return [figure for figure in found if figure]


def _replies(finding: Finding | None) -> list[dict[str, Any]]:
    return list(finding.detail.get("replies", ())) if finding else []


def _voices(results: Results) -> Figure | None:
    heard = {
        name: Counter(reply["voice"] for reply in _replies(results.finding(NAME, name)))
        for name in results.subjects
    }
    shares = {
        name: {voice: count / found.total() for voice, count in found.items()}
        for name, found in heard.items()
        if found
    }
    if not shares:
        return None
    voices = list(dict.fromkeys([*VOICES, *(voice for found in shares.values() for voice in found)]))
    about = "The classifier must choose one voice for every reply; what mostly recites is an echo."
    drawn = pictures.stacked(shares, intended=results.persona, voices=voices)
    return Figure("Which voice is heard", drawn, about, wide=True)


def _dimensions(results: Results, paint: Mapping[str, str]) -> Figure | None:
    """Of each dimension, how many of its measures lie in their band."""
    scores = {
        _title(dimension): {
            who: score for who in results.subjects if (score := results.score(name, who))
        }
        for dimension in DIMENSIONS
        for name in [f"voice/in_band/{dimension}"]
    }
    panel = panels.Panel(
        "On target, by dimension",
        "higher is better",
        {title: row for title, row in scores.items() if row},
        partial(show, SHARE, largest=1),
        whole=True,
    )
    if not panel.scores:
        return None
    drawn = panels.dots(panel, paint, width=320, left=96)
    return Figure(panel.title, drawn, "Share of the measures within the target; higher is better")


def _bands(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """Every measure that has a target, and how the replies lie to it, with the authored ones beside."""
    known = [found for each in results.subjects if (found := results.finding(NAME, each))]
    bands: dict[str, tuple[float, float]] = next((f.detail["bands"] for f in known if f.detail), {})
    rows = {found.subject: _spreads(_replies(found)) for found in known if _replies(found)}
    authored: dict[str, str] = next((f.detail["authored"] for f in known if f.detail), {})
    rows[pictures.AUTHORED] = _of_texts(tuple(authored.values()))
    return [
        Figure(
            f"{_title(dimension)}: {name.replace('_', ' ')}",
            pictures.band_plot(
                name.replace("_", " "),
                bands[name],
                {who: spread[name] for who, spread in rows.items() if name in spread},
                paint=paint,
            ),
            f"{_title(MEASURES[name].about)}; the shade is the target",
        )
        for dimension in DIMENSIONS
        for name in measures_of(dimension)
        if name in bands
    ]


def _spreads(replies: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    return _quantiles([reply["measures"] for reply in replies])


@lru_cache(maxsize=16)
def _of_texts(texts: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    return _quantiles([measure(text) for text in texts])


def _quantiles(rows: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    """10, 25, 50, 75 and 90 per cent of every measure."""
    return {
        name: tuple(map(float, np.quantile([row[name] for row in rows], _LEVELS)))
        for name in (rows[0] if rows else ())
    }


def _title(name: str) -> str:
    return name[:1].upper() + name[1:].replace("_", " ")
