"""Arithmetic on adapters: a weighted sum of updates, exact, and the nearest one of a lower rank.

An update is s B A. The sum of several is one of their ranks' sum, with the A stacked and the B side by
side, each times its weight and scale: nothing is approximated and no product of one adapter's A with
another's B arises, as it does where the matrices themselves are averaged. Cut to a rank, it is the best
approximation of that rank in each layer (Eckart and Young 1936).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mien.base.lora import LoraConfig, Pair, as_pairs, read_folder, side_by_side
from mien.base.peft import MAX_RANK
from mien.errors import AdapterError, InputError
from mien.persona.spec import Persona
from mien.registry.cards import Card, Derivation, adapter_folder, newest, persona_of
from mien.registry.names import MOST_WEIGHT, RESERVED, Share, checked
from mien.registry.verify import check_file
from mien.registry.versions import Adapter, ground, keep, untrained
from mien.workspace import Workspace


def blend(
    workspace: Workspace,
    mixture: Sequence[Share],
    *,
    name: str = "",
    persona: Persona | None = None,
    rank: int | None = None,
) -> Card:
    """Keep the weighted sum of several adapters as a version of its own.

    Args:
        workspace: Where they are.
        mixture: Names of runs or personas, and weights; those of weight 0 are left out.
        name: What the version's name begins with; by default the voices' names.
        persona: Whom it speaks for if it is promoted; by default the one of the greatest weight.
        rank: Cut to this; by default the sum of the ranks.

    Raises:
        InputError: A name or a rank that cannot be.
        AdapterError: An adapter is missing, or they do not go together.
    """
    parts = [share for share in mixture if share.weight]
    cards = [newest(workspace, share.name) for share in parts]
    check_alike(cards)
    whole = added([read_adapter(workspace, card) for card in cards], [share.weight for share in parts])
    adapter, lost = (whole, None) if rank is None else cut(whole, rank)
    if adapter[0].r > MAX_RANK:
        raise InputError(
            f"The blend would have rank {adapter[0].r}; {MAX_RANK} is the most.",
            fix="Cut it with `--rank`, or blend fewer.",
        )
    heaviest = max(range(len(parts)), key=lambda place: parts[place].weight)
    speaker = persona or persona_of(workspace, cards[heaviest])
    weights = tuple(share.weight for share in parts)
    derived = Derivation(weights=weights, rank=adapter[0].r, lost=lost)
    made = untrained("blend", speaker, derived, **ground(cards[0]))
    made = made.model_copy(update={"parents": tuple(card.run for card in cards)})
    return keep(workspace, checked(name) if name else _joined(cards), adapter, made, speaker)


def scale(workspace: Workspace, run: str, factor: float, *, name: str = "") -> Card:
    """Keep an adapter with its update multiplied by `factor` as a version of its own.

    Raises:
        InputError: The factor is 0, which would be the bare base, or immense.
        AdapterError: There is no such adapter.
    """
    if not 0 < abs(factor) <= MOST_WEIGHT:  # so NaN is refused as well
        raise InputError(
            f"An adapter times {factor:g} is of no use.",
            fix=f"Give a factor from -{MOST_WEIGHT:g} to {MOST_WEIGHT:g}, and not 0.",
        )
    card = newest(workspace, run)
    config, pairs = read_adapter(workspace, card)
    persona = persona_of(workspace, card)
    derived = Derivation(weights=(factor,), rank=config.r)
    made = untrained("scale", persona, derived, **ground(card))
    made = made.model_copy(update={"parents": (card.run,)})
    scaled = LoraConfig(config.r, config.alpha * factor), pairs
    return keep(workspace, checked(name) if name else _joined([card]), scaled, made, persona)


def added(adapters: Sequence[Adapter], weights: Sequence[float]) -> Adapter:
    """The weighted sum of several adapters' updates, of the sum of their ranks.

    Raises:
        AdapterError: They are not on the same layers.
    """
    layers = adapters[0][1].keys()
    if any(pairs.keys() != layers for _, pairs in adapters):
        raise AdapterError("The adapters are not on the same layers.", fix="Blend those of one base.")
    scales = [config.scale * weight for (config, _), weight in zip(adapters, weights, strict=True)]
    summed = {path: side_by_side([pairs[path] for _, pairs in adapters], scales) for path in layers}
    rank = sum(config.r for config, _ in adapters)
    return LoraConfig(rank, rank), summed


def cut(adapter: Adapter, rank: int) -> tuple[Adapter, float]:
    """The nearest adapter of a lower rank, and what is lost.

    Returns:
        The adapter, and the Frobenius norm of what went over that of all there was, 0 to 1.

    Raises:
        InputError: It has no more than that rank.
    """
    config, pairs = adapter
    if not 0 < rank < config.r:
        raise InputError(
            f"It has rank {config.r} and cannot be cut to {rank}.", fix=f"Give 1 to {config.r - 1}."
        )
    kept, all_squares, lost_squares = {}, 0.0, 0.0
    for path, pair in pairs.items():
        kept[path], values = _cut(pair, config.scale, rank)
        all_squares += float(values.square().sum())
        lost_squares += float(values[rank:].square().sum())
    lost = (lost_squares / all_squares) ** 0.5 if all_squares else 0.0
    return (LoraConfig(rank, rank), kept), lost


def read_adapter(workspace: Workspace, card: Card) -> Adapter:
    """The matrices of a version, float32, with no model in sight.

    Raises:
        AdapterError: It is not the file that the card tells of, or cannot be read.
    """
    folder = adapter_folder(workspace, card)
    check_file(card, folder)
    config, tensors = read_folder(folder)
    return config, as_pairs({name: tensor.float() for name, tensor in tensors.items()})


def check_alike(cards: Sequence[Card]) -> None:
    """Make sure that adapters stand on the same ground.

    Raises:
        AdapterError: They do not, and their sum would be nobody's.
    """
    first = cards[0]
    for card in cards[1:]:
        for key, what in (("base_hash", "base"), ("renderer", "renderer"), ("under_prompt", "prompt")):
            if getattr(card, key) != getattr(first, key):
                raise AdapterError(
                    f"{first.run} and {card.run} cannot be blended: they were not trained on the same"
                    f" {what}.",
                    fix="Blend adapters of one base, all of them trained under a prompt or none.",
                )


def _cut(pair: Pair, scale: float, rank: int) -> tuple[Pair, torch.Tensor]:
    """A pair of a lower rank, and all singular values; by way of a core no larger than the old rank."""
    a, b = (each.double() for each in pair)
    left, upper = torch.linalg.qr(b * scale)
    right, lower = torch.linalg.qr(a.t())
    u, values, v = torch.linalg.svd(upper @ lower.t(), full_matrices=False)
    root = values[:rank].sqrt()
    new_a = root[:, None] * (v[:rank] @ right.t())
    new_b = left @ u[:, :rank] * root
    return (_of_rank(new_a.float(), rank, 0), _of_rank(new_b.float(), rank, 1)), values


def _of_rank(matrix: torch.Tensor, rank: int, axis: int) -> torch.Tensor:
    """With zeros where a layer is smaller than the rank."""
    missing = rank - matrix.shape[axis]
    if missing <= 0:
        return matrix
    shape = (missing, matrix.shape[1]) if axis == 0 else (matrix.shape[0], missing)
    return torch.cat([matrix, matrix.new_zeros(shape)], dim=axis)


def _joined(cards: Sequence[Card]) -> str:
    """The voices' names, shortened to what a name may have."""
    names = dict.fromkeys(card.persona for card in cards)
    return checked("-".join(name for name in names if name not in RESERVED)[:40].rstrip("-"))
