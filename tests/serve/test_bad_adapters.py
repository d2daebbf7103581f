"""A storm of bad adapters during good traffic: each is refused with its reason, and nobody hears of it.

Each tries three doors: import into the workspace, the engine, and a request for a run that became so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import torch

from mien.base.fetch import file_sha256
from mien.base.lora import CONFIG, WEIGHTS
from mien.base.model import Base
from mien.errors import AdapterError, InputError
from mien.persona.spec import library
from mien.registry.cards import PERSONA, Card, write_card
from mien.registry.transfer import bring_in, export_peft
from mien.workspace import Workspace, write_json
from tests import models
from tests.registry.builders import trained
from tests.registry.test_transfer import STORM, config, entry, header, tensors
from tests.serve.gateways import RUNS, House, base, expected, serving, shop
from tests.serve.serving import asked

__all__ = ["base", "shop"]

Spoil = Callable[[Path], object]
_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
_SMALL = 2**25  # bytes that are hashed in no time


def with_header(folder: Path, text: bytes) -> None:
    """Another header before the same bytes, well-formed or not."""
    raw = (folder / WEIGHTS).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + raw[start:])


def swap(held: dict[str, torch.Tensor]) -> None:
    b = _A.replace("lora_A", "lora_B")
    held[_A], held[b] = held[b], held[_A]


def head(held: dict[str, torch.Tensor]) -> None:
    for letter, shape in (("A", (2, 32)), ("B", (300, 2))):
        held[f"base_model.model.lm_head.lora_{letter}.weight"] = torch.ones(shape)


def in_type(dtype: torch.dtype, value: float | None = None) -> Spoil:
    def change(held: dict[str, torch.Tensor]) -> None:
        held |= {name: matrix.to(dtype) for name, matrix in held.items()}
        if value is not None:
            held[max(held)].view(-1)[-1] = value

    return lambda folder: tensors(folder, change)


def instead(name: str, make: Callable[[Path], object]) -> Spoil:
    """Something else in a file's place."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return change


def renamed(name: str) -> Spoil:
    return lambda folder: header(folder, lambda held: held.update({name: held.pop(_A)}))


def described(**changes: Any) -> Spoil:
    return lambda folder: header(folder, lambda held: entry(held).update(changes))


def from_gemma(folder: Path) -> None:
    trained(Workspace.open(folder.parent / "gemma"), models.tiny_gemma(), "gemma-1")
    shutil.copy(folder.parent / "gemma" / "runs" / "gemma-1" / "adapter" / WEIGHTS, folder / WEIGHTS)


def too_long(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 2**24 + 1))
    os.truncate(folder / WEIGHTS, 2**24 + 100)


MORE: dict[str, tuple[Spoil, str]] = {
    "rank 513": (lambda f: config(f, r=513), "rank 513 is above 512"),
    "rank 10**30": (lambda f: config(f, r=10**30), "is above 512"),
    "rank 2.0": (lambda f: config(f, r=2.0), "rank 2.0"),
    "rank -2": (lambda f: config(f, r=-2), "rank -2"),
    "no rank": (lambda f: config(f, r=None), "rank None"),
    "alpha infinite": (lambda f: config(f, lora_alpha=float("inf")), "alpha inf"),
    "rsLoRA": (lambda f: config(f, use_rslora=True), "not a plain LoRA"),
    "a bias": (lambda f: config(f, bias="all"), "not a plain LoRA"),
    "modules saved whole": (lambda f: config(f, modules_to_save=["embed_tokens"]), "not a plain LoRA"),
    "ranks by layer": (lambda f: config(f, rank_pattern={"q_proj": 4}), "not a plain LoRA"),
    "no method": (lambda f: config(f, peft_type=None), "not a plain LoRA"),
    "no config": (lambda f: (f / CONFIG).unlink(), f"no {CONFIG} there"),
    "a config that is a list": (lambda f: (f / CONFIG).write_text("[]"), "is no JSON object"),
    "a config of no letters": (lambda f: (f / CONFIG).write_bytes(b"\xff{}"), "is no JSON"),
    "a config cut off": (lambda f: os.truncate(f / CONFIG, 20), "is no JSON"),
    "weights that are a folder": (instead(WEIGHTS, Path.mkdir), "no regular file"),
    "weights linked to a device": (
        instead(WEIGHTS, lambda path: path.symlink_to("/dev/zero")),
        "symbolic link",
    ),
    "weights linked to nothing": (instead(WEIGHTS, lambda path: path.symlink_to("x")), "symbolic link"),
    "weights of four gigabytes": (lambda f: os.truncate(f / WEIGHTS, 2**32 + 1), "more than 4294967296"),
    "a header of 17 megabytes": (too_long, f"header of {WEIGHTS} has more than"),
    "a header that is no JSON": (lambda f: with_header(f, b"x" * 64), "is no JSON"),
    "a header of brackets": (lambda f: with_header(f, b"[" * 100_000), "is no JSON"),
    "a header that is a list": (lambda f: with_header(f, b"[]"), "is no JSON object"),
    "a header of nothing": (lambda f: with_header(f, b"{}"), "holds nothing"),
    "a name said twice": (
        lambda f: with_header(f, b'{"a": {"dtype": "F32"}, "a": {"dtype": "F16"}}'),
        "names 'a' twice",
    ),
    "bytes after the end": (lambda f: os.truncate(f / WEIGHTS, 100_000), "its header tells of"),
    "two names for one matrix": (
        lambda f: header(f, lambda h: h.update({_A.replace("q_proj", "x_proj"): dict(h[_A])})),
        "overlap or leave gaps",
    ),
    "a matrix too many": (
        lambda f: tensors(f, lambda t: t.update({_A.replace("q_proj", "z_proj"): torch.ones(2, 32)})),
        "belongs to another base",
    ),
    "half a pair": (lambda f: tensors(f, lambda t: t.pop(_A)), "has nothing for the base's layer"),
    "a pair the wrong way round": (lambda f: tensors(f, swap), "not of rank 2"),
    "of the output head": (lambda f: tensors(f, head), "belongs to another base"),
    "of another architecture": (from_gemma, "belongs to another base"),
    "double precision": (in_type(torch.float64), "type 'F64'"),
    "bytes": (in_type(torch.int8), "type 'I8'"),
    "NaN in bfloat16": (in_type(torch.bfloat16, float("nan")), "not finite"),
    "infinity in float16": (in_type(torch.float16, float("inf")), "not finite"),
    "three dimensions": (described(shape=[1, 2, 32]), "described as no matrix"),
    "no dimensions": (described(shape=None), "described as no matrix"),
    "a shape of truths": (described(shape=[True, 32]), "has type 'F32'"),
    "offsets of three": (described(data_offsets=[0, 1, 2]), "described as no matrix"),
    "offsets backwards": (described(data_offsets=[256, 0]), "its shape needs"),
    "offsets beyond the end": (described(data_offsets=[2**50, 2**50 + 384]), "overlap or leave gaps"),
    "a matrix of nothing": (described(shape=[2, 0], data_offsets=[0, 0]), "overlap or leave gaps"),
    "a matrix that is a word": (
        lambda f: header(f, lambda h: h.update({_A: "x"})),
        "described as no matrix",
    ),
    "notes that are no words": (
        lambda f: header(f, lambda h: h.update({"__metadata__": {"lora_alpha": 5}})),
        "cannot be read",
    ),
    "a name that is a path": (
        renamed("base_model.model./etc/passwd.lora_A.weight"),
        "no name of a LoRA",
    ),
    "a name with a null": (renamed(_A.replace("q_proj", "q\0proj")), "no name of a LoRA"),
    "a name with two lines": (renamed(_A.replace("q_proj", "q\nproj")), "no name of a LoRA"),
    "a name of 10,000 letters": (renamed("x" * 10_000), "no name of a LoRA"),
    "a name in wide letters": (renamed(_A.replace("q_proj", "\uff51_proj")), "no name of a LoRA"),
}
# Those that are tried at the import by its own tests already, and that matter most here.
KNOWN = (
    *(
        "wrong base by its hash",
        "NaN",
        "rank 1024",
        "a pickle by our name",
        "a pickle beside",
        "truncated",
    ),
    *("weights linked", "config linked", "a pipe", "a shape of 2**40", "offsets that overlap"),
    *("a tensor called ../x", "a tensor called __base__", "a tensor that looks alike"),
)
CASES = {name: STORM[name] for name in KNOWN} | MORE
AT_IMPORT = "wrong base by its hash"  # of the card that comes with it, which imports alone look at
NAMES = (
    *(
        "../x",
        "..",
        "/etc/passwd",
        "~root",
        "C:\\x",
        "file:///etc/passwd",
        "runs/witty-1",
        "witty-1/adapter",
    ),
    *(
        "__base__",
        "__class__",
        "witty.",
        "WITTY",
        " witty",
        "witty ",
        "witty\n",
        "witty\0",
        "",
        "a" * 5000,
    ),
    *(
        "w\u0456tty",
        "\uff57itty",
        "witty\u200b",
        "\u202eyttiw",
        "wi\u0301tty",
        "\U0001d430itty",
        "\ud83d",
    ),
    *(
        "witty@../..",
        "witty@",
        "@",
        "witty@" + "0" * 64,
        "witty@witty-1@witty-1",
        "witty%2e%2e",
        "${HOME}",
    ),
    *("witty;ls", "'; drop table promotion; --", "witty:prompt:prompt", "prompt", "null", "witty\udcff"),
)


class Traffic:
    """Clients who ask good personas all the while, and compare every reply."""

    def __init__(self, house: House, truth: dict[tuple[str, str], str]) -> None:
        self.house, self.truth = house, truth
        self.replies, self.wrong = 0, list[object]()
        self._over = threading.Event()

    def ask(self) -> None:
        with httpx2.Client(base_url=self.house.url, timeout=20, trust_env=False) as client:
            while not self._over.is_set():
                for (model, text), wanted in self.truth.items():
                    body = {"model": model, "messages": [{"role": "user", "content": text}]}
                    answer = client.post("/v1/chat/completions", json=body)
                    if (answer.status_code, said(answer)) != (200, wanted):
                        self.wrong.append((model, text, answer.text))
                    self.replies += 1
                    self._over.wait(0.02)

    def end(self) -> None:
        self._over.set()


def said(answer: httpx2.Response) -> Any:
    return answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else None


@pytest.fixture(scope="module")
def sound(base: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Card]:
    """A good adapter, as it is exported, and its card."""
    folder = tmp_path_factory.mktemp("sound")
    card = trained(Workspace.open(folder), base, "witty-sft-1")
    export_peft(Workspace.open(folder), card, folder / "out")
    return folder / "out", card


@pytest.fixture(scope="module")
def traffic(base: Base, shop: Workspace, sound: object) -> Iterator[Traffic]:
    voices = {"base": None, "witty": "poet", "calm": "clerk"}
    truth = {
        (model, text): expected(base, voices[model], text)
        for model in voices
        for text in ("hello", "the wind")
    }
    with serving(base, shop, slots=3, resident=1) as house, ThreadPoolExecutor(2) as pool:
        found = Traffic(house, truth)
        asking = [pool.submit(found.ask) for _ in range(2)]
        try:
            yield found
        finally:
            found.end()
            for each in asking:
                each.result(20)
        assert found.wrong == [] and found.replies > 20


@pytest.fixture
def adapter(sound: tuple[Path, Card], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound[0], tmp_path / "adapter"))


@pytest.mark.parametrize("case", CASES)
def test_a_bad_adapter_is_refused_at_every_door(
    case: str,
    traffic: Traffic,
    base: Base,
    shop: Workspace,
    sound: tuple[Path, Card],
    adapter: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil, says = CASES[case]
    spoil(adapter)
    with pytest.raises(AdapterError, match=says) as caught:
        bring_in(shop, base, adapter)
    assert "\n" not in caught.value.what and caught.value.fix
    if case != AT_IMPORT:
        with pytest.raises(AdapterError, match=says):
            traffic.house.engine.load("bad", adapter)
        with as_a_run(traffic.house, shop, adapter, sound[1]):
            answer = traffic.house.http.post("/v1/chat/completions", json=asking("warm@bad"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
        assert str(shop.root) not in answer.text
        (line,) = [each for each in caplog.records if each.getMessage() == "not answered"]
        assert re.search(says, vars(line)["fields"]["why"])
    assert set(base.adapters.configs) <= {*("captain", "poet", "clerk", "sage"), *RUNS}
    assert "bad" not in traffic.house.engine.loaded
    assert {path.name for path in shop.runs.iterdir()} == set(RUNS)
    assert not list(shop.root.glob(".partial-*"))
    assert traffic.wrong == []


@contextmanager
def as_a_run(house: House, shop: Workspace, adapter: Path, like: Card) -> Iterator[None]:
    """The adapter as a finished run whose card knows its hash."""
    weights, run = adapter / WEIGHTS, shop.runs / "bad"
    regular = weights.is_file() and not weights.is_symlink() and weights.stat().st_size < _SMALL
    told = {"run": "bad", "persona": "warm", "made": "2026-01-01T00:00:00+00:00"}
    told |= {"adapter_hash": file_sha256(weights)} if regular else {}
    run.mkdir()
    adapter.rename(run / "adapter")
    write_json(run / PERSONA, library()["warm"].model_dump(mode="json"))
    write_card(run, like.model_copy(update=told))
    house.gateway.catalogue.refresh()
    try:
        yield
    finally:
        shutil.rmtree(run)
        house.gateway.catalogue.refresh()


def asking(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_a_bad_name_is_refused_at_every_door(
    name: str, traffic: Traffic, base: Base, shop: Workspace, sound: tuple[Path, Card]
) -> None:
    house = traffic.house
    answer = house.http.post("/v1/chat/completions", content=json.dumps(asking(name)).encode())
    assert answer.status_code in (404, 422)
    if name.isprintable() and name:
        answer = house.http.get(f"/v1/models/{quote(name, safe='')}")
        assert answer.status_code == 404 and answer.json()["error"]["message"]
    with pytest.raises(AdapterError, match="No adapter"):
        house.engine.submit(asked((5, 6), name))
    if name:
        with pytest.raises(InputError, match="No adapter can be called"):
            bring_in(shop, base, sound[0], name=name)
    assert {path.name for path in shop.runs.iterdir()} == set(RUNS)
    assert traffic.wrong == []
