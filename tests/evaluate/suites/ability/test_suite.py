"""What a personality cost in ability, and whether that is more than was allowed."""

from __future__ import annotations

import random
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mien.evaluate.compare import Results, compared
from mien.evaluate.finding import Finding
from mien.evaluate.setting import spread
from mien.evaluate.sizes import AMOUNTS
from mien.evaluate.subject import Asked, Options
from mien.evaluate.suites.ability import suite as ability
from mien.evaluate.suites.ability.items import items
from mien.evaluate.suites.held_out import rows_for
from mien.persona.spec import find
from tests.evaluate.amounts import FEW
from tests.evaluate.suites.scripted import Opinionated, Scripted, setting

PAINT = {"base": "var(--system-0)", "sft": "var(--system-2)"}
TASKS = {task.ask: task for kind in ability.WRITTEN for task in getattr(items(), kind)}


def right_first(options: Options) -> list[float]:
    """Sure of the right answer, which stands first."""
    return [-1.0, *[-2.0] * (len(options.texts) - 1)]


def at_random(options: Options) -> list[float]:
    draw = random.Random(options.messages[-1].content)
    return [-draw.random() for _ in options.texts]


def as_told(each: Asked) -> str:
    """Says yes to every task, and the authored neutral reply to every other prompt."""
    return "Yes" if each.messages[-1].content in TASKS else "A plain remark about nothing."


def wrong_on(share: float, name: str) -> Opinionated:
    """Right but for a share of the questions."""

    def liking(options: Options) -> list[float]:
        lost = random.Random(options.messages[-1].content).random() < share
        return [-3.0, -1.0, -2.0, -2.0] if lost and len(options.texts) > 1 else right_first(options)

    return Opinionated(name, as_told, liking)


def found(folder: Path, *subjects: Scripted) -> Results:
    where = setting(folder)
    return compared("witty", [each.name for each in subjects], [ability.run(s, where) for s in subjects])


def value(results: Results, name: str, subject: str) -> float:
    score = results.score(name, subject)
    assert score
    return score.value


def test_a_subject_at_random_gets_one_in_four_and_one_that_knows_gets_all(tmp_path: Path) -> None:
    results = found(
        tmp_path, Opinionated("chance", as_told, at_random), Opinionated("wise", as_told, right_first)
    )
    for kind in ability.CHOSEN:
        chance = results.score(f"ability/right/{kind}", "chance")
        assert chance and chance.low < 0.25 < chance.high
        assert value(results, f"ability/right/{kind}", "wise") == 1


def test_a_tie_between_answers_is_not_right(tmp_path: Path) -> None:
    results = found(tmp_path, Opinionated("vague", as_told, lambda options: [-1.0] * len(options.texts)))
    assert value(results, "ability/right/facts", "vague") == 0


def test_written_tasks_are_right_as_often_as_their_rules_are_kept(tmp_path: Path) -> None:
    here = setting(tmp_path, amounts=AMOUNTS["full"])
    results = compared("witty", ["base"], [ability.run(Scripted("base", as_told), here)])
    for kind in ability.WRITTEN:
        tasks = spread(getattr(items(), kind), AMOUNTS["full"].ability.tasks)
        kept = sum(task.check.passes("Yes") for task in tasks)
        assert 0 < kept < len(tasks)
        assert value(results, f"ability/right/{kind}", "base") == kept / len(tasks)


def test_a_copy_ties_and_is_not_worse(tmp_path: Path) -> None:
    results = found(tmp_path, wrong_on(0.3, "base"), wrong_on(0.3, "sft"))
    verdict = ability.non_inferior(results, "sft", "base")
    assert verdict and verdict.outcome == "not worse"
    assert verdict.difference.value == 0 and verdict.difference.side == 0


@pytest.mark.parametrize(("lost", "outcome"), [(0.02, "not worse"), (0.12, "open"), (0.7, "worse")])
def test_the_whole_interval_must_lie_within_the_margin(
    tmp_path: Path, lost: float, outcome: str
) -> None:
    results = found(tmp_path, wrong_on(0, "base"), wrong_on(lost, "sft"))
    verdict = ability.non_inferior(results, "sft", "base")
    assert verdict and verdict.outcome == outcome
    assert verdict.margin == ability.MARGIN
    said = {"not worse": "is smaller than", "open": "is not shown", "worse": "is larger than"}
    assert said[outcome] in ability.sentence(results, verdict)


def test_the_margin_is_the_personas_own_as_at_the_gate(tmp_path: Path) -> None:
    witty = find("witty")
    for allowed, margin in ((0.3, 0.3), (None, ability.MARGIN)):
        release = witty.release.model_copy(update={"ability": allowed})
        here = setting(tmp_path, persona=witty.model_copy(update={"release": release}))
        findings = [ability.run(wrong_on(lost, name), here) for lost, name in ((0, "base"), (0, "sft"))]
        results = compared("witty", ["base", "sft"], findings)
        verdict = ability.non_inferior(results, "sft", "base")
        assert verdict and verdict.margin == margin
        assert f"smaller than the {100 * margin:.0f} points" in ability.says(results)[1]
        assert f"Allowed loss {100 * margin:.0f}" in ability.figures(results, PAINT)[0].picture


def test_levels_are_compared_only_over_the_same_number_of_questions(tmp_path: Path) -> None:
    results = found(tmp_path, wrong_on(0, "base"), Scripted("null", as_told), Scripted("sft", as_told))
    level = ability.says(results)[0]
    assert "by the null adapter" in level and "the untouched base model" not in level


def test_nothing_is_claimed_of_those_that_were_not_compared(tmp_path: Path) -> None:
    assert ability.non_inferior(found(tmp_path, wrong_on(0, "sft")), "sft", "base") is None


def test_without_likelihoods_what_is_written_still_counts(tmp_path: Path) -> None:
    here = setting(tmp_path)
    finding = ability.run(Scripted("server", as_told), here)
    names = {measure.name for measure in finding.measures}
    assert "ability/right/formats" in names
    assert not names & {"ability/right/facts", "ability/plain_perplexity"}
    assert len(finding.missing) == 1
    assert "server: its likelihoods cannot be read" in finding.missing[0]
    whole = next(measure for measure in finding.measures if measure.name == "ability/right")
    assert set(whole.units) == {each.messages[-1].content for each in ability.ahead(here)} < set(TASKS)


def test_the_authored_replies_keep_all_content_and_are_to_the_point(tmp_path: Path) -> None:
    neutral = {row.prompt: row.replies["neutral"] for row in rows_for(setting(tmp_path))}
    results = found(
        tmp_path, Scripted("author", lambda each: neutral.get(each.messages[-1].content, ""))
    )
    assert value(results, "ability/content", "author") == pytest.approx(1)
    assert value(results, "ability/to_the_point", "author") == 1


def test_perplexity_of_plain_text_is_that_of_its_likelihood(tmp_path: Path) -> None:
    # Each token at -2 nats: e^2 = 7.389.
    results = found(tmp_path, Opinionated("base", as_told, lambda options: [-2.0] * len(options.texts)))
    assert value(results, "ability/plain_perplexity", "base") == pytest.approx(7.389, abs=1e-3)


def test_a_full_run_asks_more(tmp_path: Path) -> None:
    amount = AMOUNTS["full"].ability
    finding = ability.run(wrong_on(0, "base"), setting(tmp_path, amounts=AMOUNTS["full"]))
    facts = next(measure for measure in finding.measures if measure.name == "ability/right/facts")
    assert len(facts.values) == amount.openings * len(set(facts.units))
    formats = next(measure for measure in finding.measures if measure.name == "ability/right/formats")
    assert len(formats.values) == amount.seeds * amount.tasks > FEW.ability.tasks


def test_it_says_what_was_lost_and_draws_it_before_the_margin(tmp_path: Path) -> None:
    results = found(tmp_path, wrong_on(0, "base"), wrong_on(0.7, "sft"))
    said = ability.says(results)
    assert said[0].startswith(f"{100 * value(results, 'ability/right', 'sft'):.0f}")
    assert "the untouched base model" in said[1]
    assert "Most is lost on" in said[2]
    margin, *others = ability.figures(results, PAINT)
    assert "Allowed loss 10" in margin.picture
    assert len(others) == 8  # in all, four kinds, content, to the point, perplexity
    for figure in (margin, *others):
        ElementTree.fromstring(figure.picture)


def test_it_says_nothing_of_nothing() -> None:
    empty = Results(
        persona="witty", subjects=("sft",), findings=(Finding(suite="ability", subject="sft"),)
    )
    assert ability.says(empty) == []
    assert ability.figures(empty, PAINT) == []
