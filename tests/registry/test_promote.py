"""Promotions: all of them are kept, and nothing is made where nothing was promoted."""

from __future__ import annotations

from typing import Any

from mien.registry.promote import Promotion, promotions, record
from mien.workspace import Workspace


def promotion(**changes: Any) -> Promotion:
    fields: dict[str, Any] = {
        "persona": "witty",
        "base_hash": "0" * 64,
        "run": "witty-sft-00000001",
        "adapter_hash": "d" * 64,
        "report": "witty-1",
        "who": "ada",
    }
    return Promotion.model_validate(fields | changes)


def test_every_promotion_comes_back_as_it_was_recorded_oldest_first(workspace: Workspace) -> None:
    first = promotion(forced=True, why="the café demo", failed=("voice: 0.4", "safety: not measured"))
    second = promotion(run="b")
    again = promotion()
    for each in (first, second, again):
        record(workspace, each)
    assert promotions(workspace) == [first, second, again]


def test_the_history_of_one_persona_is_its_own(workspace: Workspace) -> None:
    mine, other = promotion(), promotion(persona="calm")
    record(workspace, mine)
    record(workspace, other)
    assert promotions(workspace, "calm") == [other]
    assert promotions(workspace, "nobody") == []


def test_looking_for_promotions_makes_no_workspace(workspace: Workspace) -> None:
    assert promotions(workspace) == []
    assert not workspace.root.exists()


def test_promotions_and_scores_share_a_database(workspace: Workspace) -> None:
    workspace.add_scores("r", [])
    assert promotions(workspace) == []
    record(workspace, promotion())
    assert len(promotions(workspace)) == 1 and workspace.scores() == []
