"""`mien serve`: what it refuses to begin with, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests import models
from tests.cli.running import modules_after, run
from tests.serve.gateways import wait_for


def test_the_network_is_not_let_in_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIEN_API_KEYS", raising=False)
    result = run("serve", "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "there are no keys" in result.stderr and "--open" in result.stderr


def test_a_mistake_in_the_file_of_keys_is_told(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("keys:\n  - {name: web, env: A, concurency: 3}\n", encoding="utf-8")
    result = run("serve", "--keys", str(path), width=200)
    assert result.exit_code == 2 and "did you mean `concurrency`?" in result.stderr


def test_help_imports_nothing_heavy() -> None:
    assert not modules_after("serve", "--help") & {"torch", "transformers", "fastapi"}


def test_a_signal_lets_it_finish_what_runs_and_refuse_the_rest(tmp_path: Path) -> None:
    base = models.save_folder(tmp_path / "tiny")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from mien.cli.main import main; main()"
    command = [sys.executable, "-c", code, "serve", "--base", str(base), "--port", str(port)]
    environment = os.environ | {"MIEN_WORKSPACE": str(tmp_path), "MIEN_HOME": str(tmp_path)}
    log = (tmp_path / "log").open("w")
    command += ["--dtype", "float32", "--blends"]
    process = subprocess.Popen(command, env=environment, stderr=log)
    client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
    try:
        wait_for(lambda: _health(client) == 200, seconds=60)
        body = {"model": "base", "prompt": "x", "max_tokens": 250, "stream": True, "temperature": 2}
        blend = client.post("/v1/completions", json=body | {"model": "witty:0.7+warm:0.3"})
        assert "no model 'witty'" in blend.json()["error"]["message"]  # and not that there are no blends
        with client.stream("POST", "/v1/completions", json=body | {"n": 8}) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: _health(client) == 503)
            refused = client.post("/v1/completions", json=body)
            assert refused.status_code == 503 and refused.json()["error"]["code"] == "draining"
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        client.close()
        log.close()


def _health(client: httpx2.Client) -> int:
    try:
        return client.get("/health").status_code
    except httpx2.TransportError:
        return 0
