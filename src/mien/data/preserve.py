"""Is what a reply says still said by its restyled twin?

Style may change everything but the content, and content is checked where that can be done with some
certainty: numbers and their units, names, literals such as links, quotations, code, JSON, lists, length,
and meaning by a sentence embedder that is passed in. Every check gives its reasons in words to mend the
reply by. Negation is not among the checks: of the good pairs of the built-in corpus, 29 % have one side
that negates and one that does not ("keep it dry", "never wet it").

The constants were chosen on the training split of the built-in corpus, neutral to each other voice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from mien.data.anchors import (
    amounts,
    blocks,
    capitals,
    has_name,
    is_draft,
    is_free,
    list_items,
    literals,
    names,
    parsed,
    prose,
    quotations,
    says,
    spelt,
    straight,
)
from mien.data.wording import numbers, words
from mien.schema import Message, Strict

Cosine: TypeAlias = Callable[[str, str], float]

SHORTEST, LONGEST = 0.6, 1.7  # words of the restyled per word of the source
LENGTH_FROM = 20  # words of the source; the ratio of shorter ones says little
NEAREST = 0.4  # cosine of the two sentence embeddings
SPELLED_FROM = 13  # smaller ones in words may go, as "two" does in "both"
QUOTED_WORDS = 3  # a quotation so short is a label or a term; a longer one is a draft, and restyled
_HARMLESS = {"0", "1", "2"}  # nothing, one and two are figures of speech


class Fault(Strict):
    """One thing that is wrong with a restyled reply.

    Attributes:
        check: Which check found it, in a word or two that can be counted.
        message: What it is, for whoever has to mend it.
    """

    check: str
    message: str


Faults: TypeAlias = Iterator[Fault]


def faults(
    source: str, restyled: str, *, context: str = "", cosine: Cosine | None = None
) -> list[Fault]:
    """Everything that `restyled` does not keep of `source`.

    Args:
        source: The reply as it was.
        restyled: The reply in another style.
        context: The conversation before it: what it names is a name, and its numbers are not new.
        cosine: Of two texts' sentence embeddings; without it, meaning is not compared.
    """
    before, after = prose(source), prose(restyled)
    found = [fault for check in PROSE for fault in check(before, after, context)]
    found += [fault for check in FORMAT for fault in check(source, restyled)]
    return found + (list(meaning(before, after, cosine)) if cosine else [])


def tool_calls(source: Message, restyled: Message) -> Faults:
    """Calls of tools, with whom they answer: the same, byte for byte."""
    for field in ("tool_calls", "tool_call_id", "name"):
        if json.dumps(getattr(source, field)) != json.dumps(getattr(restyled, field)):
            yield Fault(check="tool call", message=f"`{field}` has changed")


def number(source: str, restyled: str, context: str = "") -> Faults:
    """Numbers that are missing, and numbers that are new.

    A small number in words may go, and what the user said himself ("your rule") unless it is in a draft;
    but not where another number has come, perhaps in its place.
    """
    digits, known = numbers(source), f"{source}\n{context}"
    before, after = spelt(source), spelt(restyled)
    in_words = before.keys() - {"1"}
    lost = {each for each in digits | in_words if not says(restyled, each)}
    new = {each for each in numbers(restyled) if not says(known, each)}
    other = {each for each in after.keys() - _HARMLESS if not says(known, each)}
    if new | other:
        lost |= {each for each in in_words if after[each] < before[each] and each not in digits}
    else:
        kept = digits | {each for each in in_words if int(each) >= SPELLED_FROM}
        lost = {each for each in lost & kept if is_draft(source, context) or not says(context, each)}
    for each in sorted(lost):
        yield Fault(check="number", message=f"the number {each} is missing")
    for each in sorted(new | other if lost else new):
        yield Fault(check="number", message=f"the number {each} is new")


def unit(source: str, restyled: str, context: str = "") -> Faults:
    """Amounts and dates whose number is kept and whose unit, month or half of the day is another."""
    before, after = amounts(source), amounts(restyled)
    known = before | amounts(context)
    for value, name in sorted(before - after):
        if others := sorted(other for same, other in after - known if same == value):
            yield Fault(check="unit", message=f"{value} {name} has become {value} {others[0]}")


def name(source: str, restyled: str, context: str = "") -> Faults:
    """Names and acronyms that are missing: words with a capital that no start of a sentence explains.

    What the user named himself may go, unless it is in a draft or another name has come.
    """
    known = f"{source}\n{context}"
    wanted = names(source) | (capitals(source) & names(context))
    lost = {each for each in wanted if not has_name(restyled, each)}
    if not any(not has_name(known, each) for each in names(restyled)):
        lost = {each for each in lost if is_draft(source, context) or not has_name(context, each)}
    for each in sorted(lost):
        yield Fault(check="name", message=f"the name {each} is missing")


def literal(source: str, restyled: str, context: str = "") -> Faults:
    """Links, addresses, file names, identifiers, fields to be filled in, and inline code."""
    for each in sorted(literals(source)):
        if each not in restyled:
            yield Fault(check="literal", message=f"{each} is missing; it has to stay as it is")
    for each in sorted(literals(restyled)):
        if each not in f"{source}\n{context}":
            yield Fault(check="literal", message=f"{each} is new")


def quotation(source: str, restyled: str, context: str = "") -> Faults:
    """Short quotations: labels, terms, words in another language, a line to be sent as it is."""
    folded = straight(restyled).casefold()
    for each in quotations(source):
        if len(words(each)) <= QUOTED_WORDS and each.casefold() not in folded:
            yield Fault(check="quotation", message=f'the quotation "{each}" is missing')


def length(source: str, restyled: str, context: str = "") -> Faults:
    """About as many words as the source."""
    before, after = len(words(source)), len(words(restyled))
    if before >= LENGTH_FROM and not SHORTEST <= after / before <= LONGEST:
        low, high = round(SHORTEST * before), round(LONGEST * before)
        yield Fault(check="length", message=f"it has {after} words; write {low} to {high}")


def code(source: str, restyled: str) -> Faults:
    """Fenced blocks: the same, in the same order, byte for byte."""
    before, after = blocks(source), blocks(restyled)
    if len(before) != len(after):
        reason = f"it has {len(after)} code blocks; the source has {len(before)}"
        yield Fault(check="code", message=reason)
    for place, (old, new) in enumerate(zip(before, after, strict=False), 1):
        if old != new:
            yield Fault(check="code", message=f"code block {place} has changed; keep all of it as it is")


def json_values(source: str, restyled: str) -> Faults:
    """A reply that is JSON: the same keys in the same order, and every value that is no free text."""
    before, after = parsed(source), parsed(restyled)
    if before is not None and after is None:
        yield Fault(check="json", message="it is not valid JSON; answer with the JSON value alone")
    elif before is not None:
        yield from _same(before, after, "")


def items(source: str, restyled: str) -> Faults:
    """A list: as many items, numbered or not, as before."""
    before, after = list_items(source), list_items(restyled)
    for kind in ("numbered", "bulleted"):
        if before[kind] != after[kind]:
            message = f"it has {after[kind]} {kind} list items; the source has {before[kind]}"
            yield Fault(check="list", message=message)


def meaning(source: str, restyled: str, cosine: Cosine) -> Faults:
    """The two lie near each other in the space of sentence embeddings."""
    near = cosine(source, restyled)
    if near < NEAREST:
        reason = f"it does not say the same (similarity {near:.2f}, not {NEAREST:.2f} or more)"
        yield Fault(check="meaning", message=reason)


PROSE: tuple[Callable[[str, str, str], Faults], ...] = (number, unit, name, literal, quotation, length)
FORMAT: tuple[Callable[[str, str], Faults], ...] = (code, json_values, items)


def must_keep(source: str, context: str = "") -> list[str]:
    """The numbers, names, literals and short quotations of a reply, for whoever is to restyle it."""
    said = prose(source)
    quoted = {each for each in quotations(said) if len(words(each)) <= QUOTED_WORDS}
    named = names(said) | (capitals(said) & names(context))
    return sorted(numbers(said) | named | literals(said) | quoted)


def _same(before: Any, after: Any, path: str) -> Faults:
    """What differs between two JSON values, but for the wording of free text."""
    at = f" of `{path}`" if path else ""
    if isinstance(before, dict) and isinstance(after, dict):
        if list(before) != list(after):
            yield Fault(check="json", message=f"the keys{at} must be {', '.join(before)}, in this order")
        for key in before.keys() & after.keys():
            yield from _same(before[key], after[key], f"{path}.{key}".lstrip("."))
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield Fault(check="json", message=f"the list{at} must have {len(before)} values")
        for place, (old, new) in enumerate(zip(before, after, strict=False)):
            yield from _same(old, new, f"{path}[{place}]")
    elif json.dumps(before) != json.dumps(after) and not (is_free(before) and is_free(after)):
        kept = "free text" if is_free(before) else json.dumps(before, ensure_ascii=False)
        yield Fault(check="json", message=f"the value{at} must stay {kept}")
