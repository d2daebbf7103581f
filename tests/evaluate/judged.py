"""Evaluations of one adapter, as the release gate finds them in a workspace."""

from __future__ import annotations

from mien.evaluate.compare import NULL, Difference, Results
from mien.evaluate.evaluation import Adapter, Evaluation, Hearing
from mien.evaluate.gate import AGAINST, RESULTS, RULES
from mien.registry.cards import Card
from mien.schema import Score
from mien.workspace import Workspace, write_json

SUBJECTS = (*AGAINST, "sft")


def evaluation(card: Card, *, voice: float = 0.8, made: str = "2026-01-02T00:00:00+00:00") -> Evaluation:
    """One in which everything passes by default; every interval reaches 0.05 to both sides."""
    accuracy = Score(name="accuracy", system="ear", value=0.9, low=0.8, high=1.0, n=9, method="x")
    took = {"seconds": 1.0, "peak_memory_mb": 1.0, "examples": 1}
    adapter = Adapter(run=card.run, stage=card.stage, adapter_hash=card.adapter_hash, **took)
    null = Adapter(run="null-1", stage=NULL, adapter_hash="e" * 64, **took)
    return Evaluation(
        persona=card.persona,
        title="Dry",
        description="Dry.",
        persona_hash=card.persona_hash,
        bands={},
        base=card.base,
        base_hash=card.base_hash,
        adapters={NULL: null, "sft": adapter},
        made=made,
        version="0.1.0",
        device="cpu",
        size="quick",
        command="mien eval",
        sampling={},
        suites=(),
        seconds={},
        hearing=Hearing(
            labels=("a",), confusion=((1,),), accuracy=accuracy, macro_f1=0.9, topics={}, trained_on=1
        ),
        results=_results(card.persona, voice),
        training={},
    )


def _results(persona: str, voice: float) -> Results:
    levels = [rule for rule in RULES if not rule.margin]
    margins = [rule for rule in RULES if rule.margin]
    return Results(
        persona=persona,
        subjects=SUBJECTS,
        findings=(),
        scores=tuple(_score(r.measure, voice if r.key == "voice" else 0.8) for r in levels),
        differences=tuple(_difference(r.measure, control) for r in margins for control in AGAINST),
    )


def _score(name: str, value: float) -> Score:
    ends = {"value": value, "low": value - 0.05, "high": value + 0.05}
    return Score(name=name, system="sft", **ends, n=40, method="x")


def _difference(name: str, control: str) -> Difference:
    ends = {"value": 0.0, "low": -0.05, "high": 0.05}
    return Difference(name=name, ours="sft", theirs=control, **ends, n=40, method="x")


def put_evaluation(workspace: Workspace, report: str, made: Evaluation) -> None:
    """Lay it where `mien eval` lays it."""
    write_json(workspace.reports / report / RESULTS, made.model_dump(mode="json"))
