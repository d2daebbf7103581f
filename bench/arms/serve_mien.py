"""Our side of the serving bench: makes adapters and prompts, and answers with the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any

from decoding import EIGHT, Prompts, Say, settings, speeds
from measured import peak_memory_mb, receive, send, shake, versions

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.chat import Sampling
from mien.data.corpus import corpus
from mien.decode.request import Event, Request, Token
from mien.schema import conversation
from mien.serve.engine import Engine

_SHAKEN = 0.01
_NEWCOMER = "newcomer"
_PAUSE = 0.01


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Adapters of distinct voices, and the prompts that all arms are asked."""
    base, shape = Base.load(dtype="float32"), LoraConfig()
    folders = []
    for i in range(job["rows"]):
        folder = Path(job["out"]) / f"voice-{i}"
        base.adapters.create(folder.name, shape, seed=i)
        base.adapters.save(folder.name, folder, base=base.files.name)
        shake(folder, _SHAKEN * (1 + i / job["rows"]))
        folders.append(str(folder))
    rows = corpus()
    asked = [base.renderer.prompt(conversation(row.prompt)) for row in rows[:: len(rows) // job["rows"]]]
    return {
        "folder": str(base.files.folder.absolute()),
        "base_sha256": base.files.sha256,
        "adapters": folders,
        "rank": shape.r,
        "prompts": asked[: job["rows"]],
    }


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """All settings on one engine, then loads while it decodes; on another, switches of persona."""
    base = Base.load(dtype="float32")
    with opened(base, job) as engine:
        found = speeds(job, partial(speaking, engine)) | {"loading": loading(engine, job)}
        setup = vars(engine.setup)
    with opened(base, job, prefix_bytes=0) as engine:  # every prompt is read, whoever read it before
        found["switching"] = switching(engine, job)
    return found | {"setup": setup, "peak_memory_mb": round(peak_memory_mb(), 1), "versions": versions()}


def opened(base: Base, job: dict[str, Any], **options: Any) -> Engine:
    """An engine with all adapters."""
    engine = Engine(base, slots=len(job["prompts"]), **options)
    for folder in job["adapters"]:
        engine.load(folder, Path(folder))
    return engine


def speaking(engine: Engine, prompts: Prompts, adapters: list[str]) -> Say:
    """Greedy replies, all of them under way at once."""

    def say(tokens: int) -> list[list[int]]:
        pairs = zip(prompts, adapters, strict=True)
        tickets = [engine.submit(asked(ids, adapter, tokens)) for ids, adapter in pairs]
        return [ticket.ids() for ticket in tickets]

    return say


def asked(ids: Sequence[int], adapter: str, tokens: int) -> Request:
    """A greedy reply of this length."""
    sampling = Sampling(max_tokens=tokens, temperature=0, repetition_penalty=1)
    return Request(prompt=tuple(ids), adapter=adapter, sampling=sampling, ends=frozenset())


def switching(engine: Engine, job: dict[str, Any]) -> dict[str, Any]:
    """Time to the first token for the persona that spoke last, and for another, on the same prompts."""
    prompts, voices = job["prompts"], job["adapters"]
    times: dict[str, list[float]] = {"switched": [], "same": []}
    first_token(engine, prompts[0], voices[-1])
    for i in range(job["requests"]):
        ids, voice = prompts[i % len(prompts)], voices[i % len(voices)]
        for found in times.values():  # the second time, that persona has just spoken
            found.append(first_token(engine, ids, voice))
    return {f"{kind}_ms": milliseconds(found)["p50"] for kind, found in times.items()}


def first_token(engine: Engine, ids: Sequence[int], adapter: str) -> float:
    """Seconds."""
    start = time.perf_counter()
    engine.submit(asked(ids, adapter, 1)).ids()
    return time.perf_counter() - start


def loading(engine: Engine, job: dict[str, Any]) -> dict[str, Any]:
    """Time of a step of eight personas while no adapter is loaded, and while one is after the other."""
    folder, loads = Path(job["adapters"][0]), list[float]()

    def load() -> None:
        start = time.perf_counter()
        engine.load(_NEWCOMER, folder)
        loads.append(time.perf_counter() - start)
        engine.unload(_NEWCOMER)

    quiet = steps(engine, job, partial(time.sleep, _PAUSE))
    loading = steps(engine, job, load)
    found = {"step_ms": quiet, "loading_step_ms": loading, "load_ms": loads}
    return {name: milliseconds(seconds) for name, seconds in found.items()}


def steps(engine: Engine, job: dict[str, Any], meanwhile: Callable[[], None]) -> list[float]:
    """Seconds of each step of eight personas after the first, while something is done over and over."""
    stamps: list[float] = []
    tickets = [
        engine.submit(asked(ids, adapter, job["tokens"]), partial(note, stamps if i == 0 else []))
        for i, (ids, adapter) in enumerate(zip(*settings(job)[EIGHT], strict=True))
    ]
    while any(ticket.end is None for ticket in tickets):
        meanwhile()
    return [end - start for start, end in pairwise(stamps)]


def note(stamps: list[float], event: Event) -> None:
    """When a token came."""
    if isinstance(event, Token):
        stamps.append(time.perf_counter())


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and number."""
    cuts = quantiles(seconds if len(seconds) > 1 else 2 * [*seconds], n=20, method="inclusive")
    return {"p50": round(1000 * cuts[9], 3), "p95": round(1000 * cuts[18], 3), "n": len(seconds)}


if __name__ == "__main__":
    job = receive()
    send({"prepare": prepare, "answer": answer}[job["do"]](job))
