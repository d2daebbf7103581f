"""Variety, coherence and facts of replies, and the distance between subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mien.base.model import Base
from mien.chat import Sampling
from mien.evaluate import variety
from mien.evaluate.compare import Results, compared
from mien.evaluate.finding import Finding
from mien.evaluate.subject import Asked, LocalSubject, Options, Progress, Said, Subject
from mien.evaluate.suites.ability.items import items
from mien.evaluate.suites.diversity import suite as diversity
from mien.evaluate.suites.held_out import rows_for
from mien.schema import conversation
from tests.evaluate.suites.scripted import Scripted, chatter, setting

PAINT = {"base": "var(--system-0)", "sft": "var(--system-2)"}


def fresh(name: str) -> Scripted:
    """Something else to every prompt and with every seed."""
    return Scripted(name, lambda each: chatter(f"{each.messages[-1].content} {each.seed}"))


def parrot(name: str) -> Scripted:
    """The same to every prompt."""
    return Scripted(name, lambda _: chatter("always this"))


def found(folder: Path, *subjects: Subject) -> Results:
    where = setting(folder)
    findings = [diversity.run(each, where) for each in subjects] + diversity.together(subjects, where)
    return compared("witty", [each.name for each in subjects], findings)


def value(results: Results, name: str, subject: str) -> float:
    score = results.score(f"diversity/{name}", subject)
    assert score
    return score.value


def test_who_says_the_same_to_everything_says_one_thing(tmp_path: Path) -> None:
    results = found(tmp_path, parrot("base"), fresh("sft"))
    assert value(results, "vendi", "base") == pytest.approx(1)
    assert value(results, "self_bleu", "base") == pytest.approx(1)
    assert value(results, "within", "base") == pytest.approx(0, abs=1e-6)
    # 24 replies of 32 words repeat one of them, whose words are partly the same themselves.
    words = variety.words(chatter("always this"))[: diversity.WORDS]
    alone = len(set(words)) / len(words)
    assert value(results, "distinct/single_words", "base") == pytest.approx(alone / 24)
    assert value(results, "vendi", "sft") > 7
    for name, more in (("vendi", 1), ("distinct/word_pairs", 1), ("self_bleu", -1), ("compression", -1)):
        difference = results.difference(f"diversity/{name}", "sft", "base")
        assert difference and difference.side == more


def test_set_statistics_are_what_they_are_of_all_replies(tmp_path: Path) -> None:
    where, subject = setting(tmp_path), fresh("sft")
    results = found(tmp_path, subject)
    said = [
        [subject.reply(Asked(conversation(row.prompt), seed)) for row in rows_for(where)]
        for seed in (0, 1)
    ]
    texts = [[variety.words(text)[: diversity.WORDS] for text in each] for each in said]
    for name, statistic in (
        ("self_bleu", variety.self_bleu),
        ("compression", variety.compression_ratio),
    ):
        whole = (statistic(texts[0]) + statistic(texts[1])) / 2
        score = results.score(f"diversity/{name}", "sft")
        assert score and score.value == pytest.approx(whole)
        assert score.low < score.value < score.high


def test_a_copy_ties_in_everything_and_lies_as_far_as_its_own_tries(tmp_path: Path) -> None:
    results = found(tmp_path, fresh("base"), fresh("sft"))
    ours = [each for each in results.differences if (each.ours, each.theirs) == ("sft", "base")]
    assert {each.name for each in ours} >= {
        "diversity/vendi",
        "diversity/self_bleu",
        "diversity/factual",
    }
    assert all((each.value, each.low, each.high) == (0, 0, 0) for each in ours)
    # Of four pairs of tries two are the same try: half the distance of two tries.
    apart, within = value(results, "apart/base", "sft"), value(results, "within", "sft")
    assert apart == pytest.approx(within / 2)


def test_personas_are_apart_by_more_than_their_own_tries(tmp_path: Path) -> None:
    one, other = parrot("warm"), Scripted("witty", lambda _: chatter("something else"))
    pair = {"warm": one, "witty": other}
    scores = {each.name: each for each in diversity.between_personas(pair, setting(tmp_path), "sft")}
    assert {each.system for each in scores.values()} == {"sft"}
    assert scores["diversity/personas/within"].value == pytest.approx(0, abs=1e-6)
    assert scores["diversity/personas/between_less_within"].low > 0.2


def test_replies_that_are_too_short_are_said_to_be(tmp_path: Path) -> None:
    finding = diversity.run(Scripted("terse", lambda _: "No."), setting(tmp_path))
    assert finding.missing == (
        "variety of wording: fewer than 3 replies of terse have 32 words",
        "coherence: no base is at hand to read the replies of terse with",
    )
    assert {measure.name for measure in finding.measures} == {
        "diversity/vendi",
        "diversity/within",
        "diversity/factual",
    }


@dataclass(frozen=True)
class Spoken(LocalSubject):
    """Has a real base, and says the same whatever it is asked."""

    text: str = ""

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        return [Said(self.text) for _ in asked]


def test_coherence_is_what_the_bare_base_learns_from_the_prompt(tmp_path: Path, tiny_base: Base) -> None:
    where, text = setting(tmp_path), chatter("to be read")
    finding = diversity.run(Spoken("sft", tiny_base, system_prompt="Be odd.", text=text), where)
    measure = next(each for each in finding.measures if each.name == "diversity/coherence")
    row, short = rows_for(where)[0], variety.cut(text, diversity.WORDS)
    assert short
    bare = LocalSubject("base", tiny_base)
    ((told,), (untold,)) = bare.logps(
        [Options(conversation(row.prompt), (short,)), Options((), (short,))]
    )
    assert measure.values[0] == pytest.approx(told.mean - untold.mean, abs=1e-4)
    assert measure.units[0] == row.id


def test_facts_are_looked_for_in_open_replies(tmp_path: Path) -> None:
    answers = {fact.ask: fact.answer for fact in items().facts}
    wise = Scripted("wise", lambda each: f"I dare say {answers.get(each.messages[-1].content, 'not')}.")
    results = found(tmp_path, wise, fresh("sft"))
    assert (value(results, "factual", "wise"), value(results, "factual", "sft")) == (1, 0)


def test_it_says_what_became_of_variety_and_draws_the_distances(tmp_path: Path) -> None:
    results = found(tmp_path, parrot("base"), fresh("sft"))
    said = diversity.says(results)
    assert "against 1.00 for the untouched base model (better)" in said[0]
    assert said[-1].startswith("In meaning its replies lie")
    figures = diversity.figures(results, PAINT)
    assert "two tries of base: 0.00" in figures[-1].picture
    assert "sft and base: " in figures[-1].picture
    for figure in figures:
        ElementTree.fromstring(figure.picture)


def test_it_says_nothing_of_nothing() -> None:
    empty = Results(
        persona="witty", subjects=("sft",), findings=(Finding(suite="diversity", subject="sft"),)
    )
    assert diversity.says(empty) == []
    assert diversity.figures(empty, PAINT) == []
