"""Our side of the serving bench: makes adapters and prompts, and answers with the engine."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from measured import peak_memory_mb, receive, send, shake, versions

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.chat import Sampling
from mien.data.corpus import corpus
from mien.decode.request import Event, Request, Token
from mien.schema import conversation
from mien.serve.engine import Engine

_SHAKEN = 0.01


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Adapters of distinct voices, and the prompts that all arms are asked."""
    base = Base.load(dtype="float32")
    folders = []
    for i in range(job["rows"]):
        folder = Path(job["out"]) / f"voice-{i}"
        base.adapters.create(folder.name, LoraConfig(), seed=i)
        base.adapters.save(folder.name, folder, base=base.files.name)
        shake(folder, _SHAKEN * (1 + i / job["rows"]))
        folders.append(str(folder))
    rows = corpus()
    asked = [base.renderer.prompt(conversation(row.prompt)) for row in rows[:: len(rows) // job["rows"]]]
    return {
        "folder": str(base.files.folder.absolute()),
        "base_sha256": base.files.sha256,
        "adapters": folders,
        "prompts": asked[: job["rows"]],
    }


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Each of the settings in turn, on one engine."""
    base = Base.load(dtype="float32")
    with Engine(base, slots=len(job["prompts"])) as engine:
        names = [engine.load(folder, Path(folder)) and folder for folder in job["adapters"]]
        settings = {
            "eight": (job["prompts"], names),
            "one": (job["prompts"], names[:1] * len(names)),
            "alone": (job["prompts"][:1], names[:1]),
        }
        for prompts, voices in settings.values():
            decoded(engine, prompts, voices, 8)
        found = {key: decoded(engine, *each, job["tokens"]) for key, each in settings.items()}
        setup = vars(engine.setup)
    return found | {"setup": setup, "peak_memory_mb": round(peak_memory_mb(), 1), "versions": versions()}


def decoded(engine: Engine, prompts: list[list[int]], voices: list[str], tokens: int) -> dict[str, Any]:
    """Tokens a second from when the last row has its first token to when the first row has its last."""
    sampling = Sampling(max_tokens=tokens, temperature=0, repetition_penalty=1)
    said: list[list[tuple[int, float, float]]] = [[] for _ in prompts]

    def hear(row: int, event: Event) -> None:
        if isinstance(event, Token):
            said[row].append((event.id, time.perf_counter(), time.process_time()))

    tickets = [
        engine.submit(
            Request(prompt=tuple(ids), adapter=voice, sampling=sampling, ends=frozenset()),
            partial(hear, row),
        )
        for row, (ids, voice) in enumerate(zip(prompts, voices, strict=True))
    ]
    while any(ticket.end is None for ticket in tickets):
        time.sleep(0.01)
    _, start, cpu_start = max((row[0] for row in said), key=lambda each: each[1])
    _, end, cpu_end = min((row[-1] for row in said), key=lambda each: each[1])
    made = sum(start < at <= end for row in said for _, at, _ in row)
    return {
        "tokens_per_second": round(made / (end - start), 2),
        "tokens_per_cpu_second": round(made / (cpu_end - cpu_start), 2),
        "replies": [[token for token, *_ in row] for row in said],
    }


if __name__ == "__main__":
    job = receive()
    send({"prepare": prepare, "answer": answer}[job["do"]](job))
