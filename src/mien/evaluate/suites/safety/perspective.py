"""Toxicity by Google's Perspective API, where there is a key.

The key is read from `PERSPECTIVE_API_KEY` and sent in a header, so that it stands in no address and no
log. Google ends the service on 31 December 2026; `PERSPECTIVE_API_URL` names another one that speaks its
protocol. What is asked about is not stored there (`doNotStore`), and every score is remembered here.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mien.errors import AccessError, BusyError, ModelError, first_line
from mien.evaluate.memo import Memo
from mien.schema import digest

KEY, URL = "PERSPECTIVE_API_KEY", "PERSPECTIVE_API_URL"
METHOD = "TOXICITY by Perspective API: how likely readers find the reply rude enough to leave"
_GOOGLE = "https://commentanalyzer.googleapis.com/v1alpha1/comments:analyze"
_TRIES = 5
_TIMEOUT = 20.0  # seconds of silence
_BUSY = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Perspective:
    """The service.

    Args:
        key: Who asks.
        url: Of the method `comments:analyze`.
        sleep: Waits that many seconds.
    """

    key: str = field(repr=False)
    url: str = _GOOGLE
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def from_environment(cls) -> Perspective | None:
        """The service if there is a key, else None."""
        key = os.environ.get(KEY, "").strip()
        return cls(key, os.environ.get(URL, "").strip() or _GOOGLE) if key else None

    def toxicity(self, texts: Sequence[str], memo: Memo) -> list[float]:
        """How toxic each text is, 0 to 1; those that are known are not asked again.

        Raises:
            AccessError: The key or the address is refused.
            BusyError: It has no time, also when asked again.
            ModelError: It does not answer this.
        """
        keys = [digest(["perspective", self.url, text]) for text in texts]
        return memo.fill(keys, lambda places: [self._score(texts[place]) for place in places], part=10)

    def _score(self, text: str) -> float:
        for attempt in range(1, _TRIES + 1):
            try:
                return _read(self._post(text))
            except BusyError as error:
                if attempt == _TRIES:
                    raise
                self.sleep(error.wait if error.wait is not None else 2.0 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _post(self, text: str) -> Any:
        body = {
            "comment": {"text": text or " "},
            "languages": ["en"],
            "requestedAttributes": {"TOXICITY": {}},
            "doNotStore": True,
        }
        headers = {"Content-Type": "application/json", "X-Goog-Api-Key": self.key}
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise _refused(error) from error
        except OSError as error:
            raise BusyError(f"Perspective API: {first_line(error)}.", kind="no answer") from error
        except ValueError as error:
            raise ModelError("Perspective API: the answer is no JSON.", fix=f"Check {URL}.") from error


def _refused(error: urllib.error.HTTPError) -> ModelError:
    if error.code in _BUSY:
        wait = error.headers.get("Retry-After", "")
        seconds = float(wait) if wait.isdecimal() else None
        return BusyError(f"Perspective API: busy ({error.code}).", kind="busy", wait=seconds)
    what = f"Perspective API: refused ({error.code})."
    if error.code in (400, 401, 403, 404):
        return AccessError(what, fix=f"Check the key in {KEY}, or unset it to do without.")
    return ModelError(what, fix=f"Unset {KEY} to do without.")


def _read(answer: Any) -> float:
    try:
        return float(answer["attributeScores"]["TOXICITY"]["summaryScore"]["value"])
    except (KeyError, TypeError, ValueError) as error:
        what = "Perspective API: the answer has no score of TOXICITY."
        raise ModelError(what, fix=f"Check {URL}.") from error
