"""Out and in again: PEFT and transformers compute the same, and a storm of bad adapters gets nowhere."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from mien.base.fetch import BaseFiles
from mien.base.lora import CONFIG, WEIGHTS
from mien.base.model import Base
from mien.errors import AdapterError, InputError
from mien.persona.spec import library
from mien.registry.attach import attach
from mien.registry.cards import Card, adapter_folder, cards, newest
from mien.registry.template import chat_template
from mien.registry.transfer import PASSPORT, bring_in, export_merged, export_peft
from mien.schema import Message
from mien.workspace import Workspace
from tests import models
from tests.registry.builders import trained

IDS = torch.arange(3, 40)[None]
TALK = [("system", "Be brief."), ("user", "hello there"), ("assistant", "how are you"), ("user", "fair")]


@pytest.fixture
def base() -> Base:
    return models.tiny_base()


@pytest.fixture
def witty(workspace: Workspace, base: Base) -> Card:
    return trained(workspace, base, "witty-sft-1")


@pytest.fixture
def exported(workspace: Workspace, witty: Card, tmp_path: Path) -> Path:
    export_peft(workspace, witty, tmp_path / "out")
    return tmp_path / "out"


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return torch.as_tensor(model(IDS).logits)


def with_adapter(workspace: Workspace, base: Base, card: Card) -> Tensor:
    attach(base, card, adapter_folder(workspace, card))
    with base.adapters.use(card.run):
        return logits(base.model)


def test_peft_loads_what_is_exported_and_computes_the_same(
    workspace: Workspace, base: Base, witty: Card, exported: Path
) -> None:
    theirs = PeftModel.from_pretrained(models.llama_model(), exported)
    ours = with_adapter(workspace, base, witty)
    torch.testing.assert_close(ours, logits(theirs), atol=1e-5, rtol=1e-5)
    assert (ours - logits(base.model)).abs().max() > 0.1


def test_the_base_may_be_named_as_others_know_it(
    workspace: Workspace, witty: Card, tmp_path: Path
) -> None:
    export_peft(workspace, witty, tmp_path / "hub", base_name="org/tiny")
    config = json.loads((tmp_path / "hub" / CONFIG).read_text())
    assert config["base_model_name_or_path"] == "org/tiny"


def test_a_merged_model_is_the_base_with_its_adapter(
    workspace: Workspace, base: Base, witty: Card, tmp_path: Path
) -> None:
    files = BaseFiles("tiny", models.save_folder(tmp_path / "base"), base.files.sha256)
    export_merged(workspace, witty, files, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    ours = with_adapter(workspace, base, witty)
    torch.testing.assert_close(ours, logits(merged), atol=1e-4, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert templated(tokenizer) == rendered(base)
    other = BaseFiles("other", files.folder, "1" * 64)
    with pytest.raises(AdapterError, match="trained on tiny"):
        export_merged(workspace, witty, other, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def templated(tokenizer: Any) -> list[int]:
    talk = [{"role": role, "content": text} for role, text in TALK]
    text = tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def rendered(base: Base) -> list[int]:
    return base.renderer.prompt([Message(role=role, content=text) for role, text in TALK])  # type: ignore[arg-type]


def test_the_chat_template_folds_the_system_message_as_the_renderer_does(tiny_gemma: Base) -> None:
    tokenizer = models.gemma_tokenizer()
    tokenizer.chat_template = chat_template(tiny_gemma.renderer)
    assert templated(tokenizer) == rendered(tiny_gemma)


def test_nothing_is_overwritten_by_an_export(workspace: Workspace, witty: Card, exported: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        export_peft(workspace, witty, exported)


def test_what_went_out_comes_in_again_as_the_same_voice(
    base: Base, witty: Card, exported: Path, tmp_path: Path, workspace: Workspace
) -> None:
    elsewhere = Workspace.open(tmp_path / "elsewhere")
    made = bring_in(elsewhere, base, exported)
    assert made.run.startswith("witty-import-")
    assert (made.stage, made.persona, made.parents) == ("import", "witty", ("witty-sft-1",))
    assert (made.persona_hash, made.steps) == (witty.persona_hash, witty.steps)
    assert made.derived and made.derived.source_hash == witty.adapter_hash
    assert bring_in(elsewhere, base, exported) == made
    assert newest(elsewhere, made.run) == made
    with pytest.raises(AdapterError, match="no trained adapter of 'witty'"):
        newest(elsewhere, "witty")
    before = with_adapter(workspace, base, witty)
    assert torch.equal(before, with_adapter(elsewhere, base, made))
    assert not list(elsewhere.root.glob(".partial-*"))


def test_a_strangers_adapter_needs_a_persona_and_keeps_what_it_said_of_its_base(
    workspace: Workspace, base: Base, exported: Path
) -> None:
    (exported / PASSPORT).unlink()
    with pytest.raises(InputError, match="whose voice"):
        bring_in(workspace, base, exported)
    made = bring_in(workspace, base, exported, name="guest", persona=library()["calm"])
    assert made.run.startswith("guest-import-") and made.persona == "calm" and made.parents == ()
    assert made.derived and made.derived.says == "tiny"


def tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    held = load_file(folder / WEIGHTS)
    change(held)
    save_file(held, folder / WEIGHTS)


def first(held: dict[str, Tensor]) -> Tensor:
    return held[min(held)].view(-1)[:1]


def config(folder: Path, **changes: Any) -> None:
    held = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(held | changes))


def passport(folder: Path, **changes: Any) -> None:
    held = json.loads((folder / PASSPORT).read_text())
    held["card"] |= changes
    (folder / PASSPORT).write_text(json.dumps(held))


def rank_of_1024(folder: Path) -> None:
    def grow(held: dict[str, Tensor]) -> None:
        for key, value in held.items():
            axis = 0 if "lora_A" in key else 1
            held[key] = value.repeat_interleave(512, dim=axis).contiguous()

    tensors(folder, grow)
    config(folder, r=1024)


def header(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The file with another header before the same bytes."""
    raw = (folder / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    held = json.loads(raw[8 : 8 + length])
    change(held)
    text = json.dumps(held).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def entry(held: dict[str, Any]) -> dict[str, Any]:
    return held[min(key for key in held if key != "__metadata__")]  # type: ignore[no-any-return]


def as_pickle(folder: Path, name: str) -> None:
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(pickle.dumps({"weights": 1}))


def as_zip(folder: Path) -> None:
    torch.save({"weights": torch.ones(1)}, folder / WEIGHTS)


def as_link(folder: Path, name: str) -> None:
    (folder / name).rename(folder / "elsewhere")
    (folder / name).symlink_to(folder / "elsewhere")


def as_pipe(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def renamed(held: dict[str, Tensor], name: str) -> None:
    held[name] = held.pop(min(held))


_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
STORM: dict[str, tuple[Callable[[Path], object], str]] = {
    "wrong base by its hash": (lambda f: passport(f, base_hash="1" * 64), "was trained on tiny"),
    "a layer missing": (lambda f: tensors(f, lambda t: t.pop(min(t))), "belongs to another base"),
    "a layer too many": (
        lambda f: tensors(f, lambda t: t.update({_A.replace("q_proj", "x_proj"): torch.ones(2, 1)})),
        "belongs to another base",
    ),
    "a layer of another size": (
        lambda f: tensors(f, lambda t: t.update({_A: torch.ones(2, 5)})),
        r"the base needs \(2, 32\)",
    ),
    "NaN": (lambda f: tensors(f, lambda t: first(t).fill_(float("nan"))), "not finite"),
    "infinity": (lambda f: tensors(f, lambda t: first(t).fill_(float("inf"))), "not finite"),
    "rank 1024": (rank_of_1024, "rank 1024 is above 512"),
    "a rank it has not": (lambda f: config(f, r=7), "not of rank 7"),
    "rank 0": (lambda f: config(f, r=0), "rank 0"),
    "rank true": (lambda f: config(f, r=True), "rank True"),
    "alpha NaN": (lambda f: config(f, lora_alpha=float("nan")), "alpha nan"),
    "alpha immense": (lambda f: config(f, lora_alpha=10**400), "alpha 1000"),
    "alpha a text": (lambda f: config(f, lora_alpha="2"), "alpha '2'"),
    "DoRA": (lambda f: config(f, use_dora=True), "not a plain LoRA"),
    "another method": (lambda f: config(f, peft_type="IA3"), "not a plain LoRA"),
    "config of brackets": (lambda f: (f / CONFIG).write_text("[" * 10**5), "is no JSON"),
    "config too large": (lambda f: (f / CONFIG).write_text(" " * (2**20 + 1)), "more than 1048576"),
    "a pickle beside": (lambda f: as_pickle(f, "adapter_model.bin"), "is a pickle"),
    "a pickle by our name": (lambda f: as_pickle(f, WEIGHTS), "is a pickle"),
    "a zip of torch": (as_zip, "is a pickle"),
    "truncated": (lambda f: os.truncate(f / WEIGHTS, 5000), "and its header tells of"),
    "truncated in its header": (lambda f: os.truncate(f / WEIGHTS, 100), "cut off"),
    "truncated to nothing": (lambda f: os.truncate(f / WEIGHTS, 0), "cut off"),
    "a header of 2**60 bytes": (
        lambda f: (f / WEIGHTS).write_bytes(struct.pack("<Q", 2**60) + b"{}"),
        "cut off",
    ),
    "a shape of 2**40": (lambda f: header(f, lambda h: entry(h).update(shape=[2, 2**40])), "its shape"),
    "a negative shape": (lambda f: header(f, lambda h: entry(h).update(shape=[2, -1])), "type 'F32'"),
    "offsets that overlap": (
        lambda f: header(f, lambda h: entry(h).update(data_offsets=[4, 4 + 2 * 32 * 4])),
        "overlap|bytes, its shape",
    ),
    "of integers": (lambda f: tensors(f, lambda t: t.update({_A: t[_A].long()})), "type 'I64'"),
    "weights linked": (lambda f: as_link(f, WEIGHTS), "symbolic link"),
    "config linked": (lambda f: as_link(f, CONFIG), "symbolic link"),
    "card linked": (lambda f: as_link(f, PASSPORT), "symbolic link"),
    "a pipe": (as_pipe, "no regular file"),
    "a tensor called ../x": (lambda f: tensors(f, lambda t: renamed(t, "../x")), "no name of a LoRA"),
    "a tensor called __base__": (
        lambda f: tensors(f, lambda t: renamed(t, "base_model.model.__base__.weight")),
        "no name of a LoRA",
    ),
    "a tensor that looks alike": (
        lambda f: tensors(f, lambda t: renamed(t, _A.replace("a", "\u0430"))),
        "no name of a LoRA",
    ),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), f"no {WEIGHTS} there"),
    "a card with more in it": (lambda f: passport(f, more=1), "mien.json"),
}


@pytest.mark.parametrize(("spoil", "says"), STORM.values(), ids=STORM.keys())
def test_every_bad_adapter_is_refused_with_its_reason_and_leaves_no_trace(
    workspace: Workspace, base: Base, exported: Path, spoil: Callable[[Path], object], says: str
) -> None:
    spoil(exported)
    with pytest.raises(AdapterError, match=says) as caught:
        bring_in(workspace, base, exported)
    assert "\n" not in caught.value.what and caught.value.fix and ".partial-" not in caught.value.what
    assert [card.run for card in cards(workspace)] == ["witty-sft-1"]
    assert not list(workspace.root.glob(".partial-*"))
    assert base.adapters.configs == {}


@pytest.mark.parametrize("name", ["../x", "__base__", "w\u0456tty", "/etc", "null"], ids=ascii)
def test_every_bad_name_is_refused(workspace: Workspace, base: Base, exported: Path, name: str) -> None:
    with pytest.raises(InputError, match="No adapter can be called"):
        bring_in(workspace, base, exported, name=name)
    assert len(cards(workspace)) == 1


def test_a_linked_folder_is_refused(
    workspace: Workspace, base: Base, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(exported)
    with pytest.raises(AdapterError, match="symbolic link"):
        bring_in(workspace, base, tmp_path / "link")
