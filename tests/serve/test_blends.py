"""Blends by name: exact sums that are made in memory, whichever way they are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from mien.base.lora import LoraConfig
from mien.base.model import Base
from mien.registry.blend import blend
from mien.registry.hold import is_held
from mien.registry.names import Share
from mien.serve.settings import Settings
from mien.workspace import Workspace
from tests.registry.builders import trained
from tests.serve.gateways import SAMPLING, House, expected, roomy_base, serving, shop, stocked

__all__ = ["shop"]

TEXT = "hello there, how are you today"
BLENDS = Settings(sampling=SAMPLING, blends=True)


@pytest.fixture(scope="module")
def base() -> Base:
    """With sums of its personas, worked by the base's own arithmetic."""
    base = roomy_base()
    base.adapters.average(["clerk", "poet"], "duo", weights=[0.3, 0.7])
    base.adapters.average(["poet"], "half", weights=[0.5])
    return base


@pytest.fixture
def house(base: Base, shop: Workspace) -> Iterator[House]:
    with serving(base, shop, settings=BLENDS) as house:
        yield house


def ask(house: House, model: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": TEXT}]
    return house.client().chat.completions.create(model=model, messages=messages, **more)  # type: ignore[call-overload]


def said(house: House, model: str) -> str:
    text: str = ask(house, model).choices[0].message.content
    return text


def test_a_blend_says_what_the_exact_sum_says(house: House, base: Base) -> None:
    voices = {"witty": "poet", "calm": "clerk", "witty:0.7+calm:0.3": "duo", "witty:0.5": "half"}
    heard = {model: said(house, model) for model in voices}
    assert heard == {model: expected(base, adapter, TEXT) for model, adapter in voices.items()}
    assert len(set(heard.values())) == 4


def test_in_whichever_way_it_is_written_it_is_one_adapter_with_one_prefix_cache(house: House) -> None:
    first, *others = [
        ask(house, model)
        for model in (
            "calm:0.3+witty:0.7",
            "witty:0.7+calm:0.3",
            "witty@witty-2:0.70+calm-1:0.300",
            "witty:0.7+calm:0.3+witty-1:0",
        )
    ]
    assert set(house.engine.loaded) == {"calm-1:0.3+witty-2:0.7"}
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    for other in others:
        assert other.choices[0].message.content == first.choices[0].message.content
        assert other.system_fingerprint == first.system_fingerprint
        assert other.usage.prompt_tokens_details.cached_tokens >= 16


def test_the_whole_of_one_voice_is_that_voice(house: House) -> None:
    assert ask(house, "witty:1").system_fingerprint == ask(house, "witty").system_fingerprint
    assert set(house.engine.loaded) == {"witty-2"}


def test_a_blend_that_is_kept_is_the_one_that_is_served_and_holds_its_parts_on_the_disk(
    base: Base, tmp_path: Path
) -> None:
    workspace = stocked(tmp_path / "shop", base)
    made = blend(workspace, [Share("calm-1", 0.3), Share("witty-2", 0.7)])
    with serving(base, workspace, settings=BLENDS, resident=1) as house:
        digests = list[str]()
        for model in (made.run, "witty:0.7+calm:0.3"):
            ask(house, model)
            digests += house.engine.loaded.values()
        assert len(digests) == 2 and digests[0] == digests[1]
        runs = ("calm-1", "witty-1", "witty-2", made.run)
        held = [run for run in runs if is_held(workspace.runs / run)]
        assert held == ["calm-1", "witty-2"]
        again = house.client().models.retrieve(f"witty:0.5+{made.run}:0.5")
        assert again.id == f"{made.run}:0.5+witty:0.5"


def test_a_blend_tells_what_it_is_made_of(house: House, shop: Workspace) -> None:
    told = house.http.get("/v1/models/witty:0.7+calm:0.3").json()
    hashes = {
        run: json.loads((shop.runs / run / "manifest.json").read_text())["adapter_hash"]
        for run in ("witty-2", "calm-1")
    }
    assert (told["id"], told["root"]) == ("calm:0.3+witty:0.7", "calm-1:0.3+witty-2:0.7")
    assert (told["parent"], told["stage"], told["persona"]) == ("tiny", "blend", "witty")
    assert told["parts"] == [
        {"root": "calm-1", "persona": "calm", "weight": 0.3, "version": hashes["calm-1"]},
        {"root": "witty-2", "persona": "witty", "weight": 0.7, "version": hashes["witty-2"]},
    ]
    same = house.client().models.retrieve("calm:0.3+witty:0.7").model_dump()
    assert same["version"] == told["version"] not in hashes.values()
    assert told["id"] not in {card.id for card in house.client().models.list()}


def test_blends_share_one_line_among_the_figures(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.until_idle()  # what was asked before is in the log
    with caplog.at_level("INFO", "mien.serve"):
        said(house, "witty:0.4")
        said(house, "witty:0.6")
        house.until_idle()
    assert house.metric('mien_requests_total{model="blend",status="200"}') == 2
    assert "0.4" not in house.http.get("/metrics").text
    lines = [vars(each)["fields"] for each in caplog.records if each.getMessage() == "request"]
    assert [line["model"] for line in lines] == ["witty:0.4", "witty:0.6"]


def test_a_blend_makes_room_for_others_and_is_never_taken_from_who_runs_on_it(
    base: Base, shop: Workspace
) -> None:
    with serving(base, shop, settings=BLENDS, resident=1) as house:
        body = {"model": "witty:0.7+calm:0.3", "messages": [{"role": "user", "content": TEXT}]}
        chunks = ask(house, body["model"], stream=True, max_tokens=60)  # type: ignore[arg-type]
        pieces = [next(chunks).choices[0].delta.content for _ in range(3)]
        for model, adapter in (("witty", "poet"), ("witty:0.5", "half"), ("calm", "clerk")):
            assert said(house, model) == expected(base, adapter, TEXT)
        assert set(house.engine.loaded) == {"calm-1"}
        pieces += [chunk.choices[0].delta.content for chunk in chunks]
        assert "".join(piece or "" for piece in pieces) == expected(base, "duo", TEXT, tokens=60)
        assert set(base.adapters.configs) == {"captain", "poet", "clerk", "sage", "duo", "half"}


def test_unless_it_is_allowed_no_blend_is_made(base: Base, shop: Workspace) -> None:
    with serving(base, shop) as house:
        for model in ("witty:0.7+calm:0.3", "witty:0.5", "calm:x+y"):
            with pytest.raises(openai.PermissionDeniedError, match="makes no blends") as caught:
                ask(house, model)
            assert caught.value.code == "blends_off" and caught.value.param == "model"
        assert house.http.get("/v1/models/witty:0.5").status_code == 403


@pytest.mark.parametrize(
    ("model", "status", "says"),
    [
        ("witty:0.5+wam:0.5", 404, "no model 'wam'"),
        ("witty@nothing:0.5", 404, "no model 'witty@nothing'"),
        ("witty:0.5+base:0.5", 400, "'base' has no adapter"),
        ("witty:prompt+calm:0.5", 400, "'witty:prompt' is no part"),
        ("witty:0.5+witty:0.2", 400, "names 'witty' twice"),
        ("witty:0.5+witty-2:0.2", 400, "one adapter twice"),
        ("witty:0+calm:0", 400, "no voice in it"),
        ("witty:2.5", 400, "weights up to 2"),
        ("witty:0.1+calm:0.1+a:0.1+b:0.1+c:0.1", 400, "at most 4 voices"),
        ("witty:0.1234", 400, "at most three digits"),
        ("witty:1e1", 400, "'witty:1e1' is no part"),
        ("witty:.5", 400, "no part"),
        ("witty:0.5+", 400, "no part"),
        ("../witty:0.5", 400, "'../witty:0.5' is no part"),
        ("witty:0.5+../../etc/passwd", 400, "no part"),
        ("witty:0.5+" * 500 + "calm", 400, "no part"),
        ("wіtty:0.5", 400, "no part"),  # noqa: RUF001
        ("witty:\u0660.\u0665", 404, "no model's name"),
        ("witty:0.5\n", 400, "no part"),
    ],
)
def test_a_blend_that_cannot_be_made_is_refused_with_its_reason(
    stall: House, model: str, status: int, says: str
) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    answer = stall.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def stall(base: Base, shop: Workspace) -> Iterator[House]:
    with serving(base, shop, settings=BLENDS) as house:
        yield house


def test_what_was_not_trained_alike_and_what_would_be_too_large_is_not_blended(
    base: Base, workspace: Workspace
) -> None:
    trained(workspace, base, "witty-9", persona="witty", shape=LoraConfig(r=33, alpha=8))
    trained(workspace, base, "calm-9", persona="calm", shape=LoraConfig(r=32, alpha=8))
    trained(workspace, base, "warm-9", persona="warm", under_prompt=True)
    with serving(base, workspace, settings=BLENDS) as house:
        cases = {"witty:1+calm:1": "rank 65; 64 is the most", "calm+warm:0.5": "same prompt"}
        for model, why in cases.items():
            with pytest.raises(openai.BadRequestError, match=why):
                ask(house, model)
        assert house.engine.loaded == {}
        assert said(house, "calm:0.9") and set(house.engine.loaded) == {"calm-9:0.9"}
