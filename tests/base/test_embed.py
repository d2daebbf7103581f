from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mien.base.embed import MAX_TOKENS, Embedder


class Letters:
    """One token per letter, its place in the alphabet; 0 is padding."""

    def __call__(self, texts: list[str], *, max_length: int, **_: Any) -> dict[str, torch.Tensor]:
        rows = [torch.tensor([ord(letter) - 96 for letter in text[:max_length]]) for text in texts]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}


class Table(torch.nn.Module):
    """A model whose hidden states are looked up; padding gets a large one, so that a leak shows."""

    config = SimpleNamespace(hidden_size=2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        states = torch.stack([(input_ids == 1).float(), (input_ids == 2).float()], -1)
        return SimpleNamespace(last_hidden_state=states + 99.0 * (attention_mask == 0)[..., None])


@pytest.fixture
def small() -> Embedder:
    return Embedder(Table(), Letters())


def test_the_mean_leaves_padding_out_and_has_length_one(small: Embedder) -> None:
    # "aab" is the mean of (1, 0), (1, 0), (0, 1): direction (2, 1).
    found = small.embed(["b", "aab", "abababab"])
    expected = [[0, 1], np.array([2, 1]) / 5**0.5, np.array([1, 1]) / 2**0.5]
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-6, atol=1e-7)
    assert found.dtype == np.float32


def test_a_long_text_is_cut(small: Embedder) -> None:
    found = small.embed(["a" * MAX_TOKENS + "b" * 1000])
    np.testing.assert_allclose(found, [[1, 0]])


def test_order_is_kept_over_many_batches(small: Embedder) -> None:
    texts = ["a" * (n % 7 + 1) if n % 2 else "b" * (n % 5 + 1) for n in range(100)]
    np.testing.assert_allclose(small.embed(texts)[:, 0], [n % 2 for n in range(100)])


def test_no_texts(small: Embedder) -> None:
    assert small.embed([]).shape == (0, 2)


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    return Embedder.load()


@pytest.mark.model
def test_vectors_have_384_numbers_and_length_one(minilm: Embedder) -> None:
    vectors = minilm.embed(["Hello.", "A somewhat longer greeting to everyone here."])
    assert vectors.shape == (2, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


@pytest.mark.model
def test_a_paraphrase_is_nearer_than_another_subject(minilm: Embedder) -> None:
    asked, paraphrase, other = minilm.embed(
        [
            "How do I stop my cat from scratching the sofa?",
            "What keeps a kitten's claws off the couch?",
            "When is the rent due this month?",
        ]
    )
    assert asked @ paraphrase > 0.5
    assert asked @ other < 0.2


@pytest.mark.model
def test_the_company_a_text_keeps_does_not_change_its_vector(minilm: Embedder) -> None:
    texts = ["Rain.", "It rained all day, and nobody minded.", "word " * 300]
    together = minilm.embed([*texts, *(f"Text number {n}." for n in range(60))])[:3]
    alone = np.concatenate([minilm.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.model
def test_vectors_do_not_change(minilm: Embedder) -> None:
    # Recorded when this was written: another pooling, casing or set of weights would show.
    (vector,) = minilm.embed(["This is an example sentence"])
    assert vector[:3] == pytest.approx([0.0677, 0.0635, 0.0487], abs=1e-3)
