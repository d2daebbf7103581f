"""`mien serve` with other servers: what it refuses to begin with, and that it answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from mien.base.fetch import pull
from mien.base.model import Base
from mien.workspace import Workspace
from tests import models
from tests.cli.running import run
from tests.registry.builders import trained
from tests.serve.gateways import wait_for
from tests.serve.stub_vllm import Stub, running


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--backend", "vllm"), "The backend vllm needs --url"),
        (("--backend", "openai", "--url", "http://x"), "The backend openai needs --model"),
        (("--url", "http://x"), "--url is for the backend vllm or openai, not for local"),
        (("--backend", "openai", "--adapters", "x"), "--adapters is for the backend vllm, not for"),
        (("--backend", "vllm", "--url", "http://x", "--slots", "3"), "--slots is for the backend local"),
        (("--backend", "vllm", "--url", "nonsense"), "'nonsense' is no server's address"),
        (("--backend", "vllm", "--url", "http://x", "--key-env", "NO_SUCH"), "NO_SUCH: not set"),
    ],
)
def test_what_does_not_go_together_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    result = run("serve", *arguments, width=200)
    assert result.exit_code == 2 and said in result.stderr


@pytest.mark.slow
def test_it_answers_by_vllm_and_stops_when_told(tmp_path: Path, home: Path) -> None:
    files = pull(str(models.save_folder(tmp_path / "tiny")))
    base = Base(models.llama_model(), models.chatml_tokenizer(), files)
    trained(Workspace.open(tmp_path), base, "witty-sft-1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from mien.cli.main import main; main()"
    given = ["--backend", "vllm", "--base", str(files.folder), "--port", str(port)]
    environment = os.environ | {"MIEN_WORKSPACE": str(tmp_path)}
    with running(Stub()) as stub:
        command = [sys.executable, "-c", code, "serve", *given, "--url", stub.url]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        try:
            wait_for(lambda: _healthy(client), seconds=120)
            body = {"model": "witty", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
            reply = client.post("/v1/chat/completions", json=body).json()
            assert reply["choices"][0]["message"]["content"] == "witty-sft-1 heard"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            client.close()


def _healthy(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx2.TransportError:
        return False
