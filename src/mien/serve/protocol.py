"""What a client may send: OpenAI's chat completions and completions, and vLLM's two extra samplers.

Whatever is not known here is refused, never ignored, since it might change a reply. What cannot change
it is let go: `user`, `metadata`, `store` and the like, null, and values that leave all as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from mien.schema import Message
from mien.serve.refusals import RefusedError

_MOST_CHOICES = 16
_MOST_PROMPTS = 32
_LONGEST_NAME = 64  # characters of an unknown name that are told
_HARMLESS = frozenset(
    (
        *("user", "safety_identifier", "metadata", "store", "service_tier", "priority", "request_id"),
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "prediction"),
        "parallel_tool_calls",  # there are no tools
    )
)
# What is not supported, with the values that say nothing: defaults of OpenAI's, and of vLLM's own.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "suffix": ("",),
    "echo": (False,),
    "min_p": (0,),
    "min_tokens": (0,),
    "length_penalty": (1,),
    "use_beam_search": (False,),
    "ignore_eos": (False,),
    "bad_words": ([],),
    "stop_token_ids": ([],),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "chat_template_kwargs": ({},),
}
# Of a message. What an assistant's reply was told with comes back with it.
_TURN_NEUTRAL: Mapping[str, tuple[Any, ...]] = {"tool_calls": ([],), "annotations": ([],)}


def _encodable(text: str) -> str:
    """JSON can hold half of a character that is written in two; a tokenizer cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not text: it has half a character (a lone surrogate)") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Stop = Annotated[Text, Field(min_length=1, max_length=200)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class StreamOptions(BaseModel):
    """What a stream ends with."""

    include_usage: bool = False


class NamedSchema(BaseModel):
    """A JSON Schema; its name and the rest are for the client's own use."""

    model_config = ConfigDict(extra="allow")

    body: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """What a reply must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema: is missing")
        return self

    @property
    def wanted(self) -> dict[str, Any] | None:
        """The schema to keep to; None: any text will do."""
        if self.type == "json_object":
            return {"type": "object"}
        return self.json_schema.body if self.type == "json_schema" and self.json_schema else None


class Asking(BaseModel):
    """What both kinds of requests share; null is as good as absent."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1, le=2**31)
    temperature: float | None = Field(default=None, ge=0, le=5, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=-1, le=2**31, description="-1 or 0: all")
    repetition_penalty: float | None = Field(default=None, ge=1, le=100, allow_inf_nan=False)
    n: int | None = Field(default=None, ge=1, le=_MOST_CHOICES)
    seed: Seed | None = None
    stop: Stop | list[Stop] | None = Field(default=None, max_length=200)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None

    @property
    def limit(self) -> int | None:
        """The longest reply that the client asks for."""
        return self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """As a list, whichever way it was given."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def likeliest(self) -> int | None:
        """How many of the likeliest tokens to report; None: no log-probabilities."""
        raise NotImplementedError

    @property
    def usage_in_stream(self) -> bool:
        """Whether a stream tells of tokens before it ends."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> dict[str, Any]:
        """What is said about sampling, by the names of `mien.chat.Sampling`."""
        names = ("temperature", "top_p", "repetition_penalty")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.top_k is not None:
            given["top_k"] = self.top_k if self.top_k > 0 else None
        return given | ({"max_tokens": self.limit} if self.limit is not None else {})

    def refuse_what_is_not_supported(self) -> None:
        """Say so where a reply would not be what was asked for.

        Raises:
            RefusedError: There is such a part.
        """
        neutral = {**_NEUTRAL, "best_of": (self.n or 1,)}
        known = (*type(self).model_fields, *_HARMLESS, *neutral)
        said = self.model_extra or {}
        _refuse({name: said[name] for name in said if name not in _HARMLESS}, neutral, known)

    @model_validator(mode="after")
    def _few_stops(self) -> Asking:
        if len(self.stops) > 16:
            raise ValueError("stop: at most 16 texts")
        return self


class TextPart(BaseModel):
    """A part of a turn; there are no others here."""

    type: Literal["text"]
    text: Text


class Turn(BaseModel):
    """One message."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]

    @field_validator("content")
    @classmethod
    def _says_something(cls, content: str | list[TextPart]) -> str | list[TextPart]:
        if not content or (isinstance(content, list) and not any(part.text for part in content)):
            raise ValueError("a message needs text")
        return content

    def refuse_what_is_not_supported(self, place: str) -> None:
        """As of a request; `place` is where in it the message is.

        Raises:
            RefusedError: There is such a part.
        """
        if self.model_extra:
            known = (*type(self).model_fields, *_TURN_NEUTRAL)
            _refuse(self.model_extra, _TURN_NEUTRAL, known, f"{place}.")

    def message(self) -> Message:
        """As the renderer takes it."""
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return Message(role="system" if self.role == "developer" else self.role, content=text)


class ChatRequest(Asking):
    """`POST /v1/chat/completions`."""

    messages: list[Turn] = Field(min_length=1, max_length=2048)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=2**31)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)

    @property
    def limit(self) -> int | None:
        """By its newer name or its older one."""
        return self.max_completion_tokens or self.max_tokens

    def refuse_what_is_not_supported(self) -> None:
        """Of the request and of each message."""
        super().refuse_what_is_not_supported()
        for i, turn in enumerate(self.messages):
            turn.refuse_what_is_not_supported(f"messages.{i}")

    @property
    def likeliest(self) -> int | None:
        """As asked for, in two fields."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @model_validator(mode="after")
    def _in_order(self) -> ChatRequest:
        if self.messages[-1].role != "user":
            raise ValueError("messages: the last must be the user's")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: needs `logprobs`")
        return self

    def conversation(self, system: str | None) -> tuple[Message, ...]:
        """The messages under a persona's system prompt; the client's own follows after it."""
        messages = [turn.message() for turn in self.messages]
        if system and messages[0].role == "system":
            messages[0] = Message(role="system", content=f"{system}\n\n{messages[0].content}")
        elif system:
            messages.insert(0, Message(role="system", content=system))
        return tuple(messages)


Token = Annotated[int, Field(ge=0)]


class CompletionRequest(Asking):
    """`POST /v1/completions`: text that is continued as it is, without turns."""

    prompt: Text | list[Text] | list[Token] | list[list[Token]]
    logprobs: int | None = Field(default=None, ge=0, le=20)

    @property
    def likeliest(self) -> int | None:
        """As asked for."""
        return self.logprobs

    @field_validator("prompt")
    @classmethod
    def _not_empty(cls, prompt: Any) -> Any:
        several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
        if not prompt or (several and not all(prompt)):
            raise ValueError("a prompt needs text")
        if several and len(prompt) > _MOST_PROMPTS:
            raise ValueError(f"at most {_MOST_PROMPTS} prompts at once")
        return prompt

    def prompts(self) -> tuple[str | tuple[int, ...], ...]:
        """One or more, however they were given."""
        prompt: Any = self.prompt
        if isinstance(prompt, str):
            return (prompt,)
        if isinstance(prompt[0], int):
            return (tuple(prompt),)
        return tuple(each if isinstance(each, str) else tuple(each) for each in prompt)


def _refuse(
    said: Mapping[str, Any],
    neutral: Mapping[str, tuple[Any, ...]],
    known: Iterable[str],
    place: str = "",
) -> None:
    """See that what is said beside what is supported says nothing.

    Raises:
        RefusedError: It does; the nearest of the names that are known is told.
    """
    for name, value in said.items():
        if value is None or value in neutral.get(name, ()):
            continue
        told = name[:_LONGEST_NAME]
        close = [] if name in neutral else difflib.get_close_matches(told, known, n=1)
        hint = f", or did you mean `{close[0]}`?" if close else "."
        message = f"`{place}{told}` is not supported: leave it out{hint}"
        raise RefusedError(400, message, "unsupported", param=f"{place}{told}")
