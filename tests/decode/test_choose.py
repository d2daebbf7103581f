"""Each row draws by its own rules; how often it draws what is seen in `test_generate.py`."""

from __future__ import annotations

import math

import torch

from mien.chat import Sampling
from mien.decode.choose import Hand, choose, likely

GREEDY = Sampling(temperature=0, repetition_penalty=1)
SCORES = torch.tensor([1.0, 3.0, 2.0, -1.0])


def test_a_row_draws_the_same_whoever_sits_beside_it() -> None:
    wild = Sampling(temperature=2, top_k=None, top_p=1, repetition_penalty=1)
    few = Sampling(temperature=2, top_k=3, top_p=0.9, repetition_penalty=1)
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 50, generator=draw)
    manners = [wild, few, GREEDY, few, wild]
    together = choose(scores.clone(), [Hand(each, seed=i) for i, each in enumerate(manners)])
    alone = [
        choose(scores[i : i + 1].clone(), [Hand(each, seed=i)])[0] for i, each in enumerate(manners)
    ]
    assert together == alone


def test_what_was_said_is_less_likely_once_however_often_it_was_said() -> None:
    hand = Hand(Sampling(temperature=0, repetition_penalty=2), seed=0)
    hand.said = [1, 1, 3]
    scores = SCORES.clone()
    assert choose(scores[None], [hand]) == [2]
    assert scores.tolist() == [1.0, 1.5, 2.0, -2.0]


def test_the_likeliest_come_with_their_log_probabilities() -> None:
    logprob, top = likely(SCORES, 2, 2)
    total = math.log(sum(math.exp(score) for score in SCORES.tolist()))
    assert math.isclose(logprob, 2 - total, rel_tol=1e-6)
    assert [token for token, _ in top] == [1, 2]
    assert math.isclose(top[0][1], 3 - total, rel_tol=1e-6)
