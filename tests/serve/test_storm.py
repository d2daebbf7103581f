"""The isolation oracle: whatever happens around a request, every token is the solo run's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mien.base.model import Base
from mien.serve.engine import Engine
from mien.serve.settings import Settings
from tests import models
from tests.decode.personas import prompt
from tests.serve.gateways import SAMPLING, roomy_base, serving
from tests.serve.serving import solo
from tests.serve.storms import EIGHT, LENGTHS, SENTINELS, TOKENS, Storm, Visitors, blow, eight, stock


@pytest.fixture(scope="module", params=["llama", "gemma"])
def base(request: pytest.FixtureRequest) -> Base:
    """With all eight; both ways through a model."""
    return eight(models.tiny_base()) if request.param == "llama" else eight(models.tiny_gemma(), 1.0)


def test_every_token_at_the_engine_is_the_solo_runs(base: Base, tmp_path: Path) -> None:
    with Engine(base, slots=5, chunk=8, prefix_bytes=100_000, pack=False) as engine:
        storm = Storm(engine, base, tmp_path)
        hook = base.model.base_model.embed_tokens.register_forward_pre_hook(storm.check)
        blow([storm], 0.5)
        hook.remove()
        assert engine.alive
    assert storm.wrong == []
    assert storm.enough


def test_a_sentinels_tokens_are_said_by_nobody_else() -> None:
    base = eight(models.tiny_base())
    said = {
        name: {t for n in LENGTHS[:2] for t in solo(base, prompt(n), name, TOKENS)} for name in EIGHT
    }
    for name, tokens in SENTINELS.items():
        assert said[name] == set(tokens)
        assert all(said[name].isdisjoint(said[other]) for other in EIGHT if other != name)


def both(folder: Path, seconds: float) -> tuple[Storm, Visitors]:
    """The storm at an engine, and beside it clients of the gateway that has the same engine."""
    base = eight(roomy_base(personas=False))
    shop, settings = stock(folder / "shop", base), Settings(sampling=SAMPLING, refresh=0.05)
    with serving(
        base, shop, slots=5, resident=3, settings=settings, chunk=8, prefix_bytes=100_000
    ) as house:
        visitors = Visitors(house, base)
        storm = Storm(house.engine, base, folder, visitors.said)
        hook = base.model.base_model.embed_tokens.register_forward_pre_hook(storm.check)
        blow([storm, visitors], seconds)
        house.until_idle()
        hook.remove()
        assert house.engine.alive and house.http.get("/health").status_code == 200
    return storm, visitors


def test_every_token_through_the_gateway_is_the_solo_runs(tmp_path: Path) -> None:
    storm, visitors = both(tmp_path, 0.3)
    assert storm.wrong == [] and visitors.wrong == []
    assert storm.enough and visitors.enough


@pytest.mark.slow
def test_every_token_is_the_solo_runs_for_ten_minutes(tmp_path: Path) -> None:
    storm, visitors = both(tmp_path, float(os.environ.get("MIEN_STORM_SECONDS", "600")))
    print(f"engine: {dict(storm.seen)}", f"gateway: {dict(visitors.seen)}", sep="\n")
    assert storm.wrong == [] and visitors.wrong == []
    assert storm.seen["tokens"] > 1000 and visitors.seen["replies"] > 300
