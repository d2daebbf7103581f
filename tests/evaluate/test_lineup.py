"""Who is evaluated, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mien.chat import ScriptedModel
from mien.data.calls import Calls
from mien.data.teacher import Teacher
from mien.errors import AdapterError, InputError
from mien.evaluate.lineup import dose_of, lineup
from mien.evaluate.subject import ChatSubject, LocalSubject, RecordedSubject
from mien.persona.spec import find
from mien.registry.cards import Derivation
from mien.workspace import Workspace
from tests import models
from tests.registry.builders import trained
from tests.registry.test_cards import card

WITTY = find("witty")


def test_controls_servers_and_recordings_are_found_by_name(tmp_path: Path) -> None:
    said = tmp_path / "said.jsonl"
    row = {"messages": [{"role": "user", "content": "hello"}], "reply": "hi"}
    said.write_text(json.dumps(row) + "\n")
    asked: list[str] = []

    def dial(where: str) -> Teacher:
        asked.append(where)
        return Teacher(ScriptedModel(["hi"]), Calls(tmp_path / "calls.db"))

    names = ["base", "prompt", f"file={said}", "gpt=http://localhost:1/v1#m"]
    subjects, cards = lineup(names, WITTY, models.tiny_base(), Workspace(tmp_path / "work"), dial)
    assert [each.name for each in subjects] == ["base", "prompt", "file", "gpt"] and cards == {}
    base, prompt, file, server = subjects
    assert isinstance(base, LocalSubject) and base.system_prompt is None
    assert isinstance(prompt, LocalSubject) and prompt.system_prompt == WITTY.system_prompt.strip()
    assert isinstance(file, RecordedSubject) and isinstance(server, ChatSubject)
    assert asked == ["http://localhost:1/v1#m"]


def test_two_systems_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Two systems are called 'base'"):
        lineup(["base", "base=prompt"], WITTY, models.tiny_base(), Workspace(tmp_path))


def test_an_adapter_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="mien train null"):
        lineup(["null"], WITTY, models.tiny_base(), Workspace(tmp_path))
    with pytest.raises(AdapterError, match="mien train dpo --persona witty"):
        lineup(["dpo"], WITTY, models.tiny_base(), Workspace(tmp_path))


def test_without_a_way_to_servers_none_is_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no server can be asked from here"):
        lineup(["gpt=http://localhost:1/v1#m"], WITTY, models.tiny_base(), Workspace(tmp_path))


def test_the_null_has_as_much_of_its_update_as_the_judged_adapter_of_its_own(tmp_path: Path) -> None:
    base, workspace = models.tiny_base(), Workspace(tmp_path)
    trained(workspace, base, "null-1", stage="null", dose=1.0)
    trained(workspace, base, "witty-sft-1", dose=0.8, seed=1)
    subjects, cards = lineup(["base", "null", "sft"], WITTY, base, workspace)
    _, null, sft = subjects
    assert isinstance(null, LocalSubject) and isinstance(sft, LocalSubject)
    assert (null.scale, sft.scale) == (0.8, 1.0)  # the file of sft holds 0.8 of its update already
    assert {name: each.dose for name, each in cards.items()} == {"null": 0.8, "sft": 0.8}
    assert null.key != lineup(["null"], WITTY, base, workspace).subjects[0].key


def test_a_dose_is_inherited_and_blends_add_theirs_up() -> None:
    reward = card(run="reward", stage="reward", dose=None)
    sft, warm = card(run="sft", dose=0.8), card(run="warm", dose=1.4)
    dpo = card(run="dpo", stage="dpo", parents=("reward", "sft"))
    mixed = Derivation(weights=(0.5, 0.5), rank=4)
    blend = card(run="blend", stage="blend", parents=("dpo", "warm"), derived=mixed)
    known = {each.run: each for each in (reward, sft, warm, dpo, blend)}
    assert dose_of(dpo, known) == 0.8
    assert dose_of(blend, known) == pytest.approx(0.5 * 0.8 + 0.5 * 1.4)
    assert dose_of(card(run="ppo", stage="ppo"), known) == 1.0
