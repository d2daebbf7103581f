"""Prompts as token ids: what a backend needs that reads them with the base's own tokenizer."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from mien.base.render import Renderer
from mien.errors import InputError
from mien.serve.backends import Prompt, Wanted
from mien.serve.refusals import TooLongError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LONG = 20_000  # characters that take so long to tokenize that the event loop should not wait for it


class Prompts:
    """Renders prompts, and sees that they fit.

    Args:
        tokenizer: Of the base; a copy is used, since tokenizers are not safe between threads.

    Attributes:
        renderer: The one chat renderer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.renderer = Renderer(copy.deepcopy(tokenizer))
        self._rendering = asyncio.Lock()

    async def ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a conversation or a text; ids stay as they are.

        Raises:
            InputError: It cannot be rendered.
        """
        if isinstance(prompt, tuple) and isinstance(prompt[0], int):
            return prompt
        async with self._rendering:
            if _characters(prompt) > _LONG:
                return await asyncio.to_thread(self._rendered, prompt)
            return self._rendered(prompt)

    def _rendered(self, prompt: Any) -> tuple[int, ...]:
        renderer = self.renderer
        if not isinstance(prompt, str):
            return tuple(renderer.prompt(prompt))
        bos = renderer.tokenizer.bos_token_id
        opening = [bos] if renderer.style.begins_with_bos and bos is not None else []
        return (*opening, *renderer.text(prompt))


def check_number(wanted: Wanted, most: int) -> None:
    """See that the replies could ever be taken: to come again later would be of no use.

    Args:
        wanted: What is asked.
        most: Replies that are taken at once.

    Raises:
        InputError: They are more.
    """
    if wanted.replies > most:
        raise InputError(
            f"{wanted.replies} replies are more than the {most} that this server takes at once.",
            fix="Ask for fewer choices, or send fewer prompts.",
        )


def room(wanted: Wanted, length: int, context: int) -> int:
    """The most tokens that a reply may have.

    Args:
        wanted: What is asked.
        length: Of the prompt, in tokens.
        context: The longest prompt and reply, in tokens.

    Raises:
        TooLongError: They do not fit.
    """
    left, asked = context - length, wanted.sampling.max_tokens
    if left < 1 or (wanted.limited and asked > left):
        reply = f" and a reply of {asked}" if wanted.limited else ""
        raise TooLongError(
            f"A prompt of {length} tokens{reply} is more than the {context} that fit.",
            fix="Ask for a shorter reply, or leave out the oldest turns.",
        )
    return min(asked, left)


def _characters(prompt: Any) -> int:
    return len(prompt) if isinstance(prompt, str) else sum(len(each.content) for each in prompt)
