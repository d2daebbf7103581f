"""What a text holds fast: what has to be found again in another text that is to say the same.

Numbers in digits or words with their units, names, literals, quotations, blocks of code, JSON and lists
are found here by rules, which are made for English.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from mien.data.wording import says_number, spelled, words

FREE_WORDS = 4  # a JSON string of so many words is free text if it also ends like a sentence

FENCE = re.compile(r"^([ \t]*)(```+|~~~+)[^\n]*\n.*?^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_ITEM = re.compile(r"^[ \t]*(?:(\d{1,2})[.)]|[-*+\u2022])[ \t]+", re.MULTILINE)
_LITERAL = re.compile(
    r"https?://[^\s<>\"')\]]*[^\s<>\"')\].,;:!?]"  # links
    r"|\bwww\.[\w./-]*\w"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # e-mail addresses
    r"|(?<![\w/])~?(?:/[\w.-]*\w){2,}|\b[A-Z]:\\[\w\\.-]*\w"  # paths
    r"|\b[\w-]+\.(?:csv|docx?|gif|html?|ini|jpe?g|jsonl?|js|md|mp[34]|odt|pdf|png|py|sh|sql|toml|txt)\b"
    r"|\b[\w-]+\.(?:xlsx?|ya?ml|zip|com|org|net)\b"
    r"|(?<!\w)[@#][A-Za-z]\w+"  # handles and tags
    r"|\{\{?\w+\}?\}"  # fields to be filled in
    r"|\b[a-zA-Z]+_\w+\b|\b\w+\(\)"  # identifiers
)
_GREETING = re.compile(r"^\W*(?:Subject:|Dear|Hi|Hello|Hey|To)\b", re.MULTILINE)
_WRITE = re.compile(
    r"\b(?:write|draft|messages?|e-?mails?|notes?|letters?|text|post|card|caption|invitation|sign|poem|story)\b",
    re.IGNORECASE,
)
_SPOKEN = 7  # words of a quotation that is longer than a saying
_QUOTATION = re.compile(r'"([^"\n]+)"')
_STRAIGHT = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")

_CAPITAL = re.compile(r"(?<![\w'/@#.])[a-z]{0,2}[A-Z](?:'[A-Z])?[\w-]+")
_MIXED = re.compile(r"[A-Z][A-Z0-9]+|\w*[a-z][A-Z]\w*|[A-Z]+\d\w*")
_ITEM_END = re.compile(r"(?:^|(?<=\n))[ \t]*(?:\d+[.)]|[-*+\u2022])[ \t]+$")
_TITLE = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof)\.$")
# Emphasis, titles, and what has a capital by convention only.
_NO_NAMES = frozenset(
    "OK AM PM NOT NO YES AND OR BUT ALL NEVER ALWAYS ONLY DO DON NOW Mr Mrs Ms Dr Sir Re PS"  # noqa: SIM905
    " Celsius Fahrenheit Earth North South East West".split()
)
_CALENDAR = frozenset(
    "January February March April May June July August September October November December"  # noqa: SIM905
    " Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
)

# A line is one kind of thing, a word one unit with its other forms; a month is the unit of its days.
_MONTHS = (
    "january|jan february|feb march april|apr may june|jun july|jul august|aug september|sept|sep"
    " october|oct november|nov december|dec"
)
_UNITS = f"""
mm|millimetre|millimeter cm|centimetre|centimeter m|metre|meter km|kilometre|kilometer
inch|inche foot|feet|ft yard|yd mile|mi
mg|milligram g|gram|gramme kg|kilo|kilogram ounce|oz pound|lb
ml|millilitre|milliliter cl|centilitre l|litre|liter pint gallon teaspoon|tsp tablespoon|tbsp cup
ms|millisecond second|sec minute|min hour|hr|h day week month year|yr decade century|centurie
am|a.m pm|p.m {_MONTHS}
percent|% degree|\u00b0 c|celsius f|fahrenheit volt|v watt|w kcal|calorie hz mph kb mb gb tb
dollar|$|usd euro|\u20ac|eur \u00a3|gbp cent penny|pence|pennie thousand million billion
"""
_UNIT = {form: forms.split("|")[0] for forms in _UNITS.split() for form in forms.split("|")}
_MONTH = _MONTHS.replace(" ", "|")


def straight(text: str) -> str:
    """The text with straight quotes."""
    return text.translate(_STRAIGHT)


def blocks(text: str) -> list[str]:
    """The fenced code blocks of a text, with their fences."""
    return [match[0] for match in FENCE.finditer(text)]


def prose(text: str) -> str:
    """What is left to style: no fenced blocks, no numbers of list items, and of JSON its free text."""
    value = parsed(text)
    if value is not None:
        return "\n".join(_sentences(value))
    return _ITEM.sub("", FENCE.sub("", text))


_SPELT = {spelled(value): value for value in range(1000)}
_DIGITS = "|".join(map(spelled, range(1, 10)))
_BELOW_20 = "|".join(sorted(map(spelled, range(20)), key=len, reverse=True))
_TENS = "|".join(map(spelled, range(20, 100, 10)))
_BELOW_100 = rf"(?:(?:{_TENS})(?: (?:{_DIGITS})\b)?|{_BELOW_20})"
_SPELT_OUT = rf"\b(?:(?:{_DIGITS}) hundred(?: and {_BELOW_100})?|{_BELOW_100})(?: (?:thousand|million))?"
_TIMES = {"thousand": 1000, "million": 1_000_000}
_SPELT_NUMBER = re.compile(rf"({_SPELT_OUT})(?:e?s)?\b")


def _plain(text: str) -> str:
    """Lower case, no hyphens between words, and "a hundred" as "one hundred"."""
    flat = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text.lower())
    flat = flat.replace("per cent", "percent").replace("the two ", "both ")
    return re.sub(r"\ba (?=hundred|thousand|million)", "one ", flat)


def _value(spelt: str) -> str:
    head, _, last = spelt.rpartition(" ")
    return str(_SPELT[head] * _TIMES[last] if last in _TIMES else _SPELT[spelt])


@lru_cache(maxsize=1024)
def spelt(text: str) -> Counter[str]:
    """The numbers that a text has in words, in digits, and how often; not to be changed."""
    return Counter(_value(found) for found in _SPELT_NUMBER.findall(_plain(text)))


def _clock(number: str) -> str | None:
    """A time of day as it is also said, such as "half past seven"; None for any other number."""
    found = re.fullmatch(r"(\d{1,2})[:.](15|30|45)", number)
    if not found or int(found[1]) > 24:
        return None
    hour = int(found[1]) + (found[2] == "45")
    named = spelled((hour - 1) % 12 + 1)
    return f"{ {'15': 'quarter past', '30': 'half past', '45': 'quarter to'}[found[2]] } {named}"


def says(text: str, number: str) -> bool:
    """Whether a text has a number, in digits, in words, or as the time of day that it is."""
    clock = _clock(number)
    return says_number(text, number) or number in spelt(text) or bool(clock and clock in _plain(text))


_UNIT_FORMS = "|".join(sorted(map(re.escape, _UNIT), key=len, reverse=True))
_COUNT = rf"(?P<count>\d+(?:[.,:]\d+)*|{_SPELT_OUT})"
_AMOUNT = re.compile(rf"{_COUNT}(?:st|nd|rd|th)?(?: of)? ?(?P<unit>{_UNIT_FORMS})e?s?(?!\w)")
_PRICE = re.compile(r"(?P<unit>[$\u20ac\u00a3]) ?(?P<count>\d+(?:[.,]\d+)*)")
_DATE = re.compile(rf"\b(?P<unit>{_MONTH})\.? (?P<count>\d+)(?!\w)")


def amounts(text: str) -> set[tuple[str, str]]:
    """(number, unit) pairs; the month of a date and the half of a day count as units."""
    plain = _plain(text)
    found = [match for form in (_AMOUNT, _PRICE, _DATE) for match in form.finditer(plain)]
    pairs = {(_digits(match["count"]), _UNIT[match["unit"]]) for match in found}
    return {(count, unit) for count, unit in pairs if unit not in _MONTH or len(count) < 3}


def _digits(count: str) -> str:
    return count.replace(",", "") if count[0].isdigit() else _value(count)


def capitals(text: str) -> set[str]:
    """All words with a capital, names or not, but for those that never are one."""
    return {found[0] for found in _CAPITAL.finditer(text.translate(_STRAIGHT))} - _NO_NAMES


def is_draft(text: str, context: str) -> bool:
    """Whether a reply is, or quotes, what others are to read, who do not know what the user knows."""
    quotes = any(len(words(each)) > _SPOKEN for each in quotations(text))
    return quotes or bool(_GREETING.search(text) or _WRITE.search(context.rpartition("User: ")[2]))


def names(text: str) -> set[str]:
    """Words with a capital that they would not have as the first word of something, and acronyms."""
    plain = text.translate(_STRAIGHT)
    found = {
        match[0]
        for match in _CAPITAL.finditer(plain)
        if _MIXED.fullmatch(match[0]) or not _opens(plain[: match.start()])
    }
    return found - _NO_NAMES


def _opens(before: str) -> bool:
    """Whether what follows this text begins a sentence, a line or a quotation."""
    bare = _ITEM_END.sub("", before).rstrip(" \t\n\"'([*_#>")
    skipped = before[len(bare) :]
    ends = not bare or bare[-1] in ".!?\u2026:;" or "\n" in skipped or '"' in skipped
    return ends and not (skipped == " " and _TITLE.search(bare))


def has_name(text: str, name: str) -> bool:
    """Whether a text has a name, perhaps as a plural or as what is derived from it: Japan, Japanese."""
    forms = [re.escape(name)]
    if len(name) > 4 and name not in _CALENDAR:
        forms.append(rf"{re.escape(name[: max(5, len(name) - 3)])}\w{{0,3}}")
    return bool(re.search(rf"(?<!\w)(?:{'|'.join(forms)})(?:e?s)?(?!\w)", text, re.IGNORECASE))


def quotations(text: str) -> list[str]:
    """What stands between double quotation marks, without the marks at its ends."""
    return [each.strip(" .,;:!?") for each in _QUOTATION.findall(text.translate(_STRAIGHT))]


def literals(text: str) -> set[str]:
    """Links, addresses, paths, file names, identifiers, fields to be filled in, and inline code."""
    return {found[0] for form in (_INLINE, _LITERAL) for found in form.finditer(text)}


def parsed(text: str) -> Any:
    """The object or list that a text is as a whole, or None."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def is_free(value: Any) -> bool:
    """Whether a JSON value is a sentence, and not a name, a date or a choice."""
    return isinstance(value, str) and len(words(value)) >= FREE_WORDS and value.rstrip()[-1] in ".!?"


def _sentences(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _sentences(each)
    elif is_free(value):
        yield value


def list_items(text: str) -> Counter[str]:
    """Items by kind of list (numbered, bulleted); a single one is but a line that looks like one."""
    found = list(_ITEM.finditer(FENCE.sub("", text)))
    return Counter("numbered" if match[1] else "bulleted" for match in found if len(found) > 1)
