"""What a client gets: replies, whole or piece by piece, in the shapes of OpenAI's protocol."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mien.serve.backends import Ended, Piece, Said

Kind = Literal["chat", "text"]
_NAMES = {"chat": ("chatcmpl", "chat.completion"), "text": ("cmpl", "text_completion")}


@dataclass
class Choice:
    """One reply as far as it has come."""

    text: str = ""
    tokens: int = 0
    said: list[Said] = field(default_factory=list)
    ended: Ended | None = None

    def add(self, piece: Piece) -> None:
        """Go on."""
        self.text += piece.text
        self.tokens += piece.tokens
        self.said += piece.said
        self.ended = piece.ended or self.ended


class Answer:
    """The replies to one request, in the shape of its kind.

    Args:
        kind: Whether it is of a chat.
        model: As the client called it.
        prompts: How many there are.
        n: How many replies to each; those to one prompt lie side by side.
        prompt_tokens: Of all prompts.
        fingerprint: Of the weights.
    """

    def __init__(
        self, kind: Kind, model: str, prompts: int, n: int, prompt_tokens: int, fingerprint: str
    ) -> None:
        self.kind, self.n, self.prompt_tokens = kind, n, prompt_tokens
        self.choices = [Choice() for _ in range(prompts * n)]
        prefix, self._object = _NAMES[kind]
        self._head = {
            "id": f"{prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }

    def whole(self) -> dict[str, Any]:
        """All of it at once."""
        choices = [self._choice(i, choice) for i, choice in enumerate(self.choices)]
        return self._head | {"object": self._object, "choices": choices, "usage": self.usage()}

    def opening(self) -> list[dict[str, Any]]:
        """The chunks that come before any text: in a chat, whose turn it is."""
        if self.kind == "text":
            return []
        delta = {"role": "assistant", "content": ""}
        return [self._chunk([self._delta(i, delta, None, None)]) for i in range(len(self.choices))]

    def chunk(self, piece: Piece) -> dict[str, Any] | None:
        """A piece, which its choice has been given already; None if there is nothing to tell yet."""
        if not (piece.text or piece.said or piece.ended):
            return None
        reason = piece.ended.reason if piece.ended else None
        if self.kind == "chat":
            delta = {"content": piece.text} if piece.text or not piece.ended else {}
            return self._chunk([self._delta(piece.index, delta, _chat_logprobs(piece.said), reason)])
        told = self.choices[piece.index].said
        before = sum(len(each.text) for each in told[: len(told) - len(piece.said)])
        logprobs = _text_logprobs(piece.said, before)
        return self._chunk(
            [{"index": piece.index, "text": piece.text, "logprobs": logprobs, "finish_reason": reason}]
        )

    def usage_chunk(self) -> dict[str, Any]:
        """The last chunk, if the client wants to know what it cost."""
        return self._chunk([]) | {"usage": self.usage()}

    def usage(self) -> dict[str, Any]:
        """Tokens read and written until now. A prompt counts once, however many replies it has."""
        written = sum(each.ended.tokens if each.ended else each.tokens for each in self.choices)
        reused = sum(choice.ended.reused for choice in self.choices[:: self.n] if choice.ended)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self.prompt_tokens + written,
            "prompt_tokens_details": {"cached_tokens": reused},
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        suffix = ".chunk" if self.kind == "chat" else ""
        return self._head | {"object": self._object + suffix, "choices": choices}

    def _delta(
        self, index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None, reason: str | None
    ) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        reason = choice.ended.reason if choice.ended else None
        if self.kind == "text":
            told = {"text": choice.text, "logprobs": _text_logprobs(choice.said, 0)}
        else:
            message = {"role": "assistant", "content": choice.text, "refusal": None}
            told = {"message": message, "logprobs": _chat_logprobs(choice.said)}
        return {"index": index, **told, "finish_reason": reason}


def _chat_logprobs(said: Sequence[Said]) -> dict[str, Any] | None:
    if not said:
        return None
    rows = [
        _row(each.text, each.logprob) | {"top_logprobs": [_row(*other) for other in each.top]}
        for each in said
    ]
    return {"content": rows, "refusal": None}


def _row(text: str, logprob: float) -> dict[str, Any]:
    """A token that is half a character has no text of its own, so its bytes are not told."""
    whole = "\N{REPLACEMENT CHARACTER}" not in text
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()) if whole else None}


def _text_logprobs(said: Sequence[Said], start: int) -> dict[str, Any] | None:
    if not said:
        return None
    offsets = [start + sum(len(each.text) for each in said[:i]) for i in range(len(said))]
    return {
        "tokens": [each.text for each in said],
        "token_logprobs": [each.logprob for each in said],
        "top_logprobs": [dict(each.top) for each in said],
        "text_offset": offsets,
    }
