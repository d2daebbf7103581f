"""Figures for Prometheus, at `/metrics`. Labels are names that the server knows, never a client's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mien.serve.backends import Backend

UNKNOWN = "unknown"  # the model of a request that named none that there is
NONE = ""  # of a request for something else, such as the list of models; as good as no label
_FAST = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_SLOW = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_QUEUE = (0.001, 0.003, *_SLOW, 300.0)


class Metrics:
    """What one gateway counts.

    Args:
        backend: Whose state is told as well.
        inflight: How many requests the gateway is at.
    """

    def __init__(self, backend: Backend, inflight: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_State(backend, inflight))
        self.requests = self._counter("requests", "Requests that ended.", "model", "status")
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts.", "model")
        self.reply_tokens = self._counter("reply_tokens", "Tokens of replies.", "model")
        self.cached_tokens = self._counter("cached_tokens", "Tokens of prompts already read.", "model")
        self.first_token = self._seconds("first_token", "From the request to its first token.", _SLOW)
        self.between_tokens = self._seconds("between_tokens", "From a token to the next.", _FAST)
        self.queue = self._seconds("queue", "From the request to a free slot, or to its end.", _QUEUE)
        self.request = self._seconds("request", "From the request to its end.", _SLOW)

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"mien_{name}", about, labels, registry=self.registry)

    def _seconds(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"mien_{name}_seconds", about, ("model",), buckets=buckets, registry=self.registry
        )


class _State(Collector):
    """How things stand when they are asked about."""

    def __init__(self, backend: Backend, inflight: Callable[[], int]) -> None:
        self._backend, self._inflight = backend, inflight

    def collect(self) -> Iterator[GaugeMetricFamily]:
        figures = self._backend.figures()
        told = {
            "up": ("Whether the model answers.", self._backend.alive),
            "inflight": ("Requests that the gateway is at.", self._inflight()),
            "running": ("Replies under way.", figures.get("running", 0)),
            "waiting": ("Replies that wait for a slot.", figures.get("waiting", 0)),
            "prefix_bytes": ("Memory of prompts kept.", figures.get("prefix_bytes", 0)),
            "adapters_resident": ("Adapters in memory.", len(self._backend.resident)),
        }
        for name, (about, value) in told.items():
            yield GaugeMetricFamily(f"mien_{name}", about, value=float(value))
