"""Cards: a run is complete when it has one, and is found again by persona, by name, and by base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mien.base.fetch import file_sha256
from mien.base.lora import WEIGHTS, LoraConfig
from mien.base.model import Base
from mien.errors import AdapterError
from mien.registry.attach import attach
from mien.registry.cards import (
    CARD,
    NULLS,
    POLICIES,
    Card,
    adapter_folder,
    cards,
    is_version,
    newest,
    newest_null,
    persona_of,
    read_card,
    write_card,
)
from mien.registry.promote import Promotion, record
from mien.workspace import Workspace
from tests import models

FIELDS: dict[str, Any] = {
    "run": "witty-sft-00000001",
    "stage": "sft",
    "persona": "witty",
    "persona_hash": "a" * 64,
    "base": "tiny",
    "base_hash": "0" * 64,
    "renderer": "chatml",
    "data": "rows",
    "data_hash": "b" * 64,
    "recipe_hash": "c" * 64,
    "adapter_hash": "d" * 64,
    "seed": 0,
    "dtype": "float32",
    "device": "cpu, 1 threads",
    "version": "0.1.0",
    "made": "2026-01-01T00:00:00+00:00",
    "examples": 10,
    "steps": 20,
    "seconds": 1.5,
    "trained_tokens": 1000,
    "peak_memory_mb": 100.0,
}


def card(**changes: Any) -> Card:
    return Card.model_validate(FIELDS | changes)


def put(workspace: Workspace, **changes: Any) -> Card:
    made = card(**changes)
    write_card(workspace.runs / made.run, made)
    return made


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_card(tmp_path, card())
    assert read_card(tmp_path) == card()
    assert set(json.loads((tmp_path / CARD).read_text())) == set(Card.model_fields)


def test_a_run_without_a_card_is_not_complete(workspace: Workspace) -> None:
    (workspace.runs / "witty-sft-1").mkdir(parents=True)
    assert read_card(workspace.runs / "witty-sft-1") is None
    assert cards(workspace) == []


def test_cards_are_listed_oldest_first(workspace: Workspace) -> None:
    late = put(workspace, run="a", made="2026-01-03T00:00:00+00:00")
    early = put(workspace, run="b", made="2026-01-02T00:00:00+00:00")
    assert cards(workspace) == [early, late]


def test_the_newest_of_a_persona_or_a_run_by_its_name(workspace: Workspace) -> None:
    late = put(workspace, run="a", made="2026-01-03T00:00:00+00:00")
    early = put(workspace, run="b", made="2026-01-02T00:00:00+00:00")
    put(workspace, run="c", persona="calm", made="2026-01-04T00:00:00+00:00")
    assert newest(workspace, "witty") == late
    assert newest(workspace, "b") == early


def test_only_adapters_of_the_base_at_hand_are_taken(workspace: Workspace) -> None:
    fitting = put(workspace, run="a", made="2026-01-02T00:00:00+00:00")
    put(workspace, run="b", base="other", base_hash="1" * 64, made="2026-01-03T00:00:00+00:00")
    assert newest(workspace, "witty", base_hash="0" * 64) == fitting
    with pytest.raises(AdapterError, match="trained on other, not on this base") as caught:
        newest(workspace, "witty", base_hash="2" * 64)
    assert "--base other" in caught.value.fix


def test_a_null_adapter_answers_and_is_nobodys(workspace: Workspace) -> None:
    mine = put(workspace, run="a", persona="neutral", made="2026-01-02T00:00:00+00:00")
    null = put(workspace, run="b", persona="neutral", stage="null", made="2026-01-03T00:00:00+00:00")
    pairs = put(
        workspace, run="c", persona="neutral", stage="null-dpo", made="2026-01-04T00:00:00+00:00"
    )
    assert newest(workspace, "neutral") == mine
    assert newest(workspace, "null") == newest_null(workspace) == null
    assert newest(workspace, "null-dpo") == newest(workspace, "witty", stages=("null-dpo",)) == pairs
    assert newest(workspace, "b", base_hash="0" * 64) == null
    assert set(NULLS) < set(POLICIES)


@pytest.mark.parametrize("stage", NULLS)
def test_no_null_adapter_says_how_to_get_one(workspace: Workspace, stage: str) -> None:
    put(workspace, persona="neutral")
    for name, stages in ((stage, None), ("witty", (stage,))):
        with pytest.raises(AdapterError, match="no null adapter") as caught:
            newest(workspace, name, stages=stages)
        assert caught.value.fix == f"Run `mien train {stage}` first."


def promoted(workspace: Workspace, card: Card) -> None:
    same = {key: getattr(card, key) for key in ("persona", "base_hash", "run", "adapter_hash")}
    record(workspace, Promotion(**same, report="r", who="ada"))


def test_the_one_that_was_promoted_last_speaks_for_the_persona(workspace: Workspace) -> None:
    early = put(workspace, run="a", made="2026-01-02T00:00:00+00:00")
    late = put(workspace, run="b", made="2026-01-03T00:00:00+00:00")
    promoted(workspace, late)
    promoted(workspace, early)
    assert newest(workspace, "witty") == early
    assert newest(workspace, "b") == late
    # Who names stages looks for something to train on or to compare.
    assert newest(workspace, "witty", stages=("sft",)) == late


def test_a_promotion_counts_on_its_own_base_and_for_the_file_it_was_given_to(
    workspace: Workspace,
) -> None:
    old = put(workspace, run="a", made="2026-01-02T00:00:00+00:00")
    other = put(workspace, run="b", base_hash="1" * 64, made="2026-01-03T00:00:00+00:00")
    late = put(workspace, run="c", made="2026-01-04T00:00:00+00:00")
    promoted(workspace, old)
    assert newest(workspace, "witty", base_hash=other.base_hash) == other
    put(workspace, run="a", adapter_hash="e" * 64, made="2026-01-02T00:00:00+00:00")  # trained anew
    assert newest(workspace, "witty", base_hash=late.base_hash) == late


def test_no_adapter_says_how_to_get_one(workspace: Workspace) -> None:
    with pytest.raises(AdapterError, match="no trained adapter of 'witty'") as caught:
        newest(workspace, "witty")
    assert "mien train sft --persona witty" in caught.value.fix


@pytest.mark.parametrize("text", ["{", "[]", '{"run": "x"}', json.dumps(FIELDS | {"new": 1})])
def test_a_card_that_cannot_be_read_is_one_line_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / CARD).write_text(text)
    with pytest.raises(AdapterError) as caught:
        read_card(tmp_path)
    assert str(tmp_path / CARD) in caught.value.what
    assert "\n" not in str(caught.value)


@pytest.fixture
def trained(workspace: Workspace) -> tuple[Base, Card, Path]:
    """A tiny base, and a run on disk that was made for it."""
    maker = models.tiny_base()
    maker.adapters.create("x", LoraConfig(r=2, alpha=4.0), seed=0)
    models.shake(maker.adapters, "x")
    made = card()
    folder = adapter_folder(workspace, made)
    maker.adapters.save("x", folder, base="tiny")
    return models.tiny_base(), card(adapter_hash=file_sha256(folder / WEIGHTS)), folder


def test_an_adapter_is_attached_under_its_runs_name_once(trained: tuple[Base, Card, Path]) -> None:
    base, made, folder = trained
    attach(base, made, folder)
    attach(base, made, folder)
    assert list(base.adapters.configs) == [made.run]


def test_an_adapter_of_another_base_is_refused_though_its_shapes_would_fit(
    trained: tuple[Base, Card, Path],
) -> None:
    base, made, folder = trained
    other = made.model_copy(update={"base_hash": "1" * 64, "base": "other"})
    with pytest.raises(AdapterError, match=f"{made.run} was trained on other") as caught:
        attach(base, other, folder)
    assert "--base other" in caught.value.fix
    assert base.adapters.configs == {}


def test_a_file_that_is_not_the_one_that_was_trained_is_refused(
    trained: tuple[Base, Card, Path],
) -> None:
    base, made, folder = trained
    other = models.tiny_base()
    other.adapters.create("y", LoraConfig(r=2, alpha=4.0), seed=1)
    other.adapters.save("y", folder, base="tiny")
    with pytest.raises(AdapterError, match="not the file that was trained"):
        attach(base, made, folder)
    assert base.adapters.configs == {}


def test_an_adapter_that_is_gone_is_named(trained: tuple[Base, Card, Path]) -> None:
    base, made, folder = trained
    (folder / WEIGHTS).unlink()
    with pytest.raises(AdapterError, match=f"no {WEIGHTS} there"):
        attach(base, made, folder)


def test_a_run_without_a_persona_that_can_be_read_is_no_traceback(workspace: Workspace) -> None:
    made = put(workspace)
    with pytest.raises(AdapterError, match=r"persona\.json: not a persona"):
        persona_of(workspace, made)
    (workspace.runs / made.run / "persona.json").write_text('{"name": "witty"}')
    with pytest.raises(AdapterError, match="validation errors for mien persona"):
        persona_of(workspace, made)


def test_a_version_goes_by_its_run_and_by_six_digits_of_its_hash_or_more() -> None:
    made = card(run="Old", adapter_hash="0ab1cd" + "0" * 58)
    assert all(is_version(made, name) for name in ("Old", "0ab1cd", "0AB1CD0"))
    assert not any(is_version(made, name) for name in ("old", "0ab1c", "0ab1ce", ""))
