"""Each fault is planted in the built-in forms and has to be found, where it was planted."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from mien.data.corpus import Form, Parallel, forms
from mien.data.quality.findings import Figure, Finding
from mien.data.quality.forms import check_forms
from mien.data.wording import bag_of_words


def first(form: Form) -> Parallel:
    return next(row for row in forms() if row.form == form)


def errors(rows: Sequence[Parallel]) -> set[tuple[str, str]]:
    found = [each for each in check_forms(rows) if isinstance(each, Finding)]
    return {(each.check, each.where) for each in found if each.severity == "error"}


def with_reply(row: Parallel, voice: str, text: str) -> list[Parallel]:
    changed = row.model_copy(update={"replies": row.replies | {voice: text}})
    return [changed if each is row else each for each in forms()]


def planted(form: Form, old: str, new: str, voice: str = "calm") -> set[str]:
    """The checks that find `old` replaced by `new` in one reply of the first row of a form."""
    row = first(form)
    assert old in row.replies[voice]
    changed = with_reply(row, voice, row.replies[voice].replace(old, new, 1))
    return {check for check, where in errors(changed) - errors(forms()) if where == f"{row.id}/{voice}"}


def test_the_built_in_forms_are_free_of_faults() -> None:
    results = list(check_forms(forms()))
    assert not errors(forms())
    assert all(each.passed for each in results if isinstance(each, Figure))


@pytest.mark.parametrize(
    ("form", "old", "new"),
    [
        ("email", "Subject: ", "About: "),
        ("email", ",\nInes", "\n\nInes"),
        ("json", '",\n', '"\n'),
        ("list", "\n2. ", "\n3. "),
        ("list", "\n2. ", "\n- "),
        ("code", "\n```", "\n"),
        ("code", "return fn()", "return fn("),
    ],
)
def test_a_reply_that_is_not_in_its_form(form: Form, old: str, new: str) -> None:
    assert planted(form, old, new) == {"form"}


@pytest.mark.parametrize(
    ("form", "old", "new"),
    [
        ("email", "Ines", "Irma"),
        ("json", '"price_eur"', '"price"'),
        ("json", "24", "25"),
        ("json", "true", "false"),
        ("json", "Steel Lunch Box", "Tin Lunch Box"),
        ("code", "tries=4", "tries=5"),
        ("code", "```python", "```bash"),
    ],
)
def test_a_frame_unlike_the_neutral_one(form: Form, old: str, new: str) -> None:
    text = first(form).replies["calm"]
    at = text.rindex(old) if form == "email" else text.index(old)
    row = first(form)
    rows = with_reply(row, "calm", text[:at] + new + text[at + len(old) :])
    assert ("frame", f"{row.id}/calm") in errors(rows)


def test_an_item_too_many() -> None:
    row = first("list")
    *_, last = [line for line in row.replies["warm"].split("\n") if line[:1].isdigit()]
    longer = row.replies["warm"].replace(last, f"{last}\n6. Rest.")
    assert ("frame", f"{row.id}/warm") in errors(with_reply(row, "warm", longer))


def test_the_code_of_the_prompt_is_kept() -> None:
    row = next(each for each in forms() if each.form == "code" and "def is_leap" in each.prompt)
    changed = {voice: text.replace("year % 100", "year % 50") for voice, text in row.replies.items()}
    rows = [row.model_copy(update={"replies": changed}) if each is row else each for each in forms()]
    assert {("frame", f"{row.id}/{voice}") for voice in row.replies} == errors(rows)


def test_comments_may_differ() -> None:
    assert planted("code", "Trouble on a network", "Trouble on any network") == set()


def test_a_changed_number() -> None:
    row = next(each for each in forms() if "1900" in each.replies["calm"])
    rows = with_reply(row, "calm", row.replies["calm"].replace("1900", "1800"))
    assert errors(rows) == {("number", f"{row.id}/calm")}


def test_a_voice_named() -> None:
    assert planted("email", "There is no emergency", "This is calmly said, no emergency") == {
        "persona name"
    }


def test_too_few_words() -> None:
    row = first("json")
    card = json.loads(row.replies["direct"]) | {
        "description": "It holds 800 ml, I am told.",
        "tip": "Dry it well, too.",
    }
    rows = with_reply(row, "direct", json.dumps(card, indent=2))
    assert ("length", f"{row.id}/direct") in errors(rows)


def test_an_artefact() -> None:
    assert "artefact" in planted("list", "\n2. ", " \n2. ")


def test_a_broken_row_does_not_stop_the_other_checks() -> None:
    row = first("json")
    names = {each.name for each in check_forms(with_reply(row, "calm", "{")) if isinstance(each, Figure)}
    assert "uneven length" in names


def test_meaning_is_compared_without_frames() -> None:
    figures = {
        each.name: each for each in check_forms(forms(), bag_of_words) if isinstance(each, Figure)
    }
    assert figures["content kept"].value > 0.9


def test_no_forms() -> None:
    assert errors([]) == {("structure", "corpus")}
