"""Decoding many prompts: against transformers' own, and row by row whatever the batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from pydantic import ValidationError
from scipy.stats import chi2
from torch import Tensor

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.chat import Sampling
from mien.decode.generate import Asked, Decoder, Step, continued, generate, stream
from mien.decode.passes import Pass
from mien.decode.slots import BLOCK, Shape
from mien.schema import Message, conversation
from tests import models

GREEDY = Sampling(max_tokens=24, temperature=0, repetition_penalty=1)
WILD = Sampling(max_tokens=80, temperature=2.0, top_k=300, top_p=1)
TALKS = [
    conversation("hello"),
    conversation("the ship sails at dawn, and the wind is fair; how are you today"),
    conversation("hi", system="user model"),
    conversation("x"),
    conversation("hello there, how are you today"),
    conversation("at dawn"),
    conversation("is the wind fair"),
    conversation("and the ship"),
]


def base_of(name: str, request: pytest.FixtureRequest) -> Base:
    base: Base = request.getfixturevalue(name)
    return base


def by_transformers(base: Base, talk: Sequence[Message], length: int) -> list[int]:
    """transformers' own greedy reply, without the token that ended it."""
    ids = torch.tensor([base.renderer.prompt(talk)])
    stop = sorted(base.renderer.stop_ids)
    whole = base.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=length,
        eos_token_id=stop,
        pad_token_id=0,
    )
    reply = whole[0, ids.shape[1] :].tolist()
    return [token for token in reply if token not in stop]


@pytest.mark.parametrize("name", ["tiny_base", "tiny_gemma"])
def test_greedy_equals_transformers_greedy(name: str, request: pytest.FixtureRequest) -> None:
    base = base_of(name, request)
    ours = generate(base, TALKS, GREEDY, seeds=range(len(TALKS)))
    assert ours == [by_transformers(base, talk, 24) for talk in TALKS]


def test_greedy_under_an_adapter_equals_transformers_under_that_adapter() -> None:
    base = models.tiny_base()
    base.adapters.create("x", LoraConfig(4, 8), seed=0)
    models.shake(base.adapters, "x")
    bare = generate(base, TALKS[:3], GREEDY, seeds=range(3))
    with base.adapters.use("x"):
        ours = generate(base, TALKS[:3], GREEDY, seeds=range(3))
        assert ours == [by_transformers(base, talk, 24) for talk in TALKS[:3]]
    assert ours != bare


@pytest.mark.parametrize("name", ["tiny_base", "tiny_gemma"])
def test_a_reply_depends_neither_on_its_companions_nor_on_those_that_leave(
    name: str, request: pytest.FixtureRequest
) -> None:
    base = base_of(name, request)
    seeds = range(100, 100 + len(TALKS))
    alone = generate(base, TALKS, WILD, seeds=seeds, batch=1)
    lengths = {len(reply) for reply in alone}
    assert len(lengths) >= 3, "replies must end at different times for rows to leave the batch"
    for batch in (3, 8):
        assert generate(base, TALKS, WILD, seeds=seeds, batch=batch) == alone


def test_the_same_seed_gives_the_same_reply_and_another_seed_another(tiny_base: Base) -> None:
    first, again, other = generate(tiny_base, [TALKS[0]] * 3, WILD, seeds=[4, 4, 5])
    assert first == again != other


def test_a_reply_does_not_touch_torchs_own_generator(tiny_base: Base) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    generate(tiny_base, TALKS[:1], WILD, seeds=[0])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_replies_are_cut_at_the_limit_and_progress_counts_all(tiny_base: Base) -> None:
    told: list[tuple[int, int]] = []
    short = WILD.model_copy(update={"max_tokens": 3})
    replies = generate(
        tiny_base, TALKS, short, seeds=range(8), batch=3, progress=lambda *step: told.append(step)
    )
    assert max(len(reply) for reply in replies) == 3
    assert sum(tokens for tokens, _ in told) == sum(len(reply) for reply in replies)
    assert sum(ended for _, ended in told) == 8
    assert all(tokens >= 0 and ended >= 0 for tokens, ended in told)


def test_rows_that_ask_the_same_are_read_once_and_answered_as_if_each_were_alone(
    tiny_base: Base,
) -> None:
    talks, seeds = [TALKS[1], TALKS[0], TALKS[1], TALKS[1]], [7, 8, 9, 7]
    prompts = [tiny_base.renderer.prompt(talk) for talk in talks]
    decoder = Decoder(tiny_base, rows=4)
    ours = replies_of(decoder.steps(list(zip(prompts, seeds, strict=True)), WILD), 4)
    assert ours == [
        generate(tiny_base, [talk], WILD, seeds=[seed])[0]
        for talk, seed in zip(talks, seeds, strict=True)
    ]
    long, short = len(prompts[0]), len(prompts[1])
    assert decoder.counts.reused == 3 * (long // BLOCK) * BLOCK
    assert decoder.counts.read == long + 3 * (long % BLOCK) + short


@pytest.mark.parametrize("name", ["tiny_base", "tiny_gemma"])
def test_a_beginning_that_all_rows_have_is_read_once(name: str, request: pytest.FixtureRequest) -> None:
    base = base_of(name, request)
    told = "the ship sails at dawn, and the wind is fair; how are you today"
    talks = [conversation(talk[-1].content, system=told) for talk in TALKS]
    alone = generate(base, talks, WILD, seeds=range(8), batch=1)
    prompts = [base.renderer.prompt(talk) for talk in talks]
    decoder = Decoder(base, rows=8)
    assert replies_of(decoder.steps(list(zip(prompts, range(8), strict=True)), WILD), 8) == alone
    shared = next(i for i, tokens in enumerate(zip(*prompts, strict=False)) if len(set(tokens)) > 1)
    assert shared > BLOCK
    assert decoder.counts.reused == 8 * (shared // BLOCK * BLOCK)


def test_no_conversations_give_no_replies(tiny_base: Base) -> None:
    assert generate(tiny_base, [], GREEDY, seeds=[]) == []


Script = Callable[[int, list[int]], Sequence[float]]


class Scripted:
    """A way through a model that says what a script says: (step, tokens read) -> every row's scores."""

    name, groups = "scripted", ()

    def __init__(self, script: Script) -> None:
        self.script, self.step, self.read = script, iter(range(10**6)), list[int]()

    def hidden(self, run: Pass) -> Tensor:
        self.read = run.tokens.tolist()
        return torch.zeros(len(run.tokens), 1)

    def logits(self, hidden: Tensor) -> Tensor:
        row = torch.full((300,), -1e9)
        scores = torch.tensor(self.script(next(self.step), self.read))
        row[: len(scores)] = scores
        return row.repeat(len(hidden), 1)

    def close(self) -> None:
        pass


def scripted(script: Script) -> Base:
    """A base with a script in the place of its model; renderer and tokenizer are real."""
    base = models.tiny_base()
    base.way = Scripted(script), Shape(layers=1, heads=1, size=1)
    return base


def saying(ids: Sequence[int]) -> Base:
    """A base that says these tokens and then stops."""

    def script(step: int, _: list[int]) -> list[float]:
        wanted = ids[step] if step < len(ids) else 2
        return [0.0] * wanted + [9.0]

    return scripted(script)


def steps(
    base: Base, rows: Sequence[Asked], sampling: Sampling, *, with_stop: bool = False
) -> Iterator[Step]:
    return Decoder(base, rows=len(rows)).steps(rows, sampling, with_stop=with_stop)


def replies_of(steps: Iterator[Step], rows: int) -> list[list[int]]:
    replies: list[list[int]] = [[] for _ in range(rows)]
    for step in steps:
        for row, token in step.said:
            replies[row].append(token)
    return replies


def reply_of(base: Base, sampling: Sampling) -> list[int]:
    return replies_of(steps(base, [([5], 0)], sampling), 1)[0]


@pytest.mark.parametrize("stop", [0, 2])
def test_a_stop_token_ends_the_reply_and_is_not_part_of_it(stop: int) -> None:
    assert reply_of(saying([7, 8, stop, 9]), GREEDY) == [7, 8]


def test_a_reply_may_be_empty() -> None:
    assert reply_of(saying([]), GREEDY) == []


@pytest.mark.parametrize("stop", [0, 2])
def test_the_token_that_ends_a_reply_is_told_where_it_is_asked_for(stop: int) -> None:
    found = list(steps(saying([7, 8, stop, 9]), [([5], 0)], GREEDY, with_stop=True))
    assert found == [([(0, 7)], []), ([(0, 8)], []), ([(0, stop)], [0])]


def test_a_reply_that_is_cut_has_no_token_that_ends_it() -> None:
    sampling = GREEDY.model_copy(update={"max_tokens": 2})
    (reply,) = continued(saying([7, 8, 9]), [[5]], sampling, seeds=[0], with_stop=True)
    assert reply == [7, 8]


def test_replies_with_their_ends_are_those_without_and_one_token_more(tiny_base: Base) -> None:
    asked, stop = [tiny_base.renderer.prompt(talk) for talk in TALKS], tiny_base.renderer.stop_ids
    seeds = range(100, 100 + len(TALKS))
    whole = continued(tiny_base, asked, WILD, seeds=seeds, with_stop=True)
    ended = [reply[-1] in stop for reply in whole]
    assert 3 <= sum(ended) < len(TALKS), "some must end, and some be cut"
    assert all(end or len(reply) == WILD.max_tokens for reply, end in zip(whole, ended, strict=True))
    plain = [reply[:-1] if end else reply for reply, end in zip(whole, ended, strict=True)]
    assert continued(tiny_base, asked, WILD, seeds=seeds, batch=3) == plain
    assert not any(stop & set(reply) for reply in plain)


def test_progress_counts_a_row_once_also_where_its_end_is_told(tiny_base: Base) -> None:
    told: list[tuple[int, int]] = []
    rows = [[5], [6, 7], [5], [8]]
    replies = continued(
        tiny_base,
        rows,
        WILD,
        seeds=range(4),
        batch=3,
        with_stop=True,
        progress=lambda *step: told.append(step),
    )
    assert sum(tokens for tokens, _ in told) == sum(map(len, replies))
    assert sum(ended for _, ended in told) == 4


def frequencies(scores: Sequence[float], sampling: Sampling, draws: int = 4000) -> list[float]:
    """Shares of the first token over many rows, each with a seed of its own. Ids begin at 10."""
    base = scripted(lambda *_: [-1e9] * 10 + list(scores))
    rows = [([5], seed) for seed in range(draws)]
    (step,) = list(steps(base, rows, sampling.model_copy(update={"max_tokens": 1})))
    tokens = [token - 10 for _, token in step.said]
    return [tokens.count(place) / draws for place in range(len(scores))]


LOGITS = [math.log(0.1), math.log(0.6), math.log(0.3)]  # p = 0.1, 0.6, 0.3


def drawn(**options: float | None) -> Sampling:
    return Sampling(**{"temperature": 1, "top_p": 1, "top_k": 50, "repetition_penalty": 1} | options)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (drawn(), [0.1, 0.6, 0.3]),
        # p ** (1 / 0.5), normalised: 0.01, 0.36, 0.09 over 0.46
        (drawn(temperature=0.5), [0.0217, 0.7826, 0.1957]),
        # 0.6 alone is less than 0.7, so 0.3 comes along and 0.1 does not
        (drawn(top_p=0.7), [0, 2 / 3, 1 / 3]),
        (drawn(top_p=0.59), [0, 1, 0]),
        (drawn(top_p=1e-9), [0, 1, 0]),
        (drawn(top_k=2), [0, 2 / 3, 1 / 3]),
        (drawn(top_k=1), [0, 1, 0]),
        # the likeliest two of three hold 2/3 and 1/3 between them: 0.66 keeps the first only
        (drawn(top_k=2, top_p=0.66), [0, 1, 0]),
        (drawn(top_k=10**6), [0.1, 0.6, 0.3]),
        (drawn(top_k=None), [0.1, 0.6, 0.3]),
        (drawn(top_k=None, temperature=0.5), [0.0217, 0.7826, 0.1957]),
        (drawn(top_k=None, top_p=0.7), [0, 2 / 3, 1 / 3]),
        (drawn(temperature=0), [0, 1, 0]),
    ],
    ids=str,
)
def test_tokens_are_drawn_with_the_right_frequency(sampling: Sampling, expected: list[float]) -> None:
    # Standard error of a share at n = 4000 is at most 0.008; four of them.
    assert frequencies(LOGITS, sampling) == pytest.approx(expected, abs=0.032)


@torch.no_grad()
def test_all_of_a_models_distribution_is_drawn_from_by_its_softmax(tiny_base: Base) -> None:
    prompt, draws = tiny_base.renderer.prompt(TALKS[1]), 6000
    sampling = drawn(top_k=None).model_copy(update={"max_tokens": 1})
    rows = [(prompt, seed) for seed in range(draws)]
    (step,) = [each for each in steps(tiny_base, rows, sampling, with_stop=True) if each.said]
    seen = torch.bincount(torch.tensor([token for _, token in step.said]), minlength=300).double()
    logits = tiny_base.model(input_ids=torch.tensor([prompt])).logits[0, -1]
    wanted = draws * logits.double().softmax(-1)
    rare = wanted < 5  # all together one cell, as the chi-squared approximation asks
    seen, wanted = (torch.cat([each[~rare], each[rare].sum()[None]]) for each in (seen, wanted))
    assert len(wanted) > 5 and wanted[-1] > 5
    distance = float(((seen - wanted) ** 2 / wanted).sum())
    assert chi2.sf(distance, df=len(wanted) - 1) > 1e-3


def test_equal_scores_do_not_all_fall_to_one_token() -> None:
    assert frequencies([1.0] * 4, drawn()) == pytest.approx([0.25] * 4, abs=0.032)


def test_the_repetition_penalty_divides_what_is_positive_and_multiplies_what_is_not() -> None:
    # Scores 2.2, 2.0, 1.9 at a penalty of 1.25. Said once, 2.2 is worth 1.76 and 2.0 is worth 1.6.
    positive = scripted(lambda *_: [-1e9] * 10 + [2.2, 2.0, 1.9])
    sampling = GREEDY.model_copy(update={"repetition_penalty": 1.25, "max_tokens": 5})
    # 2.2; then 2.0 > 1.9 > 1.76; then 1.9; then 1.76 (1.6, 1.52); and 1.76 again, as it counts once.
    assert reply_of(positive, sampling) == [10, 11, 12, 10, 10]
    # Scores -1, -1.2: said once, -1 becomes -1.25, and -1.2 becomes -1.5.
    negative = scripted(lambda *_: [-1e9] * 10 + [-1.0, -1.2])
    assert reply_of(negative, sampling)[:3] == [10, 11, 10]


def test_the_repetition_penalty_leaves_the_prompt_alone() -> None:
    base = scripted(lambda *_: [-1e9] * 10 + [2.2, 2.0])
    sampling = GREEDY.model_copy(update={"repetition_penalty": 5, "max_tokens": 1})
    assert replies_of(steps(base, [([10, 10], 0)], sampling), 1) == [[10]]


@pytest.mark.parametrize(
    "bad", [{"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.1}, {"max_tokens": 0}, {"x": 1}]
)
def test_sampling_that_makes_no_sense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Sampling(**bad)


@pytest.mark.parametrize("name", ["tiny_base", "tiny_gemma"])
@pytest.mark.parametrize("seed", range(6))
def test_a_stream_joins_to_the_text_of_generate(
    name: str, seed: int, request: pytest.FixtureRequest
) -> None:
    base = base_of(name, request)
    (ids,) = generate(base, TALKS[:1], WILD, seeds=[seed])
    assert "".join(stream(base, TALKS[0], WILD, seed=seed)) == base.renderer.decode(ids)


TEXT = "naïve — 🚢 ahoy"


def test_a_character_that_spans_tokens_comes_whole() -> None:
    ids = models.chatml_tokenizer()(TEXT).input_ids
    assert len(ids) > len(TEXT), "some characters must span tokens"
    pieces = list(stream(saying(ids), TALKS[0], GREEDY, seed=0))
    assert "".join(pieces) == TEXT
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
    assert len(pieces) > 5


@pytest.mark.parametrize("length", range(1, 24))
def test_a_stream_that_is_cut_anywhere_still_joins_to_the_text(length: int) -> None:
    ids = models.chatml_tokenizer()(TEXT).input_ids
    sampling = GREEDY.model_copy(update={"max_tokens": length})
    joined = "".join(stream(saying(ids), TALKS[0], sampling, seed=0))
    assert joined == models.tiny_base().renderer.decode(ids[:length])


def test_a_stream_begins_and_ends_without_blanks() -> None:
    ids = models.chatml_tokenizer()("\n  a  b \n\n").input_ids
    assert "".join(stream(saying(ids), TALKS[0], GREEDY, seed=0)) == "a  b"


@pytest.mark.model
def test_greedy_equals_transformers_on_the_default_base(smollm: Base) -> None:
    talk = conversation("Name one colour.")
    sampling = GREEDY.model_copy(update={"max_tokens": 8})
    assert generate(smollm, [talk], sampling, seeds=[0]) == [by_transformers(smollm, talk, 8)]
