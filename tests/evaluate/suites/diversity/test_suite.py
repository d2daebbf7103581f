"""Variety, coherence and facts of replies, and the distance between subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mien.base.model import Base
from mien.chat import Sampling
from mien.data.corpus import rows_of
from mien.evaluate import variety
from mien.evaluate.compare import Results, compared
from mien.evaluate.finding import Finding
from mien.evaluate.setting import spread
from mien.evaluate.subject import Asked, LocalSubject, Options, Progress, Said, Subject
from mien.evaluate.suites.ability.items import items
from mien.evaluate.suites.diversity import suite as diversity
from mien.evaluate.suites.held_out import rows_for
from mien.schema import conversation
from tests.evaluate.suites.scripted import Scripted, chatter, setting

PAINT = {"base": "var(--system-0)", "sft": "var(--system-2)"}


PLACES = {row.prompt: place for place, row in enumerate(spread(rows_of("test"), 24))}


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
    assert all(each.value == 0 and each.low <= 0 <= each.high for each in ours)
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


def written(*subjects: Scripted, folder: Path) -> dict[str, Finding]:
    """What `together` says of each subject's wording."""
    found = diversity.together(subjects, setting(folder))
    return {each.subject: each for each in found if each.detail or each.missing}


def some(name: str, sizes: Sequence[int], seeds: Sequence[int] = (0, 1)) -> Scripted:
    """As `fresh`, cut to so many words at each prompt where it is asked with some seeds."""

    def reply(each: Asked) -> str:
        asked = each.messages[-1].content
        size = sizes[PLACES[asked]] if each.seed in seeds else None
        return " ".join(chatter(f"{asked} {each.seed}").split()[:size])

    return Scripted(name, reply)


def test_wording_is_compared_over_the_prompts_that_all_answer_at_length(tmp_path: Path) -> None:
    terse, wordy = some("sft", [40] * 14 + [5] * 10), fresh("base")
    found = written(wordy, terse, folder=tmp_path)
    for finding in found.values():
        assert finding.detail == {"words": 32}
        assert {len(measure.units) for measure in finding.measures} == {14}
        assert "first 32 words of replies to the 14 prompts" in finding.measures[0].method
    # They say the same there, so neither is the more varied.
    base, sft = (found[name].measures for name in ("base", "sft"))
    assert [each.values for each in base] == [each.values for each in sft]


def test_a_reply_that_is_short_with_one_seed_leaves_the_other_in(tmp_path: Path) -> None:
    where, terse = setting(tmp_path), some("sft", [40] * 14 + [5] * 10, seeds=(1,))
    found = written(fresh("base"), terse, folder=tmp_path)
    score = compared("witty", ["base", "sft"], [*found.values()]).score("diversity/self_bleu", "base")
    texts = [
        [
            variety.words(terse.reply(Asked(conversation(row.prompt), seed)))[:32]
            for row in rows_for(where)[: (24, 14)[seed]]
        ]
        for seed in (0, 1)
    ]
    assert score
    assert score.value == pytest.approx(sum(map(variety.self_bleu, texts)) / 2)


def test_replies_are_cut_to_what_half_of_the_prompts_have_by_all(tmp_path: Path) -> None:
    # 32 words at 4 of 24 prompts and 20 at 8 more: half of them have 20.
    terse = some("sft", [32] * 4 + [20] * 8 + [11] * 12)
    found = written(fresh("base"), terse, folder=tmp_path)
    assert [each.detail for each in found.values()] == [{"words": 20}] * 2
    assert {len(measure.units) for each in found.values() for measure in each.measures} == {12}
    said = diversity.says(compared("witty", ["base", "sft"], [*found.values()]))
    assert said[0].startswith("Of all pairs of neighbouring words in the first 20 of replies to 12")


def test_who_is_too_terse_for_any_length_is_left_out_and_told(tmp_path: Path) -> None:
    found = written(
        fresh("base"), Scripted("sft", lambda _: "No."), some("more", [9] * 24), folder=tmp_path
    )
    assert found["sft"].missing == ("variety of wording: too few replies of sft have 8 words",)
    assert not found["sft"].measures
    assert found["base"].detail == found["more"].detail == {"words": 9}


def test_replies_that_are_long_at_other_prompts_cannot_be_compared(tmp_path: Path) -> None:
    odd, even = some("sft", [5, 40] * 12), some("more", [40, 5] * 12)
    why = "variety of wording: the systems' replies have 8 words at too few prompts alike"
    found = written(odd, even, folder=tmp_path)
    assert [each.missing for each in found.values()] == [(why,)] * 2


def test_what_is_short_is_otherwise_measured(tmp_path: Path) -> None:
    finding = diversity.run(Scripted("terse", lambda _: "No."), setting(tmp_path))
    assert finding.missing == ("coherence: no base is at hand to read the replies of terse with",)
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
