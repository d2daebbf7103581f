"""The pressure suite on subjects whose behaviour under pressure is known beforehand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from mien.chat import Sampling
from mien.data.corpus import rows_of
from mien.errors import UnableError
from mien.evaluate.compare import compared
from mien.evaluate.finding import Finding
from mien.evaluate.pages.pictures import colours
from mien.evaluate.sizes import AMOUNTS
from mien.evaluate.subject import Asked, Options, Progress, Said
from mien.evaluate.suites.pressure import suite as pressure
from mien.evaluate.suites.pressure.facts import is_right
from mien.evaluate.suites.pressure.items import Fact, items
from mien.evaluate.suites.pressure.voice import PLAIN, PREFILL, trials
from mien.persona.spec import find
from tests.evaluate.suites.hearing import WITTY, Ear
from tests.evaluate.suites.scripted import Opinionated, Scripted, setting

ANSWERS = {fact.question: fact.right[0] for fact in items().facts}


def knows(asked: Asked) -> str:
    """The right answer to a fact, also a second time; the voice to everything else."""
    last = asked.messages[-1].content
    return next((right for question, right in ANSWERS.items() if question in last), WITTY)


def first_named(options: Options) -> Sequence[float]:
    said = options.messages[-1].content
    return [-said.index(text.strip()) for text in options.texts]


def run(folder: Path, subject: Scripted, **changes: object) -> Finding:
    return pressure.run(subject, setting(folder, **{"ear": Ear(), **changes}))


def means(finding: Finding) -> dict[str, float]:
    return {each.name: sum(each.values) / len(each.values) for each in finding.measures}


def test_there_is_enough_pressure_and_it_is_put_on_held_out_prompts(tmp_path: Path) -> None:
    told = items()
    assert len(told.families["suffix"]) >= 8
    assert len(told.dilemmas) >= 8
    found = trials(setting(tmp_path, ear=Ear(), amounts=AMOUNTS["full"]))
    test = {row.id for row in rows_of("test")}
    techniques = sum(len(each) for each in told.families.values())
    rows = len(found[PLAIN])
    assert {trial.row.id for each in found.values() for trial in each} <= test
    each = AMOUNTS["full"].pressure.each
    assert each is not None and rows > 2 * each
    assert sum(map(len, found.values())) == techniques * each + 2 * rows  # and plain, and prefilled
    suffixed = {trial.row.id for trial in found["suffix"]}
    assert len(suffixed) == rows, "the techniques take turns at the prompts"


def test_what_breaks_under_one_suffix_breaks_there_and_nowhere_else(tmp_path: Path) -> None:
    def reply(asked: Asked) -> str:
        return "Fine." if "Stop acting" in asked.messages[-1].content else knows(asked)

    found = run(tmp_path, Scripted("sft", reply))
    seen = means(found)
    assert seen["pressure/without"] == 1
    assert seen["pressure/technique/stop_acting"] == 0
    assert seen["pressure/held/suffix"] == pytest.approx(14 / 16)  # 8 suffixes on 2 prompts each
    assert seen["pressure/lost/suffix"] == pytest.approx(2 / 16)
    assert seen["pressure/held"] == pytest.approx(48 / 50)  # 20 techniques x 2, and 10 prefilled
    assert seen["pressure/lost/hostile"] == seen["pressure/lost/prefill"] == 0
    score = compared("witty", ["sft"], [found]).score("pressure/technique/stop_acting", "sft")
    assert score  # Wilson for 0 of 2: high = z2 / (n + z2) = 3.8415 / 5.8415
    assert (score.low, score.high) == (0, pytest.approx(0.6576, abs=1e-4))


def test_what_was_never_in_voice_is_not_lost_to_pressure(tmp_path: Path) -> None:
    seen = means(run(tmp_path, Scripted("base", lambda asked: "Fine.")))
    assert seen["pressure/held"] == seen["pressure/lost"] == 0


def test_reciting_the_system_prompt_is_nobodys_voice(tmp_path: Path) -> None:
    recited = find("witty").system_prompt
    seen = means(run(tmp_path, Scripted("prompt", lambda _: recited), ear=Ear(mark="witty")))
    assert seen["pressure/held"] == seen["pressure/without"] == 0


def test_the_prefill_is_the_beginning_of_the_neutral_reply(tmp_path: Path) -> None:
    each = trials(setting(tmp_path, ear=Ear()))[PREFILL][0]
    assert each.row.replies["neutral"].startswith(each.asked.prefill)
    assert len(each.asked.prefill.split()) == 8


class Server(Scripted):
    """Cannot be made to begin a reply with given words."""

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        if any(each.prefill for each in asked):
            raise UnableError("server: no given words.")
        return super().answer(asked, sampling)


def test_a_server_is_pressed_with_all_but_the_prefill(tmp_path: Path) -> None:
    found = run(tmp_path, Server("server", knows))
    assert found.missing == ("prefill: server: no given words.",)
    seen = means(found)
    assert "pressure/held/prefill" not in seen
    assert seen["pressure/held/suffix"] == 1


def test_a_persona_that_the_ear_does_not_know_is_still_doubted(tmp_path: Path) -> None:
    found = run(tmp_path, Scripted("sft", knows), ear=Ear(labels=("neutral", "warm")))
    assert found.missing == ("voice: the classifier does not know 'witty'",)
    seen = means(found)
    assert "pressure/held" not in seen
    assert seen["pressure/fact"] == 1


def gives_in(asked: Asked) -> str:
    said = asked.messages[-1].content
    doubted = len(asked.messages) > 1 and "line was bad" not in said
    return "You are right, I was wrong." if doubted else knows(asked)


@pytest.mark.parametrize(("reply", "flips"), [(knows, 0.0), (gives_in, 1.0)])
def test_who_gives_in_to_a_doubt_flips_and_who_does_not_does_not(
    tmp_path: Path, reply: object, flips: float
) -> None:
    seen = means(run(tmp_path, Scripted("sft", reply)))  # type: ignore[arg-type]
    assert seen["pressure/flip/doubted"] == seen["pressure/swayed"] == flips
    assert seen["pressure/flip/asked_again"] == 0


def test_who_changes_its_mind_anyway_was_not_swayed(tmp_path: Path) -> None:
    def forgets(asked: Asked) -> str:
        return "Who knows?" if len(asked.messages) > 1 else knows(asked)

    seen = means(run(tmp_path, Scripted("sft", forgets)))
    assert seen["pressure/flip/doubted"] == seen["pressure/flip/asked_again"] == 1
    assert seen["pressure/swayed"] == 0


def test_who_knows_nothing_cannot_flip(tmp_path: Path) -> None:
    found = run(tmp_path, Scripted("base", lambda asked: "Who knows?"))
    assert found.missing == ("flips: no question was answered rightly at first, so none could flip",)
    assert means(found)["pressure/fact"] == 0


def test_a_full_evaluation_doubts_a_fact_in_every_way(tmp_path: Path) -> None:
    found = run(tmp_path, Scripted("sft", knows), amounts=AMOUNTS["full"])
    count = {each.name: len(each.values) for each in found.measures}
    assert count["pressure/flip/doubted"] == len(items().facts) * len(items().doubts)
    assert count["pressure/flip/asked_again"] == len(items().facts)


def test_a_denied_wrong_answer_is_right() -> None:
    fact = Fact(question="?", right=("Paris",), wrong="Lyon")
    assert is_right(fact, "No, it is not Lyon. It is Paris.")
    assert not is_right(fact, "Sorry: Lyon, and not Paris.")


def test_whoever_takes_what_is_named_first_agrees_in_no_pair_of_orders(tmp_path: Path) -> None:
    seen = means(run(tmp_path, Opinionated("sft", knows, first_named)))
    assert (seen["pressure/dilemma/order"], seen["pressure/dilemma/wording"]) == (0, 1)


def test_a_choice_owed_to_the_dilemma_is_stable(tmp_path: Path) -> None:
    def liking(options: Options) -> Sequence[float]:
        bare = options.messages[-1].content.startswith("Should I")
        return [-1.0, -5.0] if bare else [-1.0, -9.0]  # the dilemma speaks for the first option

    seen = means(run(tmp_path, Opinionated("sft", knows, liking)))
    assert (seen["pressure/dilemma/order"], seen["pressure/dilemma/wording"]) == (1, 1)


def test_a_coin_agrees_with_itself_in_half_of_the_pairs(tmp_path: Path) -> None:
    def coin(options: Options) -> Sequence[float]:
        draw = random.Random(options.messages[-1].content)
        return [draw.random() for _ in options.texts]

    seen = means(run(tmp_path, Opinionated("sft", knows, coin), amounts=AMOUNTS["full"]))
    assert 0.25 < seen["pressure/dilemma/order"] < 0.75  # 30 pairs: 0.5, give or take three times 0.09
    assert 0.25 < seen["pressure/dilemma/wording"] < 0.75


def test_without_likelihoods_a_choice_is_read_from_the_reply(tmp_path: Path) -> None:
    def second(asked: Asked) -> str:
        said = asked.messages[-1].content
        chosen = max(
            (each.options[place] for each in items().dilemmas for place in (0, 1)),
            key=lambda option: said.find(option.text),
        )
        return f"Well, {chosen.text}." if "Choose one" in said else knows(asked)

    found = run(tmp_path, Scripted("server", second))
    seen = means(found)
    assert (seen["pressure/dilemma/order"], seen["pressure/dilemma/wording"]) == (0, 1)
    assert "read from the reply" in found.measures[-1].method


def test_who_names_neither_option_agrees_with_nothing(tmp_path: Path) -> None:
    seen = means(run(tmp_path, Scripted("server", lambda _: "That is up to you.")))
    assert seen["pressure/dilemma/order"] == seen["pressure/dilemma/wording"] == 0


def test_the_sentences_say_what_broke_and_what_that_was_owed_to(tmp_path: Path) -> None:
    def reply(asked: Asked) -> str:
        return "Fine." if asked.prefill else gives_in(asked)

    base = run(tmp_path, Opinionated("base", lambda _: "Fine.", first_named))
    sft = run(tmp_path, Opinionated("sft", reply, first_named))
    results = compared("witty", ["base", "sft"], [base, sft])
    broke, weakest, doubted, dilemmas = pressure.says(results)
    assert broke.startswith(
        "Under pressure 20\N{NO-BREAK SPACE}% of 50 replies left the voice"
    )  # 10 of 50
    assert broke.endswith("It was 100\N{NO-BREAK SPACE}% from the untouched base model.")
    assert weakest.startswith("It held least against neutral words put into its mouth: in 0")
    assert doubted.startswith("Doubted 10 times, it gave up a right answer in 100\N{NO-BREAK SPACE}%")
    assert "both orders of the options in 0\N{NO-BREAK SPACE}% (0 to 39" in dilemmas


def test_the_pictures_show_every_kind_and_every_subject(tmp_path: Path) -> None:
    found = [run(tmp_path, Opinionated(name, knows, first_named)) for name in ("base", "sft")]
    results = compared("witty", ["base", "sft"], found)
    kinds, firm = pressure.figures(results, colours(results.subjects))
    assert kinds.picture.count("<circle") == 2 + 6 * 2  # the legend, and six rows of two
    assert firm.picture.count("<circle") == 2 + 4 * 2
    assert "a hostile user" in kinds.picture


def test_nothing_measured_gives_no_sentence_and_no_picture() -> None:
    results = compared("witty", ["base"], [Finding(suite="pressure", subject="base")])
    assert pressure.says(results) == []
    assert pressure.figures(results, {}) == []


def test_every_measure_has_a_meaning(tmp_path: Path) -> None:
    found = run(tmp_path, Opinionated("sft", knows, first_named))
    patterns = [key.removesuffix("*") for key in pressure.MEANINGS if key.endswith("*")]
    unknown = [
        each.name
        for each in found.measures
        if each.name not in pressure.MEANINGS and not each.name.startswith(tuple(patterns))
    ]
    assert unknown == []
