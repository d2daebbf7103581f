"""`mien adapter interpolate`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mien.base.embed import Embedder
from mien.base.model import Base
from mien.registry.cards import write_card
from mien.workspace import Workspace
from tests import models
from tests.cli.running import run
from tests.evaluate.test_interpolation import Ear, Meaning, even, small
from tests.registry.builders import trained

BOTH = ("adapter", "interpolate", "witty", "warm-sft-1", "--points", "3")
FALLS, RISES = even(0.8, 0.5, 0.1), even(0.1, 0.3, 0.7)


@pytest.fixture(autouse=True)
def _here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_WORKSPACE", str(workspace.root))
    monkeypatch.setattr(Base, "load", lambda *_, **__: models.tiny_base())
    monkeypatch.setattr(Embedder, "load", lambda **_: Meaning())
    monkeypatch.setattr("mien.evaluate.bare.ear_of", lambda *_: Ear(FALLS, RISES))
    small(monkeypatch)


@pytest.fixture
def voices(workspace: Workspace) -> None:
    base = models.tiny_base()
    trained(workspace, base, "witty-sft-1", seed=1)
    trained(workspace, base, "warm-sft-1", persona="warm", seed=2)


def test_a_line_a_point_and_a_sentence(voices: None) -> None:
    result = run(*BOTH, width=120)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "witty : warm Heard as witty [95 %] Heard as warm [95 %] Content kept [95 %]"
    assert "0.5 : 0.5 0.50 [0.50, 0.50] 0.30 [0.30, 0.30] 0.60 [0.60, 0.60]" in lines
    assert lines[-1].startswith("Both voices move one way: witty falls at every step (0.80 to 0.10)")


def test_the_picture_is_a_file_of_its_own(voices: None, tmp_path: Path) -> None:
    picture = tmp_path / "blend.svg"
    result = run(*BOTH, "--picture", str(picture))
    assert result.exit_code == 0, result.output
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    words = {each.text for each in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"witty", "warm", "0.5 : 0.5"} <= words


def test_json_has_every_point_and_whether_each_voice_moves_one_way(voices: None) -> None:
    told = json.loads(run(*BOTH, "--json").stdout)
    assert told["adapters"] == ["witty-sft-1", "warm-sft-1"] and told["monotonic"] == [True, True]
    assert [point["weights"] for point in told["points"]] == [[1, 0], [0.5, 0.5], [0, 1]]
    assert [point["heard"][1]["value"] for point in told["points"]] == pytest.approx([0.1, 0.3, 0.7])


def test_adapters_of_one_voice_or_of_none_that_is_known_are_refused(workspace: Workspace) -> None:
    base = models.tiny_base()
    witty = trained(workspace, base, "witty-sft-1")
    same = run("adapter", "interpolate", "witty", "witty-sft-1", width=200)
    assert same.exit_code == 2 and "Both adapters have the voice 'witty'" in same.stderr
    stranger = witty.model_copy(update={"run": "pirate-sft-1", "persona": "pirate"})
    write_card(workspace.runs / "pirate-sft-1", stranger)
    unknown = run("adapter", "interpolate", "witty", "pirate", width=200)
    assert unknown.exit_code == 2 and "never heard the voice 'pirate'" in unknown.stderr
    assert "Fix: Name adapters of two of these: neutral, warm," in unknown.stderr


@pytest.mark.parametrize(
    ("both", "warm", "what"),
    [
        ({}, {"base_hash": "1" * 64}, "were not trained on the same base"),
        ({"under_prompt": True}, {}, "trained under their personas' prompts"),
    ],
)
def test_adapters_that_do_not_stand_on_one_ground_are_refused(
    workspace: Workspace, both: dict[str, object], warm: dict[str, object], what: str
) -> None:
    base = models.tiny_base()
    trained(workspace, base, "witty-sft-1", **both)
    other = trained(workspace, base, "warm-sft-1", persona="warm", **both)
    write_card(workspace.runs / other.run, other.model_copy(update=warm))
    refused = run("adapter", "interpolate", "witty", "warm", width=200)
    assert refused.exit_code == 1 and what in refused.stderr and "Fix:" in refused.stderr
