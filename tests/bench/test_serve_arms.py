"""The arms of the serving bench that need no peer: our engine and gateway on a tiny model, their clock,
and what llama.cpp is given."""

from __future__ import annotations

import importlib
import itertools
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gguf
import numpy as np
import pytest

from mien.base.model import Base
from mien.registry.cards import read_card
from mien.serve.engine import Engine
from tests.decode.personas import llama, prompt
from tests.serve.gateways import roomy_base, stocked
from tests.serve.serving import saved, solo

__all__ = ["llama"]
TOKENS = 12


@pytest.fixture
def arm(scripts: None) -> ModuleType:
    return importlib.import_module("serve_mien")


@pytest.fixture
def job(llama: Base, tmp_path: Path) -> dict[str, Any]:
    """Two personas, as the bench would ask eight."""
    folders = [str(saved(llama, name, tmp_path / name)) for name in ("captain", "poet")]
    prompts = [list(prompt(5)), list(prompt(9))]
    return {"prompts": prompts, "adapters": folders, "tokens": TOKENS, "requests": 3}


@pytest.fixture
def engine(arm: ModuleType, llama: Base, job: dict[str, Any]) -> Iterator[Engine]:
    with arm.opened(llama, job, pack=False) as found:
        yield found


def test_our_arm_says_what_the_model_says_by_itself(
    arm: ModuleType, engine: Engine, llama: Base, job: dict[str, Any]
) -> None:
    found = arm.speeds(job, arm.partial(arm.speaking, engine))
    pairs = zip(job["prompts"], ("captain", "poet"), strict=True)
    assert found["eight"]["replies"] == [solo(llama, ids, name, TOKENS) for ids, name in pairs]
    assert found["one"]["replies"][1] == solo(llama, job["prompts"][1], "captain", TOKENS)
    assert found["alone"]["replies"] == found["one"]["replies"][:1]
    assert found["eight"]["tokens_per_second"] > 0


def test_switches_and_loads_are_timed_and_leave_nothing_loaded(
    arm: ModuleType, engine: Engine, job: dict[str, Any]
) -> None:
    before = engine.loaded
    assert arm.switching(engine, job).keys() == {"switched_ms", "same_ms"}
    found = arm.loading(engine, job)
    assert found["load_ms"]["n"] >= 1
    assert found["step_ms"]["n"] == found["loading_step_ms"]["n"] == TOKENS - 1
    assert engine.loaded == before


def test_times_are_told_as_median_and_95th_percentile(arm: ModuleType) -> None:
    found = arm.milliseconds([each / 1000 for each in range(101)])
    assert found == {"p50": 50, "p95": 95, "n": 101}
    assert arm.milliseconds([0.002]) == {"p50": 2, "p95": 2, "n": 1}


def test_a_rate_counts_what_comes_after_the_first_token(
    scripts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows of 5 tokens: 8 after the first, in 9 seconds less the 1 that one token took."""
    decoding = importlib.import_module("decoding")
    wall, cpu = iter([0, 1, 10, 19]), iter([0, 2, 20, 38])
    monkeypatch.setattr(decoding.time, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(decoding.time, "process_time", lambda: next(cpu))
    found = decoding.speed(lambda tokens: [[7] * tokens] * 2, 5)
    assert found == {"tokens_per_second": 1, "tokens_per_cpu_second": 0.5, "replies": [[7] * 5] * 2}


def test_the_gateway_is_asked_over_loopback_and_says_what_its_engine_says(
    scripts: None, tmp_path: Path
) -> None:
    arm = importlib.import_module("serve_gateway")
    base = roomy_base()
    workspace = stocked(tmp_path / "work", base)
    card = read_card(workspace.runs / "witty-2")
    with (
        Engine(base, pack=False) as engine,
        arm.served(engine, workspace) as port,
        arm.client(port) as ask,
    ):
        engine.load(card.run, workspace.runs / card.run / "adapter")
        found = arm.pairs(engine, card, ask, tokens=4, requests=3)
    assert found["same_text"] is True
    assert found["whole"]["n"] == found["stream"]["n"] == found["direct"]["n"] == 3
    assert found["direct"]["p50"] > 0


def test_a_gateway_that_does_not_answer_ends_the_arm_with_the_reason(scripts: None) -> None:
    arm = importlib.import_module("serve_gateway")
    with socket.socket() as bound:  # nobody listens
        bound.bind(("127.0.0.1", 0))
        with arm.client(bound.getsockname()[1]) as ask, pytest.raises(RuntimeError, match="Connection"):
            ask({"stream": False})


def test_a_stream_that_is_cut_off_is_no_answer(scripts: None) -> None:
    client = importlib.import_module("serve_client")
    event = b'data: {"choices":[{"delta":{"content":"Ahoy"}}]}\n\n'
    assert client.streamed(event + event + b"data: [DONE]\n\n") == "AhoyAhoy"
    with pytest.raises(RuntimeError, match="cut off"):
        client.streamed(event)


class Config:
    num_attention_heads, num_key_value_heads, num_hidden_layers = 2, 1, 2


def test_rows_of_queries_and_keys_lie_in_llama_cpp_s_order(scripts: None) -> None:
    """Two heads of size 4: places 0 and 2 are a rotated pair, and 1 and 3."""
    arm = importlib.import_module("serve_gguf")
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert arm.turned("blk.0.attn_q.weight", rows, Config).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert arm.turned("blk.0.attn_k.weight", rows[:4], Config).ravel().tolist() == [0, 2, 1, 3]
    assert arm.turned("blk.0.attn_v.weight", rows, Config) is rows


def test_base_and_adapter_become_gguf_with_every_matrix(
    scripts: None, llama: Base, job: dict[str, Any], tmp_path: Path
) -> None:
    arm = importlib.import_module("serve_gguf")
    folder = tmp_path / "base"
    importlib.import_module("tests.models").llama_model(intermediate_size=64).save_pretrained(folder)
    found = arm.convert(job | {"out": str(tmp_path), "folder": str(folder), "kinds": ["f32", "q8_0"]})
    base, adapter = (
        {each.name: each for each in gguf.GGUFReader(path).tensors}
        for path in (found["gguf"]["q8_0"], found["gguf_adapters"][job["adapters"][0]])
    )
    assert base["blk.1.ffn_up.weight"].tensor_type.name == "Q8_0"
    assert base["output_norm.weight"].tensor_type.name == "F32"
    places = itertools.product(range(2), ("attn_q", "attn_k", "attn_v", "attn_output"), "ab")
    assert {f"blk.{i}.{name}.weight.lora_{half}" for i, name, half in places} < adapter.keys()
    assert {name.partition(".lora_")[0] for name in adapter} < base.keys()
    a, b = llama.adapters.layers["model.layers.1.mlp.up_proj"].pair("captain")
    assert np.array_equal(adapter["blk.1.ffn_up.weight.lora_a"].data, a.detach().numpy())
    assert np.array_equal(adapter["blk.1.ffn_up.weight.lora_b"].data, b.detach().numpy())
