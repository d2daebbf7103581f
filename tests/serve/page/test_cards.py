"""What the page is told of everybody who can answer."""

from __future__ import annotations

from typing import Any

from mien.persona.spec import library
from mien.registry.promote import Promotion, record
from mien.serve.page import POLICY
from mien.workspace import Workspace
from tests.serve.gateways import House


def told(house: House) -> dict[str, dict[str, Any]]:
    return {card["id"]: card for card in house.http.get("/v1/personas").json()["data"]}


def test_a_card_says_who_speaks_and_what_the_voice_is_held_to(house: House) -> None:
    cards, calm = told(house), library()["calm"]
    assert set(cards) == set(house.gateway.catalogue.models)
    assert cards["base"]["road"] == "base" and cards["base"]["about"] is None
    assert cards["calm"]["road"] == "adapter" and cards["calm"]["stage"] == "sft"
    assert cards["calm:prompt"]["road"] == "prompt" and cards["calm:prompt"]["promoted"] is None
    about = cards["calm"]["about"]
    assert about["description"] == calm.description.strip()
    assert about["boundaries"] == list(calm.boundaries)
    assert {each["name"]: (each["low"], each["high"]) for each in about["targets"]} == calm.voice.bands()
    assert about["traits"] == {k: v for k, v in calm.big_five.model_dump().items() if v}


def test_it_is_told_which_adapter_was_promoted(house: House, shop: Workspace) -> None:
    version = told(house)["witty"]["version"]
    assert told(house)["witty"]["promoted"] is False
    row = {"persona": "witty", "base_hash": house.gateway.catalogue.base.sha256, "run": "witty-2"}
    record(shop, Promotion.model_validate(row | {"adapter_hash": version, "report": "", "who": "me"}))
    assert told(house)["witty"]["promoted"] is True
    assert house.http.get("/v1/personas/witty%40witty-1").json()["promoted"] is False


def test_one_who_is_not_there_is_refused_as_everywhere(house: House) -> None:
    answer = house.http.get("/v1/personas/wity")
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"
    assert "'witty'" in answer.json()["error"]["message"]


def test_the_page_lets_nothing_run_that_is_not_its_own(house: House) -> None:
    page = house.http.get("/")
    assert page.headers["content-security-policy"] == POLICY
    assert "default-src 'none'" in POLICY and "unsafe" not in POLICY
    assert "style=" not in page.text and "onclick" not in page.text
    for path in ("theme.css", "chat.css", "main.js", "icon.svg"):
        file = house.http.get(f"/page/{path}")
        assert file.status_code == 200 and file.headers["x-content-type-options"] == "nosniff"
        assert file.headers["cache-control"] == "no-cache" and file.headers["etag"]


def test_there_is_nothing_beside_the_page_s_own_files(house: House) -> None:
    for path in ("", "%2e%2e/cards.py", "%2e%2e%2fcards.py", "%2fetc/passwd", "nothing.js"):
        assert house.http.get(f"/page/{path}").status_code == 404
