"""Mien's way to render a conversation, as the chat template that other programs read.

For text without marks in it, it gives the tokens that `Renderer.prompt` gives; a mark that a person
types becomes a control token there, which only the renderer prevents.
"""

from __future__ import annotations

import json

from mien.base.render import Renderer

_TURN = "{%- if m.role == ROLE %}{{ OPEN + TEXT + CLOSE }}{%- endif %}"


def chat_template(renderer: Renderer) -> str:
    """A Jinja template for `tokenizer.chat_template`, or vLLM's `--chat-template`."""
    style = renderer.style
    bos = renderer.tokenizer.bos_token if style.begins_with_bos else None
    close = style.stop + style.after_stop
    if style.system is None:
        turns = _folded(style.user, style.assistant, close)
    else:
        marks = {"system": style.system, "user": style.user, "assistant": style.assistant}
        turns = "".join(_turn(role, mark, "m.content", close) for role, mark in marks.items())
    return (
        f"{{{{- {json.dumps(bos or '')} }}}}{{%- for m in messages %}}{turns}{{%- endfor %}}"
        f"{{%- if add_generation_prompt %}}{{{{ {json.dumps(style.assistant)} }}}}{{%- endif %}}"
    )


def _turn(role: str, opens: str, text: str, close: str) -> str:
    words = {"ROLE": json.dumps(role), "OPEN": json.dumps(opens), "CLOSE": json.dumps(close)}
    turn = _TURN.replace("TEXT", text)
    for word, literal in words.items():
        turn = turn.replace(word, literal)
    return turn


def _folded(user: str, assistant: str, close: str) -> str:
    """What the system says opens the user's next turn."""
    before = "(messages[loop.index0 - 1].content + '\\n\\n' if loop.index0 > 0"
    held = f"{before} and messages[loop.index0 - 1].role == 'system' else '')"
    return _turn("user", user, f"{held} + m.content", close) + _turn(
        "assistant", assistant, "m.content", close
    )
