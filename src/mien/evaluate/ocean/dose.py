"""Whether more of the adapter is more of the trait: a line, a step, or neither.

The adapter's update, as it is asked elsewhere, is multiplied by each of some doses and the contrasts
are asked again. A rank correlation alone says little, since a switch between two states also scores 1:
so a line and a step are fitted to the curve of one half of the items, and have to fit the curve of the
other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from mien.evaluate.ocean.administer import preferences
from mien.evaluate.ocean.items import TRAITS, contrasts
from mien.evaluate.ocean.psychometrics import Table, correlation, resampled
from mien.evaluate.ocean.trials import scored
from mien.evaluate.setting import Setting
from mien.evaluate.subject import LocalSubject
from mien.schema import Score
from mien.stats import Interval

DOSES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
Curve = NDArray[np.float64]  # one value per dose
_AT = np.array(DOSES)
_SPLITS = 100
_ASTRAY = "1 - squared cosine of slopes and poles; 1 where the cosine is below 0"


def spearman(curve: Curve) -> float:
    """Rank correlation of doses and values; NaN where the values do not vary."""
    return correlation(_AT, rankdata(curve))


def slope(curve: Curve) -> float:
    """Of the straight line through the curve, per whole adapter."""
    return float(np.polyfit(_AT, curve, 1)[0])


def line(curve: Curve) -> Curve:
    """The straight line that is nearest to a curve."""
    return np.asarray(np.polyval(np.polyfit(_AT, curve, 1), _AT))


def step(curve: Curve) -> Curve:
    """The switch between two states that is nearest to a curve."""
    switches = [
        np.concatenate([np.full(cut, curve[:cut].mean()), np.full(len(curve) - cut, curve[cut:].mean())])
        for cut in range(1, len(curve))
    ]
    return min(switches, key=lambda each: float(((curve - each) ** 2).sum()))


def held_out(fit: Callable[[Curve], Curve], items: Table, *, seed: int = 0) -> Interval | None:
    """R2 of a fit to one half of the items about the mean curve of the other half.

    Args:
        fit: Gives the fitted curve.
        items: Shift of each item, (items, doses).
        seed: Of the splits.

    Returns:
        The median over random splits with the middle 95 % of them; None where nothing varies.
    """
    generator, found = np.random.default_rng(seed), list[float]()
    for _ in range(_SPLITS):
        one, other = (
            items[half].mean(axis=0) for half in np.array_split(generator.permutation(len(items)), 2)
        )
        spread = float(((other - other.mean()) ** 2).sum())
        if spread > 1e-12:
            found.append(1 - float(((other - fit(one)) ** 2).sum()) / spread)
    if not found:
        return None
    low, value, high = (float(each) for each in np.quantile(found, [0.025, 0.5, 0.975]))
    return Interval(value, low, high, len(items))


def leakage(slopes: Curve, poles: Curve) -> float:
    """Share of the squared slopes that points elsewhere than the persona; NaN if it points nowhere.

    What points the other way points elsewhere, all of it.
    """
    sizes = float(slopes @ slopes) * float(poles @ poles)
    return 1 - max(0.0, float(slopes @ poles)) ** 2 / sizes if sizes > 1e-12 else float("nan")


def dosed(setting: Setting, subject: LocalSubject) -> tuple[list[Score], dict[str, list[float]]]:
    """Scores per trait, and the curves: shift from no dose, nats per token, per trait."""
    items = contrasts()
    at = [replace(subject, scale=subject.scale * dose) for dose in DOSES]
    asked = [preferences(setting, each, items)[0] for each in at]
    shifts = (np.array(asked) - asked[0]).T
    groups = [shifts[[i.trait == trait for i in items]] for trait in TRAITS]
    scores = list[Score]()
    for trait, group in zip(TRAITS, groups, strict=True):
        scores += _scores(subject.name, trait, group)
    poles = np.array([setting.persona.big_five.model_dump()[trait] for trait in TRAITS])
    astray = resampled(partial(_astray, poles), *groups)
    scores += scored("dose/leakage", subject.name, astray, _ASTRAY)
    return scores, {t: g.mean(axis=0).tolist() for t, g in zip(TRAITS, groups, strict=True)}


def _scores(subject: str, trait: str, group: Table) -> list[Score]:
    over, halves = "95 % bootstrap over items", f"middle 95 % of {_SPLITS} splits into halves of items"
    wanted = {
        "rho": (resampled(lambda rows: spearman(rows.mean(axis=0)), group), over),
        "slope": (resampled(lambda rows: slope(rows.mean(axis=0)), group), over),
        "line": (held_out(line, group), halves),
        "step": (held_out(step, group), halves),
    }
    return [
        score
        for what, (found, how) in wanted.items()
        for score in scored(f"dose/{what}/{trait}", subject, found, f"{len(DOSES)} doses; {how}")
    ]


def _astray(poles: Curve, *groups: Table) -> float:
    return leakage(np.array([slope(group.mean(axis=0)) for group in groups]), poles)
