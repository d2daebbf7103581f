"""Faults that show in the words of a row: traces of machines, refusals, rudeness, wrong lengths.

Patterns are tried on replies only, since only replies are learnt. What stands between code fences or
back-quotes, and a reply that is JSON as a whole, is left alone where braces and marks belong there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib import resources

from ftfy.badness import is_bad

from mien.data.checks.core import Check, Fault, Item, around, words
from mien.data.checks.personal import personal
from mien.schema import Message

SHORT = 3  # words; fewer say nothing about a voice
LONG = 1500  # words
TOKENS_PER_WORD = 1.35  # English under today's vocabularies of 50,000 to 150,000 pieces
_WHOLE = 40  # words from which a reply without an end is more likely cut off than terse
_OPENING = 240  # characters in which a refusal comes

Tokens = Callable[[Sequence[Message]], int]

_PLACEHOLDER = re.compile(
    r"\{\{? ?[A-Za-z_][\w .-]{0,30} ?\}?\}"
    r"|\[(?:your|insert|enter|add|recipient|customer|company|client|user|first|last|full|phone)\b"
    r"[^\]\n]{0,40}\](?!\()|\[(?:name|date|address|company|city|title)\](?!\()"
    r"|<(?:your|insert|enter) [^>\n]{1,40}>",
    re.IGNORECASE,
)
_CHAT_MARK = re.compile(
    r"<\|[\w ]{2,30}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|<(?:eos|bos|pad|unk)>"
    r"|^#{2,4} ?(?:Response|Instruction|Input|Human|Assistant|User|System):?"
    r"|^(?:Human|Assistant|User|AI|System|Bot|ChatGPT): ",
    re.MULTILINE,
)
_HTML = re.compile(
    r"&(?:amp|lt|gt|quot|apos|nbsp|rsquo|lsquo|rdquo|ldquo|mdash|ndash|hellip|#\d{2,6}|#x[0-9a-f]{2,6});"
    r"|</?(?:p|br|div|span|li|ul|ol|b|i|strong|em|a|h[1-6]|td|tr|table)(?: [^>\n]*)?/?>",
    re.IGNORECASE,
)
_MARKDOWN = re.compile(r"\[[^\]\n]*\]\( *\)|^#{1,6}\s*$|\*{4,}|^\s*[*-]\s*$", re.MULTILINE)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_I_AM = r"\bi(?: am|['\u2019]m)"
_NOT = r"(?:can(?:['\u2019]t|not)|won['\u2019]t|will not|am unable to|am not able to|must decline to)"
_MAKERS = "openai anthropic google deepmind meta mistral alibaba microsoft cohere deepseek xai nvidia"
_MODELS = (
    "chatgpt gpt claude gemini bard llama mistral qwen copilot deepseek smollm phi grok vicuna alpaca"
)
_MADE = "trained created made developed built designed"
_HELP = "help assist provide fulfil fulfill comply engage discuss support create generate write continue"


def _one_of(listed: str) -> str:
    return rf"(?:{'|'.join(listed.split())})\b"


_SELF = re.compile(
    rf"(?:\bas|\bbeing|{_I_AM}) (?:just |only |merely )?(?:an?|your) (?:large )?"
    r"(?:ai|artificial intelligence|language model|chatbot|virtual assistant|llm)\b"
    rf"|(?:{_I_AM}|\bmy name is|\bcall me) {_one_of(_MODELS)}"
    rf"|\b{_one_of(_MADE)} by {_one_of(_MAKERS)}"
    r"|\bmy (?:training data|knowledge cut-?off|last (?:knowledge )?update)\b",
    re.IGNORECASE,
)
_SELF_WORDS = frozenset(
    words(f"ai artificial language chatbot virtual llm training knowledge update {_MODELS} {_MADE}")
)
_NAMED = re.compile(r"\b(?:chatgpt|openai|anthropic|gpt-?[345]\w*|deepseek|qwen\d*|smollm\w*)\b", re.I)
_NAMES = frozenset(
    words("chatgpt openai anthropic gpt gpt3 gpt4 gpt5 gpt4o deepseek qwen smollm smollm2")
)
_TOPIC = re.compile(
    r"\b(?:AI|robots?|chatbots?|language models?|ChatGPT|OpenAI|are you)\b", re.IGNORECASE
)
_REFUSAL = re.compile(
    rf"{_I_AM}?(?: (?:very|so|really|truly))? ?(?:sorry|afraid)[^.!?\n]{{0,40}}? {_NOT}"
    rf"|\bi {_NOT} (?:be able to |in good conscience )?{_one_of(_HELP)}"
    rf"|{_I_AM} (?:unable|not able) to {_one_of(_HELP)}"
    r"|\b(?:against|violates) my (?:guidelines|programming|policy|policies)\b",
    re.IGNORECASE,
)
_OPEN_END = re.compile(r"[\w,(\[{-]\s*\Z")


def _marked(pattern: re.Pattern[str], signs: str, item: Item) -> Fault | None:
    """The first place outside code and JSON; a reply with none of the signs is not searched at all."""
    for reply in item.replies:
        if any(sign in reply for sign in signs) and pattern.search(reply):
            plain = "" if _is_json(reply) else _CODE.sub(" ", reply)
            if found := pattern.search(plain):
                return Fault(repr(found[0].strip()), around(plain, *found.span()))
    return None


def _said(pattern: re.Pattern[str], needed: frozenset[str], item: Item) -> Fault | None:
    """The first place in a reply; a reply with none of the needed words is not searched at all."""
    for reply, said in zip(item.replies, item.reply_words, strict=True):
        if not needed.isdisjoint(said) and (found := pattern.search(reply)):
            return Fault(" ".join(found[0].split()), around(reply, *found.span()))
    return None


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _markdown(item: Item) -> Fault | None:
    for reply in item.replies:
        if "```" in reply and reply.count("```") % 2:
            return Fault("a code block that never ends", reply[-200:])
        plain = _CODE.sub(" ", reply) if "`" in reply else reply
        if plain.count("**") % 2 and not re.search(r"\w\*\*\w", plain):
            return Fault("bold type that never ends", around(plain, plain.rfind("**"), len(plain)))
    return _marked(_MARKDOWN, "[#*-", item)


def _mojibake(item: Item) -> Fault | None:
    for text in item.turns:
        if not text.isascii() and ("\ufffd" in text or is_bad(text)):
            return Fault("letters broken by a wrong encoding", text)
    return None


def _named(item: Item) -> Fault | None:
    """A reply that says what machine it is, unless that is what the user talks of."""
    fault = _said(_SELF, _SELF_WORDS, item) or _said(_NAMED, _NAMES, item)
    return fault if fault and not any(_TOPIC.search(asked) for asked in item.asked) else None


def _refusal(item: Item) -> Fault | None:
    for reply in item.replies:
        if found := _REFUSAL.search(reply, 0, _OPENING):
            return Fault(" ".join(found[0].split()), around(reply, *found.span()))
    return None


@lru_cache(maxsize=1)
def _rude_list() -> tuple[frozenset[str], tuple[str, ...]]:
    """(words, phrases) of `rude.txt`."""
    lines = resources.files(__package__).joinpath("rude.txt").read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    return frozenset(e for e in listed if " " not in e), tuple(e for e in listed if " " in e)


def rude(said: Sequence[str]) -> list[str]:
    """The slurs, threats and coarse insults among the words of a text, in lower case."""
    coarse, phrases = _rude_list()
    plain = f" {' '.join(said)} "
    return sorted(coarse.intersection(said)) + [each for each in phrases if f" {each} " in plain]


def _rude(item: Item) -> Fault | None:
    for reply, said in zip(item.replies, item.reply_words, strict=True):
        if found := rude(said):
            return Fault(", ".join(found), reply, len(found))
    return None


def _blank(item: Item) -> Fault | None:
    if all(reply.strip() for reply in item.replies) and all(item.asked):
        return None
    return Fault("a reply of white space", " / ".join(item.asked)[:200])


def _short(item: Item) -> Fault | None:
    for reply, said in zip(item.replies, item.reply_words, strict=True):
        if reply.strip() and len(said) < SHORT:
            return Fault(f"{len(said)} words", reply, -len(said))
    return None


def _long(item: Item) -> Fault | None:
    longest = max(map(len, item.reply_words), default=0)
    return Fault(f"{longest:,} words", item.replies[0], longest) if longest > LONG else None


def _unfinished(item: Item) -> Fault | None:
    for reply, said in zip(item.replies, item.reply_words, strict=True):
        if len(said) >= _WHOLE and _OPEN_END.search(reply[-4:]):
            return Fault("ends without an end", reply[-160:])
    return None


def _too_long(most: int, tokens: Tokens | None, item: Item) -> Fault | None:
    used = tokens(item.record.messages) if tokens else _estimate(item)
    if item.pair and not tokens:
        used += int(TOKENS_PER_WORD * max(0, len(item.reply_words[1]) - len(item.reply_words[0])))
    return Fault(f"{used:,} tokens", item.replies[-1][-160:], used) if used > most else None


def _estimate(item: Item) -> int:
    return int(TOKENS_PER_WORD * sum(len(turn.content.split()) for turn in item.record.messages))


def _same(item: Item) -> Fault | None:
    if not item.pair or item.reply_words[0] != item.reply_words[1]:
        return None
    return Fault("chosen and rejected say the same", item.pair[0])


def truncation(most: int, tokens: Tokens | None = None) -> Check:
    """Rows longer than a recipe allows, which training leaves out.

    Args:
        most: The recipe's `max_length`, in tokens.
        tokens: Counts those of a conversation; without it they are estimated from the words.
    """
    how = "" if tokens else f", estimated as {TOKENS_PER_WORD} a word"
    about = f"Rows of more than the recipe's {most:,} tokens{how}: training leaves them out."
    return Check("too long", "warning", about, partial(_too_long, most, tokens))


def text_checks() -> list[Check]:
    """The checks of words, the gravest first."""
    return [
        Check("blank", "error", "Replies without a word: a model learns to say nothing.", _blank),
        Check("same pair", "error", "Chosen and rejected say the same: nothing to prefer.", _same),
        Check(
            "chat marks",
            "error",
            "Marks of a chat template or of a transcript inside a reply.",
            partial(_marked, _CHAT_MARK, "<[#:"),
        ),
        Check(
            "placeholders",
            "error",
            "Places of a template that nobody has filled in.",
            partial(_marked, _PLACEHOLDER, "{[<"),
        ),
        Check(
            "self-names",
            "warning",  # a persona that says honestly what it is does no wrong
            "Replies that speak as the teacher: as an AI, or by the name of a model or a company. What"
            " answers users who talk of such things is not counted.",
            _named,
        ),
        Check("refusals", "warning", "Replies that open by declining: a model learns to.", _refusal),
        Check("broken letters", "warning", "Text read in a wrong encoding (found by ftfy).", _mojibake),
        Check("HTML", "warning", "Entities and tags outside code.", partial(_marked, _HTML, "&<")),
        Check("Markdown", "warning", "Markdown that begins and never ends, or is empty.", _markdown),
        Check(
            "personal data",
            "warning",
            "E-mail and IP addresses, telephone, card and account numbers. Check digits are checked;"
            " what is reserved for examples is not counted.",
            personal,
        ),
        Check(
            "rudeness",
            "warning",
            "Slurs, threats and coarse insults in replies, by a short list of English expressions and no"
            " model: what is rude without them is missed.",
            _rude,
        ),
        Check("unfinished", "note", f"Replies of {_WHOLE} words or more that just stop.", _unfinished),
        Check("very short", "note", f"Replies of fewer than {SHORT} words.", _short),
        Check("very long", "note", f"Replies of more than {LONG:,} words.", _long),
    ]
