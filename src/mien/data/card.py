"""Writes the card that lies beside every data set: what it is, how it was made, and what it is not.

The card is Markdown under YAML front matter, as the Hugging Face hub reads it
(https://huggingface.co/docs/hub/datasets-cards): renamed to README.md it is the page of the data set.
Rows, columns and the example are taken from the file itself, so that a card cannot tell of another.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mien import __version__
from mien.data.rows import iter_rows
from mien.errors import DataError, InputError
from mien.workspace import write_atomic

Counts = Mapping[str, Mapping[str, int]]

COLUMNS = {
    "prompt": "the conversation so far, which ends with the user's turn",
    "completion": "the assistant's turn that follows",
    "messages": "the whole conversation",
    "chosen": "the reply that is wanted",
    "rejected": "the reply that is not",
    "margin": "by how much the chosen reply is better",
    "agreement": "share of the judgements that say so",
    "source": "what the preference was made from",
    "log_ratio": "natural logarithm of the chosen reply's length over the rejected one's, in words",
    "edit_distance": "words to change from one reply to the other, over the longer one's; 0 is the same",
    "near_identical": "whether the two replies are so close that training on them lowers both",
}
_LICENCES = frozenset(
    (
        "apache-2.0",
        "mit",
        "bsd-3-clause",
        "gpl-3.0",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nc-nd-4.0",
        "odc-by",
        "odbl",
        "pddl",
        "unknown",
    )
)
_SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M"}
_TRAINS = {"completion": "sft", "messages": "sft", "chosen": "dpo"}
_SHOWN = 400  # characters of a text in the example row
_MARK = "- mien\n"  # the tag by which a card of ours is known


@dataclass
class _Facts:
    """What a file says of itself."""

    digest: str
    rows: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    types: dict[str, set[str]] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)


def card_of(data: Path) -> Path:
    """Where the card of a data set is: `NAME.md` beside `NAME.jsonl`.

    Raises:
        InputError: There is a file of that name that is no card, and it shall not be lost; or the data
            set itself has the name of a card.
    """
    card = data.with_suffix(".md")
    if card == data:
        raise InputError(f"{data}: the name of a card.", fix="Name a data set NAME.jsonl.")
    if card.exists() and _MARK not in card.read_text(encoding="utf-8", errors="replace"):
        raise InputError(
            f"{card}: there already, and no card of a data set.",
            fix=f"Move it, or give the data set another name than {data.name}.",
        )
    return card


def write_card(
    data: Path,
    *,
    title: str,
    how: str,
    licence: str | None,
    sources: Mapping[str, str] | None = None,
    counts: Counts | None = None,
    limits: Sequence[str] = (),
    language: Sequence[str] = ("en",),
    tags: Sequence[str] = (),
) -> Path:
    """Write the card of a data set beside it, atomically.

    Args:
        data: The JSONL file, complete.
        title: What to call it.
        how: How it was made, in Markdown: a few sentences.
        licence: As the hub spells it (`apache-2.0`), or None where nobody has said.
        sources: What it was made with, by name: model, files, prompts and plan with their hashes.
        counts: Rows by value, by what they are counted by: `{"split": {"train": 90, "test": 10}}`.
        limits: What is known to be wrong with it or missing, one sentence each.
        language: ISO codes; none where nobody has looked.
        tags: More tags for the hub.

    Returns:
        Where the card is.

    Raises:
        InputError: There is another file in its place.
        DataError: The data set is missing, empty, or no JSONL.
    """
    card = card_of(data)
    facts = _facts(data)
    front = _front(title, licence, language, tags, facts)
    sections = (
        f"# {title}\n\n{how.strip()}",
        _table("Made with", ("what", "which"), (sources or {}).items()),
        _rows(facts, counts or {}, data),
        _columns(facts),
        _example(facts.first),
        _limits(limits, licence),
    )
    write_atomic(card, "\n\n".join([front, *filter(None, sections)]) + "\n")
    return card


def _facts(data: Path) -> _Facts:
    rows = iter_rows(data)
    facts = _Facts("")
    for _, row in rows:
        facts.rows += 1
        facts.first = facts.first or row
        for key, value in row.items():
            facts.columns[key] += 1
            facts.types.setdefault(key, set()).add(_type(value))
    if not facts.rows:
        raise DataError(f"{data}: no rows.", fix="A card is written for a data set that has some.")
    with data.open("rb") as file:
        facts.digest = hashlib.file_digest(file, "sha256").hexdigest()
    return facts


def _front(
    title: str, licence: str | None, language: Sequence[str], tags: Sequence[str], facts: _Facts
) -> str:
    trains = {_TRAINS[key] for key in facts.columns if key in _TRAINS}
    fields = {
        "pretty_name": title,
        **_licence(licence),
        "language": list(language),
        "size_categories": [_size(facts.rows)],
        "task_categories": ["text-generation"],
        "tags": ["mien", "conversational", *sorted(trains), *tags],
    }
    given = {key: value for key, value in fields.items() if value}
    return f"---\n{yaml.safe_dump(given, sort_keys=False, allow_unicode=True)}---"


def _licence(licence: str | None) -> dict[str, str]:
    """The hub knows some licences by name, and wants all others as `other`."""
    if licence is None or licence.lower() in _LICENCES:
        return {"license": licence.lower()} if licence else {}
    return {"license": "other", "license_name": licence}


def _size(rows: int) -> str:
    return next((name for bound, name in _SIZES.items() if rows < bound), "10M<n<100M")


def _type(value: Any) -> str:
    if isinstance(value, list):
        return "turns" if any(isinstance(item, dict) and "role" in item for item in value) else "list"
    names = {str: "text", bool: "yes or no", int: "number", float: "number", dict: "object"}
    return names.get(type(value), "null")


def _rows(facts: _Facts, counts: Counts, data: Path) -> str:
    lines = [f"## Rows\n\n`{data.name}` has {facts.rows:,} rows (sha256 `{facts.digest}`)."]
    for by, each in counts.items():
        told = [(value, f"{count:,}") for value, count in each.items()]
        lines.append(_table("", (by, "rows"), told))
    return "\n\n".join(lines)


def _columns(facts: _Facts) -> str:
    told = [
        (f"`{key}`", " or ".join(sorted(facts.types[key])), f"{count:,}", COLUMNS.get(key, ""))
        for key, count in facts.columns.items()
    ]
    return _table("Columns", ("column", "type", "rows that have it", "what it is"), told)


def _example(row: Mapping[str, Any]) -> str:
    text = json.dumps(_cut(row), indent=2, ensure_ascii=False)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return (
        f"## The first row\n\nTexts are cut after {_SHOWN} characters.\n\n{fence}json\n{text}\n{fence}"
    )


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    if isinstance(value, Mapping):
        return {key: _cut(each) for key, each in value.items()}
    return [_cut(each) for each in value] if isinstance(value, list) else value


def _limits(limits: Sequence[str], licence: str | None) -> str:
    known = [*limits, *([] if licence else ["Nobody has stated a licence; ask before you share it."])]
    lines = "\n".join(f"- {limit}" for limit in known) or "None has been stated."
    return f"## Known limits\n\n{lines}\n\nWritten by mien {__version__}."


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    if not lines:
        return ""
    above = [f"## {title}\n"] if title else []
    return "\n".join([*above, f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
