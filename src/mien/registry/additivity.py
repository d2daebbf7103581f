"""How far a blend is from the sum of its parts, seen from outside.

A blend's updates add up exactly, layer by layer. What the model then says does not: between the layers
lie non-linear functions. The residual is how far the blend's logits are from the base's plus the
weighted sum of what each part changes in them; 0 would be a blend in which no voice disturbs another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import kl_div, linear, log_softmax

from mien.base.flat import Flat
from mien.base.model import Base
from mien.errors import InputError
from mien.schema import Example, Score, Strict
from mien.stats import Interval, by_prompt, ratio
from mien.workspace import Workspace, write_json

ADDITIVITY = "additivity.json"  # beside the card


class Additivity(Strict):
    """A blend's logits against the sum of its parts', at the tokens of some replies.

    Attributes:
        residual: Norm of the difference over norm of what the blend changes; per prompt, means over
            prompts. Logits less their mean, since a constant changes no probability.
        nats: What the difference does to the words: KL(blend || sum of the parts), per token.
        examples: How many replies were read.
    """

    residual: Score
    nats: Score
    examples: int


def additivity(
    base: Base, blend: str, parts: Sequence[tuple[str, float]], examples: Sequence[Example]
) -> Additivity:
    """Measure a blend that is on the base, with its parts.

    Args:
        base: With all the adapters attached.
        blend: The blend's name.
        parts: The names of its parts, with their weights.
        examples: The replies; all are given the same text to continue.

    Raises:
        InputError: There are no examples.
    """
    if not examples:
        raise InputError("There is nothing to measure the blend on.", fix="Give some examples.")
    found = [_one(base, blend, parts, example) for example in examples]
    residuals, nats, tokens = zip(*found, strict=True)
    names = [str(place) for place in range(len(found))]
    return Additivity(
        residual=_score("additivity/residual", blend, by_prompt(residuals, names)),
        nats=_score("additivity/nats", blend, ratio(nats, tokens)),
        examples=len(found),
    )


def write_additivity(workspace: Workspace, run: str, found: Additivity) -> None:
    """Keep the measurement beside the card of the blend."""
    write_json(workspace.runs / run / ADDITIVITY, found.model_dump(mode="json"))


@torch.no_grad()
def _one(
    base: Base, blend: str, parts: Sequence[tuple[str, float]], example: Example
) -> tuple[float, float, int]:
    """Relative residual, KL in nats over all tokens, and the number of tokens."""
    flat = Flat.of([base.renderer.example(example)])
    bare, whole = _logits(base, None, flat), _logits(base, blend, flat)
    summed = bare + sum(weight * (_logits(base, name, flat) - bare) for name, weight in parts)
    change = (whole - bare).norm()
    relative = float((whole - summed).norm() / change) if change else 0.0
    both = log_softmax(summed, dim=-1), log_softmax(whole, dim=-1)
    nats = kl_div(*both, log_target=True, reduction="sum")
    return relative, max(float(nats), 0.0), len(whole)


def _logits(base: Base, name: str | None, flat: Flat) -> Tensor:
    """(tokens, vocabulary), each row of mean 0."""
    with base.adapters.use(name):
        hidden = base.hidden(flat).index_select(0, flat.index.to(base.device))
    logits = linear(hidden.float(), base.head.weight.float())
    return logits - logits.mean(dim=-1, keepdim=True)


def _score(name: str, system: str, found: Interval) -> Score:
    how = (
        "under one text, against base + weighted sum of the parts' differences; 95 % bootstrap by prompt"
    )
    return Score(name=name, system=system, method=how, **found._asdict())
