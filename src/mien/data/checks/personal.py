"""Personal data: e-mail and IP addresses, telephone, card and account numbers.

Patterns find candidates; check digits and reserved ranges decide. What is reserved for documentation
is no personal data: example.com (RFC 2606), 555-01xx, networks such as 192.0.2.0/24 (RFC 5737), and
the card numbers that payment services publish for tests.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from mien.data.checks.core import Fault, Item, around

_EMAIL = re.compile(r"[\w.+-]+@((?:[\w-]+\.)+[A-Za-z]{2,})")
_RESERVED = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|org|net))?|test|invalid|localhost|local)$", re.I)
_PHONE = re.compile(
    r"(?<![\w.,/-])(?:(?:\+|00)[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,5}(?:[ .-]?\d{2,5}){1,4}"
    r"|(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4}|0\d{3,4} \d{3} ?\d{3,4})(?![\w-]|[.,]\d)"
)
_FICTION = re.compile(r"555[ .-]?01\d\d$|^(?:\+44 ?)?0?20 7946 0\d{3}$")
_CARD = re.compile(r"(?<![\w.-])[3-6]\d{3}(?:[ -]?\d){9,15}(?![\w-]|\.\d)")
_TEST_CARDS = frozenset(
    {"4111111111111111", "4242424242424242", "5555555555554444", "378282246310005", "4012888888881881"}
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_TEST_IBANS = frozenset({"GB82WEST12345698765432", "DE89370400440532013000"})  # of the standard's texts
_IPV4 = re.compile(r"(?<![\w.-])(?<!version )\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)", re.I)
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9a-f]{1,4}:){2,7}(?::?[0-9a-f]{1,4}){1,6}(?![\w:])", re.I)
_RESOLVERS = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9"})  # in every how-to
_DIGITS = re.compile(r"\d[\d .():A-Fa-f-]{5}")


def personal(item: Item) -> Fault | None:
    """The first piece of personal data that anybody says; how bad it is depends on its kind."""
    for text in item.turns:
        for kind, weight, start, end in _found(text):
            return Fault(kind, around(text, start, end), weight)
    return None


def luhn(digits: str) -> bool:
    """Whether the check digit of a card number is right (ISO/IEC 7812-1, Luhn's algorithm)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def iban(text: str) -> bool:
    """Whether the check digits of an account number are right (ISO 13616: 1 modulo 97)."""
    plain = text.replace(" ", "")
    number = "".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])
    return 15 <= len(plain) <= 34 and int(number) % 97 == 1


Finder = tuple[str, float, re.Pattern[str], Callable[[str], bool]]


def _found(text: str) -> Iterator[tuple[str, float, int, int]]:
    finders = _ALWAYS if _DIGITS.search(text) else _EMAIL_ONLY if "@" in text else ()
    for kind, weight, pattern, real in finders:
        for match in pattern.finditer(text):
            if real(match[0]):
                yield kind, weight, match.start(), match.end()


def _is_email(found: str) -> bool:
    return not _RESERVED.search(found.rpartition("@")[2])


def _is_card(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    return luhn(digits) and digits not in _TEST_CARDS


def _is_iban(found: str) -> bool:
    return iban(found) and found.replace(" ", "") not in _TEST_IBANS


def _is_phone(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    return 9 <= len(digits) <= 15 and not _FICTION.search(found)


def _is_address(found: str) -> bool:
    try:
        return ipaddress.ip_address(found).is_global and found not in _RESOLVERS
    except ValueError:
        return False


_EMAIL_ONLY: tuple[Finder, ...] = (("an e-mail address", 2, _EMAIL, _is_email),)
_ALWAYS: tuple[Finder, ...] = (
    ("a card number", 4, _CARD, _is_card),
    ("an account number (IBAN)", 3, _IBAN, _is_iban),
    *_EMAIL_ONLY,
    ("a telephone number", 2, _PHONE, _is_phone),
    ("an IP address", 1, _IPV4, _is_address),
    ("an IP address", 1, _IPV6, _is_address),
)
