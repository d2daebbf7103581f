"""`/openapi.json`: enough for a client, or a fuzzer, to know what may come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openai.types.chat import ChatCompletion

from tests.serve.gateways import roomy_base, serving, stocked


def test_the_page_tells_of_keys_refusals_and_the_shapes_of_replies(tmp_path: Path) -> None:
    base = roomy_base()
    with serving(base, stocked(tmp_path, base)) as house:
        told: dict[str, Any] = house.http.get("/openapi.json").json()
    chat, shapes = told["paths"]["/v1/chat/completions"]["post"], told["components"]["schemas"]
    assert chat["security"] == [{"HTTPBearer": []}]
    assert told["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert "security" not in told["paths"]["/health"]["get"]
    assert {"200", "400", "401", "404", "408", "413", "422", "429", "503"} <= set(chat["responses"])
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert "Retry-After" in chat["responses"]["503"]["headers"]
    needed = {name for name, field in ChatCompletion.model_fields.items() if field.is_required()}
    assert set(shapes["ChatCompletion"]["required"]) == needed
