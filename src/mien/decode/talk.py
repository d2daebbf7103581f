"""Conversations that go on: what was read once is not read again.

At every turn `generate` would read a whole conversation anew, which after fifty turns is nearly all of
the work. Here one decoder keeps what it has read between turns, and of each conversation only the part
is read that is new.
"""

from __future__ import annotations

from collections.abc import Sequence

from mien.base.model import Base
from mien.chat import Sampling
from mien.decode.generate import ROWS, Decoder, Progress
from mien.schema import Message

_PREFIX_BYTES = 2**31
_EXCHANGES = 8  # dropped together when the context is full, so that most turns need not read anew


class Talk:
    """Answers a set of conversations again and again as they grow.

    A question may be put to a copy of a conversation and thrown away (a fork): the conversation itself
    goes on as if nothing had been asked.

    Args:
        base: The model; each call answers under the adapter in force.
        sampling: How tokens are chosen.
        prefix_bytes: Memory for what has been read; with less than the conversations take, some of them
            are read anew.
    """

    def __init__(self, base: Base, sampling: Sampling, *, prefix_bytes: int = _PREFIX_BYTES) -> None:
        self.base, self.sampling, self.prefix_bytes = base, sampling, prefix_bytes
        self._decoder: Decoder | None = None

    def replies(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int],
        progress: Progress = lambda _tokens, _replies: None,
    ) -> list[list[int]]:
        """Token ids of one reply per conversation, with the token that ends it if it came to an end.

        Args:
            conversations: Each with all that was said in it; the oldest exchanges are left out where
                they outgrow the context (`recent`).
            seeds: One per conversation.
            progress: Called after each step with the tokens it made and the replies it ended.
        """
        prompts = [self._prompt(messages) for messages in conversations]
        asked = list(zip(prompts, seeds, strict=True))
        if self._decoder is None:
            rows = max(1, min(ROWS, len(asked)))
            self._decoder = Decoder(self.base, rows=rows, prefix_bytes=self.prefix_bytes)
        return self._decoder.replies(asked, self.sampling, with_stop=True, progress=progress)

    def _prompt(self, messages: Sequence[Message]) -> list[int]:
        return self.base.renderer.prompt(recent(self.base, messages, self.sampling.max_tokens))


def recent(
    base: Base, messages: Sequence[Message], longest: int, *, exchanges: int = _EXCHANGES
) -> list[Message]:
    """The conversation without its oldest exchanges, where it outgrew the model's context.

    Args:
        base: Whose context it is.
        messages: A system message or none, then the two sides in turns, the user's last.
        longest: Room to leave for the reply, in tokens.
        exchanges: How many to drop at a time.
    """
    first = 1 if messages[0].role == "system" else 0
    opening, rest = list(messages[:first]), list(messages[first:])
    while len(base.renderer.prompt([*opening, *rest])) > base.max_tokens - longest and len(rest) > 2:
        del rest[: min(2 * exchanges, len(rest) - 1)]
    return [*opening, *rest]
