"""Scores that are no means: of scales over described respondents, of forms, and between formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from mien.evaluate.ocean import gate, psychometrics
from mien.evaluate.ocean.gate import Check
from mien.evaluate.ocean.items import TRAITS, Form, Trait
from mien.evaluate.ocean.psychometrics import Convergence, Table, resampled
from mien.evaluate.ocean.trials import scored
from mien.schema import Score
from mien.stats import Interval

_DESCRIBED = "described respondents (arXiv:2307.00184)"


def of_scales(
    kind: str, tables: Sequence[Table], subject: str
) -> tuple[list[Score], dict[Trait, list[Check]]]:
    """Reliability and discrimination of every scale, and the gate's conditions on them.

    There is one (respondents, items) table per trait, and none if nobody was described.
    """
    if not tables:
        return [], {trait: gate.reliability(None, None, None) for trait in TRAITS}
    scores, checks = list[Score](), dict[Trait, list[Check]]()
    for place, (trait, table) in enumerate(zip(TRAITS, tables, strict=True)):
        found = {
            "alpha": alpha(table),
            "omega": resampled(psychometrics.omega, table, draws=100),
            "split-half": resampled(psychometrics.split_half, table),
            "discrimination": resampled(partial(psychometrics.success, of=place), *tables),
        }
        method = f"{table.shape[1]} items, {len(table)} {_DESCRIBED}"
        for what, interval in found.items():
            scores += scored(f"{kind}/{what}/{trait}", subject, interval, method)
        checks[trait] = gate.reliability(found["alpha"], found["omega"], found["discrimination"])
    return scores, checks


def alpha(table: Table) -> Interval | None:
    """Cronbach's alpha with Feldt's interval; None if it is undefined."""
    value = psychometrics.alpha(table)
    if not np.isfinite(value):
        return None
    return Interval(value, *psychometrics.feldt(value, *table.shape), len(table))


def of_forms(kind: str, table: Table, ways: Sequence[Form], subject: str) -> list[Score]:
    """How much the form matters.

    The (items, forms) table holds agreement, where a form's bias does not cancel between keys as it does
    in levels of the trait.
    """
    labels, order = [way.labels for way in ways], [str(way.falling) for way in ways]
    wanted: dict[str, Callable[[Table], float]] = {
        "icc": psychometrics.icc,
        "variance/items": lambda t: psychometrics.components(t).items,
        "variance/forms": lambda t: psychometrics.components(t).forms,
        "variance/rest": lambda t: psychometrics.components(t).rest,
        "variance/labels": lambda t: psychometrics.explained(t, labels),
        "variance/order": lambda t: psychometrics.explained(t, order),
    }
    scores, method = list[Score](), f"{len(ways)} forms; 95 % bootstrap over items"
    for what, statistic in wanted.items():
        scores += scored(f"{kind}/{what}", subject, resampled(statistic, table), method)
    return scores


def between(formats: Sequence[Table], subject: str) -> list[Score]:
    """Convergent and discriminant correlations.

    There is one (respondents, traits) table of levels per format, of the same described respondents.
    """
    if len(formats) < 2:
        return []
    wanted: dict[str, Callable[[Convergence], float]] = {
        "convergent": lambda c: float(np.mean(c.same)),
        "discriminant": lambda c: c.other,
        "gap": lambda c: c.gap,
        **{f"convergent/{trait}": partial(_same, place=place) for place, trait in enumerate(TRAITS)},
    }
    scores, method = list[Score](), f"r between {len(formats)} formats over {_DESCRIBED}"
    for what, pick in wanted.items():
        scores += scored(what, subject, resampled(partial(_picked, pick), *formats), method)
    return scores


def _same(found: Convergence, place: int) -> float:
    return found.same[place]


def _picked(pick: Callable[[Convergence], float], *formats: Table) -> float:
    return pick(psychometrics.convergence(formats))
