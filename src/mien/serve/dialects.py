"""What a request becomes for another server, and what that server's chunks say.

vLLM is sent token ids that our own renderer made, so that what it continues is what the adapters were
trained under, whatever chat template it has; a mark that a person typed stays text. Any other server has
a tokenizer of its own, so it is sent the messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

from transformers import AutoConfig, AutoTokenizer

from mien.base.fetch import BaseFiles
from mien.errors import InputError
from mien.serve.backends import Prompt, Said, Wanted, is_chat
from mien.serve.prompts import Prompts, room
from mien.serve.upstream import Json, Probe

_LETTERS = 4  # of a token of English text, about
_PROBE = "The quick brown fox, 1234567890: naïve café, {x: [y]} Übermut"


@dataclass(frozen=True)
class Call:
    """One reply to ask for.

    Attributes:
        path: Of the route.
        body: All but the model.
        prompt_tokens: Of its prompt.
        most: Tokens that the reply may have.
        chat: Whether white space around the reply is none of it.
        top: How many of the likeliest tokens to tell.
    """

    path: str
    body: Json
    prompt_tokens: int
    most: int
    chat: bool
    top: int


class Dialect(Protocol):
    """How a kind of servers is spoken to.

    Attributes:
        probe: Of their tokenizer, if it has to be the base's.
    """

    probe: Probe | None

    async def calls(self, wanted: Wanted, context: int | None) -> list[Call]:
        """One for every prompt and choice; those to one prompt side by side.

        Args:
            wanted: What is asked.
            context: The longest prompt and reply that the servers take, in tokens, if they say.

        Raises:
            InputError: It cannot be asked of them.
        """
        ...


class Vllm:
    """vLLM's: completions of token ids, with its further samplers.

    Args:
        prompts: Of the base.
        context: The longest prompt and reply of the base, in tokens.
    """

    def __init__(self, prompts: Prompts, context: int) -> None:
        self.prompts, self.context = prompts, context
        self.probe: Probe | None = Probe(tuple(prompts.renderer.text(_PROBE)), _PROBE)

    @classmethod
    def of(cls, files: BaseFiles) -> Self:
        """For a base, of which only the tokenizer and the config are read."""
        config = AutoConfig.from_pretrained(files.folder).get_text_config()
        tokenizer = AutoTokenizer.from_pretrained(files.folder)
        return cls(Prompts(tokenizer), int(getattr(config, "max_position_embeddings", 2048)))

    async def calls(self, wanted: Wanted, context: int | None) -> list[Call]:
        """As `Dialect`."""
        fits = min(self.context, context or self.context)
        return [call for prompt in wanted.prompts for call in await self._of(wanted, prompt, fits)]

    async def _of(self, wanted: Wanted, prompt: Prompt, context: int) -> list[Call]:
        ids, sampling = await self.prompts.ids(prompt), wanted.sampling
        most = room(wanted, len(ids), context)
        body = _common(wanted, most) | {
            "prompt": ids,
            "top_k": sampling.top_k or -1,
            "repetition_penalty": sampling.repetition_penalty,
            "stop_token_ids": sorted(self.prompts.renderer.stop_ids),
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        if wanted.logprobs is not None:
            body["logprobs"] = wanted.logprobs
        chat, top = is_chat(prompt), wanted.logprobs or 0
        return [
            Call("/completions", body | {"seed": seed}, len(ids), most, chat, top)
            for seed in wanted.seeds
        ]


class OpenAI:
    """OpenAI's and nothing more: chats as messages, texts as text."""

    probe: Probe | None = None

    async def calls(self, wanted: Wanted, context: int | None) -> list[Call]:
        """As `Dialect`; tokens of prompts are estimated, as only the server can count them."""
        if wanted.sampling.top_k is not None or wanted.sampling.repetition_penalty != 1:
            raise InputError(
                "The model server knows no `top_k` and no `repetition_penalty`.", fix="Leave them out."
            )
        return [call for prompt in wanted.prompts for call in self._of(wanted, prompt)]

    def _of(self, wanted: Wanted, prompt: Any) -> Iterator[Call]:
        chat, most = is_chat(prompt), wanted.sampling.max_tokens
        if not chat and not isinstance(prompt, str):
            raise InputError("Token ids mean something else to the model server.", fix="Send text.")
        body = _common(wanted, most) | {"stream_options": {"include_usage": True}}
        if chat:
            body["messages"] = [message.model_dump(mode="json") for message in prompt]
            told = {"logprobs": True, "top_logprobs": wanted.logprobs}
            letters = sum(len(message.content) for message in prompt)
        else:
            body["prompt"] = prompt
            told = {"logprobs": wanted.logprobs}
            letters = len(prompt)
        if wanted.logprobs is not None:
            body |= told
        path = "/chat/completions" if chat else "/completions"
        tokens, top = -(-letters // _LETTERS), wanted.logprobs or 0
        for seed in wanted.seeds:
            yield Call(path, body | {"seed": seed}, tokens, most, chat, top)


@dataclass(frozen=True)
class Heard:
    """What a chunk says.

    Attributes:
        reason: Why the reply ended, if it did.
        marked: Whether a token ended it that is no part of it.
        read: Tokens of the prompt, if told.
        written: Tokens of the reply until now, if told.
        reused: Tokens of the prompt that had been read before.
    """

    text: str = ""
    said: tuple[Said, ...] = ()
    reason: str | None = None
    marked: bool = False
    read: int | None = None
    written: int | None = None
    reused: int = 0


def heard(chunk: Json, top: int) -> Heard:
    """Read a chunk, of a chat or of a text.

    Args:
        chunk: As it came.
        top: How many of the likeliest tokens to tell.

    Raises:
        ValueError: It is in no form that is known, which may also be a LookupError or a TypeError.
    """
    usage = chunk.get("usage") or {}
    choice = chunk["choices"][0] if chunk.get("choices") else {}
    text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
    reason = choice.get("finish_reason")
    marked = reason == "stop" and not isinstance(choice.get("stop_reason", ""), str)
    said = tuple(_said(choice.get("logprobs") or {}, top))
    return Heard(
        text=text,
        said=said[:-1] if marked else said,
        reason=reason,
        marked=marked,
        read=usage.get("prompt_tokens"),
        written=usage.get("completion_tokens"),
        reused=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
    )


def _said(told: Json, most: int) -> Iterator[Said]:
    """Log-probabilities, as chats have them or as texts."""
    for row in told.get("content") or ():
        top = tuple((other["token"], other["logprob"]) for other in row["top_logprobs"])
        yield Said(row["token"], row["logprob"], top[:most])
    for i, token in enumerate(told.get("tokens") or ()):
        others = ((told.get("top_logprobs") or {})[i] or {}) if most else {}
        top = tuple(sorted(others.items(), key=lambda pair: -pair[1]))
        yield Said(token, told["token_logprobs"][i] or 0.0, top[:most])


def _common(wanted: Wanted, most: int) -> Json:
    sampling = wanted.sampling
    body: Json = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": most}
    if wanted.stop:
        body["stop"] = list(wanted.stop)
    if wanted.schema is not None:
        named = {"name": "reply", "schema": dict(wanted.schema), "strict": wanted.strict}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body
