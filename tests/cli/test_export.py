"""`mien export vllm`, as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mien.base.fetch import pull
from mien.base.model import Base
from mien.cli.groups import Lazy, LazyGroup
from mien.registry.vllm import version_name
from mien.workspace import Workspace
from tests import models
from tests.registry.builders import trained
from tests.registry.test_retire import promoted

MIEN = LazyGroup(name="mien", lazy={"export": Lazy("mien.cli.export:export", "")}, environment={})


@pytest.fixture
def base(workspace: Workspace, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Base:
    monkeypatch.setenv("MIEN_WORKSPACE", str(workspace.root))
    files = pull(str(models.save_folder(tmp_path / "tiny")))
    return Base(models.llama_model(), models.chatml_tokenizer(), files)


def export(base: Base, out: Path, *more: str) -> Result:
    arguments = ["export", "vllm", "--base", str(base.files.folder), "--out", str(out), *more]
    return CliRunner(env={"COLUMNS": "200"}).invoke(MIEN, arguments, prog_name="mien")


def test_what_is_promoted_is_written_with_a_word_on_how_to_start(
    workspace: Workspace, base: Base, tmp_path: Path
) -> None:
    cards = [trained(workspace, base, f"{name}-sft-1", persona=name) for name in ("witty", "calm")]
    for card in cards:
        promoted(workspace, card)
    result = export(base, tmp_path / "all")
    assert result.exit_code == 0, result.output
    assert "2 adapters" in result.stdout and "serve.sh` starts vLLM" in result.stdout
    assert "--url http://localhost:8000 --port 9000`" in result.stdout  # 8000 is vLLM's own
    names = {path.name for path in (tmp_path / "all/adapters").iterdir() if path.is_dir()}
    assert names == {version_name(card) for card in cards}
    assert export(base, tmp_path / "two", "--persona", "calm,witty-sft-1").exit_code == 0
    script = (tmp_path / "two/serve.sh").read_text()
    assert version_name(cards[0]) in script and version_name(cards[1]) in script


def test_what_goes_wrong_is_one_line_with_a_fix(
    workspace: Workspace, base: Base, tmp_path: Path
) -> None:
    trained(workspace, base, "witty-sft-1")
    result = export(base, tmp_path / "out")
    assert result.exit_code == 1 and "nothing is promoted on tiny" in result.stderr
    result = export(base, tmp_path / "out", "--persona", "calm")
    assert "No adapter of 'calm' is promoted" in result.stderr and "Fix:" in result.stderr
    result = export(base, tmp_path / "out", "--persona", "witty-sft-1", "--max-rank", "1")
    assert result.exit_code == 1 and "its rank 2 is above 1" in result.stderr
    assert not (tmp_path / "out").exists()
