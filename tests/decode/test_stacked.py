"""Low-rank updates of mixed batches, against each token multiplied out by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.decode.stacked import Bare, Evenly, InTurn, Stack, Unevenly, Version
from tests import models
from tests.decode.personas import PERSONAS

# Query, key and value share their input; a down projection stands alone.
GROUPS = [
    tuple(f"model.layers.0.self_attn.{part}_proj" for part in "qkv"),
    ("model.layers.1.mlp.down_proj",),
]


@pytest.fixture(scope="module")
def versions(llama: Base) -> list[Version]:
    return [Version.of(llama.adapters, name, GROUPS) for name in PERSONAS]


def by_hand(base: Base, name: str, group: int, x: Tensor) -> Tensor:
    """One token's update, from the adapter's own matrices."""
    out = []
    for path in GROUPS[group]:
        layer = base.adapters.layers[path]
        a, b = layer.pair(name)
        out.append(layer.scales[name] * (b @ (a @ x)))
    return torch.cat(out)


@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize(
    ("counts", "kind"),
    [
        ({}, Bare),
        ({0: 3}, InTurn),
        ({0: 1, 1: 1, 2: 1, 3: 1}, Evenly),
        ({1: 2, 3: 2}, Evenly),
        ({0: 3, 2: 1}, Unevenly),
        ({0: 1, 1: 40}, InTurn),
    ],
)
@torch.no_grad()
def test_each_token_gets_its_own_update(
    llama: Base, versions: list[Version], counts: dict[int, int], kind: type, group: int
) -> None:
    stack = Stack(4)
    order, mix = stack.mix({versions[i]: n for i, n in counts.items()})
    assert isinstance(mix, kind)
    names = [
        PERSONAS[versions.index(each)] for each in order for _ in range(counts[versions.index(each)])
    ]
    x = torch.randn(len(names) + 2, (32, 48)[group])  # the last two have no adapter
    y = torch.zeros(len(x), (64, 32)[group])
    mix.add(group, x, y)
    for row, name in enumerate(names):
        torch.testing.assert_close(y[row], by_hand(llama, name, group, x[row]))
    assert not y[len(names) :].any()


def test_the_stack_copies_only_who_is_missing(
    versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, copied = Stack(4), list[Version]()
    whole = Stack._copy

    def copy(self: Stack, place: int, version: Version) -> None:
        copied.append(version)
        whole(self, place, version)

    monkeypatch.setattr(Stack, "_copy", copy)
    a, b, c, d = versions
    stack.mix(dict.fromkeys((d, a, b), 1))
    assert set(copied) == {a, b, d}
    copied.clear()
    stack.mix(dict.fromkeys((a, b, d), 1))
    assert copied == []
    order, _ = stack.mix(dict.fromkeys((a, c, d), 1))
    assert copied == [c]
    assert set(order) == {a, c, d}


def test_a_version_is_what_the_adapter_was(llama: Base) -> None:
    adapters = llama.adapters
    adapters.create("passing", LoraConfig(r=2), seed=9)
    models.shake(adapters, "passing")
    before = Version.of(adapters, "passing", GROUPS)
    kept = before.down[0].clone()
    models.shake(adapters, "passing", seed=1)
    after = Version.of(adapters, "passing", GROUPS)
    adapters.drop("passing")
    assert torch.equal(before.down[0], kept)
    assert before.digest != after.digest


def test_the_scale_is_part_of_the_content_and_the_grouping_is_not(llama: Base) -> None:
    adapters = llama.adapters
    adapters.create("passing", LoraConfig(r=2), seed=9)
    models.shake(adapters, "passing")
    whole, apart = (Version.of(adapters, "passing", groups) for groups in (GROUPS, GROUPS[1:]))
    adapters.rescale("passing", 0.5)
    weaker = Version.of(adapters, "passing", GROUPS)
    adapters.drop("passing")
    assert whole.digest == apart.digest != weaker.digest
    assert whole.bytes == 4 * (3 * 2 * 32 + 2 * (32 + 16 + 16) + 2 * 48 + 2 * 32)


def test_an_adapter_that_overflows_spoils_its_own_rows_only(llama: Base) -> None:
    adapters = llama.adapters
    adapters.create("huge", LoraConfig(r=2), seed=9)
    models.shake(adapters, "huge", size=1e30)
    huge, sound = (Version.of(adapters, name, GROUPS) for name in ("huge", PERSONAS[0]))
    adapters.drop("huge")
    for counts in ({huge: 1, sound: 1}, {huge: 3, sound: 1}, {huge: 9, sound: 1}):
        order, mix = Stack(4).mix(counts)
        spoilt = torch.tensor([each is huge for each in order for _ in range(counts[each])])
        y = torch.zeros(len(spoilt), 64)
        mix.add(0, torch.randn(len(spoilt), 32), y)
        assert (y.isfinite().all(dim=1) == ~spoilt).all()
