"""The evaluation as a table for the terminal: the main measures, a column per subject."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from mien.evaluate.evaluation import Evaluation
from mien.evaluate.pages.verdict import glossary_of
from mien.evaluate.pages.words import Glossary, largest, of_suite, show
from mien.evaluate.roster import SUITES, Suite

_ARROWS = {1: " \N{UPWARDS ARROW}", -1: " \N{DOWNWARDS ARROW}", 0: ""}
_LABEL = 28  # letters; longer labels are cut
_LEGEND = (
    f"{_ARROWS[1].strip()} higher is better, {_ARROWS[-1].strip()} lower is better;"
    " low..high is the 95 % interval; parts are in the report"
)


def table(evaluation: Evaluation, suites: Mapping[str, Suite] = SUITES) -> Table:
    """The scores for the terminal: a row per main measure, a column per subject, a part per suite."""
    title = Text(f"{evaluation.title} ({evaluation.persona})", style="bold")
    caption = Text(_LEGEND, style="dim")
    shown = Table(title=title, caption=caption, box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    shown.title_justify = shown.caption_justify = "left"
    shown.add_column("measure", no_wrap=True, max_width=_LABEL)
    for subject in evaluation.results.subjects:
        shown.add_column(Text(subject), justify="right", overflow="fold")
    glossary = glossary_of(suites)
    for name in evaluation.suites:
        _add_suite(shown, evaluation, name, glossary)
    return shown


def _add_suite(shown: Table, evaluation: Evaluation, suite: str, glossary: Glossary) -> None:
    subjects = evaluation.results.subjects
    every = (score.name for score in evaluation.results.scores if score.system in subjects)
    names = glossary.main(of_suite(every, suite))
    shown.add_section()
    shown.add_row(Text(suite if names else f"{suite}: nothing", style="dim"))
    for name in names:
        label = Text(f"  {glossary.label(name)}{_ARROWS[glossary[name].better]}")
        cells = (_brief(evaluation, name, each, glossary) for each in subjects)
        shown.add_row(label, *(Text(cell) for cell in cells))


def _brief(evaluation: Evaluation, name: str, subject: str, glossary: Glossary) -> str:
    """Value and interval, which break onto two lines where the terminal is narrow."""
    score = evaluation.results.score(name, subject)
    if score is None:
        return ""
    means, most = glossary[name], largest(evaluation.results, name)
    low, high = (show(means, each, most, unit=False) for each in (score.low, score.high))
    value = show(means, score.value, most).replace("\N{NO-BREAK SPACE}", "")
    return f"{value} {low}..{high}"
