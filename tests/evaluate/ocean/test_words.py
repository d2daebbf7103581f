from __future__ import annotations

from mien.evaluate.compare import Results
from mien.evaluate.finding import Finding
from mien.evaluate.ocean import suite
from mien.evaluate.ocean.dose import DOSES
from mien.evaluate.ocean.gate import Check, Verdict
from mien.schema import Score


def score(name: str, value: float, half: float = 0.1) -> Score:
    ends = {"low": value - half, "high": value + half}
    return Score(name=f"ocean/{name}", system="sft", value=value, n=12, method="x", **ends)


def results(*scores: Score, **detail: object) -> Results:
    finding = Finding(suite="ocean", subject="sft", scores=scores, detail=detail)
    return Results(persona="witty", subjects=("sft",), findings=(finding,), scores=scores)


def test_a_dose_is_told_with_its_shape_and_its_leakage() -> None:
    found = results(
        score("dose/rho/openness", 0.8),
        score("dose/line/openness", 0.9),
        score("dose/step/openness", 0.7),
        score("dose/rho/neuroticism", -0.2),
        score("dose/leakage", 0.42),
    )
    (said,) = suite.says(found)
    assert "More of the adapter is more openness (a line: R2 0.90 against 0.70)" in said
    assert "neuroticism" not in said
    assert "42\N{NO-BREAK SPACE}% of its effect" in said


def test_doses_are_drawn_with_every_trait_named() -> None:
    curves = {"openness": [0.1 * dose for dose in DOSES], "neuroticism": [-0.1 * dose for dose in DOSES]}
    (figure,) = suite.figures(results(doses=curves), {"sft": "red"})
    assert "openness ends at 0.15" in figure.picture
    assert figure.picture.count("<polyline") == 2
    assert "0 is the untouched base model, 1 the adapter" in figure.about


def test_of_an_adapter_under_a_prompt_no_dose_is_the_prompt_alone() -> None:
    curves = {"openness": [0.1 * dose for dose in DOSES]}
    (figure,) = suite.figures(results(doses=curves, undosed="prompt"), {"sft": "red"})
    assert "0 is the system prompt alone, 1 the adapter" in figure.about


def test_what_the_gate_lets_through_is_told_and_the_rest_with_its_reasons() -> None:
    good, bad = Check(name="alpha", value=0.8, bound=0.7), Check(name="alpha", value=0.1, bound=0.7)
    given = [
        Verdict(format="contrast", trait="openness", checks=(good,)),
        Verdict(format="contrast", trait="neuroticism", checks=(bad,)),
        Verdict(format="scene", trait="openness", checks=(bad,)),
        Verdict(
            format="statement", trait="openness", checks=(Check(name="alpha", value=None, bound=0.7),)
        ),
    ]
    found = results(verdicts=[each.model_dump() for each in given])
    assert suite.says(found) == [
        "May be read as traits of sft: contrasts for openness only; no scenes, which fail on alpha;"
        " no statements, which fail on reliability (not measured)."
    ]
