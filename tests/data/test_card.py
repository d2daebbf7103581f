"""The card of a data set: what the hub reads of it, and what a reader does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard

from mien.data.card import card_of, write_card
from mien.data.formats import Row, write_records
from mien.errors import DataError, InputError
from mien.schema import Dialogue, Example, Preference, conversation

EXAMPLE = Example.of("Why?", "Because.")
DIALOGUE = Dialogue(messages=EXAMPLE.prompt + EXAMPLE.completion)
PREFERENCE = Preference(
    prompt=conversation("Why?"),
    chosen=EXAMPLE.completion,
    rejected=Example.of("x", "No idea.").completion,
    margin=0.5,
)


def written(folder: Path, *rows: Row, **changes: Any) -> str:
    data = folder / "witty.jsonl"
    write_records(data, rows or [EXAMPLE], [{"id": f"row {n}"} for n in range(len(rows) or 1)])
    fields = {"title": "Witty", "how": "Simulated.", "licence": "Apache-2.0", **changes}
    card = write_card(data, **fields)
    assert card == folder / "witty.md"
    return card.read_text(encoding="utf-8")


def front(text: str) -> dict[str, Any]:
    found: dict[str, Any] = DatasetCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    return found


def test_the_hub_reads_its_fields(tmp_path: Path) -> None:
    found = front(written(tmp_path, EXAMPLE, tags=["persona"]))
    assert found == {
        "pretty_name": "Witty",
        "license": "apache-2.0",
        "language": ["en"],
        "size_categories": ["n<1K"],
        "task_categories": ["text-generation"],
        "tags": ["mien", "conversational", "sft", "persona"],
    }


def test_tags_say_what_it_can_train(tmp_path: Path) -> None:
    assert front(written(tmp_path, PREFERENCE))["tags"] == ["mien", "conversational", "dpo"]
    assert front(written(tmp_path, PREFERENCE, DIALOGUE))["tags"][2:] == ["dpo", "sft"]


@pytest.mark.parametrize(
    ("rows", "size"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10_000, "10K<n<100K")]
)
def test_the_size_is_of_the_hubs_classes(tmp_path: Path, rows: int, size: str) -> None:
    assert front(written(tmp_path, *[EXAMPLE] * rows))["size_categories"] == [size]


def test_a_licence_the_hub_does_not_know_is_named(tmp_path: Path) -> None:
    found = front(written(tmp_path, licence="House rules"))
    assert (found["license"], found["license_name"]) == ("other", "House rules")


def test_no_licence_and_no_language_are_not_made_up(tmp_path: Path) -> None:
    text = written(tmp_path, licence=None, language=())
    assert not {"license", "language"} & front(text).keys()
    assert "Nobody has stated a licence" in text


def test_it_says_how_it_was_made_and_what_is_known_to_be_wrong(tmp_path: Path) -> None:
    text = written(
        tmp_path,
        how="Simulated by a teacher.",
        sources={"model": "gpt-x", "prompt user": "sha256 ab|cd"},
        counts={"split": {"train": 900, "test": 1100}, "voice": {"witty": 2000}},
        limits=["One teacher wrote all of it."],
    )
    assert "# Witty\n\nSimulated by a teacher." in text
    assert "| model | gpt-x |" in text and "| prompt user | sha256 ab\\|cd |" in text
    assert "| split | rows |\n| --- | --- |\n| train | 900 |\n| test | 1,100 |" in text
    assert "| witty | 2,000 |" in text
    assert "- One teacher wrote all of it." in text
    assert "None has been stated." in written(tmp_path)


def test_rows_and_columns_are_those_of_the_file(tmp_path: Path) -> None:
    text = written(tmp_path, EXAMPLE, PREFERENCE, DIALOGUE)
    digest = hashlib.sha256((tmp_path / "witty.jsonl").read_bytes()).hexdigest()
    assert f"`witty.jsonl` has 3 rows (sha256 `{digest}`)." in text
    assert "| `prompt` | turns | 2 | the conversation so far" in text
    assert "| `messages` | turns | 1 | the whole conversation |" in text
    assert "| `margin` | number | 1 | by how much" in text
    assert "| `id` | text | 3 |  |" in text


def test_the_first_row_is_shown_whole_but_for_long_texts(tmp_path: Path) -> None:
    text = written(tmp_path, Example.of("Why?", "x" * 500))
    shown = json.loads(text.partition("```json\n")[2].partition("\n```")[0])
    assert shown["prompt"] == [{"role": "user", "content": "Why?"}]
    assert shown["completion"][0]["content"] == "x" * 400 + "…"
    assert shown["id"] == "row 0"


def test_a_row_with_a_code_block_does_not_end_the_example(tmp_path: Path) -> None:
    text = written(tmp_path, Example.of("Why?", "```python\nprint()\n```"))
    assert "\n````json\n" in text and text.count("\n````\n") == 1


def test_the_card_is_written_again_with_its_data(tmp_path: Path) -> None:
    written(tmp_path, EXAMPLE)
    assert "has 2 rows" in written(tmp_path, EXAMPLE, EXAMPLE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["witty.jsonl", "witty.md"]


def test_another_file_in_its_place_is_not_lost(tmp_path: Path) -> None:
    notes = tmp_path / "witty.md"
    notes.write_text("# My notes\n")
    with pytest.raises(InputError, match=r"witty\.md: there already"):
        written(tmp_path)
    assert notes.read_text() == "# My notes\n"
    with pytest.raises(InputError, match="the name of a card"):
        card_of(tmp_path / "rows.md")


def test_there_is_no_card_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n")
    for name, says in {"rows.jsonl": "no rows", "absent.jsonl": "no such file"}.items():
        with pytest.raises(DataError, match=says):
            write_card(tmp_path / name, title="x", how="x", licence=None)
