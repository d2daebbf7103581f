"""uvicorn around a gateway: when told to stop, it finishes what runs and refuses what comes."""

from __future__ import annotations

import signal
import time
from types import FrameType

import uvicorn

from mien.serve.gateway import Gateway

_LAST = 2  # seconds for connections to close once the drain is over


class Server(uvicorn.Server):
    """Serves one gateway. The first signal drains, the second stops at once.

    Args:
        gateway: What is served.
        host: Address to listen at.
        port: 0 takes a free one.
    """

    def __init__(self, gateway: Gateway, *, host: str, port: int) -> None:
        config = uvicorn.Config(
            gateway.door,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_LAST,
        )
        super().__init__(config)
        self.gateway = gateway
        self._stop_by = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if self.gateway.draining:
            super().handle_exit(signal.SIGINT, frame)
            return
        self._stop_by = time.monotonic() + self.gateway.settings.drain
        self.gateway.drain()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        drained = self.gateway.draining and (self.gateway.idle or time.monotonic() > self._stop_by)
        return await super().on_tick(counter) or drained
