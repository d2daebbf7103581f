"""Fuzz: whatever `/openapi.json` allows, and much that it does not, is answered as that page says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings

from mien.base.model import Base
from tests.serve.gateways import House, base, serving, stocked

__all__ = ["base"]

schemathesis = pytest.importorskip("schemathesis", reason="install mien[dev]")
WRITES = ("/v1/chat/completions", "/v1/completions", "/v1/feedback")
MODELS = ["base", "witty", "calm", "calm:prompt", "witty@witty-1", "nobody", ""]
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def narrowed(told: dict[str, Any]) -> dict[str, Any]:
    """So that what is drawn is often a request that is answered, and soon."""
    few = {"type": "integer", "minimum": 1, "maximum": 4}
    shapes = told["components"]["schemas"]
    shapes["Turn"]["properties"]["role"] = {"enum": ["user"]}  # who must have the last word
    shapes["Turn"]["additionalProperties"] = False
    for name in ("ChatRequest", "CompletionRequest"):
        lengths = [each for each in shapes[name]["properties"] if each.endswith("_tokens")]
        shapes[name]["properties"] |= {"model": {"enum": MODELS}} | dict.fromkeys(("n", *lengths), few)
        shapes[name]["additionalProperties"] = False
    del shapes["ChatRequest"]["properties"]["top_logprobs"]  # which needs another field beside it
    return told


class Fuzz:
    """Requests that are drawn from the page, each answer held against it.

    Attributes:
        seen: How often each status was the answer, by path.
    """

    def __init__(self, house: House) -> None:
        self.house, self.seen = house, Counter[tuple[str, int]]()
        self.schema = schemathesis.openapi.from_dict(narrowed(house.http.get("/openapi.json").json()))
        self.checks = schemathesis.checks.CHECKS.get_by_names(CHECKS)
        self.session = requests.Session()
        self.session.trust_env = False

    def run(self, most: int) -> None:
        for path in WRITES:
            for mode in ("positive", "negative"):
                self.draw("POST", path, mode, most)
        for path in ("/v1/models/{name}", "/v1/models", "/health", "/metrics"):
            self.draw("GET", path, "positive", max(1, most // 10))

    def draw(self, method: str, path: str, mode: str, most: int) -> None:
        cases = self.schema[path][method].as_strategy(schemathesis.GenerationMode(mode))

        @settings(
            max_examples=most,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(cases)
        def probe(case: Any) -> None:
            answer = case.call_and_validate(
                base_url=self.house.url, session=self.session, checks=self.checks, timeout=20
            )
            self.seen[path, answer.status_code] += 1

        probe()


@pytest.mark.slow
def test_two_thousand_cases_and_no_500(base: Base, tmp_path: Path) -> None:
    with serving(base, stocked(tmp_path, base), context=256) as house:
        fuzz = Fuzz(house)
        fuzz.run(350)
        house.until_idle()
        assert house.engine.alive
    print(f"{sum(fuzz.seen.values())} cases: {dict(sorted(fuzz.seen.items()))}")
    assert sum(fuzz.seen.values()) >= 2000
    assert all(status < 500 for _, status in fuzz.seen)
    assert fuzz.seen["/v1/chat/completions", 200] and fuzz.seen["/v1/completions", 200]
