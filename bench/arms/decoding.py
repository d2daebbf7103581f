"""What an arm of the serving bench is asked, and how fast it answers, the same way for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Prompts = Sequence[Sequence[int]]
Say = Callable[[int], list[list[int]]]  # greedy replies of so many tokens, whatever these are
EIGHT, ONE, ALONE = "eight", "one", "alone"
WARM_UP = 2  # tokens


def settings(job: dict[str, Any]) -> dict[str, tuple[Prompts, list[str]]]:
    """The prompts of each setting, and the adapter of each prompt."""
    prompts, adapters = job["prompts"], job["adapters"]
    return {
        EIGHT: (prompts, adapters),
        ONE: (prompts, adapters[:1] * len(prompts)),
        ALONE: (prompts[:1], adapters[:1]),
    }


def speeds(
    job: dict[str, Any],
    saying: Callable[[Prompts, list[str]], Say],
    only: Iterable[str] = (EIGHT, ONE, ALONE),
) -> dict[str, Any]:
    """Each of these settings in turn.

    Args:
        job: With `prompts`, `adapters` and the `tokens` of a reply.
        saying: Makes one ready.
        only: Which.
    """
    asked = settings(job)
    return {key: speed(saying(*asked[key]), job["tokens"]) for key in only}


def speed(say: Say, tokens: int) -> dict[str, Any]:
    """Tokens a second after each row's first: what a long reply takes beyond one of a single token."""
    say(WARM_UP)
    walls, cpus, replies = [], [], [[0]]
    for length in (1, tokens):
        wall, cpu = time.perf_counter(), time.process_time()
        replies = say(length)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    made = sum(map(len, replies)) - len(replies)
    return {
        "tokens_per_second": round(made / (walls[1] - walls[0]), 2),
        "tokens_per_cpu_second": round(made / (cpus[1] - cpus[0]), 2),
        "replies": replies,
    }
