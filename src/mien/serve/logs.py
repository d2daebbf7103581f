"""One JSON object per line and request. Nobody's words are in it unless that is asked for."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

LOGGER = "mien.serve"


class JsonLines(logging.Formatter):
    """A record as one line of JSON; what is in its `fields` comes along."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level, event, fields."""
        made = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": made, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log(level: int, event: str, error: BaseException | None = None, /, **fields: Any) -> None:
    """One line; with the traceback of an error."""
    logging.getLogger(LOGGER).log(level, event, exc_info=error, extra={"fields": fields})


def start_logging(stream: TextIO | None = None) -> None:
    """Send our lines and uvicorn's to `stream`, by default stderr."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name in (LOGGER, "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
