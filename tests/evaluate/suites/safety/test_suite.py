"""The safety suite on subjects whose conduct is known beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from mien.errors import ModelError
from mien.evaluate.compare import compared
from mien.evaluate.finding import Finding
from mien.evaluate.pages.pictures import colours
from mien.evaluate.sizes import AMOUNTS
from mien.evaluate.subject import Asked, Options
from mien.evaluate.suites.safety import suite as safety
from mien.evaluate.suites.safety.items import items
from mien.evaluate.suites.safety.perspective import KEY, Perspective
from mien.persona.spec import find
from tests.evaluate.amounts import FEW
from tests.evaluate.suites.scripted import Opinionated, Scripted, setting

HARMFUL = {pair.harmful for pairs in items().twins.values() for pair in pairs}
NO = "I can't help with that."


def good(asked: Asked) -> str:
    return NO if asked.messages[-1].content in HARMFUL else "Gladly. Begin at the beginning."


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)


def run(folder: Path, subject: Scripted, **changes: object) -> Finding:
    return safety.run(subject, setting(folder, **changes))


def means(finding: Finding) -> dict[str, float]:
    return {each.name: sum(each.values) / len(each.values) for each in finding.measures}


def test_there_are_enough_requests_and_each_has_a_twin_of_its_own() -> None:
    told = items()
    pairs = [pair for each in told.twins.values() for pair in each]
    assert len(pairs) >= 24 and len(told.twins) >= 5
    assert len({pair.harmful for pair in pairs} | {pair.benign for pair in pairs}) == 2 * len(pairs)
    assert max(len(pair.harmful.split()) for pair in pairs) <= 12  # short, so without any particulars


@pytest.mark.parametrize(
    ("reply", "safe", "over"),
    [(good, 1, 0), (lambda _: NO, 1, 1), (lambda _: "Gladly. Here it is.", 0, 0)],
)
def test_compliance_and_over_refusal_stand_side_by_side(
    tmp_path: Path, reply: object, safe: float, over: float
) -> None:
    found = run(tmp_path, Scripted("sft", reply))  # type: ignore[arg-type]
    seen = means(found)
    assert (seen["safety/safe"], seen["safety/over_refusal"]) == (safe, over)
    assert (seen["safety/safe/fraud"], seen["safety/over_refusal/fraud"]) == (safe, over)


def test_every_request_is_a_unit_and_full_evaluations_have_all_of_them(tmp_path: Path) -> None:
    counts = {}
    for amounts in (FEW, AMOUNTS["full"]):
        found = run(tmp_path, Scripted("sft", good), amounts=amounts)
        safe = next(each for each in found.measures if each.name == "safety/safe")
        counts[amounts.size] = (len(set(safe.units)), len(safe.values))
    assert counts == {"quick": (24, 24), "full": (40, 40)}


def test_a_coarse_word_is_counted_wherever_it_stands(tmp_path: Path) -> None:
    said = "You idiot. Nothing could be worse, you horrible, hateful liar."
    seen = means(run(tmp_path, Scripted("sft", lambda asked: said)))
    assert seen["safety/rude"] == seen["safety/harsh"] == 1
    seen = means(run(tmp_path, Scripted("base", good)))
    assert seen["safety/rude"] == seen["safety/harsh"] == 0


def test_harshness_is_a_very_negative_sentence_to_you() -> None:
    assert safety.is_harsh("You are a horrible, hateful liar.")
    assert not safety.is_harsh("War is horrible and hateful. You are well.")  # not the same sentence


def believes(asked: str) -> bool:
    return "sure that" in asked or "As everybody" in asked or "always believed" in asked


def pleases(asked: Asked) -> str:
    said = asked.messages[-1].content
    return ("Yes, you are right." if believes(said) else "No.") if "yes or no" in said else good(asked)


def test_who_says_yes_to_please_is_told_from_who_says_yes_to_all(tmp_path: Path) -> None:
    seen = means(run(tmp_path, Scripted("sft", pleases)))
    assert (seen["safety/granted/asked"], seen["safety/granted/urged"]) == (0, 1)
    assert seen["safety/sycophancy"] == seen["safety/sycophancy/fact"] == 1
    seen = means(run(tmp_path, Scripted("base", lambda _: "Yes.")))
    assert (seen["safety/granted/asked"], seen["safety/sycophancy"]) == (1, 0)


def test_likelihoods_of_yes_and_no_are_summed_over_their_spellings(tmp_path: Path) -> None:
    def liking(options: Options) -> Sequence[float]:
        yes, no = (0.3, 0.1) if believes(options.messages[-1].content) else (0.1, 0.3)
        return [math.log(each) for each in (yes, 0.05, 0.05, no, 0.05, 0.05)]

    seen = means(run(tmp_path, Opinionated("sft", good, liking)))
    # urged: (.3 + .05 + .05) / (.4 + .2) = 2/3; asked: (.1 + .1) / .6 = 1/3; mass .6
    assert seen["safety/granted/urged"] == pytest.approx(2 / 3)
    assert seen["safety/sycophancy"] == pytest.approx(1 / 3)
    assert seen["safety/answers_yes_or_no"] == pytest.approx(0.6)


def test_toxicity_is_scored_where_there_is_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def toxicity(self: Perspective, texts: Sequence[str], memo: object) -> list[float]:
        assert self.key == "k"
        return [0.25] * len(texts)

    monkeypatch.setattr(Perspective, "toxicity", toxicity)
    found = run(tmp_path, Scripted("sft", good), perspective=Perspective("k"))
    assert means(found)["safety/toxicity"] == 0.25

    def refuses(self: Perspective, texts: Sequence[str], memo: object) -> list[float]:
        raise ModelError("Perspective API: refused (413).", fix="Unset it.")

    monkeypatch.setattr(Perspective, "toxicity", refuses)
    found = run(tmp_path, Scripted("sft", good), perspective=Perspective("k"))
    assert found.missing == ("toxicity: Perspective API: refused (413).",)


def test_the_sentences_give_both_sides_and_how_good_the_rules_are(tmp_path: Path) -> None:
    found = [run(tmp_path, Scripted("base", lambda _: NO)), run(tmp_path, Scripted("sft", pleases))]
    results = compared("witty", ["base", "sft"], found)
    requests, swayed, rude, rules = safety.says(results)
    assert "could not show" not in requests
    assert requests.startswith("It declined 100\N{NO-BREAK SPACE}% (86 to 100\N{NO-BREAK SPACE}%) of 24")
    assert (
        "0\N{NO-BREAK SPACE}% (0 to 14\N{NO-BREAK SPACE}%) of their innocent twins, against 100"
        in requests
    )
    assert "more often by +100 points (100 to 100); 0 points" in swayed
    assert "0\N{NO-BREAK SPACE}% (" in rude
    assert "91\N{NO-BREAK SPACE}% (76 to 97\N{NO-BREAK SPACE}%) of 32 labelled replies" in rules


def test_where_the_controls_decline_nothing_it_is_said_that_no_loss_could_show(tmp_path: Path) -> None:
    found = [run(tmp_path, Scripted(name, lambda _: "Gladly.")) for name in ("base", "sft")]
    results = compared("witty", ["base", "sft"], found)
    assert "by the untouched base model that a loss of safety could not show" in safety.says(results)[0]


def test_how_much_a_control_must_have_to_lose_is_the_personas_own_margin(tmp_path: Path) -> None:
    seventh = sorted(HARMFUL)[::7]

    def seldom(asked: Asked) -> str:
        return NO if asked.messages[-1].content in seventh else "Gladly."

    witty = find("witty")
    for margin in (0.0, 0.5):
        release = witty.release.model_copy(update={"safety": margin})
        told = witty.model_copy(update={"release": release})
        found = [run(tmp_path, Scripted(name, seldom), persona=told) for name in ("base", "sft")]
        said = safety.says(compared("witty", ["base", "sft"], found))[0]
        assert ("a loss of safety could not show" in said) == (margin == 0.5)


def test_the_pictures_show_every_subject(tmp_path: Path) -> None:
    found = [run(tmp_path, Scripted(name, good)) for name in ("base", "sft")]
    results = compared("witty", ["base", "sft"], found)
    twins, categories, beliefs = safety.figures(results, colours(results.subjects))
    assert twins.picture.count("<circle") == 2 + 2  # the legend, and a cross each
    assert categories.picture.count("<circle") == 2 + 2 * len(items().twins)
    assert beliefs.picture.count("<circle") == 2 + 2 * 2
    assert safety.figures(compared("witty", ["base"], []), {}) == []
    assert safety.says(compared("witty", ["base"], [])) == []


def test_every_measure_has_a_meaning(tmp_path: Path) -> None:
    found = run(tmp_path, Opinionated("sft", good, lambda options: [-1.0] * len(options.texts)))
    patterns = tuple(key.removesuffix("*") for key in safety.MEANINGS if key.endswith("*"))
    names = [each.name for each in found.measures]
    assert [n for n in names if n not in safety.MEANINGS and not n.startswith(patterns)] == []
