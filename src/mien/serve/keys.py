"""Who may ask: API keys, compared in constant time, each with limits of its own.

A file of keys is YAML; a key is best kept out of it, in the environment or as its hash:

    keys:
      - name: website
        env: WEBSITE_KEY             # the variable that holds it
        requests_per_minute: 60
        tokens_per_minute: 20000
        concurrency: 4
      - name: laptop
        sha256: 9f86d081...          # of the key: printf %s KEY | sha256sum

Without a file, `MIEN_API_KEYS` may hold keys, as in `website=KEY,laptop=KEY`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from mien import specfile
from mien.errors import InputError
from mien.schema import Strict
from mien.serve.refusals import RefusedError

VARIABLE = "MIEN_API_KEYS"
_FIX = "Give each key a `name` of its own and `env: VARIABLE` or `sha256: HASH`, all under `keys:`."
_PAIRS = "Write it as `name=KEY,name=KEY`, each name once, of letters, digits, dots and dashes."
Amount = Annotated[int, Field(ge=1)]


class Key(Strict):
    """One key. A limit that is left out does not apply."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$", description="for logs and metrics")
    env: str | None = Field(default=None, min_length=1, description="the variable that holds the key")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="of the key, in hex")
    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = Field(
        default=None, description="of prompts and replies; a reply counts by what it may take"
    )
    concurrency: Amount | None = Field(default=None, description="requests at once")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.env is None) == (self.sha256 is None):
            raise ValueError("give `env` or `sha256`, one of them")
        return self

    def digest(self) -> str:
        """sha256 of the key, in hex.

        Raises:
            InputError: Its variable is not set.
        """
        if self.sha256:
            return self.sha256
        secret = os.environ.get(self.env or "", "")
        if not secret:
            fix = f"Set {self.env}, or take the key {self.name!r} out of the file."
            raise InputError(f"{self.env}: not set, and it is to hold the key {self.name!r}.", fix=fix)
        return _hashed(secret)


class KeyFile(Strict):
    """The file of keys. Of mistakes it is not told what stands there, as it may be a key."""

    model_config = ConfigDict(hide_input_in_errors=True)

    keys: tuple[Key, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [key.name for key in self.keys]
        if len(set(names)) < len(names):
            raise ValueError("keys: two of them have the same name")
        return self


class Keys:
    """The keys that open the door; without any, it stands open."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self._known = [(bytes.fromhex(key.digest()), key) for key in keys]

    def __len__(self) -> int:
        """How many there are."""
        return len(self._known)

    @classmethod
    def read(cls, path: Path | None, environment: Mapping[str, str] = os.environ) -> Keys:
        """From a file, or else from the environment.

        Raises:
            InputError: The file or the variable is not as it should be, or a key is missing.
        """
        if path:
            return cls(specfile.load(path, KeyFile, fix=_FIX).keys)
        pairs = [_pair(each) for each in environment.get(VARIABLE, "").split(",") if each.strip()]
        if not pairs:
            return cls()
        return cls(specfile.validate({"keys": pairs}, KeyFile, source=VARIABLE, fix=_PAIRS).keys)

    def check(self, authorization: str | None) -> Key | None:
        """Whose key an `Authorization` header has; None where no keys are asked for.

        Raises:
            RefusedError: None that is known.
        """
        if not self._known:
            return None
        scheme, _, secret = (authorization or "").partition(" ")
        given = bytes.fromhex(_hashed(secret.strip()))
        # All are compared, so that the time tells nothing about which one was nearly right.
        found = [key for digest, key in self._known if hmac.compare_digest(digest, given)]
        if not found or scheme.lower() != "bearer":
            message = "This server needs a key: `Authorization: Bearer KEY`."
            raise RefusedError(401, message, "invalid_api_key")
        return found[0]


def _pair(text: str) -> dict[str, str]:
    name, equals, secret = text.strip().partition("=")
    if not equals or not secret:
        raise InputError(f"{VARIABLE}: a key in it has no name, or is empty.", fix=_PAIRS)
    return {"name": name, "sha256": _hashed(secret)}


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
