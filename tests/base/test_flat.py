"""Flat batches: what is laid where, and that completions of one prompt are as if each stood alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mien.base.flat import Block, Flat, Grove, Span, Tree, batches, groves
from mien.base.lora import LoraConfig
from mien.base.model import Base
from tests import models

PAIRS = [([3, 4, 5], [6, 7]), ([8], [9, 10, 11])]
# The second prompt alone is longer than the tiny Gemma's window of 6; in the first and the last,
# only prompt and completion together are.
TREES = [
    Tree([3, 4, 5], ([6, 7], [8, 9, 10, 11, 12], [6, 9])),
    Tree(list(range(20, 31)), ([40, 41, 42, 43, 44, 45, 46, 47], [48])),
    Tree([50], ([51],)),
    Tree([60, 61, 62, 63], ([64, 65, 66], [64, 65, 66])),
]
ALONE = [(tree.prompt, completion) for tree in TREES for completion in tree.completions]


def adapted(name: str) -> Base:
    """A tiny base with an adapter `x` in it that has values."""
    base = {"llama": models.tiny_base, "gemma": models.tiny_gemma}[name]()
    base.adapters.create("x", LoraConfig(r=4, alpha=8.0), seed=0)
    models.shake(base.adapters, "x")
    return base


def plain_nll(base: Base, prompt: list[int], completion: list[int]) -> Tensor:
    """From the log-softmax of the model's own logits and attention, for one sequence."""
    logits = base.model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
    rows = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return -rows.gather(1, torch.tensor(completion)[:, None])[:, 0]


def test_chains_say_what_is_learnt_and_whose_it_is() -> None:
    flat = Flat.of(PAIRS)
    assert flat.tokens.tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert flat.positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert flat.blocks == (Block(5), Block(4))
    assert flat.index.tolist() == [2, 3, 5, 6, 7]
    assert flat.targets.tolist() == [6, 7, 9, 10, 11]
    assert flat.owner.tolist() == [0, 0, 1, 1, 1]
    assert flat.ends.tolist() == [4, 8]
    assert flat.sequences == 2


def test_a_chain_goes_on_after_what_was_learnt() -> None:
    flat = Flat.of([([3, 4], [5], [6, 7], [8, 9])])
    assert flat.tokens.tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert flat.positions.tolist() == list(range(7))
    assert flat.blocks == (Block(7),)
    assert flat.index.tolist() == [1, 4, 5]
    assert flat.targets.tolist() == [5, 8, 9]
    assert (flat.owner.tolist(), flat.ends.tolist()) == ([0, 0, 0], [6])


def test_branches_begin_where_their_prompt_ends_and_follow_on_its_last_token() -> None:
    flat = Flat.branching([Tree([3, 4, 5], ([6, 7], [8])), Tree([9], ([10, 11, 12],))])
    assert flat.tokens.tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert flat.positions.tolist() == [0, 1, 2, 3, 4, 3, 0, 1, 2, 3]
    assert flat.blocks == (Block(3, (2, 1)), Block(1, (3,)))
    assert [block.length for block in flat.blocks] == [6, 4]
    # Both first tokens of the first prompt's completions are told by its last token, place 2.
    assert flat.index.tolist() == [2, 3, 2, 6, 7, 8]
    assert flat.targets.tolist() == [6, 7, 8, 10, 11, 12]
    assert flat.owner.tolist() == [0, 0, 1, 2, 2, 2]
    assert flat.ends.tolist() == [4, 5, 9]
    assert (flat.sequences, flat.counts().tolist()) == (3, [2, 1, 3])


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_completions_that_share_a_prompt_are_as_likely_as_each_alone(name: str) -> None:
    base, flat = adapted(name), Flat.branching(TREES)
    with torch.no_grad(), base.adapters.use("x"):
        ours = base.nll(flat)
        alone = [plain_nll(base, *pair) for pair in ALONE]
    torch.testing.assert_close(ours, torch.cat(alone), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(flat.sums(ours), torch.stack([nll.sum() for nll in alone]))
    # The last two completions are the same, and neither has seen the other.
    torch.testing.assert_close(ours[-6:-3], ours[-3:])


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_completions_that_share_a_prompt_teach_what_each_teaches_alone(name: str) -> None:
    base, flat = adapted(name), Flat.branching(TREES)
    matrices = list(base.adapters.parameters("x"))
    # Each completion pulls with a weight of its own, as chosen and rejected do.
    pull = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0, 0.25, 2.0, -1.5])
    with base.adapters.use("x"):
        ours = torch.autograd.grad(flat.sums(base.nll(flat)) @ pull, matrices)
        alone = torch.stack([plain_nll(base, *pair).sum() for pair in ALONE])
        theirs = torch.autograd.grad(alone @ pull, matrices)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["llama", "gemma"])
@torch.no_grad()
def test_the_end_of_a_branch_knows_its_own_tokens_and_the_prompt_alone(name: str) -> None:
    # A reward model reads its score there.
    base, flat = adapted(name), Flat.branching(TREES)
    with base.adapters.use("x"):
        ours = base.hidden(flat)[flat.ends]
        for found, (prompt, completion) in zip(ours, ALONE, strict=True):
            alone = base.model.base_model(input_ids=torch.tensor([[*prompt, *completion]]))
            torch.testing.assert_close(found, alone.last_hidden_state[0, -1], atol=1e-4, rtol=1e-4)


def test_the_window_of_the_tiny_gemma_is_shorter_than_what_is_tested(tiny_gemma: Base) -> None:
    window = tiny_gemma.model.config.sliding_window
    assert len(TREES[0].prompt) < window < len(TREES[0].prompt) + 5
    assert window < len(TREES[1].prompt)


@pytest.mark.parametrize(
    "tree", [Tree([], ([3],)), Tree([3], ([4], [])), Tree([], ())], ids=["prompt", "completion", "both"]
)
def test_a_tree_with_nothing_in_a_place_is_refused(tree: Tree) -> None:
    with pytest.raises(ValueError, match="needs a prompt, and no completion may be empty"):
        Flat.branching([TREES[0], tree])


def test_trees_of_a_grove_go_on_where_its_opening_ends() -> None:
    flat = Flat.grown([Grove([3, 4], (Tree([5], ([6, 7], [8])), Tree([9, 10], ([11],))))])
    assert flat.tokens.tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert flat.positions.tolist() == [0, 1, 2, 3, 4, 3, 2, 3, 4]
    assert flat.blocks == (Block(2), Block(1, (2, 1), Span(0, 2)), Block(2, (1,), Span(0, 2)))
    assert flat.index.tolist() == [2, 3, 2, 7]
    assert (flat.targets.tolist(), flat.owner.tolist()) == ([6, 7, 8, 11], [0, 0, 1, 2])
    assert flat.ends.tolist() == [4, 5, 8]


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_what_prompts_begin_with_may_be_read_once_for_all_of_them(name: str) -> None:
    base, shared = adapted(name), list(range(20, 30))
    trees = [Tree([*shared, *tree.prompt], tree.completions) for tree in TREES]
    found = list(groves([*trees, *TREES], 10_000))
    assert (len(found[0].opening), len(found[0].trees)) == (10, 4)
    assert sum(each.tokens for each in found) == sum(t.tokens for t in (*trees, *TREES)) - 3 * 10
    with torch.no_grad(), base.adapters.use("x"):
        ours, alone = base.nll(Flat.grown(found)), base.nll(Flat.branching([*trees, *TREES]))
    torch.testing.assert_close(ours, alone, atol=1e-5, rtol=1e-5)


def starting(*prompts: str) -> list[Tree]:
    return [Tree([ord(letter) for letter in prompt], ([1],)) for prompt in prompts]


@pytest.mark.parametrize(
    ("prompts", "openings"),
    [
        ([], []),
        (["system: ab"], [(0, 1)]),
        (["system: ab", "system: cd"], [(8, 2)]),
        (["syst: ab", "syst: cd"], [(0, 1), (0, 1)]),  # too little to be worth it
        (["system: a question", "system: a riddle", "system: b"], [(8, 3)]),  # more in all than in two
        (["a long system prompt: a", "a long system prompt: b", "a long story"], [(22, 2), (0, 1)]),
        (["the same words"] * 3, [(13, 3)]),  # the last token of a prompt is its own
        (["system: a", "user: hello there", "user: hello friend"], [(0, 1), (12, 2)]),
    ],
    ids=str,
)
def test_neighbours_share_an_opening_where_that_is_less_to_read(
    prompts: list[str], openings: list[tuple[int, int]]
) -> None:
    found = list(groves(starting(*prompts), most=10_000))
    assert [(len(each.opening), len(each.trees)) for each in found] == openings
    whole = [[*each.opening, *tree.prompt] for each in found for tree in each.trees]
    assert whole == [tree.prompt for tree in starting(*prompts)]


def test_a_grove_has_no_more_than_the_most_tokens() -> None:
    found = list(groves(starting(*["system: abc"] * 7), most=20))
    assert [each.tokens for each in found] == [20, 14]  # 10 that all have, and two of each


def test_values_are_summed_over_each_sequence() -> None:
    flat = Flat.branching([Tree([1], ([2, 3], [4])), Tree([5], ([6, 7, 8],))])
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], requires_grad=True)
    sums = flat.sums(values)
    assert sums.tolist() == [3, 4, 56]
    (slope,) = torch.autograd.grad(sums @ torch.tensor([1.0, 10.0, 100.0]), values)
    assert slope.tolist() == [1, 1, 10, 100, 100, 100]


def test_values_stand_in_a_table_with_nothing_after_the_end() -> None:
    flat = Flat.branching([Tree([1], ([2, 3], [4])), Tree([5], ([6, 7, 8],))])
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], requires_grad=True)
    table = flat.table(values)
    assert table.tolist() == [[1, 2, 0], [4, 0, 0], [8, 16, 32]]
    (slope,) = torch.autograd.grad(table[2].sum() + 5 * table[0, 1], values)
    assert slope.tolist() == [0, 5, 0, 1, 1, 1]


def test_a_sequence_that_learns_nothing_counts_as_none() -> None:
    flat = Flat.of([([3, 4], []), ([5], [6, 7])])
    assert flat.counts().tolist() == [0, 2]
    assert flat.sums(torch.tensor([1.0, 2.0])).tolist() == [0, 3]
    assert flat.table(torch.tensor([1.0, 2.0])).tolist() == [[0, 0], [1, 2]]


def sized(*tokens: int) -> list[Tree]:
    return [Tree([1] * (size - 1), ([2],)) for size in tokens]


@pytest.mark.parametrize(
    ("tokens", "groups"),
    [
        ((), []),
        ((4, 6), [[4, 6]]),  # just the most
        ((4, 7), [[4], [7]]),
        ((30, 2, 2), [[30], [2, 2]]),  # one that is too large goes alone
        ((2, 30, 2), [[2], [30], [2]]),
        ((5, 5, 5, 5, 3), [[5, 5], [5, 5], [3]]),
    ],
    ids=str,
)
def test_trees_are_batched_in_order_up_to_the_most_tokens(
    tokens: tuple[int, ...], groups: list[list[int]]
) -> None:
    found = list(batches(sized(*tokens), most=10))
    assert [[tree.tokens for tree in batch] for batch in found] == groups
    assert [tree for batch in found for tree in batch] == sized(*tokens)
