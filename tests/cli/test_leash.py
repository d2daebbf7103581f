"""`mien leash`."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mien.workspace import Workspace
from tests.cli.running import run
from tests.page.reading import Page
from tests.train.watched import look, put


@pytest.fixture
def runs(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIEN_WORKSPACE", str(workspace.root))
    return workspace.runs


def test_a_run_is_told_and_its_page_lies_in_its_folder(runs: Path) -> None:
    folder = put(runs, "witty-ppo-1")
    result = run("leash", "witty-ppo-1")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("witty-ppo-1\nIt went too far.\nOver-optimised since step 40: ")
    assert "40 4.00 0.90 0.50 [0.40, 0.60] 0.50 0.60 0.02 31 kept" in " ".join(result.stdout.split())
    assert result.stdout.endswith(f"Page: {folder.resolve() / 'leash.html'}\n")
    assert "It went too far." in Page((folder / "leash.html").read_text()).text


def test_several_runs_make_one_page_among_the_reports(runs: Path, workspace: Workspace) -> None:
    for place, coefficient in enumerate((0.0, 0.05)):
        put(runs, f"witty-ppo-{place}", init_kl_coef=coefficient)
    names = ("witty-ppo-0", "witty-ppo-1")
    result = run("leash", *names, "witty-ppo-0")  # named twice, drawn once
    assert result.exit_code == 0, result.output
    assert "witty-ppo-1 (init_kl_coef 0.05)" in result.stdout
    (page,) = workspace.reports.glob("leash-*/leash.html")
    assert "C init_kl_coef" not in Page(page.read_text()).text
    assert run("leash", *names).exit_code == 0
    assert len(list(workspace.reports.iterdir())) == 1


def test_the_curves_of_several_runs_as_a_picture(runs: Path, tmp_path: Path) -> None:
    for place, coefficient in enumerate((0.0, 0.05)):
        put(runs, f"witty-ppo-{place}", init_kl_coef=coefficient)
    picture = tmp_path / "leash.svg"
    result = run("leash", "witty-ppo-0", "witty-ppo-1", "--picture", str(picture))
    assert result.exit_code == 0, result.output
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    words = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"A init_kl_coef 0", "B init_kl_coef 0.05", "Gold: what it is worth"} <= set(words)
    assert len(root.findall(".//{http://www.w3.org/2000/svg}polyline")) == 4


def test_a_run_under_way_is_found_by_its_name_and_says_so(runs: Path, tmp_path: Path) -> None:
    put(runs, "witty-ppo-1", [look(0, 0.0, 0.1)], finished=False)
    out = tmp_path / "page.html"
    result = run("leash", "witty-ppo-1", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "Not finished yet.\nOne look so far" in result.stdout
    assert "Not finished yet." in out.read_text()
    assert not (runs / "witty-ppo-1" / "leash.html").exists()


def test_json_has_every_look_with_its_interval(runs: Path) -> None:
    put(runs, "witty-ppo-1")
    found = json.loads(run("leash", "witty-ppo-1", "--json").stdout)
    (told,) = found["runs"]
    assert Path(found["page"]).exists()
    assert (told["run"], told["verdict"]["word"]) == ("witty-ppo-1", "over-optimised")
    gold = [each["gold"] for each in told["looks"]]
    assert gold[1] == pytest.approx({"value": 0.5, "low": 0.4, "high": 0.6, "n": 2})
    assert [each["kept"] for each in told["looks"]] == [False, True, False]


def test_a_run_without_a_gold_score_has_none_in_json(runs: Path) -> None:
    put(runs, "witty-ppo-1", [look(0, 0.0, 0.1)])
    (told,) = json.loads(run("leash", "witty-ppo-1", "--json").stdout)["runs"]
    assert told["looks"][0]["gold"] is None and told["verdict"]["word"] == "unwatched"


@pytest.mark.parametrize(
    ("name", "says"),
    [("captain", "no trained adapter of 'captain'"), ("witty-sft-1", "nobody has looked at")],
)
def test_what_has_no_looks_is_told_with_what_to_do(runs: Path, name: str, says: str) -> None:
    (runs / "witty-sft-1").mkdir(parents=True)
    result = run("leash", name)
    assert result.exit_code > 0
    assert says in " ".join(result.stderr.split()) and "Fix: " in result.stderr
