"""Whatever answers a chat: one method, and the scripted model that stands in for one in tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from mien.errors import MienError
from mien.schema import Message


class ChatModel(Protocol):
    """Answers a conversation."""

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        """The next turn of the assistant, as pieces of text that join to the whole."""
        ...


class ScriptedModel:
    """A chat model that says what it was told to, in order: for tests and documentation.

    Args:
        replies: One per turn.

    Attributes:
        heard: The conversations it was given.
    """

    def __init__(self, replies: Sequence[str]) -> None:
        self.heard: list[tuple[Message, ...]] = []
        self._replies = list(replies)

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        """The next scripted reply, word by word."""
        self.heard.append(tuple(messages))
        if not self._replies:
            raise MienError("The script has no reply left.", fix="Give the model more replies.")
        head, *rest = self._replies.pop(0).split(" ")
        yield head
        for word in rest:
            yield f" {word}"
