"""Who is evaluated, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mien.chat import ScriptedModel
from mien.data.calls import Calls
from mien.data.teacher import Teacher
from mien.errors import AdapterError, InputError
from mien.evaluate.lineup import lineup
from mien.evaluate.subject import ChatSubject, LocalSubject, RecordedSubject
from mien.persona.spec import find
from mien.workspace import Workspace
from tests import models

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
