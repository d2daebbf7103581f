"""What whoever runs a gateway decides."""

from __future__ import annotations

from pydantic import Field

from mien.chat import Sampling
from mien.schema import Strict


class Settings(Strict):
    """Of one gateway; times in seconds.

    Attributes:
        sampling: Where a client does not say; its `max_tokens` is the length of a reply then.
    """

    sampling: Sampling = Sampling()
    timeout: float = Field(default=120, gt=0, description="longest that a request may take")
    max_body: int = Field(default=2**20, ge=1, description="largest request, in bytes")
    drain: float = Field(default=30, ge=0, description="time to finish what runs, when told to stop")
    refresh: float = Field(default=5, gt=0, description="how often to look for new adapters")
    blends: bool = Field(default=False, description="make blends such as `witty:0.7+warm:0.3` on demand")
    log_text: bool = Field(default=False, description="write what is said into the log")
