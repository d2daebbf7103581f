"""What is written for vLLM: adapters under names of their hashes, and a script that a shell can run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoTokenizer

from mien.base.fetch import BaseFiles, pull
from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.errors import AdapterError, InputError
from mien.registry.cards import Card, adapter_folder
from mien.registry.vllm import chosen, export_vllm, put, version_name
from mien.schema import conversation
from mien.workspace import Workspace
from tests import models
from tests.registry.builders import trained
from tests.registry.test_retire import promoted


@pytest.fixture
def files(tmp_path: Path, home: Path) -> BaseFiles:
    return pull(str(models.save_folder(tmp_path / "tiny")))


@pytest.fixture
def base(files: BaseFiles) -> Base:
    return Base(models.llama_model(), models.chatml_tokenizer(), files)


@pytest.fixture
def witty(workspace: Workspace, base: Base) -> Card:
    return trained(workspace, base, "witty-sft-1")


def test_a_version_is_put_once_under_a_name_of_its_hash(
    workspace: Workspace, witty: Card, tmp_path: Path
) -> None:
    folder = put(workspace, witty, tmp_path / "share")
    assert folder.name == version_name(witty) == f"witty-sft-1-{witty.adapter_hash[:12]}"
    PeftModel.from_pretrained(models.llama_model(), folder)
    made = folder.stat().st_mtime_ns
    assert put(workspace, witty, tmp_path / "share") == folder and folder.stat().st_mtime_ns == made
    (folder / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(AdapterError, match="not the file that was trained"):
        put(workspace, witty, tmp_path / "share")


def test_the_folder_has_all_that_a_server_starts_from(
    workspace: Workspace, base: Base, files: BaseFiles, witty: Card, tmp_path: Path
) -> None:
    calm = trained(workspace, base, "calm-sft-1", persona="calm", shape=LoraConfig(r=12, alpha=12))
    out = tmp_path / "it's out"
    export_vllm(workspace, [witty, calm], files, out, with_base=True)
    told = launched(out)
    assert told[:2] == ["serve", str(out / "base")]
    assert told[told.index("--served-model-name") + 1] == "tiny"
    assert told[told.index("--max-lora-rank") + 1] == "16"  # the least that vLLM has for 12
    assert told[told.index("--max-loras") + 1] == "3"  # one place stays empty
    start = told.index("--lora-modules") + 1
    modules = dict(each.split("=", 1) for each in told[start : start + 2])
    assert set(modules) == {version_name(witty), version_name(calm)}
    assert all((Path(path) / "adapter_config.json").is_file() for path in modules.values())
    assert told[-2:] == ["--dtype", "float32"]
    page = (out / "README.md").read_text()
    assert version_name(calm) in page and files.sha256[:12] in page
    assert "--url http://HOST:8000 --port 9000`" in page  # 8000 is vLLM's own
    tokenizer = AutoTokenizer.from_pretrained(out / "base")
    tokenizer.chat_template = (out / "chat_template.jinja").read_text()
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert ids == base.renderer.prompt(conversation("hello", system="Be brief."))


def launched(out: Path) -> list[str]:
    """What the script would start, told by a `vllm` that says its arguments and variables."""
    tools = out.parent / "bin"
    tools.mkdir()
    (tools / "vllm").write_text(
        "#!/bin/sh\n"
        '[ "$VLLM_ALLOW_RUNTIME_LORA_UPDATING" = True ] && [ -z "${VLLM_LORA_RESOLVER_CACHE_DIR+x}" ] ||'
        " exit 9\n"
        "for each; do printf '%s\\n' \"$each\"; done\n"
    )
    (tools / "vllm").chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "VLLM_LORA_RESOLVER_CACHE_DIR": "/x"}
    command = [str(out / "serve.sh"), "--dtype", "float32"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd="/")
    return done.stdout.splitlines()


def test_without_its_base_it_says_where_the_base_is(
    workspace: Workspace, files: BaseFiles, witty: Card, tmp_path: Path
) -> None:
    export_vllm(workspace, [witty], files, tmp_path / "out", most_rank=64)
    told = launched(tmp_path / "out")
    assert told[1] == str(files.folder.absolute()) in (tmp_path / "out" / "README.md").read_text()
    assert told[told.index("--max-lora-rank") + 1] == "64"


def test_a_rank_above_what_is_allowed_is_told_with_two_ways_out(
    workspace: Workspace, base: Base, files: BaseFiles, tmp_path: Path
) -> None:
    card = trained(workspace, base, "witty-sft-1", shape=LoraConfig(r=20, alpha=20))
    with pytest.raises(AdapterError, match="witty-sft-1: its rank 20 is above 16") as caught:
        export_vllm(workspace, [card], files, tmp_path / "out", most_rank=16)
    assert "--max-rank 32" in caught.value.fix and "--rank 16" in caught.value.fix
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="no rank of 20"):
        export_vllm(workspace, [card], files, tmp_path / "out", most_rank=20)


def test_what_is_promoted_is_chosen_unless_runs_are_named(
    workspace: Workspace, base: Base, files: BaseFiles, witty: Card
) -> None:
    with pytest.raises(AdapterError, match="nothing is promoted on tiny"):
        chosen(workspace, [], files)
    with pytest.raises(AdapterError, match="No adapter of 'witty' is promoted"):
        chosen(workspace, ["witty"], files)
    trained(workspace, base, "witty-sft-2", made="2027-01-01T00:00:00+00:00", seed=2)
    promoted(workspace, witty)
    assert chosen(workspace, [], files) == chosen(workspace, ["witty", "witty-sft-1"], files) == [witty]
    assert [card.run for card in chosen(workspace, ["witty-sft-2"], files)] == ["witty-sft-2"]


def test_a_folder_that_is_there_is_left_alone(
    workspace: Workspace, files: BaseFiles, witty: Card, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="is there already"):
        export_vllm(workspace, [witty], files, tmp_path / "out")
    other = witty.model_copy(update={"base_hash": "0" * 64})
    with pytest.raises(AdapterError, match="was trained on"):
        export_vllm(workspace, [other], files, tmp_path / "new")
    assert json.loads((adapter_folder(workspace, witty) / "adapter_config.json").read_text())["r"] == 2
