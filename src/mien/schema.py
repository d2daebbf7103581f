"""The nouns of the project, as frozen pydantic models that check themselves.

`Example` and `Preference` are TRL's conversational explicit-prompt form, so that a file written here
trains there and the other way round. `Score` cannot be made without its interval: a bare mean does
not exist in this code base.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Role = Literal["system", "user", "assistant", "tool"]


class Strict(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """Content hash: sha256 of the canonical JSON, 64 hex digits."""
        return digest(self.model_dump(mode="json"))


def digest(value: Any) -> str:
    """sha256 of `value` as canonical JSON (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Message(Strict):
    """One turn of a conversation.

    `tool_calls`, `tool_call_id` and `name` are OpenAI's fields for the use of tools; they are carried
    along untouched, and left out of the JSON where they are not set.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[dict[str, Any], ...] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        if not self.content and not self.tool_calls:
            raise ValueError("a turn needs `content`")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}


class Example(Strict):
    """What is asked and what should be answered: a row of SFT data.

    `prompt` ends with a user turn; `completion` is the assistant's turn that follows it.
    """

    prompt: tuple[Message, ...] = Field(min_length=1)
    completion: tuple[Message, ...] = Field(min_length=1, max_length=1)

    @model_validator(mode="after")
    def _turns_in_order(self) -> Example:
        _check_turns(self.prompt, completion=self.completion)
        return self

    @property
    def reply(self) -> str:
        """The text to be learnt."""
        return self.completion[0].content

    @classmethod
    def of(cls, prompt: str, reply: str, *, system: str | None = None) -> Example:
        """A single-turn example from plain strings."""
        return cls(
            prompt=conversation(prompt, system=system),
            completion=(Message(role="assistant", content=reply),),
        )


class Dialogue(Strict):
    """A whole conversation, system message or none, that ends with the assistant's turn."""

    messages: tuple[Message, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _turns_in_order(self) -> Dialogue:
        roles = [message.role for message in self.messages]
        if "system" in roles[1:]:
            raise ValueError("only the first turn may be the system's")
        if roles[-1] != "assistant" or "user" not in roles:
            raise ValueError("a dialogue has a user and ends with the assistant's turn")
        return self

    def examples(self) -> list[Example]:
        """One example per turn of the assistant that follows a turn of the user, with all before it."""
        return [
            Example(prompt=self.messages[:place], completion=(message,))
            for place, message in enumerate(self.messages)
            if message.role == "assistant" and place and self.messages[place - 1].role == "user"
        ]


class Preference(Strict):
    """One prompt, the reply that is wanted and the one that is not."""

    prompt: tuple[Message, ...] = Field(min_length=1)
    chosen: tuple[Message, ...] = Field(min_length=1, max_length=1)
    rejected: tuple[Message, ...] = Field(min_length=1, max_length=1)
    margin: float | None = None
    agreement: float | None = Field(default=None, ge=0, le=1)
    source: str | None = None

    @model_validator(mode="after")
    def _turns_in_order(self) -> Preference:
        _check_turns(self.prompt, chosen=self.chosen, rejected=self.rejected)
        return self


class Score(Strict):
    """One measured quantity of one system: the value, how sure, from how much, and by what method."""

    name: str
    system: str
    value: float
    low: float
    high: float
    n: int = Field(ge=1)
    method: str

    @model_validator(mode="after")
    def _value_inside(self) -> Score:
        noise = 1e-9 * max(1.0, abs(self.value))
        if not self.low - noise <= self.value <= self.high + noise:  # so NaN is refused as well
            raise ValueError(f"low {self.low} <= value {self.value} <= high {self.high} does not hold")
        return self

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def _check_turns(prompt: tuple[Message, ...], **replies: tuple[Message, ...]) -> None:
    if prompt[-1].role != "user":
        raise ValueError("the last turn of `prompt` must be the user's")
    for name, reply in replies.items():
        if reply[0].role != "assistant":
            raise ValueError(f"`{name}` must be one turn of the assistant")


def conversation(prompt: str, *, system: str | None = None) -> tuple[Message, ...]:
    """A conversation that opens with `prompt`, under a system message if one is given."""
    opening = (Message(role="system", content=system),) if system else ()
    return (*opening, Message(role="user", content=prompt))
