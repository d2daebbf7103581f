"""Blends: exact sums, honest cuts, and versions that nobody's name finds until they are promoted."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.errors import AdapterError, InputError
from mien.persona.spec import library
from mien.registry.additivity import additivity
from mien.registry.attach import attach
from mien.registry.blend import added, blend, cut, read_adapter, scale
from mien.registry.cards import Card, adapter_folder, cards, newest, write_card
from mien.registry.compare import alike
from mien.registry.names import Share
from mien.registry.promote import Promotion, record
from mien.registry.versions import Adapter
from mien.schema import Example
from mien.workspace import Workspace
from tests import models
from tests.registry.builders import trained

ASKED = [Example.of("hello", "the wind is fair"), Example.of("how are you", "the ship sails at dawn")]


@pytest.fixture
def voices(workspace: Workspace, tiny_base: Base) -> tuple[Card, Card]:
    """Two adapters of different rank and scale."""
    witty = trained(workspace, tiny_base, "witty-sft-1", shape=LoraConfig(4, 12), seed=1)
    warm = trained(workspace, tiny_base, "warm-sft-1", persona="warm", shape=LoraConfig(2, 2), seed=2)
    return witty, warm


def update(adapter: Adapter, path: str) -> Tensor:
    config, pairs = adapter
    a, b = pairs[path]
    return config.scale * (b @ a)


def test_a_blend_is_the_exact_sum_of_what_its_parts_add(
    workspace: Workspace, voices: tuple[Card, Card]
) -> None:
    made = blend(workspace, [Share("witty", 0.7), Share("warm-sft-1", -0.3)])
    whole = read_adapter(workspace, made)
    one, other = (read_adapter(workspace, card) for card in voices)
    assert whole[0].r == 6
    for path in whole[1]:
        expected = 0.7 * update(one, path) - 0.3 * update(other, path)
        torch.testing.assert_close(update(whole, path), expected)


def test_its_card_says_what_it_is_made_of(workspace: Workspace, voices: tuple[Card, Card]) -> None:
    made = blend(workspace, [Share("witty", 0.3), Share("warm", 0.7)])
    assert made.run.startswith("witty-warm-blend-") and len(made.run) == len("witty-warm-blend-") + 8
    assert (made.stage, made.persona, made.parents) == ("blend", "warm", ("witty-sft-1", "warm-sft-1"))
    assert made.derived and made.derived.weights == (0.3, 0.7) and made.derived.rank == 6
    assert newest(workspace, made.run) == made
    assert (
        blend(workspace, [Share("witty", 0.3), Share("warm", 0.7)]).made == made.made
    )  # it is kept once
    assert len(cards(workspace)) == 3


def test_a_weight_of_0_leaves_the_voice_out(workspace: Workspace, voices: tuple[Card, Card]) -> None:
    made = blend(workspace, [Share("witty", 0.0), Share("warm", 1.0)])
    assert made.parents == ("warm-sft-1",)
    whole, warm = read_adapter(workspace, made), read_adapter(workspace, voices[1])
    path = next(iter(whole[1]))
    torch.testing.assert_close(update(whole, path), update(warm, path))


def test_a_blend_speaks_for_a_persona_only_once_it_is_promoted(
    workspace: Workspace, voices: tuple[Card, Card]
) -> None:
    made = blend(workspace, [Share("witty", 1.0), Share("warm", 0.5)])
    assert newest(workspace, "witty") == voices[0]
    assert newest(workspace, "witty", stages=("sft", "blend")) == voices[0]
    assert newest(workspace, "witty", stages=("blend",)) == made
    told = {key: getattr(made, key) for key in ("persona", "base_hash", "run", "adapter_hash")}
    record(workspace, Promotion(**told, report="r", who="ada"))
    assert newest(workspace, "witty") == made


def test_it_may_speak_for_another_persona_under_a_name_of_its_own(
    workspace: Workspace, voices: tuple[Card, Card]
) -> None:
    parts = [Share("witty", 1.0), Share("warm", 1.0)]
    made = blend(workspace, parts, name="duo", persona=library()["calm"])
    assert made.persona == "calm" and made.run.startswith("duo-blend-")
    with pytest.raises(InputError, match="No adapter can be called"):
        blend(workspace, parts, name="../duo")


def test_a_cut_is_the_best_of_its_rank_and_says_what_is_lost() -> None:
    # In one layer, the update is diag(3, 2, 1): cut to rank 2 it loses 1 of sqrt(9 + 4 + 1).
    whole = LoraConfig(3, 3), {"layer": (torch.eye(3), torch.diag(torch.tensor([3.0, 2.0, 1.0])))}
    smaller, lost = cut(whole, 2)
    expected = torch.diag(torch.tensor([3.0, 2.0, 0.0]))
    torch.testing.assert_close(update(smaller, "layer"), expected, atol=1e-6, rtol=0)
    assert lost == pytest.approx(1 / math.sqrt(14))
    assert [tuple(each.shape) for each in smaller[1]["layer"]] == [(2, 3), (3, 2)]


def test_a_blend_of_one_voice_with_itself_loses_nothing_at_its_own_rank(
    workspace: Workspace, voices: tuple[Card, Card]
) -> None:
    one = read_adapter(workspace, voices[0])
    smaller, lost = cut(added([one, one], [0.5, 0.5]), 4)
    assert lost < 1e-6
    path = next(iter(one[1]))
    torch.testing.assert_close(update(smaller, path), update(one, path), atol=1e-5, rtol=1e-4)


def test_a_rank_above_a_layers_size_is_filled_with_nothing() -> None:
    pairs = {"small": (torch.randn(6, 2), torch.randn(3, 6)), "large": (torch.eye(6), torch.eye(6))}
    smaller, _ = cut((LoraConfig(6, 6), pairs), 4)
    assert [tuple(each.shape) for each in smaller[1]["small"]] == [(4, 2), (3, 4)]
    torch.testing.assert_close(update(smaller, "small"), pairs["small"][1] @ pairs["small"][0])


def test_the_cards_rank_and_loss_are_those_of_the_cut(
    workspace: Workspace, voices: tuple[Card, Card]
) -> None:
    made = blend(workspace, [Share("witty", 0.5), Share("warm", 0.5)], rank=3)
    assert made.derived and made.derived.rank == 3 and 0 < (made.derived.lost or 0) < 1
    assert read_adapter(workspace, made)[0].r == 3
    with pytest.raises(InputError, match="rank 6 and cannot be cut to 6"):
        blend(workspace, [Share("witty", 0.5), Share("warm", 0.5)], rank=6)


@pytest.mark.parametrize(
    ("change", "says"), [({"base_hash": "1" * 64}, "same base"), ({"under_prompt": True}, "same prompt")]
)
def test_what_does_not_go_together_is_not_blended(
    workspace: Workspace,
    tiny_base: Base,
    voices: tuple[Card, Card],
    change: dict[str, object],
    says: str,
) -> None:
    write_card(workspace.runs / "warm-sft-1", voices[1].model_copy(update=change))
    with pytest.raises(AdapterError, match=says):
        blend(workspace, [Share("witty", 0.5), Share("warm", 0.5)])


def test_a_scaled_adapter_is_a_version_with_a_hash_of_its_own(
    workspace: Workspace, voices: tuple[Card, Card]
) -> None:
    made = scale(workspace, "witty", -0.5)
    assert (made.stage, made.parents, made.persona) == ("scale", ("witty-sft-1",), "witty")
    assert made.adapter_hash != voices[0].adapter_hash
    one, half = read_adapter(workspace, voices[0]), read_adapter(workspace, made)
    path = next(iter(one[1]))
    torch.testing.assert_close(update(half, path), -0.5 * update(one, path))


@pytest.mark.parametrize("factor", [0.0, math.nan, math.inf, 1000.0])
def test_a_factor_of_no_use_is_refused(
    workspace: Workspace, voices: tuple[Card, Card], factor: float
) -> None:
    with pytest.raises(InputError, match="of no use"):
        scale(workspace, "witty", factor)


def test_a_changed_file_is_not_blended(workspace: Workspace, voices: tuple[Card, Card]) -> None:
    weights = adapter_folder(workspace, voices[1]) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(AdapterError, match="not the file that was trained"):
        blend(workspace, [Share("witty", 0.5), Share("warm", 0.5)])


def on_base(workspace: Workspace, base: Base, *found: Card) -> None:
    for card in found:
        attach(base, card, adapter_folder(workspace, card))


def test_an_adapter_split_in_two_adds_up_and_two_voices_do_not(
    workspace: Workspace, voices: tuple[Card, Card]
) -> None:
    base = models.tiny_base()
    same = blend(workspace, [Share("witty", 1.0)])
    both = blend(workspace, [Share("witty", 1.0), Share("warm", 1.0)])
    on_base(workspace, base, *voices, same, both)
    alone = additivity(base, same.run, [("witty-sft-1", 1.0)], ASKED)
    assert alone.residual.value < 1e-4 and alone.nats.value < 1e-6 and alone.examples == 2
    together = additivity(base, both.run, [("witty-sft-1", 1.0), ("warm-sft-1", 1.0)], ASKED)
    assert 0.01 < together.residual.low <= together.residual.high < 2
    assert together.nats.value > alone.nats.value
    with pytest.raises(InputError, match="nothing to measure"):
        additivity(base, both.run, [], [])


def test_norms_and_cosines_are_those_of_the_updates_written_out(
    workspace: Workspace, voices: tuple[Card, Card]
) -> None:
    one, other = (read_adapter(workspace, card) for card in voices)
    found = {each.layer: each for each in alike([one, other])}
    paths = [path for path in one[1] if path.endswith("q_proj")]
    u = torch.cat([update(one, path).flatten() for path in paths])
    v = torch.cat([update(other, path).flatten() for path in paths])
    assert found["q_proj"].norms == pytest.approx((float(u.norm()), float(v.norm())), rel=1e-5)
    cosine = float(u @ v / u.norm() / v.norm())
    assert found["q_proj"].cosines == pytest.approx((1.0, cosine), abs=1e-5)
    assert found["all"].norms[0] > found["q_proj"].norms[0]
    opposite = alike([one, (LoraConfig(4, -12), one[1])])[-1]
    assert opposite.cosines == pytest.approx((1.0, -1.0))
