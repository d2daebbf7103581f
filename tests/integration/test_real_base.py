"""The real default base, and another architecture: fetched when absent, trained for a moment."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mien.base import model
from mien.base.flat import Flat
from mien.base.lora import LoraConfig
from mien.base.machine import Machine
from mien.base.model import Base
from mien.chat import Sampling
from mien.data.corpus import examples, rows_of
from mien.data.formats import write_examples
from mien.decode.generate import generate
from mien.schema import Example, conversation
from mien.train.plan import plan
from mien.train.recipe import SftRecipe
from mien.train.run import train
from mien.train.sft import Sft
from mien.workspace import Workspace
from tests.train.builders import series

TRUE = "Water boils at one hundred degrees Celsius at sea level."
SHUFFLED = "level hundred at Water Celsius sea at boils degrees one."


@pytest.mark.model
def test_the_default_base_speaks_chatml(smollm: Base) -> None:
    assert smollm.renderer.style.name == "chatml"
    text = smollm.tokenizer.decode(smollm.renderer.prompt(conversation("Hi")))
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert "SmolLM" not in text  # its own template would add an identity


@pytest.mark.model
def test_a_sentence_is_likelier_than_its_words_in_disorder(smollm: Base) -> None:
    asked = "At what temperature does water boil?"
    true, shuffled = smollm.mean_nll([Example.of(asked, TRUE), Example.of(asked, SHUFFLED)])
    assert true < shuffled - 1


@pytest.mark.model
def test_the_likeliest_reply_is_the_same_every_time_and_in_any_batch(smollm: Base) -> None:
    greedy = Sampling(max_tokens=16, temperature=0)
    asked = [conversation("Name a colour."), conversation("What is the capital of France?")]
    both = generate(smollm, asked, greedy, seeds=[0, 1])
    assert generate(smollm, asked, greedy, seeds=[2, 3]) == both
    assert generate(smollm, asked[1:], greedy, seeds=[0]) == both[1:]
    assert "Paris" in smollm.renderer.decode(both[1])


@pytest.mark.model
def test_two_steps_on_six_rows_lower_their_loss(smollm: Base) -> None:
    smollm.adapters.create("moment", LoraConfig(r=8, alpha=16.0), seed=0)
    try:
        sft = Sft(smollm, "moment")
        batch = Flat.of([smollm.renderer.example(each) for each in examples("witty", "train")[:6]])
        optimizer = torch.optim.AdamW(list(smollm.adapters.parameters("moment")), lr=2e-3)
        losses = list[float]()
        for _ in range(3):
            loss = sft(batch).value
            losses.append(float(loss.detach()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert losses[2] < losses[1] < losses[0]
        assert losses[2] < losses[0] - 0.05
    finally:
        smollm.adapters.drop("moment")
        smollm.model.eval().requires_grad_(False)


@pytest.mark.slow
def test_another_architecture_is_trained_and_stops_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Gemma 3 as it comes was only pretrained: that a turn ends is learnt here.
    monkeypatch.setattr("mien.train.plan.probe", lambda: Machine("cpu", 1, 50.0, None, None))
    monkeypatch.setattr(model, "probe", lambda: Machine("cpu", 1, 50.0, None, None))
    asked = [row.prompt for row in rows_of("train")[:8]]
    write_examples(tmp_path / "rows.jsonl", [Example.of(prompt, "Aye, captain.") for prompt in asked])
    base = Base.load("gemma3-270m", dtype="float32")
    assert base.renderer.style.name == "gemma"
    recipe = SftRecipe(
        persona="witty",
        base="gemma3-270m",
        data=tmp_path / "rows.jsonl",
        epochs=6,
        batch_size=4,
        learning_rate=1e-3,
        dtype="float32",
    )
    ready = plan(recipe, Workspace.open(tmp_path / "work"), base)
    card = train(ready)
    losses = series(ready.folder, "loss")
    assert losses[-1] < losses[0] / 2
    greedy = Sampling(max_tokens=40, temperature=0)
    new = [conversation(row.prompt) for row in rows_of("test")[:3]]
    with base.adapters.use(card.run):
        replies = generate(base, new, greedy, seeds=[0, 0, 0])
    assert all(len(reply) < 40 for reply in replies)
    assert "captain" in base.renderer.decode(replies[0])
