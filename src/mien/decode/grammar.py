"""Replies of a given form: JSON that keeps to a schema, token by token.

The work is done by llguidance, an Earley parser over a lexer that is derived as far as replies get. So a
schema costs little before its first token, and a reply costs a walk through the vocabulary per token. A
schema comes from whoever asks: its size is bounded, and so is the work at each step.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer
from torch import Tensor

from mien.base.model import Base
from mien.errors import InputError

MOST_CHARACTERS = 2**14
MOST_MULTIPLE = 1000  # the work of `multipleOf`, alone among all keywords, grows with its square
_MULTIPLES = re.compile(r'"multipleOf": ([-+.\deE]+)', re.ASCII)
_KEPT = 16
_LIMITS = LLParserLimits(max_grammar_size=100_000, max_lexer_states=100_000, verbose_errors=False)


class Grammars:
    """Makes grammars for one base, one at a time whichever threads ask, and remembers the latest.

    Args:
        base: Whose tokens they are made of.
    """

    def __init__(self, base: Base) -> None:
        self._tokenizer, self._ends = base.tokenizer, sorted(base.renderer.stop_ids)
        self._width = base.head.weight.shape[0]
        self._known: OrderedDict[str, JsonGrammar] = OrderedDict()
        self._lock = threading.Lock()

    def json(self, schema: Mapping[str, Any]) -> JsonGrammar:
        """The grammar of the JSON that a schema describes.

        Args:
            schema: JSON Schema (draft 2020-12), as far as llguidance keeps to it. Properties come in the
                order that they have there.

        Raises:
            InputError: It is none, is too large, or has a part that cannot be kept to.
        """
        text = _text(schema)
        with self._lock:
            if text not in self._known or self._known[text].spent:
                self._known[text] = JsonGrammar(self._compiled(text), self._width)
            self._known.move_to_end(text)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return self._known[text]

    @cached_property
    def _vocabulary(self) -> LLTokenizer:
        """The tokens as bytes; a model may have room for more of them than there are."""
        try:
            size = max(self._width, len(self._tokenizer))
            return from_tokenizer(self._tokenizer, n_vocab=size, eos_token=self._ends)
        except ValueError as error:
            raise InputError(
                f"The base's tokenizer cannot be held to a schema ({error}).", fix="Ask without one."
            ) from error

    def _compiled(self, text: str) -> LLMatcher:
        try:
            # As `json.dumps` writes it: where white space may go on, a small model may never stop it.
            rules = LLMatcher.grammar_from_json_schema(
                text,
                overrides={"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False},
            )
        except ValueError as error:
            raise _refused(str(error)) from error
        matcher = LLMatcher(self._vocabulary, rules, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise _refused(matcher.get_error())
        return matcher


class JsonGrammar:
    """A compiled schema.

    Args:
        opening: The matcher of a reply that has not begun; it is only ever copied.
        width: Of the model's vocabulary.

    Attributes:
        spent: A limit was reached. The copies share their lexer, so no further reply can be made.
    """

    def __init__(self, opening: LLMatcher, width: int) -> None:
        self.width, self.spent = width, False
        self._opening = opening

    def start(self) -> JsonMatcher:
        """As `Grammar.start`."""
        return JsonMatcher(self, self._opening.deep_copy())


class JsonMatcher:
    """How far one reply has come in its schema.

    Args:
        grammar: The schema's.
        matcher: Of this reply alone.
    """

    def __init__(self, grammar: JsonGrammar, matcher: LLMatcher) -> None:
        self._grammar, self._matcher = grammar, matcher

    @property
    def finished(self) -> bool:
        """As `Matcher.finished`."""
        return bool(self._matcher.is_stopped())

    def mask(self) -> Tensor:
        """As `Matcher.mask`."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return torch.from_numpy(np.unpackbits(bits, count=self._grammar.width, bitorder="little")).bool()

    def take(self, token: int) -> None:
        """As `Matcher.take`."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            self._grammar.spent = True
            raise InputError(
                "The reply cannot be held to its schema any further: that takes too much work.",
                fix="Simplify its patterns.",
            )


def _text(schema: Mapping[str, Any]) -> str:
    """As JSON, in its own order."""
    own = {key: value for key, value in schema.items() if key != "x-guidance"}  # llguidance's settings
    try:
        text = json.dumps(own, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise _refused(str(error)) from error
    if len(text) > MOST_CHARACTERS:
        raise _refused(f"it has more than {MOST_CHARACTERS} characters")
    if any(abs(float(found)) > MOST_MULTIPLE for found in _MULTIPLES.findall(text)):
        raise _refused(f"its `multipleOf` is above {MOST_MULTIPLE}")
    return text


def _refused(why: str) -> InputError:
    line = " ".join(why.split())[:300].rstrip(".")
    return InputError(f"No reply can be held to that schema: {line}.", fix="Simplify it.")
