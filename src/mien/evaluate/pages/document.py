"""The evaluations of several personas as one document in Markdown, with its pictures as SVG files.

It is what `docs/results.md` is made by: first what came out, then every question in turn, then how it
was made. Text from models is escaped, so that it can be no markup of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from mien.evaluate.compare import Results
from mien.evaluate.evaluation import Evaluation
from mien.evaluate.gate import warning
from mien.evaluate.pages import ear, pictures, sheet
from mien.evaluate.pages.panels import Panel
from mien.evaluate.pages.render import FIGURES_OPEN, Scene, scenes, subject_words
from mien.evaluate.pages.summary import Summary, ran, subjects
from mien.evaluate.pages.verdict import (
    RATE,
    glossary_of,
    key_measure,
    missing_lines,
    standing,
    verdict,
)
from mien.evaluate.pages.words import (
    PERCENT,
    Glossary,
    direction,
    ends,
    gap,
    inside,
    is_wide,
    largest,
    listed,
    of_suite,
    show,
)
from mien.evaluate.roster import SUITES, Suite
from mien.evaluate.suites.diversity import figures as diversity
from mien.page.svg import number
from mien.schema import Score
from mien.workspace import write_atomic

_MARKS = {"better": "\N{BLACK UP-POINTING TRIANGLE}", "worse": "\N{BLACK DOWN-POINTING TRIANGLE}"}
_HASH = 16  # digits of a hash that are shown
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!])")
_ARRIVED = "Did the personality arrive?"
_READING = (
    f"A figure stands with its 95{PERCENT} interval in brackets: if the evaluation were repeated with"
    " other prompts of this kind, it would mostly fall in there. Better and worse are only said where"
    " the whole interval of a paired difference is on that side of zero; of forty such comparisons,"
    " about two come out so by chance."
)


@dataclass(frozen=True)
class Document:
    """What several evaluations come to together.

    Args:
        evaluations: One per persona, of the same subjects.
        suites: By name; those that an evaluation ran are told.
        command: What repeats all of it.
        folder: Of the pictures, as the document names it.
        apart: How far the personas are from each other, as `between_personas` makes it.
    """

    evaluations: Sequence[Evaluation]
    suites: Mapping[str, Suite] = field(default_factory=lambda: SUITES)
    command: str = ""
    folder: str = "results"
    apart: Sequence[Score] = ()

    @cached_property
    def _glossary(self) -> Glossary:
        return glossary_of(self.suites)

    @cached_property
    def _ran(self) -> list[Suite]:
        return ran(self.evaluations, self.suites)

    @cached_property
    def _subjects(self) -> list[str]:
        return subjects(self.evaluations)

    @cached_property
    def _paint(self) -> dict[str, str]:
        return pictures.colours(self._subjects)

    def markdown(self) -> str:
        """The whole text."""
        parts = [
            "# Does the personality hold, and what did it cost?",
            *self._warned(),
            self._who(),
            self._in_short(),
            self._verdicts(),
            self._at_a_glance(),
            *(self._section(suite) for suite in self._ran),
            self._examples(),
            self._made(),
        ]
        return "\n\n".join(filter(None, parts)) + "\n"

    @cached_property
    def drawings(self) -> dict[str, str]:
        """All pictures that the text shows, by file name, as SVG."""
        found: dict[str, str] = {}
        if keys := self._panels(self._keys()):
            found["matrix.svg"] = sheet.matrix("The first measure of every suite", keys)
        for suite in self._ran:
            if panels := self._panels(self._main(suite)):
                found[f"{suite.name}.svg"] = sheet.panels(suite.title, panels, self._paint)
            for each in self.evaluations:
                if figures := suite.figures(each.results, pictures.colours(each.results.subjects)):
                    title = f"{suite.title} {each.persona}"
                    found[f"{suite.name}-{each.persona}.svg"] = sheet.sheet(
                        title, figures[:FIGURES_OPEN]
                    )
        return found

    def write(self, path: Path) -> None:
        """Write the text to `path`, and the pictures into their folder beside it.

        Raises:
            OSError: It cannot be written.
        """
        write_atomic(path, self.markdown())
        for name, picture in self.drawings.items():
            write_atomic(path.parent / self.folder / name, picture)

    def _warned(self) -> list[str]:
        return [
            f"> **Safety, {plain(each.persona)}:** {plain(line)}"
            for each in self.evaluations
            if (line := warning(each))
        ]

    def _who(self) -> str:
        words = subject_words(self.evaluations)
        base = plain(self.evaluations[0].base)
        voices = "; ".join(
            f"**{plain(e.persona)}** ({plain(inside(e.title))})" for e in self.evaluations
        )
        lines = [f"- **{plain(name)}**: {words[name]}" for name in self._subjects]
        many = len(self.evaluations)
        given = f"{many} personalities, one at a time" if many > 1 else "a personality"
        told = (
            f"A small language model ({base}) was given {given}: {voices}. What came of each was"
            " measured on questions that were kept out of its training. These were compared, all asked"
            " the same things in the same way:"
        )
        return "\n\n".join([told, "\n".join(lines), _READING])

    def _in_short(self) -> str:
        """What all voices come to; one voice alone is told in its verdict."""
        if len(self.evaluations) == 1:
            return ""
        said = Summary(self.evaluations, self.suites).lines()
        return "\n\n".join(
            ["## In short", *(f"**{head}** {plain(text)}" for head, text in said.items())]
        )

    def _verdicts(self) -> str:
        found = [(each.persona, verdict(each, self.suites)) for each in self.evaluations]
        lines = [
            f"- **{plain(persona)}: {plain(said.headline)}** {plain(' '.join(said.sentences))}"
            for persona, said in found
        ]
        heard = any(each.results.score(RATE, each.judged) for each in self.evaluations)
        told = "Share of replies in which a classifier hears the intended voice:"
        table = [told, self._voice_table(RATE)] if heard else []
        return "\n\n".join([f"## {_ARRIVED}", "\n".join(lines), *table])

    def _at_a_glance(self) -> str:
        keys = self._keys()
        if not keys:
            return ""
        heads = ["question", "measure", *(plain(each.persona) for each in self.evaluations)]
        rows = [
            [
                f"[{plain(suite.title)}](#{_anchor(suite.title)})",
                plain(self._glossary.label(name)),
                *(self._marked(each, name) for each in self.evaluations),
            ]
            for suite in self._ran
            for name in [self._key(suite)]
            if name
        ]
        judged = listed(list(dict.fromkeys(f"**{plain(e.judged)}**" for e in self.evaluations)))
        about = (
            f"The first measure of every suite, for {judged} ({_MARKS['better']}"
            " better than every control that was measured,"
            f" {_MARKS['worse']} worse than at least one; no mark: neither is clear, or neither way is"
            " better). Compare what stands in a line, and not one line with another: some questions cut"
            " replies short, and in a short reply every voice is heard less often."
        )
        picture = f"![The same for all systems: voices by systems]({self.folder}/matrix.svg)"
        return f"## At a glance\n\n{about}\n\n{_table(heads, rows)}\n\n{picture}"

    def _marked(self, evaluation: Evaluation, name: str) -> str:
        score = evaluation.results.score(name, evaluation.judged)
        if score is None:
            return "not measured"
        mark = _MARKS.get(standing(evaluation, name, self._glossary), "")
        return f"{self._value(evaluation.results, score)} {mark}".strip()

    def _section(self, suite: Suite) -> str:
        told = [
            (each.persona, suite.says(each.results))
            for each in self.evaluations
            if suite.name in each.suites
        ]
        every = (
            [line for line in told[0][1] if all(line in lines for _, lines in told)] if told[1:] else []
        )
        said = [
            f"- **{plain(persona)}**: {plain(' '.join(own))}"
            for persona, lines in told
            if (own := [line for line in lines if line not in every])
        ]
        names = self._main(suite)
        tables = [
            f"**{plain(self._glossary.label(name))}.** {self._about(name)}\n\n{self._table_of(name)}"
            for name in names
        ]
        rest = _folded("All other figures, with what they mean", tables[1:])
        picture = f"![{plain(suite.title)}]({self.folder}/{suite.name}.svg)" if names else ""
        between = diversity.between_says(self.apart) if suite.name == diversity.NAME else []
        parts = [
            f"## {plain(suite.title)}",
            "\n".join(said),
            plain(" ".join(every)) or ("" if said else "Nothing could be measured."),
            " ".join(map(plain, between)),
            picture,
            *tables[:1],
            rest,
            self._voice_by_voice(suite),
            self._missing(suite),
        ]
        return "\n\n".join(filter(None, parts))

    def _table_of(self, name: str) -> str:
        """A measure's table; that of the voices stands at the beginning already."""
        above = f"The table is [at the beginning](#{_anchor(_ARRIVED)})."
        return above if name == RATE else self._voice_table(name)

    def _about(self, name: str) -> str:
        means = self._glossary[name]
        way = direction(means)
        return plain(means.about) + (f" {way.capitalize()}." if way else "")

    def _voice_table(self, name: str) -> str:
        """A measure over voices (rows) and subjects, with the judged one's gain over prompt and null."""
        heads = ["voice", *map(plain, self._subjects)]
        effects = any(each.results.effect(name, each.judged) for each in self.evaluations)
        gains = any(self._gain(each, name) for each in self.evaluations)
        heads += ["over prompt"] * gains + ["over null, in SD"] * effects
        rows = []
        for each in self.evaluations:
            scores = (each.results.score(name, subject) for subject in self._subjects)
            cells = [self._value(each.results, score) if score else "" for score in scores]
            cells += [self._gain(each, name)] * gains + [_effect(each, name)] * effects
            rows.append([plain(each.persona), *cells])
        return _table(heads, rows)

    def _gain(self, evaluation: Evaluation, name: str) -> str:
        found = evaluation.results.difference(name, evaluation.judged, "prompt")
        if found is None:
            return ""
        value, interval = gap(evaluation.results, self._glossary[name], found)
        return f"{value} [{interval}]"

    def _value(self, results: Results, score: Score) -> str:
        means, most = self._glossary[score.name], largest(results, score.name)
        return f"{show(means, score.value, most)} [{ends(means, score, most)}]".replace(
            f"{PERCENT}]", "]"
        )

    def _voice_by_voice(self, suite: Suite) -> str:
        files = [(each.persona, f"{suite.name}-{each.persona}.svg") for each in self.evaluations]
        shown = [
            f"![{plain(suite.title)} {plain(persona)}]({self.folder}/{file})"
            for persona, file in files
            if file in self.drawings
        ]
        return _folded("Pictures, voice by voice", shown)

    def _missing(self, suite: Suite) -> str:
        found: dict[str, dict[str, list[str]]] = {}
        for each in self.evaluations:
            for line, who in missing_lines(each, suite).items():
                found.setdefault(line, {})[each.persona] = who
        lines = [f"- {plain(line)}: {plain(self._where(places))}" for line, places in found.items()]
        return "What is missing, and why:\n\n" + "\n".join(lines) if lines else ""

    def _where(self, places: Mapping[str, Sequence[str]]) -> str:
        """Voices with those of their subjects that are meant; only "everywhere" if all are."""
        if all(set(places.get(e.persona, ())) == set(e.results.subjects) for e in self.evaluations):
            return "everywhere"
        return ", ".join(f"{persona} ({', '.join(subjects)})" for persona, subjects in places.items())

    def _examples(self) -> str:
        parts = []
        for place, each in enumerate(self.evaluations):
            found = next(filter(None, (scenes(each.results, suite.name) for suite in self._ran)), [])
            parts += [_told(each.persona, found[place % len(found)])] if found else []
        told = "The first prompts of the first suite in their order, one for each voice and none chosen."
        return f"## What it sounds like\n\n{told}\n\n" + "\n\n".join(parts) if parts else ""

    def _made(self) -> str:
        first = self.evaluations[0]
        command = f"```\n{self.command or first.command}\n```\n\n"
        facts = (
            f"Size `{first.size}`, mien {first.version}, {plain(first.device)}; base {plain(first.base)}"
            f" (`{first.base_hash[:_HASH]}`). Sampling: {_pairs(first.sampling)}."
        )
        heads = ["voice", "adapter", "sha256", "dose", "examples", "evaluated"]
        rows = [
            [
                plain(each.persona),
                f"{plain(name)} ({plain(card.run)})",
                f"`{card.adapter_hash[:_HASH]}`",
                "" if card.dose is None else f"{card.dose:g}",
                str(card.examples),
                each.made,
            ]
            for each in self.evaluations
            for name, card in each.adapters.items()
        ]
        table = f"\n\n{_table(heads, rows)}" if rows else ""
        return f"## How this was made\n\n{command}{facts}{table}\n\n{self._ear()}"

    def _ear(self) -> str:
        """How the classifier was examined: it is the same for all, unless the base changed meanwhile."""
        heard: dict[str, list[str]] = {}
        for each in self.evaluations:
            right = (
                f"it is right on {100 * each.hearing.accuracy.value:.0f}{PERCENT} of"
                f" {each.hearing.accuracy.n}, with a macro-F1 of {each.hearing.macro_f1:.2f}."
            )
            heard.setdefault(" ".join([right, *ear.says(each.hearing)]), []).append(each.persona)
        first = "**The classifier** was examined on authored texts that it had never seen:"
        whose = [f"{listed(names)}: " if len(heard) > 1 else "" for names in heard.values()]
        return "\n\n".join(
            f"{first} {plain(name + said)}" for name, said in zip(whose, heard, strict=True)
        )

    def _key(self, suite: Suite) -> str | None:
        found = (key_measure(each, suite, self._glossary) for each in self.evaluations)
        return next(filter(None, found), None)

    def _keys(self) -> list[str]:
        return [name for suite in self._ran if (name := self._key(suite))]

    def _main(self, suite: Suite) -> list[str]:
        """A suite's main measures, or all of them if it has only parts."""
        every = (
            s.name for e in self.evaluations for s in e.results.scores if s.system in self._subjects
        )
        return self._glossary.main(of_suite(every, suite.name))

    def _panels(self, names: Iterable[str]) -> list[Panel]:
        return [self._panel(name) for name in names]

    def _panel(self, name: str) -> Panel:
        means = self._glossary[name]
        scores = {each.persona: dict(self._of(each, name)) for each in self.evaluations}
        every = [score for row in scores.values() for score in row.values()]
        most = max((max(abs(score.low), abs(score.high)) for score in every), default=1.0)
        whole = means.share and bool(every) and is_wide(every)
        label = self._glossary.label(name)
        kept = {voice: row for voice, row in scores.items() if row}
        return Panel(label, direction(means), kept, partial(show, means, largest=most), whole)

    def _of(self, evaluation: Evaluation, name: str) -> Iterator[tuple[str, Score]]:
        for subject in self._subjects:
            if score := evaluation.results.score(name, subject):
                yield subject, score


def plain(text: str) -> str:
    """Text that Markdown takes for nothing but text, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded(summary: str, parts: Sequence[str]) -> str:
    """Parts that open when their summary is chosen; nothing if there are none."""
    inside = "\n\n".join(parts)
    return f"<details><summary>{summary}</summary>\n\n{inside}\n\n</details>" if parts else ""


def _anchor(title: str) -> str:
    """The place that a code host gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _effect(evaluation: Evaluation, name: str) -> str:
    found = evaluation.results.effect(name, evaluation.judged)
    if found is None:
        return ""
    return f"{number(found.value)} [{number(found.low)} to {number(found.high)}]"


def _told(persona: str, scene: Scene) -> str:
    lines = [f"**{plain(persona)}:** {plain(scene.title)}"]
    for side in scene.said:
        said = [turn.content for turn in side.turns if turn.role == "assistant"]
        lines.append(f"> **{plain(side.subject)}** {plain(said[0] if said else '')}")
    return "\n\n".join(lines)


def _pairs(sampling: Mapping[str, float | None]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {'off' if value is None else f'{value:g}'}"
        for name, value in sampling.items()
    )
