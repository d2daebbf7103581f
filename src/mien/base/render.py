"""The one chat renderer: conversations become tokens here and nowhere else.

Training, evaluation, rollouts and serving all come through `Renderer`, so what is trained is what is
served. The prompt and the completion are encoded apart and joined, which makes the loss mask a matter
of counting instead of searching. Text that a person typed can never become a control token.

A base that was never taught turns (a pretrained model) gets the marks its vocabulary reserves, or
plain text labels where it reserves none; SFT then teaches it where a turn ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mien.errors import BaseError, InputError
from mien.schema import Example, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Style:
    """The marks around a turn. `stop` ends a turn of the assistant."""

    name: str
    system: str | None  # opening of a system turn; None: it is folded into the first user turn
    user: str
    assistant: str
    stop: str
    after_stop: str
    begins_with_bos: bool


STYLES: tuple[Style, ...] = (
    Style(
        name="chatml",
        system="<|im_start|>system\n",
        user="<|im_start|>user\n",
        assistant="<|im_start|>assistant\n",
        stop="<|im_end|>",
        after_stop="\n",
        begins_with_bos=False,
    ),
    Style(
        name="gemma",
        system=None,
        user="<start_of_turn>user\n",
        assistant="<start_of_turn>model\n",
        stop="<end_of_turn>",
        after_stop="\n",
        begins_with_bos=True,
    ),
    Style(
        name="llama3",
        system="<|start_header_id|>system<|end_header_id|>\n\n",
        user="<|start_header_id|>user<|end_header_id|>\n\n",
        assistant="<|start_header_id|>assistant<|end_header_id|>\n\n",
        stop="<|eot_id|>",
        after_stop="",
        begins_with_bos=True,
    ),
)


def _plain(eos: str, has_bos: bool) -> Style:
    """Labels in plain text, for a vocabulary that reserves no marks."""
    return Style("plain", "System: ", "User: ", "Assistant: ", eos, "\n", has_bos)


def choose_style(tokenizer: PreTrainedTokenizerBase) -> Style:
    """The first style whose stop mark is one token of this vocabulary, or plain labels.

    Raises:
        BaseError: The vocabulary has no end-of-text token either.
    """
    vocabulary = tokenizer.get_vocab()
    for style in STYLES:
        if style.stop in vocabulary:
            return style
    if tokenizer.eos_token is None:
        raise BaseError(
            "The tokenizer has neither turn marks nor an end-of-text token.",
            fix="Set `eos_token` in its tokenizer_config.json, so that a reply can end.",
        )
    return _plain(tokenizer.eos_token, tokenizer.bos_token is not None)


def _reserve(tokenizer: PreTrainedTokenizerBase, style: Style) -> None:
    """Call the style's marks special where the vocabulary forgot to: only such are told from text."""
    texts = (style.system or "", style.user, style.assistant, style.stop)
    marks = {mark for text in texts for mark in re.findall(r"<[^<>]+>", text)}
    added = tokenizer.added_tokens_decoder.values()
    if forgotten := sorted(
        token.content for token in added if token.content in marks and not token.special
    ):
        tokenizer.add_special_tokens({"extra_special_tokens": forgotten})


def _refuse_tools(message: Message) -> None:
    if message.role == "tool" or message.tool_calls:
        raise InputError(
            "A turn calls a tool or is a tool's, and the small bases have no marks for that.",
            fix="Leave such rows out of training; `mien data convert` keeps them for other programs.",
        )


class Renderer:
    """Conversations to token ids, for one tokenizer.

    Args:
        tokenizer: Of the base model.

    Attributes:
        style: The marks in use.
        stop_ids: Tokens that end a reply: the style's stop mark and the end-of-text token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._encoded: dict[str, list[int]] = {}
        self.style = choose_style(tokenizer)
        _reserve(tokenizer, self.style)
        self._stop = self._marks(self.style.stop)
        eos = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
        self.stop_ids = frozenset((*self._stop, *eos))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, open for the assistant's next turn.

        Raises:
            InputError: It uses tools.
        """
        style, ids = self.style, self._opening()
        for message in self._fold_system(messages):
            _refuse_tools(message)
            ids += self._marks(getattr(style, message.role) or "") + self.text(message.content)
            ids += self._stop + self._marks(style.after_stop)
        return ids + self._marks(style.assistant)

    def completion(self, reply: str) -> list[int]:
        """Token ids of a reply with the mark that ends it."""
        return self.text(reply) + self._stop

    def example(self, example: Example) -> tuple[list[int], list[int]]:
        """Prompt and completion ids of a training example.

        Raises:
            InputError: It uses tools.
        """
        _refuse_tools(example.completion[0])
        return self.prompt(example.prompt), self.completion(example.reply)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a reply, without marks."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _opening(self) -> list[int]:
        bos = self.tokenizer.bos_token_id
        return [bos] if self.style.begins_with_bos and bos is not None else []

    def _marks(self, text: str) -> list[int]:
        if text not in self._encoded:
            ids = self.tokenizer(text, add_special_tokens=False).input_ids if text else []
            self._encoded[text] = list(ids)
        return self._encoded[text]

    def text(self, text: str) -> list[int]:
        """Token ids of what a person or the model wrote: marks inside it stay ordinary text."""
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(encoded.input_ids)

    def _fold_system(self, messages: Sequence[Message]) -> Sequence[Message]:
        if self.style.system is not None:
            return messages
        folded, held = list[Message](), ""
        for message in messages:
            if message.role == "system":
                held += f"{message.content}\n\n"
            elif message.role == "user":
                folded.append(Message(role="user", content=held + message.content))
                held = ""
            else:
                folded.append(message)
        return [*folded, Message(role="user", content=held.strip())] if held else folded
