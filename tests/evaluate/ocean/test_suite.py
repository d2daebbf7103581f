from __future__ import annotations

from pathlib import Path

import pytest

from mien.evaluate.compare import Results, compared
from mien.evaluate.finding import Finding
from mien.evaluate.ocean import suite
from mien.evaluate.ocean.gate import Verdict
from mien.evaluate.ocean.items import TRAITS, contrasts, t_score
from mien.evaluate.sizes import AMOUNTS
from tests.evaluate.amounts import FEW
from tests.evaluate.ocean.people import Scripted, Silent, agrees, dice, plays, setting

PAINT = {"base": "var(--system-0)", "sft": "var(--system-2)"}


@pytest.fixture(scope="module")
def at_random(tmp_path_factory: pytest.TempPathFactory) -> Finding:
    return suite.run(Scripted("sft", dice), setting(tmp_path_factory.mktemp("random")))


@pytest.fixture(scope="module")
def agreeing(tmp_path_factory: pytest.TempPathFactory) -> Finding:
    return suite.run(Scripted("sft", agrees), setting(tmp_path_factory.mktemp("agrees")))


@pytest.fixture(scope="module")
def playing(tmp_path_factory: pytest.TempPathFactory) -> Finding:
    """In the full suite, where every format has its described respondents."""
    subject = Scripted("sft", plays, lambda _: "(3) neither")
    return suite.run(subject, setting(tmp_path_factory.mktemp("plays"), AMOUNTS["full"]))


def verdicts(finding: Finding) -> list[Verdict]:
    return [Verdict.model_validate(each) for each in finding.detail["verdicts"]]


def results(*findings: Finding) -> Results:
    return compared("witty", [each.subject for each in findings], findings)


def test_who_answers_at_random_gets_chance_and_is_not_interpretable(at_random: Finding) -> None:
    found = results(at_random)
    for trait in TRAITS:
        level = found.score(f"ocean/contrast/{trait}", "sft")
        assert level is not None
        assert level.low < 0 < level.high  # no continuation is likelier
    acquiescence = found.score("ocean/statement/acquiescence", "sft")
    assert acquiescence is not None
    assert abs(acquiescence.value) < 0.1
    assert not any(each.interpretable for each in verdicts(at_random))
    assert any("Not interpretable" in line for line in suite.says(found))
    assert "Big Five signature" not in [each.title for each in suite.figures(found, PAINT)]


def test_who_always_agrees_is_exposed_by_the_acquiescence_index(agreeing: Finding) -> None:
    found = results(agreeing)
    for kind in ("statement", "scene"):
        index = found.score(f"ocean/{kind}/acquiescence", "sft")
        assert index is not None
        assert index.low > 0.9
    assert not any(each.interpretable for each in verdicts(agreeing))
    assert "agrees with a statement and with its opposite" in " ".join(suite.says(found))


def test_who_plays_a_described_person_opens_the_gate(playing: Finding) -> None:
    assert [each.reasons for each in verdicts(playing)] == [[]] * 15
    scores = {each.name: each for each in playing.scores}
    assert scores["ocean/convergent"].value > 0.9
    assert scores["ocean/gap"].low > 0.5
    assert scores["ocean/contrast/alpha/openness"].low > 0.7


def test_the_full_suite_asks_all_120_statements_and_gives_t_scores(playing: Finding) -> None:
    units = {unit for m in playing.measures if m.name == "ocean/statement/mass" for unit in m.units}
    assert len(units) == 120
    scores = {each.name: each for each in results(playing).scores}
    level, t = (scores[f"ocean/{what}/extraversion"] for what in ("statement", "t"))
    assert level.value > 4
    assert t.value == pytest.approx(t_score("extraversion", level.value))
    assert t.value > 60


def test_the_radar_is_drawn_where_the_gate_is_open(playing: Finding, at_random: Finding) -> None:
    base = playing.model_copy(update={"subject": "base"})
    figures = suite.figures(results(base, playing), PAINT)
    assert "Big Five signature" in [each.title for each in figures]
    shut = at_random.model_copy(update={"subject": "base"})
    figures = suite.figures(results(shut, playing), PAINT)
    assert "Big Five signature" not in [each.title for each in figures]


def test_a_shift_is_said_with_its_interval_and_turned_as_the_persona_claims(at_random: Finding) -> None:
    def moved(name: str, by: float) -> Finding:
        measures = [
            m.model_copy(update={"values": tuple(v + by for v in m.values)})
            if m.name in ("ocean/contrast/openness", "ocean/claimed")
            else m
            for m in at_random.measures
        ]
        return at_random.model_copy(update={"subject": name, "measures": tuple(measures)})

    found = results(moved("base", 0), moved("null", 0), moved("sft", 0.25))
    first, second, *_ = suite.says(found)
    assert "more openness (+0.25 [+0.25, +0.25]) than base" in first
    assert "the others are not surely apart" in first
    assert "moves as the persona claims" in second
    assert "from null" in second


def test_without_likelihoods_the_questionnaire_is_answered_in_writing(tmp_path: Path) -> None:
    found = suite.run(Silent(lambda asked: "Very accurate, of course."), setting(tmp_path))
    scores = results(found)
    index = scores.score("ocean/said/acquiescence", "server")
    assert index is not None
    assert index.value == pytest.approx(1)
    assert "need likelihoods" in found.missing[0]
    assert "agrees with a statement and with its opposite" in " ".join(suite.says(scores))


def test_a_reply_that_names_no_option_is_counted(tmp_path: Path) -> None:
    found = suite.run(Silent(lambda _: "Well."), setting(tmp_path))
    parsed = results(found).score("ocean/said/parsed", "server")
    assert parsed is not None
    assert parsed.value == 0


def test_the_quick_size_asks_all_contrasts_and_puts_each_item_once(at_random: Finding) -> None:
    amount = FEW.ocean
    units = {measure.name: measure.units for measure in at_random.measures}
    assert len({u for trait in TRAITS for u in units[f"ocean/contrast/{trait}"]}) == len(contrasts())
    asked = units["ocean/statement/mass"]
    assert len(asked) == 5 * amount.statements == len(set(asked))
    assert not any(name.startswith("ocean/said") for name in units)
    (short,) = at_random.missing
    assert "left to the full suite" in short


class Told(Scripted):
    """Under a system prompt."""

    system_prompt = "Be odd."


def test_what_is_left_without_the_adapter_is_the_prompt_where_there_is_one(
    at_random: Finding, tmp_path: Path
) -> None:
    assert at_random.detail["undosed"] == "base"
    assert suite.run(Told("sft", dice), setting(tmp_path)).detail["undosed"] == "prompt"


def test_every_figure_of_the_suite_has_a_meaning(playing: Finding, agreeing: Finding) -> None:
    names = {each.name for f in (playing, agreeing) for each in (*f.measures, *f.scores)}
    for name in names:
        parts = name.split("/")
        covers = ["/".join(parts[:n]) + "/*" for n in range(1, len(parts))]
        assert any(each in suite.MEANINGS for each in (name, *covers)), name


def test_nothing_is_said_of_who_was_not_asked() -> None:
    nobody = Results(persona="witty", subjects=("sft",), findings=())
    assert suite.says(nobody) == []
    assert suite.figures(nobody, PAINT) == []
