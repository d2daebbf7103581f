"""What the reference says: right, asked once, and shared by all who may share it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import torch

from mien.base.fetch import BaseFiles
from mien.base.flat import Tree
from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.errors import MienError
from mien.train.reference import References, reference_logps
from tests import models

TREES = [
    Tree((3, 4, 5), ((6, 7), (8, 9, 10))),
    Tree((11,), ((12,), (13, 14), (6, 7))),
    Tree((15, 16), ((17, 18, 19),)),
]


@pytest.fixture
def base() -> Base:
    """With an adapter `start` that does something."""
    base = models.tiny_base()
    base.adapters.create("start", LoraConfig(r=4, alpha=8.0), seed=0)
    models.shake(base.adapters, "start")
    return base


@pytest.fixture
def store(tmp_path: Path) -> References:
    return References(tmp_path / "home" / "references.db")


@torch.no_grad()
def by_hand(base: Base, adapter: str | None, trees: Sequence[Tree]) -> list[list[float]]:
    """Each prompt and completion by themselves, from plain logits."""
    with base.adapters.use(adapter):
        return [[_logp(base, tree.prompt, each) for each in tree.completions] for tree in trees]


def _logp(base: Base, prompt: Sequence[int], completion: Sequence[int]) -> float:
    logits = base.model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
    before = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return float(before.gather(1, torch.tensor(completion)[:, None]).sum())


@contextmanager
def forwards(base: Base) -> Iterator[list[int]]:
    """The tokens of each pass through the base."""
    seen: list[int] = []

    def note(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        seen.append(given["input_ids"].numel())

    handle = base.model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def close(found: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> bool:
    return [pytest.approx(row, abs=1e-3) for row in wanted] == [list(row) for row in found]


@pytest.mark.parametrize("adapter", ["start", None])
def test_each_completion_has_the_sum_of_its_tokens(
    base: Base, store: References, adapter: str | None
) -> None:
    found = reference_logps(base, adapter, TREES, store=store)
    assert close(found, by_hand(base, adapter, TREES))


def test_a_gemma_says_the_same_under_a_shared_prompt_as_alone(store: References) -> None:
    base = models.tiny_gemma()
    assert close(reference_logps(base, None, TREES, store=store), by_hand(base, None, TREES))


def test_the_adapter_in_force_is_neither_asked_nor_changed(base: Base, store: References) -> None:
    with base.adapters.use("start"):
        found = reference_logps(base, None, TREES, store=store)
        assert base.adapters.active == "start"
    assert close(found, by_hand(base, None, TREES))


def test_what_is_known_is_not_computed_again(base: Base, store: References) -> None:
    first = reference_logps(base, "start", TREES, store=store)
    with forwards(base) as seen:
        again = reference_logps(base, "start", TREES[::-1], store=References(store.path))
    assert not seen
    assert again == first[::-1]


def test_only_trees_with_something_unknown_are_computed(base: Base, store: References) -> None:
    reference_logps(base, "start", TREES[:2], store=store)
    with forwards(base) as seen:
        reference_logps(base, "start", TREES, store=store)
    assert seen == [TREES[2].tokens]


def test_many_trees_are_computed_in_batches_and_stay_in_their_order(
    base: Base, store: References
) -> None:
    # Of 60 tokens each, and 2048 at a time: 34 and 6.
    trees = [Tree((3, n), (tuple(range(n, n + 58)),)) for n in range(5, 45)]
    with forwards(base) as seen:
        found = reference_logps(base, None, trees, store=store)
    assert seen == [34 * 60, 6 * 60]
    assert close(found[::13], by_hand(base, None, trees[::13]))


def test_an_interrupted_asking_goes_on_where_it_was(base: Base, store: References) -> None:
    trees = [Tree((3, n), (tuple(range(n, n + 58)),)) for n in range(5, 45)]

    def interrupt(done: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reference_logps(base, None, trees, store=store, advance=interrupt)
    with forwards(base) as seen:
        reference_logps(base, None, trees, store=store)
    assert seen == [6 * 60]


def test_progress_counts_every_tree_once(base: Base, store: References) -> None:
    counts = []
    for trees in (TREES[:1], TREES, TREES):
        done: list[int] = []
        reference_logps(base, None, trees, store=store, advance=done.append)
        counts.append(sum(done))
    assert counts == [1, 3, 3]


def stronger(base: Base) -> tuple[Base, str | None]:
    base.adapters.rescale("start", 1.5)
    return base, "start"


def further(base: Base) -> tuple[Base, str | None]:
    models.shake(base.adapters, "start", seed=1)
    return base, "start"


def without(base: Base) -> tuple[Base, str | None]:
    return base, None


def finer(base: Base) -> tuple[Base, str | None]:
    base.model.double()  # bfloat16 kills the process on some of the CPUs that tests run on
    return base, "start"


def foreign(base: Base) -> tuple[Base, str | None]:
    base.files = BaseFiles("tiny", Path("tiny"), "1" * 64, "Apache-2.0")
    return base, "start"


@pytest.mark.parametrize("change", [stronger, further, without, finer, foreign])
def test_another_adapter_scale_type_or_base_is_asked_anew(
    base: Base, store: References, change: Callable[[Base], tuple[Base, str | None]]
) -> None:
    reference_logps(base, "start", TREES, store=store)
    other, adapter = change(base)
    with forwards(other) as seen:
        found = reference_logps(other, adapter, TREES, store=store)
    assert seen == [sum(tree.tokens for tree in TREES)]
    assert close(found, by_hand(other, adapter, TREES))


def test_the_same_adapter_under_another_name_is_not_asked_again(base: Base, store: References) -> None:
    base.adapters.copy("start", "twin")
    first = reference_logps(base, "start", TREES, store=store)
    with forwards(base) as seen:
        assert reference_logps(base, "twin", TREES, store=store) == first
    assert not seen


def test_a_completion_is_known_by_its_prompt_too(base: Base, store: References) -> None:
    # All of these read 3 4 5 6, or learn 5 6.
    trees = [Tree((3, 4), ((5, 6),)), Tree((3,), ((4, 5, 6),)), Tree((7, 4), ((5, 6),))]
    found = reference_logps(base, None, trees, store=store)
    assert close(found, by_hand(base, None, trees))
    assert len(set(found)) == 3


def test_a_prompt_with_one_more_reply_keeps_what_it_said_of_the_others(
    base: Base, store: References
) -> None:
    (one,) = reference_logps(base, None, [Tree((3, 4), ((5, 6),))], store=store)
    more = Tree((3, 4), ((7,), (5, 6)))
    first = reference_logps(base, None, [more, more], store=store)
    assert first[0] == first[1] and first[0][1] == one[0]
    assert close(first, by_hand(base, None, [more, more]))


def test_what_was_kept_first_is_what_every_later_run_reads(base: Base, store: References) -> None:
    # Rounding depends on what else is in a batch; a run that goes on must see what it saw before.
    reference_logps(base, None, [Tree((3, 4), ((5, 6),))], store=store)
    with closing(sqlite3.connect(store.path)) as db, db:
        db.execute("update reference set logp = -1.5")
    for _ in range(2):
        (found,) = reference_logps(base, None, [Tree((3, 4), ((5, 6), (7,)))], store=store)
        assert found[0] == -1.5


def test_without_a_store_it_is_the_one_in_the_home(base: Base, home: Path) -> None:
    reference_logps(base, None, TREES)
    assert References().path == home / "references.db"
    with forwards(base) as seen:
        reference_logps(base, None, TREES, store=References(home / "references.db"))
    assert not seen


def test_no_trees_are_no_work(base: Base, store: References) -> None:
    assert reference_logps(base, None, [], store=store) == []


def test_a_store_of_a_newer_release_is_left_alone(base: Base, store: References) -> None:
    reference_logps(base, None, TREES, store=store)
    with closing(sqlite3.connect(store.path)) as db, db:
        db.execute("pragma user_version = 99")
    with pytest.raises(MienError, match=r"references\.db: written by a newer mien") as caught:
        reference_logps(base, None, TREES, store=store)
    assert "Upgrade" in caught.value.fix


def text(path: Path) -> None:
    path.write_text("no database " * 100)


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("spoil", [text, folder])
def test_a_file_that_is_no_store_says_which_and_what_to_do(
    base: Base, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "broken.db"
    spoil(path)
    with pytest.raises(MienError, match=r"broken\.db: the store .* cannot be used") as caught:
        reference_logps(base, None, TREES, store=References(path))
    assert "Remove the file" in caught.value.fix and "\n" not in caught.value.what


def test_a_home_that_cannot_be_made_says_the_same(base: Base, tmp_path: Path) -> None:
    text(tmp_path / "file")
    with pytest.raises(MienError, match="cannot be used"):
        reference_logps(base, None, TREES, store=References(tmp_path / "file" / "references.db"))
